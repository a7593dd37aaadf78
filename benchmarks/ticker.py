"""A ticker: how late a loop runs, told by a task that wants to run every millisecond."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Lags", "percentile", "ticking"]

TICK = 0.001
"""Seconds between two ticks."""


@dataclass(slots=True)
class Lags:
    """How late each tick came, in ms. Nothing is subtracted."""

    ms: list[float] = field(default_factory=list)
    collections_ms: list[float] = field(default_factory=list)
    """How long each garbage collection of this process took: those of the author's own objects are his."""

    def add(self, others: Lags) -> None:
        """Count those of a further watch too."""
        self.ms += others.ms
        self.collections_ms += others.collections_ms

    @property
    def largest(self) -> float:
        """The largest lag."""
        return max(self.ms)

    @property
    def p99(self) -> float:
        """The lag that 99 of 100 ticks stay below."""
        return percentile(self.ms, 0.99)

    def figures(self) -> dict[str, float]:
        """Return what a measurement reports."""
        return {"max": self.largest, "p99": self.p99, "collection_max": max(self.collections_ms, default=0.0)}


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@asynccontextmanager
async def ticking() -> AsyncIterator[Lags]:
    """Watch the running loop for the duration of the block."""
    lags = Lags()
    began = 0.0

    def collecting(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            lags.collections_ms.append((time.perf_counter() - began) * 1000)

    task = asyncio.create_task(_tick(lags))
    gc.callbacks.append(collecting)
    try:
        await asyncio.sleep(20 * TICK)
        lags.ms.clear()
        yield lags
        await asyncio.sleep(2 * TICK)
    finally:
        gc.callbacks.remove(collecting)
        task.cancel()
        await asyncio.wait([task])


async def _tick(lags: Lags) -> None:
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        lags.ms.append((time.perf_counter() - due) * 1000)
