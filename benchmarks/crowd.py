"""A crowd: what a run is slowed down by those who follow it, as a part of the pace that it keeps without them.

The run puts out values at a fixed pace, each at the time at which it is due, and is never let off: what takes its
processor, its mainframe or its journal's disk makes it late, and its rate falls, which is counted until all is in the
journal. A run that isn't paced would tell how a machine of two cores shares them out, of which its followers want as
much as there is; a paced one tells whether what is left is enough. Followers that get too little fall behind, for they
are cursors in the journal; how long after the run's end the last of them had all of it is said beside the figure.

What runs where: the blocks in the measuring process, the mainframe in one of its own, the page in its own, as
``asyncblock page`` starts it, with Chromium. The followers are websockets of their own in one further process, which
reads every row and makes no events of them: so more of them keep up with the run, and the mainframe has more to send,
than if they were commands that decode all of it. All have the same priority.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from asyncblock import Context, Executor, Flow, Session, block, connect

from .chromium import open_page, open_tab
from .paired import Estimate, estimate
from .plant import Plant, open_plant
from .report import say
from .rounds import NotMeasured, Subject

__all__ = ["FOLLOWERS", "RATE", "both", "follow", "in_pairs", "pace"]

RATE = 50_000
"""Outputs a second."""

FOLLOWERS = 20

_JOBS = 20
_TICK = 0.02
"""Seconds after which a job puts out what has become due meanwhile."""

_SIZE = 100
"""Bytes of a value."""


class _Start:
    def __init__(self) -> None:
        self.missing = _JOBS
        self.all_here = asyncio.Event()
        self.go = asyncio.Event()
        self.began = 0.0
        self.ended = 0.0


_start: _Start


@block(inputs=[{"handle": "ticks"}, {"handle": "each"}], outputs=[{"handle": "out"}])
async def keep_pace(inputs: dict[str, Any], ctx: Context) -> None:
    """Put out values when they are due."""
    start, each, value = _start, inputs["each"], "x" * (_SIZE - 2)
    start.missing -= 1
    if not start.missing:
        start.all_here.set()
    await start.go.wait()
    for tick in range(inputs["ticks"]):
        await asyncio.sleep(start.began + tick * _TICK - time.perf_counter())
        for _ in range(each):
            await ctx.output(value, "out")
    await ctx.flush()
    start.ended = time.perf_counter()


async def pace(seconds: float, followers: int) -> dict[str, float]:
    """Measure outputs a second of a paced run; with a tab of the page, too, where it has followers."""
    global _start
    _start = _Start()
    flow = Flow("pace")
    ticks, each = round(seconds / _TICK), round(RATE * _TICK / _JOBS)
    for number in range(_JOBS):
        flow.node(keep_pace, inputs={"ticks": ticks, "each": each}, node_id=f"n{number}")
    figures: dict[str, float] = {}
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[keep_pace], async_slots=_JOBS).attached(mainframe), AsyncExitStack() as stack:
            session = await mainframe.start(flow.plan())
            tab = told = None
            if followers:
                tab = await stack.enter_async_context(open_tab())
                address, _ = await stack.enter_async_context(open_page(plant, session.session_id))
                await tab.go(address)
                await tab.until(f"document.querySelectorAll('g[data-node]').length === {_JOBS}")
                told = await stack.enter_async_context(_followed(plant, session, followers))
            await _start.all_here.wait()
            cpu = plant.cpu_seconds()
            _start.began = time.perf_counter()
            _start.go.set()
            end = await session.wait()
            ended = time.time() - (time.perf_counter() - _start.ended)
            if end.state != "succeeded":
                raise RuntimeError(f"the flow {end.state}: {end.error}")
            outputs = ticks * each * _JOBS
            took = _start.ended - _start.began
            figures = {"rate": outputs / took, "mainframe_cpu": (plant.cpu_seconds() - cpu) / took}
            if tab is not None and told is not None:
                rows = await told
                if len(rows) != followers or any(size < outputs * _SIZE for size, _ in rows):
                    raise RuntimeError(f"of {outputs} outputs followers read so many bytes: {rows}")
                figures["behind"] = max(t for _, t in rows) - ended
                await tab.until(f"document.querySelector('.head .sub').textContent.includes('{outputs:,} values')")
                figures["tab_behind"] = time.time() - ended
    return figures


@asynccontextmanager
async def _followed(plant: Plant, session: Session, count: int) -> AsyncIterator[asyncio.Task[list[tuple[int, float]]]]:
    """Follow a session by so many websockets; the task has how many bytes each has read, and when it had the last."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.crowd", plant.url, session.session_id, str(count)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "ASYNCBLOCK_TOKEN": plant.token},
    )
    assert process.stdout is not None
    stdout = process.stdout

    async def told() -> list[tuple[int, float]]:
        found = []
        while line := await stdout.readline():
            size, t = line.split()
            found.append((int(size), float(t)))
        return found

    await stdout.readline()
    telling = asyncio.create_task(told())
    try:
        yield telling
    finally:
        telling.cancel()
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def follow(url: str, session_id: str, count: int) -> None:
    """Read every row of a session by so many websockets, to its end; say when all have begun, and how it was."""
    missing = count

    async def one() -> str:
        nonlocal missing
        offset = size = 0
        async with connect(url) as mainframe:
            while True:
                rows = await mainframe.link.read(session_id, offset)
                if not offset:
                    missing -= 1
                    if not missing:
                        print("ready", flush=True)
                offset = rows.next
                size += sum(len(line) for _, lines in rows.rows for line in lines)
                if rows.end:
                    return f"{size} {time.time()}"

    for line in await asyncio.gather(*(one() for _ in range(count))):
        print(line, flush=True)


async def both(seconds: float, followers: int, first: bool = True) -> dict[str, float]:
    """Measure a run with followers and one without, in this order or the other."""
    found: dict[int, dict[str, float]] = {}
    for each in (followers, 0) if first else (0, followers):
        found[each] = await pace(seconds, each)
    crowd, none = found[followers], found[0]
    return {"kept": crowd["rate"] / none["rate"], **crowd, "alone": none["rate"], "alone_cpu": none["mainframe_cpu"]}


def in_pairs(rounds: int, arguments: Mapping[str, Any]) -> tuple[Estimate, dict[str, float]]:
    """Measure pairs of runs, in an order that turns; return their ratio, and the medians of all figures."""
    found: list[dict[str, float]] = []
    for number in range(rounds):
        say(f"round {number + 1}/{rounds}: with {arguments['followers']} followers and a tab, and without")
        subject = Subject("crowd", "benchmarks.crowd:both", {**arguments, "first": number % 2 == 0})
        try:
            found.append(subject.run())
        except RuntimeError as error:
            raise NotMeasured(f"crowd: {error}") from error
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return estimate([each["kept"] for each in found]), medians


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2], int(sys.argv[3])))
