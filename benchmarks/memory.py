"""Memory: what an open job costs on each side, and what producing blocks hold while the mainframe is away.

``*_kb_per_job``: growth of the process from 1,000 to 10,000 open jobs on one link, by job. ``away_mb``: the most that
100 blocks, which send without end, add to their process while the mainframe is stopped for 30 s; then it goes on, and
everything arrives.
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
    return [
        Case("executor_kb_per_job", open_at_once, "executor_kb_per_job", "kB"),
        Case("mainframe_kb_per_job", open_at_once, "mainframe_kb_per_job", "kB"),
        Case("away_mb", mainframe_away, "away_mb", "MB"),
    ]


def measure(quick: bool) -> Result:
    """Measure both."""
    jobs, _, mainframe_away = cases(quick)
    figures = measure_in_turns([jobs.subject, mainframe_away.subject], 1).figures
    ours = {key: max(figures["jobs"][key], 0.0) for key in ("executor_kb_per_job", "mainframe_kb_per_job")}
    return Result(
        name="memory",
        unit="(kB, kB, MB)",
        asyncblock={**ours, "away_mb": figures["away"]["away_mb"]},
        must={
            "executor_kb_per_job": "<= 8 kB",
            "mainframe_kb_per_job": "<= 8 kB",
            "away_mb": f"<= {BOUND_MB:.0f} MB and flat",
        },
        conditions={"growth in the second half of the time away, MB": figures["away"]["growth_in_second_half_mb"]},
    )
