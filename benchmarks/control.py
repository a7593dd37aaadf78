"""Control: round trips of a cancel and of another job's small output while 100 MB of previews go out on the same link.

The small output is sent and flushed (in the journal) every few ms; the cancel is timed from the client's call until
the block sees ``CancelledError``. Both p99, in ms, with ``synchronous=normal``; ``full`` is in the conditions.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asyncblock import Context, Executor, Flow, Mainframe, block

from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns
from .ticker import percentile

__all__ = ["cases", "measure", "round_trips"]

_PREVIEW_BYTES = 1 << 20
_TOTAL_BYTES = 100 << 20


class _Scene:
    """What the blocks of one measurement share."""

    def __init__(self) -> None:
        self.bulk_began = asyncio.Event()
        self.bulk_over = False
        self.outputs: list[float] = []
        self.cancels: list[float] = []
        self.cancelled_at = 0.0
        self.waiting = asyncio.Event()


_scene: _Scene


@block(inputs=[], outputs=[])
async def bulk(inputs: dict[str, Any], ctx: Context) -> None:
    """Send 100 MB of previews."""
    picture = "x" * _PREVIEW_BYTES
    for number in range(_TOTAL_BYTES // _PREVIEW_BYTES):
        await ctx.preview({"type": "text", "data": f"{number}{picture}"})
        _scene.bulk_began.set()
    await ctx.flush()
    _scene.bulk_over = True


@block(inputs=[], outputs=[{"handle": "out"}])
async def small(inputs: dict[str, Any], ctx: Context) -> None:
    """Send small outputs meanwhile and time each until it is in the journal."""
    await _scene.bulk_began.wait()
    while not _scene.bulk_over:
        began = time.perf_counter()
        await ctx.output(1, "out")
        await ctx.flush()
        _scene.outputs.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.003)


@block(inputs=[], outputs=[])
async def wait(inputs: dict[str, Any], ctx: Context) -> None:
    """Wait to be cancelled."""
    _scene.waiting.set()
    try:
        await asyncio.Event().wait()
    finally:
        _scene.cancelled_at = time.perf_counter()


async def round_trips(synchronous: str) -> dict[str, float]:
    """Measure both during one bulk transfer."""
    global _scene
    _scene = _Scene()
    flow = Flow("control")
    flow.node(bulk)
    flow.node(small)
    async with open_plant(synchronous) as (_, mainframe):
        async with Executor(blocks=[bulk, small, wait]).attached(mainframe):
            await _cancel_one(mainframe)
            _scene.cancels.clear()
            began = time.perf_counter()
            session = await mainframe.start(flow.plan())
            await _scene.bulk_began.wait()
            while not _scene.bulk_over:
                await _cancel_one(mainframe)
            await session.outputs()
            seconds = time.perf_counter() - began
    return {
        "small_output": percentile(_scene.outputs, 0.99),
        "cancel": percentile(_scene.cancels, 0.99),
        "small_outputs": float(len(_scene.outputs)),
        "cancels": float(len(_scene.cancels)),
        "bulk_mb_s": _TOTAL_BYTES / 1e6 / seconds,
    }


async def _cancel_one(mainframe: Mainframe) -> None:
    _scene.waiting.clear()
    flow = Flow("cancel")
    flow.node(wait)
    session = await mainframe.start(flow.plan())
    await _scene.waiting.wait()
    began = time.perf_counter()
    await session.cancel()
    await session.wait()
    _scene.cancels.append((_scene.cancelled_at - began) * 1000)


def _subject(synchronous: str) -> Subject:
    return Subject(synchronous, "benchmarks.control:round_trips", {"synchronous": synchronous})


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    return [Case(name, _subject("normal"), name, "ms p99") for name in ("small_output", "cancel")]


def measure(quick: bool) -> Result:
    """Measure with both kinds of durability."""
    measured = measure_in_turns([_subject("normal"), _subject("full")], 1 if quick else 5)
    normal = measured.figures["normal"]
    return Result(
        name="control",
        unit="ms p99",
        asyncblock={case.name: normal[case.figure] for case in cases(quick)},
        must={"small_output": "<= 15 ms", "cancel": "<= 15 ms"},
        conditions={
            "meanwhile": f"100 previews of 1 MiB on the same link, {normal['bulk_mb_s']:.0f} MB/s",
            "peak MB of the largest process": measured.peaks,
            "samples a round": {case: round(normal[case]) for case in ("small_outputs", "cancels")},
            "synchronous=full": {
                case: round(measured.figures["full"][case], 1) for case in ("small_output", "cancel", "bulk_mb_s")
            }
            if "full" in measured.figures
            else measured.failed.get("full"),
        },
    )
