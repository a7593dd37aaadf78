"""The promises of delivery in virtual time: seeded storms, and a Hypothesis state machine over the same world."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncblock.testing import Faults, VirtualLoop, run_virtual

from .world import World


def rough() -> Faults:
    return Faults(delay=(0.0, 0.3), cut=0.01, truncate=0.005, late=0.5)


async def storm(seed: int) -> tuple[int, int, float]:
    """Draw what happens, one after the other; return outputs, cuts and the virtual time that it took."""
    async with World(seed, rough) as world:
        chance = world.chance
        for _ in range(25):
            world.check_memory()
            draw = chance.random()
            if draw < 0.3:
                await world.start_session()
            elif draw < 0.45:
                world.cut(late=chance.random() < 0.5)
            elif draw < 0.55:
                await world.restart_mainframe(chance.uniform(0, 30))
            elif draw < 0.65:
                await world.restart_executor()
            elif draw < 0.75:
                await world.partition(chance.choice((1, 20, 90)))
            elif draw < 0.8:
                await world.fill_disk(chance.uniform(0, 20))
            elif draw < 0.85:
                await world.cancel_session()
            else:
                await asyncio.sleep(chance.uniform(0, 5))
        found = await world.settle()
        cuts = sum(network.cuts for network in world.networks)
        return found.journaled, cuts, asyncio.get_running_loop().time()


@pytest.mark.parametrize("seed", range(12))
def test_a_storm_in_virtual_time_keeps_every_promise(seed: int) -> None:
    """Item 10a. A failing seed is the test's own name."""
    outputs, cuts, seconds = run_virtual(storm(seed))
    assert outputs > 0
    assert cuts > 0
    assert seconds > 10


def test_a_calm_world_ends_every_session_as_succeeded() -> None:
    async def calm() -> None:
        async with World(1) as world:
            for _ in range(3):
                await world.start_session()
            found = await world.settle()
            assert set(world.ends.values()) == {"succeeded"}
            assert found.acked == found.journaled > 0

    run_virtual(calm())


class Machine(RuleBasedStateMachine):
    """Any order of harms."""

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.world = World(seed, rough)
        self.run(self.world.__aenter__())

    def run(self, act: Coroutine[Any, Any, object]) -> None:
        self.runner.run(act)

    @rule()
    def start(self) -> None:
        self.run(self.world.start_session())

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(late=st.booleans())
    def cut(self, late: bool) -> None:
        self.world.cut(late=late)

    @rule(away=st.floats(0, 30))
    def kill_mainframe(self, away: float) -> None:
        self.run(self.world.restart_mainframe(away))

    @rule()
    def kill_executor(self) -> None:
        self.run(self.world.restart_executor())

    @rule(seconds=st.sampled_from((1.0, 20.0, 90.0)))
    def partition(self, seconds: float) -> None:
        self.run(self.world.partition(seconds))

    @rule(seconds=st.floats(0, 20))
    def fill_disk(self, seconds: float) -> None:
        self.run(self.world.fill_disk(seconds))

    @rule()
    def cancel(self) -> None:
        self.run(self.world.cancel_session())

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "world"):
            self.world.check_memory()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.run(self.world.settle())
            finally:
                self.run(self.world.__aexit__())
                self.runner.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
