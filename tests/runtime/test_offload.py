"""Work on threads: at most two at once, and a place is given back whatever becomes of the work."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncblock.runtime import offload
from asyncblock.runtime.offload import SLOTS, TooLong, run_in_thread, show_in_thread


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


async def test_previews_that_hang_keep_neither_data_nor_other_previews() -> None:
    go = threading.Event()

    def hang() -> None:
        assert go.wait(30)

    async with asyncio.timeout(30):
        for _ in range(SLOTS):
            with pytest.raises(TooLong):
                await show_in_thread(0.01, hang)
        assert await run_in_thread(lambda: "data") == "data"
        assert await show_in_thread(30, lambda: "shown") == "shown"
        # Given up by the author: the slot is handed on all the same, later.
        for _ in range(SLOTS):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(show_in_thread(0.05, hang), 0.01)
        both = threading.Barrier(SLOTS)
        await asyncio.gather(*(show_in_thread(30, both.wait) for _ in range(SLOTS)))
        assert offload._shown._lost == 2 * SLOTS
        # No more than that may hang without a slot.
        for _ in range(offload._LOST - 2 * SLOTS + SLOTS):
            with pytest.raises(TooLong):
                await show_in_thread(0.01, hang)
        waiting = asyncio.create_task(show_in_thread(30, lambda: "late"))
        await asyncio.sleep(0)
        assert not offload._shown._free
        go.set()
        assert await waiting == "late"
        await asyncio.gather(*(show_in_thread(30, both.wait) for _ in range(SLOTS)))


async def test_what_the_work_raises_is_its_own() -> None:
    def late() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await show_in_thread(30, late)


async def test_an_error_gives_the_place_back() -> None:
    for _ in range(2 * SLOTS):
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(lambda: 1 // 0)
    await all_places_are_free()
