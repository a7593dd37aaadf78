"""A set of mainframes in virtual time: seeded storms in which the promises hold for each partition."""

from __future__ import annotations

import asyncio

import pytest

from asyncblock.testing import Faults, run_virtual

from .setworld import SetWorld

PARTITIONS = 4
MEMBERS = 3


def rough() -> Faults:
    return Faults(delay=(0.0, 0.2), cut=0.005, late=0.5)


async def storm(seed: int) -> int:
    """Draw what happens, one after the other; return how many outputs there were."""
    async with SetWorld(seed, PARTITIONS, MEMBERS, rough) as world:
        chance = world.chance
        for _ in range(60):
            await asyncio.sleep(chance.uniform(0, 1.5))
            draw = chance.random()
            member = chance.choice(world.members)
            partition = chance.choice(world.partitions)
            if draw < 0.3:
                await partition.start_session()
            elif draw < 0.4:
                partition.cut(late=chance.random() < 0.5)
            elif draw < 0.55:
                if member.dead:
                    await member.start()
                else:
                    await member.kill()
            elif draw < 0.65 and not member.dead:
                member.set_cut(not member.cut)
            elif draw < 0.7 and not (member.dead or member.cut):
                await member.leave()
            elif draw < 0.75 and not member.dead:
                member.parts[chance.randrange(PARTITIONS)].hand_over("")
            elif draw < 0.8 and any(not (each.dead or each.cut) for each in world.members):
                # The new one waits until it is welcomed.
                await partition.restart_executor()
            elif draw < 0.85:
                world.loss = chance.choice([0.0, 0.2])
            elif draw < 0.9:
                await partition.cancel_session()
            else:
                await asyncio.sleep(chance.uniform(0, 5))
        return await world.settle()


@pytest.mark.parametrize("seed", range(10))
def test_a_storm_over_a_set_keeps_every_promise_in_each_partition(seed: int) -> None:
    assert run_virtual(storm(seed)) > 0


def test_a_calm_set_is_spread_evenly_and_ends_every_session_as_succeeded() -> None:
    async def calm() -> None:
        async with SetWorld(1, PARTITIONS, 2) as world:
            for partition in world.partitions:
                await partition.start_session()
            assert await world.settle() > 0
            for partition in world.partitions:
                assert set(partition.ends.values()) == {"succeeded"}

    run_virtual(calm())
