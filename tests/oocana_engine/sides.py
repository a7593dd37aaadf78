"""Runs one flow: on the engine with an executor, or on ours; and hears what is told of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from ..processes import MARK, all_ended, family
from .seen import Seen

__all__ = ["EngineSide", "Ears", "OurSide", "Run", "Side", "ears"]

_PATIENCE = 20.0
"""Seconds that a broker on this machine has."""

_LATE = "timeout after 5s"
"""What the engine says of an executor that wasn't ready in time: theirs isn't on a busy machine."""


class Ears:
    """Hears everything that the broker has, in its order."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[tuple[float, str, dict[str, Any]]] = []
        self._loop = asyncio.get_running_loop()
        self._fences: dict[str, asyncio.Future[None]] = {}
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"ears-{secrets.token_hex(4)}", protocol=MQTTv311)
        self._client.on_connect = lambda client, data, flags, code, properties: self._subscribe(client)
        self._client.on_subscribe = lambda client, data, mid, codes, properties: self._subscribed()
        self._client.on_message = self._on_message

    @staticmethod
    def _subscribe(client: Client) -> None:
        client.subscribe([("report", 1), ("fence", 1)])

    def _subscribed(self) -> None:
        self._loop.call_soon_threadsafe(self._ready.set_result, None)

    async def open(self) -> None:
        """Connect, and wait until it hears."""
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self.port)
        self._client.loop_start()
        async with asyncio.timeout(_PATIENCE):
            await self._ready

    async def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def all_heard(self) -> None:
        """Wait until everything that the broker has taken up to now has come."""
        name = secrets.token_hex(8)
        fence = self._fences[name] = self._loop.create_future()
        self._client.publish("fence", orjson.dumps({"name": name}), qos=1)
        async with asyncio.timeout(_PATIENCE):
            await fence

    def _on_message(self, client: object, data: object, message: MQTTMessage) -> None:
        now = time.perf_counter()
        self._loop.call_soon_threadsafe(self._take, now, message.topic, orjson.loads(message.payload))

    def _take(self, now: float, topic: str, message: dict[str, Any]) -> None:
        if topic == "fence":
            self._fences.pop(message["name"]).set_result(None)
        else:
            self.heard.append((now, topic, message))


@asynccontextmanager
async def ears(port: int) -> AsyncIterator[Ears]:
    """Hear a broker for the duration of the block."""
    listening = Ears(port)
    await listening.open()
    try:
        yield listening
    finally:
        await listening.close()


@dataclass(slots=True)
class Run:
    """How a run went."""

    seen: Seen
    code: int
    last_words: str
    left: int
    """Processes that it left running; they have been ended."""

    @property
    def in_vain(self) -> str | None:
        """Say why this run tells nothing of the flow."""
        if any(_LATE in error for errors in self.seen.failed.values() for error in errors):
            return "the executor wasn't ready within 5 s"
        if not self.seen.ended and self.code < 0:
            # It subscribes to 'report' in every second process only, and run_block waits for what comes there.
            return "it didn't end"
        return None


@dataclass(slots=True)
class Side:
    """Something that runs flows."""

    name: str
    ears: Ears
    home: Path
    """A directory of this command's own, which stands for the user's: settings, logs, secrets."""
    search: Sequence[Path] = ()
    timeout: float = 60.0
    more_tries: int = 0
    places: dict[str, str] = field(default_factory=dict)

    async def run(self, flow: Path) -> Run:
        """Run a flow to its end; again where what is known of the existing executor has kept it from one."""
        run = await self._once(flow)
        for _ in range(self.more_tries):
            if (why := run.in_vain) is None:
                break
            sys.stderr.write(f"{self.name}: {flow.name}: {why}; again\n")
            run = await self._once(flow)
        return run

    async def _once(self, flow: Path) -> Run:
        raise NotImplementedError

    async def _finish(self, command: Sequence[str | Path], session_id: str | None, **environment: str) -> Run:
        mark, first = secrets.token_hex(8), len(self.ears.heard)
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **_home(self.home), MARK: mark, **environment},
        )
        try:
            async with asyncio.timeout(self.timeout):
                out, _ = await process.communicate()
        except TimeoutError:
            out = f"it was still running after {self.timeout:.0f} s".encode()
        finally:
            left = await _end_all(mark)
        code = await process.wait()
        await self.ears.all_heard()
        heard = [message for _, topic, message in self.ears.heard[first:] if topic == "report"]
        if session_id is None:
            started = [message["session_id"] for message in heard if message["type"] == "SessionStarted"]
            session_id = started[0] if started else ""
        seen = Seen.of((each for each in heard if each.get("session_id") == session_id), self.places)
        return Run(seen, code, out.decode(errors="replace")[-4000:], len(left))


def _home(home: Path) -> dict[str, str]:
    # Fonts are looked for once, not anew under each home.
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return {"HOME": str(home), "XDG_CACHE_HOME": cache, "XDG_STATE_HOME": str(home / "state")}


async def _end_all(mark: str) -> list[int]:
    """End what a run has left."""
    left = family(mark)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    await all_ended(left)
    return left


@dataclass(slots=True)
class EngineSide(Side):
    """The engine, with one of the two executors as its ``python-executor``."""

    engine: Path = Path()
    executor: Path = Path()
    """A directory whose ``python-executor`` is the executor."""

    async def _once(self, flow: Path) -> Run:
        session_id, work = str(uuid.uuid4()), self.home / "runs" / secrets.token_hex(4)
        made = {"session-dir": "session", "temp-root": "tmp", "pkg-data-root": "packages", "project-data": "data"}
        for name in made.values():
            (work / name).mkdir(parents=True)
        self.places[str(work)] = "<work>"
        options = [word for option, name in made.items() for word in (f"--{option}", work / name)]
        search = [word for each in self.search for word in ("--search-paths", each)]
        where = ["--broker", f"127.0.0.1:{self.ears.port}", "--session", session_id, "--reporter"]
        path = f"{self.executor}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return await self._finish([self.engine, "run", flow, *where, *search, *options], session_id, PATH=path)


@dataclass(slots=True)
class OurSide(Side):
    """Our mainframe and our executor, which know nothing of the engine."""

    async def _once(self, flow: Path) -> Run:
        data = self.home / "runs" / secrets.token_hex(4)
        self.places[str(data)] = "<work>"
        search: list[str | Path] = [word for each in self.search for word in ("--search", each)]
        where: list[str | Path] = ["--report", f"mqtt://127.0.0.1:{self.ears.port}", "--data-dir", data]
        command: list[str | Path] = [sys.executable, "-m", "asyncblock", "run", flow, "--compat", "oocana"]
        return await self._finish([*command, *where, *search], None, PYTHONPATH=os.getcwd())
