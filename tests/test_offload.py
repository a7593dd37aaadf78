"""Work on threads: at most two at once, and a place is given back whatever becomes of the work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncblock import offload
from asyncblock.offload import SLOTS, run_in_thread


async def all_places_are_free() -> None:
    """Wait until as much work as there are places runs at once."""
    both = threading.Barrier(SLOTS)
    async with asyncio.timeout(10):
        await asyncio.gather(*(run_in_thread(both.wait) for _ in range(SLOTS)))


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancel_at_any_moment_gives_the_place_back(turns: int) -> None:
    """Before the thread has begun nobody but the caller can do so."""
    for _ in range(3 * SLOTS):
        task = asyncio.create_task(run_in_thread(lambda: None))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await all_places_are_free()
    assert offload._slots._free == SLOTS


async def test_abandoned_work_keeps_its_place_until_it_ends() -> None:
    go, begun = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        assert go.wait(10)

    tasks = [asyncio.create_task(run_in_thread(work)) for _ in range(SLOTS)]
    for _ in tasks:
        assert await asyncio.to_thread(begun.acquire, timeout=10)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    waiting = asyncio.create_task(run_in_thread(lambda: "ran"))
    await asyncio.sleep(0)
    assert offload._slots._free == 0
    go.set()
    async with asyncio.timeout(10):
        assert await waiting == "ran"
    await all_places_are_free()


async def test_an_error_gives_the_place_back() -> None:
    for _ in range(2 * SLOTS):
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(lambda: 1 // 0)
    await all_places_are_free()
