"""Memory: what an open job costs on each side, and what producing blocks hold while the mainframe is away.

``*_kb_per_job``: growth of the process from 1,000 to 10,000 open jobs on one link, by job. ``mainframe_100k_jobs``:
the same of the mainframe up to 100,000 jobs that wait for a free executor; ``mainframe_100k_restart``: seconds until
one that was killed with these listens again. ``away_mb``: the most that 100 blocks, which send without end, add to
their process while the mainframe is stopped for 30 s; then it goes on, and everything arrives.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from asyncblock import Context, Executor, Flow, block

from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["away", "cases", "measure", "open_jobs"]

BOUND_MB = 64 + 100 * 64 / 1024 + 64
"""The stated bound: the link's window, 64 KiB for each job, the body budget."""


class _Scene:
    def __init__(self) -> None:
        self.open = 0
        self.target = 0
        self.fed = asyncio.Event()
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.stop = False


_scene: _Scene


@block(inputs=[{"handle": "count"}], outputs=[{"handle": "out"}])
async def feed(inputs: dict[str, Any], ctx: Context) -> None:
    """Send numbers."""
    for number in range(inputs["count"]):
        await ctx.output(number, "out")


@block(inputs=[{"handle": "a"}], outputs=[])
async def stay(inputs: dict[str, Any], ctx: Context) -> None:
    """Stay open until told to go."""
    _scene.open += 1
    if _scene.open == _scene.target:
        _scene.reached.set()
    await _scene.go.wait()


@block(inputs=[], outputs=[{"handle": "out"}])
async def produce(inputs: dict[str, Any], ctx: Context) -> None:
    """Send without end."""
    value = "x" * 998
    while not _scene.stop:
        await ctx.output(value, "out")
        _scene.reached.set()
    await ctx.flush()


def _resident_mb(pid: int | str = "self") -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def open_jobs(few: int, many: int) -> dict[str, float]:
    """Measure the growth of both processes from ``few`` to ``many`` open jobs."""
    global _scene
    async with open_plant() as (plant, mainframe):
        executor = Executor(blocks=[feed, stay], async_slots=2 * many)
        async with executor.attached(mainframe):
            sizes = []
            for count in (few, many):
                _scene = _Scene()
                _scene.target = count
                flow = Flow("open jobs")
                flow.node(stay, inputs={"a": flow.node(feed, inputs={"count": count})["out"]}, concurrency=-1)
                session = await mainframe.start(flow.plan())
                await _scene.reached.wait()
                sizes.append((_resident_mb(), _resident_mb(plant.process.pid)))
                _scene.go.set()
                await session.outputs()
    by_job = 1024 / (many - few)
    return {
        "executor_kb_per_job": (sizes[1][0] - sizes[0][0]) * by_job,
        "mainframe_kb_per_job": (sizes[1][1] - sizes[0][1]) * by_job,
    }


@block(inputs=[{"handle": "few"}, {"handle": "many"}], outputs=[{"handle": "out"}])
async def feed_twice(inputs: dict[str, Any], ctx: Context) -> None:
    """Send some numbers, and when told so many more."""
    for number in range(inputs["many"]):
        if number == inputs["few"]:
            await ctx.flush()
            _scene.fed.set()
            await _scene.go.wait()
        await ctx.output(number, "out")
    await ctx.flush()
    _scene.reached.set()


@block(inputs=[{"handle": "a"}], outputs=[])
async def wait(inputs: dict[str, Any], ctx: Context) -> None:
    """Stay open until cancelled."""
    await asyncio.Event().wait()


async def waiting_jobs(few: int, many: int) -> dict[str, float]:
    """Measure what ``many`` jobs that wait take of the mainframe, beside ``few``, and how soon it is back with them."""
    global _scene
    _scene = _Scene()
    flow = Flow("waiting jobs")
    source = flow.node(feed_twice, inputs={"few": few, "many": many})
    flow.node(wait, inputs={"a": source["out"]}, concurrency=-1)
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[feed_twice, wait], async_slots=4).attached(mainframe):
            session = await mainframe.start(flow.plan())
            await _scene.fed.wait()
            before = await _settled_mb(plant.process.pid)
            _scene.go.set()
            await _scene.reached.wait()
            after = await _settled_mb(plant.process.pid)
            restart = await plant.start_again()
            await session.cancel()
            await session.wait()
    return {"kb_per_job": (after - before) * 1024 / (many - few), "restart": restart}


async def _settled_mb(pid: int) -> float:
    """Return the memory of a process once it grows no more: jobs go on to be created when their values are stored."""
    size = _resident_mb(pid)
    while True:
        await asyncio.sleep(2.0)
        before, size = size, _resident_mb(pid)
        if size - before < 0.5:
            return size


async def away(jobs: int, seconds: float) -> dict[str, float]:
    """Measure what producers hold while the mainframe is away."""
    global _scene
    _scene = _Scene()
    flow = Flow("away")
    for _ in range(jobs):
        flow.node(produce)
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[produce]).attached(mainframe):
            session = await mainframe.start(flow.plan())
            await _scene.reached.wait()
            before = _resident_mb()
            plant.pause()
            held: list[float] = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await asyncio.sleep(0.25)
                held.append(_resident_mb() - before)
            plant.go_on()
            _scene.stop = True
            end = await session.wait()
            if end.state != "succeeded":
                raise RuntimeError(f"the flow {end.state}: {end.error}")
    half = len(held) // 2
    return {"away_mb": max(held), "growth_in_second_half_mb": max(held[half:]) - max(held[:half])}


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    many = {"few": 100, "many": 1000} if quick else {"few": 1000, "many": 10_000}
    open_at_once = Subject("jobs", "benchmarks.memory:open_jobs", many)
    mainframe_away = Subject("away", "benchmarks.memory:away", {"jobs": 100, "seconds": 3 if quick else 30})
    waiting = Subject("waiting", "benchmarks.memory:waiting_jobs", {"few": 1000, "many": 10_000 if quick else 100_000})
    return [
        Case("executor_kb_per_job", open_at_once, "executor_kb_per_job", "kB"),
        Case("mainframe_kb_per_job", open_at_once, "mainframe_kb_per_job", "kB"),
        Case("mainframe_100k_jobs", waiting, "kb_per_job", "kB"),
        Case("mainframe_100k_restart", waiting, "restart", "s"),
        Case("away_mb", mainframe_away, "away_mb", "MB"),
    ]


def measure(quick: bool) -> Result:
    """Measure both."""
    jobs, _, waiting, _, mainframe_away = cases(quick)
    figures = measure_in_turns([jobs.subject, waiting.subject, mainframe_away.subject], 1).figures
    ours = {key: max(figures["jobs"][key], 0.0) for key in ("executor_kb_per_job", "mainframe_kb_per_job")}
    ours |= {
        "mainframe_100k_jobs": figures["waiting"]["kb_per_job"],
        "mainframe_100k_restart": figures["waiting"]["restart"],
    }
    return Result(
        name="memory",
        unit="(kB, kB, kB, s, MB)",
        asyncblock={**ours, "away_mb": figures["away"]["away_mb"]},
        must={
            "executor_kb_per_job": "<= 8 kB",
            "mainframe_kb_per_job": "<= 8 kB",
            "mainframe_100k_jobs": "<= 1.5 kB",
            "mainframe_100k_restart": "<= 3 s",
            "away_mb": f"<= {BOUND_MB:.0f} MB and flat",
        },
        conditions={"growth in the second half of the time away, MB": figures["away"]["growth_in_second_half_mb"]},
    )
