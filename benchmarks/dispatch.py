"""Dispatch: no-op jobs, from the decision to run them to their finish in the journal; also alone and in a chain.

``in_flight_64``: a node with concurrency 64 is fed by another; jobs a second. ``one_at_a_time``: each job is created
when the one before is in the journal; ms from start to start, the median. ``chain``: a flow of 500 nodes, each fed by
the one before; nodes a second. Rivals do the same with their own means: Dask distributed (one worker process),
taskiq on Redis (one worker process), the existing executor under its engine (where OOCANA_ENGINE and OOCANA_EXECUTOR
say where their programs are; fewer jobs, for each takes long, and those count that end within three minutes; where none
does, the case isn't shown).
Bias: neither of them keeps a journal on disk. Where uvloop is installed ours runs on it, and taskiq's worker does; Dask
runs on the standard loop, as it comes. The garbage collector comes as rarely as in an executor process of ours; rivals
have their own settings.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

from asyncblock import Context, Executor, Flow, Mainframe, block

from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "jobs", "measure"]

_starts: list[float] = []
"""When each no-op job began."""

UNITS = {"in_flight_64": "jobs/s", "one_at_a_time": "ms", "chain": "nodes/s"}
"""Of each case."""


@block(inputs=[{"handle": "a"}], outputs=[{"handle": "out"}])
async def step(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Count on."""
    return {"out": inputs["a"] + 1}


@block(inputs=[{"handle": "count"}], outputs=[{"handle": "out"}])
async def feed(inputs: dict[str, Any], ctx: Context) -> None:
    """Send numbers."""
    for number in range(inputs["count"]):
        await ctx.output(number, "out")


@block(inputs=[{"handle": "a"}], outputs=[])
async def nothing(inputs: dict[str, Any], ctx: Context) -> None:
    """Do nothing."""
    _starts.append(time.perf_counter())


async def jobs(in_flight: int, alone: int, chain: int) -> dict[str, float]:
    """Measure the three cases with these numbers of jobs."""
    async with open_plant() as (_, mainframe):
        async with Executor(blocks=[step, feed, nothing]).attached(mainframe):
            await _seconds(mainframe, _fed(64, 64))
            return {
                "in_flight_64": in_flight / await _seconds(mainframe, _fed(in_flight, 64)),
                "one_at_a_time": await _alone(mainframe, alone),
                "chain": chain / await _seconds(mainframe, _chain(chain)),
            }


def _fed(count: int, concurrency: int) -> Flow:
    flow = Flow("dispatch")
    source = flow.node(feed, inputs={"count": count})
    flow.node(nothing, inputs={"a": source["out"]}, concurrency=concurrency)
    return flow


def _chain(length: int) -> Flow:
    flow = Flow("chain")
    node = flow.node(step, inputs={"a": 0})
    for _ in range(length - 1):
        node = flow.node(step, inputs={"a": node["out"]})
    flow.output("count", node["out"])
    return flow


async def _seconds(mainframe: Mainframe, flow: Flow) -> float:
    plan = flow.plan()
    began = time.perf_counter()
    session = await mainframe.start(plan)
    await session.outputs()
    return time.perf_counter() - began


async def _alone(mainframe: Mainframe, count: int) -> float:
    """Return the median time, in ms, from one job's start to the next one's, when one follows another."""
    _starts.clear()
    session = await mainframe.start(_fed(count, 1).plan())
    await session.outputs()
    return statistics.median(later - earlier for earlier, later in pairwise(_starts)) * 1000


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    numbers = {"in_flight": 2000, "alone": 200, "chain": 100} if quick else {
        "in_flight": 20_000, "alone": 2000, "chain": 500,
    }  # fmt: skip
    subject = Subject("asyncblock", "benchmarks.dispatch:jobs", numbers)
    return [Case(name, subject, name, unit) for name, unit in UNITS.items()]


def measure(quick: bool) -> Result:
    """Measure ours and the rivals."""
    few = {"in_flight": 300, "alone": 50, "chain": 50} if quick else {"in_flight": 3000, "alone": 300, "chain": 500}
    fewest = {"in_flight": 100, "alone": 20, "chain": 20} if quick else {"in_flight": 500, "alone": 50, "chain": 50}
    subjects = [
        cases(quick)[0].subject,
        Subject("Dask", "benchmarks.rivals.dask_distributed:jobs", few, rival=True),
        Subject("existing executor", "benchmarks.rivals.existing_executor:jobs", fewest, rival=True),
        Subject("taskiq+Redis", "benchmarks.rivals.taskiq_redis:jobs", few, rival=True),
    ]
    measured = measure_in_turns(subjects, 1 if quick else 5)
    ours = {case: measured.figures["asyncblock"][case] for case in UNITS}
    figures = {
        name: {case: each[case] for case in UNITS if case in each}
        for name, each in measured.figures.items()
        if name != "asyncblock"
    }
    unsaid = {
        f"{name}: {case.replace('_', ' ')}": "no job ended in the time of a run"
        for name, each in figures.items()
        for case in UNITS
        if case not in each
    }
    return Result(
        name="dispatch",
        unit=f"({', '.join(UNITS.values())})",
        asyncblock=ours,
        rivals=figures,
        must={"in_flight_64": ">= 5,000 jobs/s", "one_at_a_time": "<= 1.2 ms", "chain": ">= 1,000 nodes/s"},
        conditions={
            "block": "async, does nothing; executor and mainframe in two processes, synchronous=normal",
            "peak MB of the largest process": measured.peaks,
        },
        not_shown={**measured.failed, **unsaid},
    )
