"""An innocent job that runs beside each attack and must not be disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from asyncblock import events
from asyncblock.client import Mainframe, Session
from asyncblock.executor import Executor

from ..flows import one_block
from .starved import BOUND, Starved

__all__ = ["Innocent", "innocent"]

_COUNTS = """
    import asyncio, pathlib

    async def main(inputs, ctx):
        stop, n = pathlib.Path({stop!r}), 0
        while not stop.exists():
            await ctx.output(n, "out")
            n += 1
            await asyncio.sleep(0.02)
    """


@dataclass
class Innocent:
    """A job that outputs 0, 1, 2, ... every 20 ms, and who watches it."""

    session: Session
    stop: Path
    starved: Starved | None
    """Tells what of its waits was the machine's; None where how long it waits isn't what is tried."""
    link: str = ""
    """The id of its executor's link, as every observer reads it."""
    job: str = ""
    channel: int = 0
    numbers: list[int] = field(default_factory=list)
    largest_gap: float = 0.0
    """Seconds between two outputs, but for those in which the machine ran somebody else."""
    attempts: int = 0
    end: events.SessionFinished | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Take note of what it says, to its end."""
        waited = None
        async for event in self.session:
            match event:
                case events.BlockStarted():
                    self.attempts += 1
                case events.BlockOutput():
                    if waited is None and self.starved is not None:
                        waited = self.starved.watch(asyncio.get_running_loop().time)
                    self.largest_gap = max(self.largest_gap, waited() if waited is not None else 0.0)
                    self.numbers.append(event.output)
                case events.SessionFinished():
                    self.end = event
            self._changed.set()

    async def goes_on(self) -> None:
        """Wait until it has said more than it had until now, and check that nothing has disturbed it."""
        await self.says_more()
        self.check()

    async def says_more(self) -> None:
        """Wait until it has said more than it had until now: what it says is journaled and read."""
        seen = len(self.numbers)
        async with asyncio.timeout(20):
            while len(self.numbers) < seen + 2 and self.end is None:
                self._changed.clear()
                await self._changed.wait()
        assert self.end is None, self.end

    def check(self) -> None:
        """Check that nothing has disturbed it so far."""
        assert self.numbers == list(range(len(self.numbers)))
        assert self.attempts == 1
        assert self.largest_gap < BOUND, f"it said nothing for {self.largest_gap:.2f} s"


@asynccontextmanager
async def innocent(
    directory: Path, executor: Mainframe, client: Mainframe, starved: Starved | None
) -> AsyncIterator[Innocent]:
    """Run an innocent job for the duration of the block; at its end nothing may have disturbed it."""
    place, stop = directory / "innocent", directory / "stop"
    stop.unlink(missing_ok=True)
    flow = one_block(place, _COUNTS.format(stop=str(stop)))
    async with Executor(packages=[place]).attached(executor):
        made = Innocent(await client.start(flow), stop, starved)
        watching = asyncio.create_task(made.watch())
        try:
            await made.goes_on()
            await _find(made, client)
            yield made
            await made.goes_on()
            stop.touch()
            async with asyncio.timeout(20):
                await watching
            assert made.end is not None
            assert made.end.state == "succeeded", made.end
            made.check()
            # Its executor still gets work.
            async with asyncio.timeout(20):
                await (await client.start(flow)).outputs()
        finally:
            watching.cancel()


async def _find(made: Innocent, client: Mainframe) -> None:
    """Read who has its job: what every observer can."""
    page = await client.link.read(made.session.session_id, 0)
    [row] = [
        row for _, lines in page.rows for line in lines if (row := orjson.loads(line)).get("type") == "JobAssigned"
    ]
    made.link, made.job, made.channel = row["link"], row["job_id"], row["channel"]
