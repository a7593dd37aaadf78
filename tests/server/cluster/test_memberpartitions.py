"""A member's partitions: what it takes and gives as others come and go, in virtual time."""

from __future__ import annotations

from asyncblock.testing import run_virtual

from ...simulation.setworld import SetWorld


def test_those_that_come_and_go_move_as_few_partitions_as_can_be() -> None:
    async def grow() -> None:
        async with SetWorld(2, 8, 4) as world:
            await world.until_spread([2, 2, 2, 2])
            terms = [stream.term for stream in world.streams]
            leaving = world.members[0]
            theirs = leaving.owned()
            await leaving.leave()
            await world.until_spread([2, 3, 3])
            moved = [each for each, stream in enumerate(world.streams) if stream.term != terms[each]]
            assert moved == theirs
            terms = [stream.term for stream in world.streams]
            await leaving.start()
            await world.until_spread([2, 2, 2, 2])
            assert sum(stream.term != terms[each] for each, stream in enumerate(world.streams)) == 2
            await world.settle()

    run_virtual(grow())
