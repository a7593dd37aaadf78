"""What blocks may ask about other blocks and about the flow around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.block import AnyBlock
from asyncblock.client import Mainframe
from asyncblock.flow.plan import NodePlan

from ...engine.blocks import OUT, X, double, plan_of, subflow
from ...flows import all_of, end_of

pytestmark = pytest.mark.timeout(30)
FORM = pytest.mark.parametrize("form", ["async", "sync"])


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


@asyncblock.block(inputs=X, outputs=OUT)
async def asks(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    method, arguments = inputs["x"]
    try:
        return {"out": await getattr(ctx, method)(*arguments)}
    except Exception as error:
        return {"out": [type(error).__name__, str(error)]}


@asyncblock.block(inputs=X, outputs=OUT)
def asks_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    method, arguments = inputs["x"]
    try:
        return {"out": getattr(ctx, method)(*arguments)}
    except Exception as error:
        return {"out": [type(error).__name__, str(error)]}


ASKS: dict[str, AnyBlock] = {"async": asks, "sync": asks_sync}


async def answer(mainframe: Mainframe, form: str, method: str, *arguments: object) -> Any:
    plan = plan_of(
        ASKS[form],
        entries={"pack::foreign": NodePlan("foreign", "task", {"refused": "it is in Rust"})},
        x=[method, arguments],
    )
    plan = subflow(plan, "inner", [NodePlan("slot", "slot", {})], {})
    end = end_of([event async for event in await mainframe.start(plan)])
    assert end.state == "succeeded", end.error
    return end.outputs["out"]


@FORM
async def test_a_block_is_described_by_its_handles(mainframe: Mainframe, form: str) -> None:
    assert await answer(mainframe, form, "query_block", "self::double") == {
        "type": "task",
        "description": "Doubles.",
        "inputs_def": X,
        "outputs_def": OUT,
        "additional_inputs": False,
        "additional_outputs": False,
    }
    assert await answer(mainframe, form, "query_block", "self::inner") == {
        "type": "subflow",
        "inputs_def": X,
        "outputs_def": OUT,
        "has_slot": True,
    }


@FORM
async def test_an_unknown_block_is_an_error_that_names_the_nearest(mainframe: Mainframe, form: str) -> None:
    kind, words = await answer(mainframe, form, "query_block", "self::fial")
    assert (kind, "Did you mean 'self::fail'?" in words) == ("UnknownBlock", True)
    kind, words = await answer(mainframe, form, "query_block", "self::foreign")
    assert (kind, words) == ("Rejected", "block 'self::foreign' can't be run: it is in Rust")


# ---------------------------------------------------------------------- downstream


async def downstream(mainframe: Mainframe, form: str, handles: object) -> Any:
    flow = Flow("downstream")
    node = flow.node(ASKS_TWO[form], inputs={"x": handles}, node_id="asks")
    flow.node(double, inputs={"x": node["a"]}, node_id="one")
    flow.node(double, inputs={"x": [node["a"], node["b"]]}, node_id="two")
    flow.output("o", node["a"])
    flow.output("answer", node["answer"])
    end = end_of([event async for event in await mainframe.start(flow)])
    assert end.state == "succeeded", end.error
    return end.outputs["answer"]


TWO = [{"handle": "a"}, {"handle": "b"}, {"handle": "unused"}, {"handle": "answer"}]


@asyncblock.block(inputs=X, outputs=TWO)
async def asks_two(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"answer": await ctx.query_downstream(inputs["x"])}


@asyncblock.block(inputs=X, outputs=TWO)
def asks_two_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return {"answer": ctx.query_downstream(inputs["x"])}


ASKS_TWO: dict[str, AnyBlock] = {"async": asks_two, "sync": asks_two_sync}


def to(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "input_handle": "x", "input_handle_def": {"handle": "x"}}


@FORM
async def test_connections_are_told_by_handle(mainframe: Mainframe, form: str) -> None:
    found = await downstream(mainframe, form, None)
    assert set(found) == {"a", "b", "answer"}
    assert found["a"] == {"to_node": [to("one"), to("two")], "to_flow": [{"output_handle": "o"}]}
    assert found["b"] == {"to_node": [to("two")]}


@FORM
@pytest.mark.parametrize(("handles", "expected"), [(["b"], {"b"}), (["a", "unused"], {"a"}), ([], set())])
async def test_b9_the_filter_leaves_out_all_other_handles(
    mainframe: Mainframe, form: str, handles: list[str], expected: set[str]
) -> None:
    """In the original the filter had no effect."""
    assert set(await downstream(mainframe, form, handles)) == expected


@asyncblock.block(name="inner_asks", inputs=[], outputs=OUT)
async def inner_asks(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": await ctx.query_downstream()}


@asyncblock.block(inputs=[], outputs=OUT)
async def outer(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return await (await ctx.run_block("self::inner_asks"))


async def test_a_block_that_another_one_runs_has_no_downstream(mainframe: Mainframe) -> None:
    end = end_of([event async for event in await mainframe.start(plan_of(outer, inner_asks))])
    assert end.outputs == {"out": {}}


# ---------------------------------------------------------------------- weights


@FORM
@pytest.mark.parametrize(
    ("node_id", "weight", "words"),
    [
        ("caller", -1, "a weight is a number from 0 up, not -1"),
        ("caller", "heavy", "a weight is a number from 0 up, not 'heavy'"),
        ("caler", 1, "the flow has no node 'caler'. Did you mean 'caller'?"),
    ],
)
async def test_a_weight_that_makes_no_sense_is_refused(
    mainframe: Mainframe, form: str, node_id: str, weight: object, words: str
) -> None:
    assert (await answer(mainframe, form, "update_node_weight", node_id, weight))[1] == words


@asyncblock.block(name="weighs", inputs=X, outputs=OUT)
async def weighs(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await ctx.update_node_weight("light", 0)
    await ctx.update_node_weight("heavy", 3)
    return {"out": inputs["x"]}


@asyncblock.block(name="goes_on", inputs=X, outputs=OUT)
async def goes_on(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await ctx.report_progress(50)
    await ctx.flush()
    return {"out": inputs["x"]}


@asyncblock.block(inputs=[], outputs=OUT)
async def runs_weighed(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::weighed", inputs={"x": 1})
    await job
    return {"out": [event.rate async for event in job if isinstance(event, events.BlockProgress)]}


async def test_a_node_weighs_in_its_flows_progress_what_a_block_says(mainframe: Mainframe) -> None:
    from asyncblock.flow.plan import InputPlan, Source

    from ...engine.blocks import entry

    def node(node_id: str, block: AnyBlock, source: Source) -> NodePlan:
        return NodePlan(node_id, "task", entry(block).block, {"x": InputPlan((source,))})

    nodes = [
        node("first", weighs, Source(None, "x")),
        node("light", goes_on, Source("first", "out")),
        node("heavy", goes_on, Source("light", "out")),
    ]
    plan = subflow(plan_of(runs_weighed, weighs, goes_on), "weighed", nodes, {"out": [Source("heavy", "out")]})
    found = [event async for event in await mainframe.start(plan)]
    assert end_of(found).state == "succeeded", end_of(found).error
    # 'first' weighs 1 of 4; 'light' nothing; half of 'heavy' is 1.5 more.
    assert end_of(found).outputs["out"] == [25, 62, 95]
    assert len([e for e in all_of(found, events.Other) if e.name == "NodeWeighed"]) == 2
