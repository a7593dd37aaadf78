"""Where a story takes place: links whose connections somebody listens to, or plays the mainframe on."""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson

from ...client import Mainframe, Session
from ...errors import AsyncBlockError
from ...flow import Flow
from ...link import Link
from ...transport import Transport
from ...transport.memory import memory_pair
from ..memorymainframe import MemoryMainframe, OneLoop

__all__ = ["Scene", "SceneEntry", "Story", "environment_free", "record", "scene", "stored_sessions"]


@dataclass(slots=True)
class SceneEntry:
    """Something that happened on a connection."""

    link: str
    connection: int
    way: str
    """``open``, ``up``, ``down``, ``cut`` or ``end``."""
    message: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """Return the entry as it stands in a file."""
        made: dict[str, Any] = {"link": self.link, "connection": self.connection, "way": self.way}
        if self.message[:1] == b"\x01":
            made["chunk"] = b64encode(self.message).decode()
        elif self.message:
            made["lines"] = self.message.decode().split("\n")
        return made

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> SceneEntry:
        """Read an entry."""
        message = b64decode(obj["chunk"]) if "chunk" in obj else "\n".join(obj.get("lines", ())).encode()
        return cls(obj["link"], obj["connection"], obj["way"], message)


def stored_sessions() -> dict[str, list[SceneEntry]]:
    """Return the golden sessions that are shipped, by story."""
    found = {}
    for file in sorted(resources.files("asyncblock.wire").joinpath("sessions").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".jsonl"):
            _, *lines = file.read_bytes().splitlines()
            found[file.name.removesuffix(".jsonl")] = [SceneEntry.from_json(orjson.loads(line)) for line in lines]
    return found


Dial = Callable[[str], Awaitable[Transport]]
Story = Callable[["Scene"], Awaitable[None]]


class Scene:
    """Opens links by name; ``cut`` loses a link's connection as networks do."""

    def __init__(self, dial: Dial, io: OneLoop) -> None:
        self._dial = dial
        self._io = io
        self._links: list[Link] = []
        self.cutting: dict[str, asyncio.Event] = {}
        """Set to let a link's connection be lost."""

    async def link(self, name: str, secret: str | None = None) -> Link:
        """Open a link; it is closed when the story is over."""
        link = Link(
            self._io, lambda: self._dial(name), "the mainframe", link_id=name, secret=secret or f"secret-of-{name}"
        )
        await link.open()
        self._links.append(link)
        return link

    async def over(self) -> None:
        """Close the links, those opened last first."""
        while self._links:
            await self._links.pop().close()

    async def mainframe(self, name: str) -> Mainframe:
        """Open a link and return a handle on the mainframe."""
        return Mainframe(await self.link(name))

    async def cut(self, name: str) -> None:
        """Lose a link's connection."""
        self.cutting.setdefault(name, asyncio.Event()).set()

    @staticmethod
    async def start(mainframe: Mainframe, session_id: str, flow: Flow, **inputs: Any) -> Session:
        """Start a flow under an id that is the same each time."""
        params = {"session_id": session_id, "plan": flow.plan().to_json(), "inputs": inputs}
        await mainframe.link.request("start", params, id=session_id)
        return mainframe.session(session_id)


@asynccontextmanager
async def scene(dial: Dial) -> AsyncIterator[Scene]:
    """Make a scene for the duration of the block."""
    async with asyncio.TaskGroup() as tasks:
        made = Scene(dial, OneLoop(tasks))
        try:
            yield made
        finally:
            await made.over()


class _Tap:
    """A transport that notes what passes. It loses its connection when it is told to, after what is being sent."""

    def __init__(self, inner: Transport, entries: list[SceneEntry], link: str, connection: int) -> None:
        self._inner = inner
        self._entries = entries
        self._link = link
        self._connection = connection
        self._over = False
        self.peer = inner.peer
        self._note("open")

    @property
    def heard_at(self) -> float:
        return self._inner.heard_at

    def _note(self, way: str, message: bytes = b"") -> None:
        if not self._over:
            self._entries.append(SceneEntry(self._link, self._connection, way, message))
            self._over = way in ("cut", "end")

    async def send(self, message: bytes) -> None:
        self._note("up", message)
        await self._inner.send(message)

    async def receive(self) -> bytes:
        message = await self._inner.receive()
        self._note("down", message)
        return message

    async def close(self) -> None:
        self._note("end")
        await self._inner.close()

    def abort(self) -> None:
        self._note("end")
        self._inner.abort()

    def cut(self) -> None:
        """Lose the connection."""
        self._note("cut")
        self._inner.abort()


async def record(story: Story) -> list[SceneEntry]:
    """Let a story happen with a real mainframe and return what passed."""
    entries: list[SceneEntry] = []
    counts: dict[str, int] = {}
    watchers: list[asyncio.Task[None]] = []
    async with MemoryMainframe() as mainframe:

        async def dial(name: str) -> Transport:
            ours, theirs = memory_pair()
            mainframe.accept_soon(theirs)
            counts[name] = counts.get(name, 0) + 1
            tap = _Tap(ours, entries, name, counts[name])
            watchers.append(asyncio.create_task(_cut_when(place.cutting.setdefault(name, asyncio.Event()), tap)))
            return tap

        async with scene(dial) as place:
            await story(place)
        for watcher in watchers:
            watcher.cancel()
    return entries


async def _cut_when(event: asyncio.Event, tap: _Tap) -> None:
    await event.wait()
    event.clear()
    tap.cut()


def environment_free() -> None:
    """Raise when something of this machine would be recorded."""
    if os.environ.get("ASYNCBLOCK_ACCEPT"):
        raise AsyncBlockError("unset ASYNCBLOCK_ACCEPT: it would stand in the announcements")
