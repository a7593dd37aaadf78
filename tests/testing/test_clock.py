from __future__ import annotations

import asyncio
import time

import pytest

from asyncblock.testing import Stuck, run_virtual


def test_hours_take_no_time_and_keep_their_order() -> None:
    async def main() -> list[str]:
        said: list[str] = []

        async def speak(after: float, word: str) -> None:
            await asyncio.sleep(after)
            said.append(word)

        async with asyncio.TaskGroup() as tasks:
            for after, word in ((7200, "two"), (3600, "one"), (0, "now")):
                tasks.create_task(speak(after, word))
        assert asyncio.get_running_loop().time() == 7200
        return said

    began = time.monotonic()
    assert run_virtual(main()) == ["now", "one", "two"]
    assert time.monotonic() - began < 5


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> float:
        timer = asyncio.create_task(asyncio.sleep(1))
        await asyncio.to_thread(time.sleep, 0.05)
        assert not timer.done()
        now = asyncio.get_running_loop().time()
        await timer
        return now

    assert run_virtual(main()) == 0


def test_a_deadlock_is_told_at_once() -> None:
    async def main() -> None:
        await asyncio.sleep(5)
        event = asyncio.Event()
        try:
            await event.wait()
        finally:
            event.set()

    with pytest.raises(Stuck, match="at 5 s"):
        run_virtual(main())
