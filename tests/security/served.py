"""A mainframe behind a real port with a token for each role, and an innocent job that runs beside each attack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe, Session
from asyncblock.executor import Executor
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ..flows import one_block
from ..peers import Peer

__all__ = ["ROLES", "Innocent", "Served", "served", "tolerable_gap"]

ROLES = ("executor", "client", "observer")

_COUNTS = """
    import asyncio, pathlib

    async def main(inputs, ctx):
        stop, n = pathlib.Path({stop!r}), 0
        while not stop.exists():
            await ctx.output(n, "out")
            n += 1
            await asyncio.sleep(0.02)
    """


def tolerable_gap() -> float:
    """Return how many seconds may lie between two outputs of an innocent: half a second, more where others compute."""
    return 0.5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass
class Innocent:
    """A job that outputs 0, 1, 2, ... every 20 ms, and who watches it."""

    session: Session
    stop: Path
    link: str = ""
    """The id of its executor's link, as every observer reads it."""
    job: str = ""
    channel: int = 0
    numbers: list[int] = field(default_factory=list)
    largest_gap: float = 0.0
    attempts: int = 0
    end: events.SessionFinished | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Take note of what it says, to its end."""
        loop = asyncio.get_running_loop()
        last = None
        async for event in self.session:
            match event:
                case events.BlockStarted():
                    self.attempts += 1
                case events.BlockOutput():
                    now = loop.time()
                    self.largest_gap = max(self.largest_gap, 0.0 if last is None else now - last)
                    last = now
                    self.numbers.append(event.output)
                case events.SessionFinished():
                    self.end = event
            self._changed.set()

    async def goes_on(self) -> None:
        """Wait until it has said more than it had until now: what it says is journaled and read."""
        seen = len(self.numbers)
        async with asyncio.timeout(20):
            while len(self.numbers) < seen + 2 and self.end is None:
                self._changed.clear()
                await self._changed.wait()
        assert self.end is None, self.end
        self.check()

    def check(self) -> None:
        """Check that nothing has disturbed it so far."""
        assert self.numbers == list(range(len(self.numbers)))
        assert self.attempts == 1
        assert self.largest_gap < tolerable_gap(), f"it said nothing for {self.largest_gap:.2f} s"


@dataclass
class Served:
    """A mainframe on a port, the tokens of its roles, and peers that speak by hand over real websockets."""

    server: MainframeServer
    url: str
    directory: Path
    executor: Mainframe
    client: Mainframe
    stack: AsyncExitStack

    async def peer(self, role: str) -> Peer:
        """Connect with a role's token; the greeting is the peer's."""
        peer = Peer(await connect_websocket(self.url, f"token-of-{role}", max_message=MAX_MESSAGE))
        self.stack.push_async_callback(peer.transport.close)
        return peer

    @asynccontextmanager
    async def innocent(self) -> AsyncIterator[Innocent]:
        """Run an innocent job for the duration of the block; at its end nothing may have disturbed it."""
        place, stop = self.directory / "innocent", self.directory / "stop"
        flow = one_block(place, _COUNTS.format(stop=str(stop)))
        async with Executor(packages=[place]).attached(self.executor):
            innocent = Innocent(await self.client.start(flow), stop)
            watching = asyncio.create_task(innocent.watch())
            try:
                await innocent.goes_on()
                assigned = await self.assigned(innocent.session.session_id)
                innocent.link, innocent.job = assigned["link"], assigned["job_id"]
                innocent.channel = assigned["channel"]
                yield innocent
                await innocent.goes_on()
                innocent.stop.touch()
                async with asyncio.timeout(20):
                    await watching
                assert innocent.end is not None
                assert innocent.end.state == "succeeded", innocent.end
                innocent.check()
                # Its executor still gets work.
                async with asyncio.timeout(20):
                    await (await self.client.start(flow)).outputs()
            finally:
                watching.cancel()

    async def assigned(self, session_id: str) -> dict[str, Any]:
        """Return the row that says who has a session's job: what every observer can read."""
        page = await self.client.link.read(session_id, 0)
        for _, lines in page.rows:
            for line in lines:
                row: dict[str, Any] = orjson.loads(line)
                if row.get("type") == "JobAssigned":
                    return row
        raise AssertionError("no job was assigned")


@asynccontextmanager
async def served(directory: Path, settings: Settings | None = None) -> AsyncIterator[Served]:
    """Serve a mainframe on a port for the duration of the block."""
    tokens = directory / "tokens"
    tokens.write_text("".join(f"token-of-{role} {role}\n" for role in ROLES))
    tokens.chmod(0o600)
    # Peers that are written by hand say nothing when they have nothing to say.
    made = replace(settings or Settings(heartbeat=60), token_file=tokens)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(directory / "data", made))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        executor = await stack.enter_async_context(asyncblock.connect(url, "token-of-executor"))
        client = await stack.enter_async_context(asyncblock.connect(url, "token-of-client"))
        yield Served(server, url, directory, executor, client, stack)
