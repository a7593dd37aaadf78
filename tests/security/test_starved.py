"""What a wait counts: on a busy machine no more than on a quiet one, and a loop that is held counts on both."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .starved import BOUND, Starved

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this system doesn't say how long threads wait for a processor"
)


@contextmanager
def busy() -> Iterator[None]:
    """Let others use all processors, two to each."""
    burns = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burns) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for each in burners:
            each.kill()
            each.wait()


def work(cpu: float) -> None:
    """Hold the loop until this thread has used so many seconds of a processor."""
    until = time.thread_time() + cpu
    while time.thread_time() < until:
        pass


async def test_a_loop_that_is_held_counts_whether_others_are_busy_or_not() -> None:
    waited = Starved().watch(time.monotonic)
    waited()
    work(BOUND + 0.1)
    assert waited() > BOUND
    with busy():
        waited()
        work(BOUND + 0.1)
        assert waited() > BOUND


async def test_waiting_for_a_processor_does_not_count() -> None:
    with busy():
        began = time.monotonic()
        waited = Starved().watch(time.monotonic)
        work(0.2)
        whole, counted = time.monotonic() - began, waited()
    # Two others and more share each processor: the greater part was theirs.
    assert counted < whole * 0.7
    assert counted < BOUND


async def test_waiting_for_something_else_counts() -> None:
    waited = Starved().watch(asyncio.get_running_loop().time)
    await asyncio.sleep(BOUND + 0.05)
    assert waited() > BOUND


async def test_apart_from_the_mainframe_what_the_waiting_thread_computes_does_not_count() -> None:
    waited = Starved(apart=True).watch(time.monotonic)
    work(BOUND + 0.1)
    assert waited() < BOUND / 2
    await asyncio.sleep(BOUND + 0.05)
    assert waited() > BOUND
