"""Blocks that one factory has made, or that have one name: each node runs its own."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest

import asyncblock
from asyncblock import Flow, FlowFailed, InvalidFlow
from asyncblock.block import AnyBlock
from asyncblock.executor.code.catalog import Catalog

X = [{"handle": "x"}]
Y = [{"handle": "y"}]


def scale(factor: Any, *, wait: asyncio.Event | None = None) -> AnyBlock:
    """Make a block that multiplies."""

    @asyncblock.block(inputs=X, outputs=Y)
    async def scaled(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
        if wait is not None:
            await wait.wait()
        return {"y": inputs["x"] * (factor.value if isinstance(factor, Held) else factor)}

    return scaled


class Held:
    """A factor that no text tells."""

    def __init__(self, value: int) -> None:
        self.value = value

    def times(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Multiply."""
        return {"y": inputs["x"] * self.value}


def times(inputs: dict[str, Any], *, factor: int) -> dict[str, Any]:
    """Multiply."""
    return {"y": inputs["x"] * factor}


def decorated(factor: int) -> Callable[..., Any]:
    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def wrapper(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
            return {"y": (await fn(inputs, ctx))["y"] * factor}

        return wrapper

    return decorate


async def same(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return the value."""
    return {"y": inputs["x"]}


same_block = asyncblock.block(inputs=X, outputs=Y)(same)

FACTORIES: dict[str, Callable[[int], AnyBlock]] = {
    "a closure": scale,
    "a partial": lambda factor: asyncblock.block(inputs=X, outputs=Y)(functools.partial(times, factor=factor)),
    "a decorator": lambda factor: asyncblock.block(inputs=X, outputs=Y)(decorated(factor)(same)),
}


def flow_of(*blocks: AnyBlock) -> Flow:
    flow = Flow("factors")
    for number, each in enumerate(blocks):
        flow.output(f"y{number}", flow.node(each, {"x": 1})["y"])
    return flow


@pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES.keys())
async def test_each_node_runs_its_own_of_a_factory_s_functions(make: Callable[[int], AnyBlock]) -> None:
    assert await flow_of(make(2), make(3), make(2)).run() == {"y0": 2, "y1": 3, "y2": 2}


async def test_sessions_at_once_have_the_functions_that_they_were_started_with() -> None:
    """Those that no text tells apart, too."""
    go = asyncio.Event()
    async with asyncblock.embedded() as mainframe:
        sessions = [await mainframe.start(flow_of(scale(Held(factor), wait=go))) for factor in range(2, 6)]
        go.set()
        assert [await session.outputs() for session in sessions] == [{"y0": factor} for factor in range(2, 6)]


@pytest.mark.parametrize(
    "make",
    [lambda held: scale(held), lambda held: asyncblock.block(inputs=X, outputs=Y)(held.times)],
    ids=["closed over", "a method of it"],
)
async def test_functions_that_nobody_can_tell_apart_are_refused_in_one_flow(make: Callable[[Held], AnyBlock]) -> None:
    one = Held(2)
    with pytest.raises(InvalidFlow, match=r"two blocks of the flow are called .* give each a function with a name"):
        flow_of(make(one), make(Held(3))).plan()
    assert await flow_of(make(one), make(one)).run() == {"y0": 2, "y1": 2}


def test_an_executor_announces_a_bounded_number_of_functions_that_a_factory_makes() -> None:
    """A service may make one for each request."""
    catalog = Catalog([same_block], ())
    plan = flow_of(scale(1)).plan()
    for factor in range(1_100):
        catalog.add_plan(dataclasses.replace(plan, code_blocks=(scale(factor),)))
    announced = catalog.packages()
    assert len(announced) == 1_001
    assert {same_block.hash, scale(1_099).hash} <= announced.keys()
    assert scale(0).hash not in announced


async def test_a_retry_runs_a_function_again_whose_surroundings_nobody_can_tell() -> None:
    def failing(factor: int, *, bad: bool) -> Flow:
        @asyncblock.block(inputs=X, outputs=Y)
        async def end(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
            if bad:
                raise ValueError("bad")
            return {"y": inputs["x"]}

        flow = Flow("fails")
        flow.output("y", flow.node(end, {"x": flow.node(scale(factor), {"x": 1})["y"]})["y"])
        return flow

    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(failing(2, bad=True))
        with pytest.raises(FlowFailed):
            await session.outputs()
        again = await mainframe.retry(session.session_id, failing(3, bad=False))
        assert await again.outputs() == {"y": 3}
