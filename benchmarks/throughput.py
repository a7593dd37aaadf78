"""Throughput: acknowledged, journaled outputs a second, through a real session, its fold and a subscriber.

Ours: an executor with 100 jobs on one link; the clock runs from the moment at which all jobs have started until every
``flush`` has returned, which is when all outputs are in the journal on disk. A subscriber in a third process follows.
Rivals: the bare ``websockets`` library, one JSON record a message, not acknowledged (only the last is answered); the
existing SDK over a local mosquitto, QoS 1, until a subscriber has all; nats-py core publish, until a subscriber has
all. Bias: ours and the existing SDK's are in their journal or broker when the clock stops, the bare websocket's and
NATS core's are nowhere but in the other process. Where uvloop is installed ours runs on it, and so does what chooses it
by itself; the others run on the standard loop. Ours has the garbage collector's settings of an executor process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asyncblock import Context, Executor, Flow, block

from .plant import open_plant, watched
from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "measure", "outputs"]

_HERE = "benchmarks.throughput:outputs"
_UNIT = "outputs/s"


class _Start:
    """Where the jobs of a measurement meet."""

    def __init__(self, jobs: int, count: int, size: int) -> None:
        self.missing = jobs
        self.count = count
        self.value = "x" * (size - 2)
        self.all_here = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = 0.0


_start: _Start


@block(inputs=[], outputs=[{"handle": "out"}])
async def produce(inputs: dict[str, Any], ctx: Context) -> None:
    """Send a value many times."""
    start = _start
    start.missing -= 1
    if not start.missing:
        start.all_here.set()
    await start.go.wait()
    value, output = start.value, ctx.output
    for _ in range(start.count):
        await output(value, "out")
    await ctx.flush()
    start.ended = time.perf_counter()


async def outputs(jobs: int, count: int, size: int, options: tuple[str, ...] = ()) -> dict[str, float]:
    """Measure ``count`` outputs of about ``size`` bytes from each of ``jobs`` jobs, with ``options`` of ``serve``."""
    global _start
    _start = _Start(jobs, count, size)
    flow = Flow("throughput")
    for _ in range(jobs):
        flow.node(produce)
    async with open_plant(options=options) as (plant, mainframe):
        executor = Executor(blocks=[produce])
        async with executor.attached(mainframe):
            session = await mainframe.start(flow.plan())
            async with watched(plant, session) as watching:
                await _start.all_here.wait()
                began = time.perf_counter()
                _start.go.set()
                end = await session.wait()
                if end.state != "succeeded":
                    raise RuntimeError(f"the flow {end.state}: {end.error}")
                seconds = _start.ended - began
                seen = await watching
        if seen != jobs * count:
            raise RuntimeError(f"the subscriber saw {seen} outputs of {jobs * count}")
        return {"rate": jobs * count / seconds, "mainframe_peak_mb": plant.peak_mb()}


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    scale = 10 if quick else 1
    numbers = {
        "100 jobs": {"jobs": 100, "count": 5000 // scale, "size": 100},
        "1 job": {"jobs": 1, "count": 500_000 // scale, "size": 100},
        "10 kB": {"jobs": 100, "count": 200 // scale, "size": 10_000},
    }
    return [Case(name, Subject(name, _HERE, arguments), "rate", _UNIT) for name, arguments in numbers.items()]


def measure(quick: bool) -> Result:
    """Measure ours and the rivals."""
    scale = 10 if quick else 1
    ours = [case.name for case in cases(quick)]
    rivals = "benchmarks.rivals"
    bare, existing = f"{rivals}.bare_websockets:send", f"{rivals}.existing_sdk:send"
    nats = f"{rivals}.nats_core:publish"
    subjects = [case.subject for case in cases(quick)]
    subjects += [
        Subject("websockets", bare, {"count": 200_000 // scale, "size": 100}, rival=True),
        Subject("websockets 10 kB", bare, {"count": 40_000 // scale, "size": 10_000}, rival=True),
        Subject("existing SDK (MQTT QoS 1)", existing, {"jobs": 100, "count": 400 // scale, "size": 100}, rival=True),
        Subject("nats-py core", nats, {"jobs": 100, "count": 2000 // scale, "size": 100}, rival=True),
    ]
    measured = measure_in_turns(subjects, 1 if quick else 5)
    rates = {name: figures["rate"] for name, figures in measured.figures.items()}
    large = rates.get("10 kB", 0.0)
    bare_large = rates.pop("websockets 10 kB", 0.0)
    return Result(
        name="throughput",
        unit=_UNIT,
        asyncblock=rates["100 jobs"],
        rivals={name: rate for name, rate in rates.items() if name not in ours},
        must={"": "3x websockets, 40x the existing SDK, 2x nats-py core"},
        conditions={
            "value": "100 bytes of text, 100 jobs on one link, journal synchronous=normal, one subscriber",
            "1 job": _share(rates["1 job"], rates["100 jobs"]),
            "10 kB": {
                "MB/s journaled": round(large / 100, 1),
                "websockets MB/s, not journaled": round(bare_large / 100, 1),
                "ratio": round(large / bare_large, 2) if bare_large else None,
            },
            "peak MB": {
                "executor": round(measured.figures["100 jobs"]["peak_mb"]),
                "mainframe": round(measured.figures["100 jobs"]["mainframe_peak_mb"]),
                **{n: round(f["peak_mb"]) for n, f in measured.figures.items() if n in rates and n not in ours},
            },
        },
        not_shown={name: why for name, why in measured.failed.items() if name not in ours},
    )


def _share(one: float, hundred: float) -> dict[str, float]:
    return {"outputs/s": round(one), "of 100 jobs": round(one / hundred, 2)}
