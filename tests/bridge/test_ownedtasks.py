"""Tasks that end with whoever owns them."""

from __future__ import annotations

import asyncio

import pytest

from asyncblock.bridge.ownedtasks import Tasks


async def test_what_runs_is_cancelled_when_it_is_left() -> None:
    ended = []

    async def work(name: str) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(name)

    async with Tasks() as tasks:
        tasks.start(work("a"))
        kept = tasks.create_task(work("b"))
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"] and kept.cancelled()


async def test_what_one_raises_is_raised_and_ends_the_others() -> None:
    async def fails() -> None:
        raise ValueError("a defect")

    with pytest.raises(ExceptionGroup) as raised:
        async with Tasks() as tasks:
            tasks.start(fails())
            await asyncio.get_running_loop().create_future()
    assert raised.group_contains(ValueError, match="a defect")
