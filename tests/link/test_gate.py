from __future__ import annotations

import asyncio

import pytest

from asyncblock.errors import Closed
from asyncblock.link.gate import Gate


class Guests:
    """Tasks that go through a gate and stay until they are let out."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[int] = []
        self.out: dict[int, asyncio.Event] = {}

    def come(self, number: int) -> asyncio.Task[None]:
        return asyncio.create_task(self._come(number))

    async def _come(self, number: int) -> None:
        self.out[number] = asyncio.Event()
        async with self.gate:
            self.inside.append(number)
            await self.out[number].wait()
            self.inside.remove(number)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_are_in_at_once_and_the_others_follow_in_order() -> None:
    guests = Guests(Gate(2))
    tasks = [guests.come(n) for n in range(5)]
    await turns()
    assert guests.inside == [0, 1]
    for leaving, inside in ((1, [0, 2]), (0, [2, 3]), (2, [3, 4]), (3, [4]), (4, [])):
        guests.out[leaving].set()
        await turns()
        assert guests.inside == inside
    await asyncio.gather(*tasks)


async def test_whoever_is_cancelled_while_it_waits_takes_no_place() -> None:
    guests = Guests(Gate(1))
    first, second, third = (guests.come(n) for n in range(3))
    await turns()
    second.cancel()
    guests.out[0].set()
    await turns()
    assert guests.inside == [2]
    guests.out[2].set()
    await asyncio.gather(first, third)
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_whoever_is_cancelled_just_when_it_is_let_in_hands_its_place_on() -> None:
    guests = Guests(Gate(1))
    first, second, third = (guests.come(n) for n in range(3))
    await turns()
    guests.out[0].set()
    # The first one leaves in the loop's next turn, which lets the second one in; that has not run yet.
    await asyncio.sleep(0)
    second.cancel()
    await turns()
    assert guests.inside == [2]
    guests.out[2].set()
    await asyncio.gather(first, third)


async def test_another_limit_lets_more_in_or_waits_until_fewer_are() -> None:
    guests = Guests(Gate(1))
    tasks = [guests.come(n) for n in range(4)]
    await turns()
    guests.gate.allow(3)
    await turns()
    assert guests.inside == [0, 1, 2]
    guests.gate.allow(1)
    for number in (0, 1):
        guests.out[number].set()
    await turns()
    assert guests.inside == [2]
    guests.out[2].set()
    await turns()
    assert guests.inside == [3]
    guests.out[3].set()
    await asyncio.gather(*tasks)


async def test_at_its_end_everybody_who_waits_is_told_why() -> None:
    guests = Guests(Gate(1))
    first, second = guests.come(0), guests.come(1)
    await turns()
    guests.gate.end(Closed("the link is closed"))
    with pytest.raises(Closed, match="the link is closed"):
        await second
    guests.out[0].set()
    await first
