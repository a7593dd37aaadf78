"""Flows built in Python: the same documents, problems and plans as from files; they run, and become YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest

import asyncblock
from asyncblock import Context, FlowFailed, InvalidFlow
from asyncblock.flow import Flow as PlainFlow
from asyncblock.flow import Plan, load_flow

from .packages import block as write_block

NO_BLOCK: Any = print


class Number(TypedDict):
    n: int


class Two(TypedDict):
    a: int
    b: int


class Numbers(TypedDict):
    each: int


@asyncblock.block
async def count(inputs: Number, ctx: Context) -> Numbers:
    """Count up to a number."""
    for number in range(inputs["n"]):
        await ctx.output(number, "each")
    return {}  # type: ignore[typeddict-item]


@asyncblock.block
async def add(inputs: Two) -> Number:
    """Add two numbers."""
    return {"n": inputs["a"] + inputs["b"]}


@asyncblock.block(retries=2, backoff=0.01, not_retried=[ValueError])
async def double(inputs: Number) -> Number:
    """Double a number."""
    return {"n": inputs["n"] * 2}


def adding(cls: type[Any] = asyncblock.Flow) -> Any:
    flow = cls("adding")
    first = flow.node(add, {"a": flow.input("x", value=1), "b": 2}, timeout=5)
    second = flow.node(double, {"n": first["n"]}, concurrency=3, node_id="twice")
    flow.output("sum", second["n"])
    return flow


def mapping(provider: Any) -> asyncblock.Flow:
    """A flow with a subflow whose slot is provided for, and a condition."""
    each = asyncblock.Flow("each")
    numbers = each.node(count, {"n": each.input("n")})
    slot = each.slot("apply", {"n": numbers["each"]}, ["n"], concurrency=2)
    each.output("n", slot["n"])
    flow = asyncblock.Flow("map")
    mapped = flow.node(each, {"n": flow.input("n", value=5)}, slots={"apply": provider})
    large = flow.condition(
        {"n": mapped["n"]},
        [{"handle": "large", "expressions": [{"input_handle": "n", "operator": ">", "value": 5}]}],
        default="small",
    )
    flow.output("large", large["large"])
    flow.output("small", large["small"])
    return flow


async def test_a_flow_runs_itself() -> None:
    assert await adding().run() == {"sum": 6}
    assert await adding().run({"x": 10}) == {"sum": 24}


async def test_subflows_slots_and_conditions_run() -> None:
    outputs = await mapping(double).run({"n": 5})
    assert outputs["large"] in (6, 8)
    assert outputs["small"] in (0, 2, 4)


async def test_a_flow_provides_for_a_slot() -> None:
    inner = asyncblock.Flow("inner")
    inner.output("n", inner.node(add, {"a": inner.input("n"), "b": 100})["n"])
    assert (await mapping(inner).run({"n": 1}))["large"] == 100


async def test_a_failed_run_raises_with_the_node() -> None:
    flow = asyncblock.Flow("broken")
    flow.node(add, {"a": "x", "b": 1})
    with pytest.raises(FlowFailed, match=r"node add: InvalidInputs: .* input 'a': expected int, got str"):
        await flow.run()


@pytest.mark.parametrize("make", [adding, lambda: mapping(double), lambda: mapping(adding_one())])
def test_a_flow_becomes_yaml_and_is_the_same_again(tmp_path: Path, make: Any) -> None:
    flow = make()
    path = tmp_path / "flow.oo.yaml"
    path.write_text(flow.to_yaml())
    built, read = flow.plan(), load_flow(path)

    def bare(plan: Plan) -> Plan:
        flows = {key: replace(each, path=None, scope="") for key, each in plan.flows.items()}
        return replace(plan, path=None, scope="", flows=flows, catalog={}, packages={})

    assert bare(read) == bare(built)
    assert Plan.from_json(built.to_json()) == built


def adding_one() -> asyncblock.Flow:
    inner = asyncblock.Flow("one more")
    inner.output("n", inner.node(add, {"a": inner.input("n"), "b": 1})["n"])
    return inner


def test_the_plain_flow_has_the_same_plan() -> None:
    assert adding(PlainFlow).plan() == adding().plan()


def test_a_block_of_a_file_is_a_node(tmp_path: Path) -> None:
    manifest = write_block(tmp_path / "pkg", "inc", "x", "y")
    flow = asyncblock.Flow("mixed")
    flow.output("y", flow.node(manifest, {"x": 1})["y"])
    plan = flow.plan()
    assert plan.nodes[0].node_id == "inc"
    assert plan.nodes[0].block["entry"] == "blocks/inc/main.py"
    assert tmp_path / "pkg" in plan.roots.values()


def test_several_sources_merge() -> None:
    flow = asyncblock.Flow("merging")
    first, second = flow.node(double, {"n": 1}), flow.node(double, {"n": 2})
    flow.node(double, {"n": [first["n"], second["n"], flow.input("more", value=3)]})
    assert [source.node_id for source in flow.plan().nodes[2].inputs["n"].sources] == ["double", "double_2", None]


def test_every_problem_is_told_at_once() -> None:
    flow = asyncblock.Flow("wrong")
    first = flow.node(double, {"m": 1})
    flow.node(add, {"a": first["nothing"], "b": asyncblock.Flow("other").input("x")}, node_id="sum")
    flow.node(double, {"n": 1}, node_id="sum")
    flow.output("o", first["zero"])
    with pytest.raises(InvalidFlow) as caught:
        flow.plan()
    text = str(caught.value)
    for words in (
        "node 'double': the block declares no input 'm'; there is 'n'",
        "node 'double': nothing feeds its input 'n'",
        "node 'double' declares no output 'nothing'",
        "the flow declares no input 'x'",
        "node id 'sum' is used twice",
        "node 'double' declares no output 'zero'",
    ):
        assert words in text
    assert "flow.oo.yaml" not in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: asyncblock.Flow("empty").plan(), "the flow is empty"),
        (lambda: asyncblock.Flow("f").node(NO_BLOCK), "put @asyncblock.block above the function"),
        (lambda: mapping(count).plan(), "the provider has no output 'n'"),
        (lambda: cyclic().plan(), "can never start: double"),
        (lambda: recursive().plan(), "is a subflow of itself"),
    ],
)
def test_what_cannot_run_is_refused(make: Any, words: str) -> None:
    if "provider" in words:
        assert words in str(make().warnings[0])
        return
    with pytest.raises(InvalidFlow, match=words):
        make()


def cyclic() -> asyncblock.Flow:
    flow = asyncblock.Flow("cyclic")
    flow.node(double, {"n": flow.node(double, {"n": asyncblock.Flow("x").node(double, {"n": 1})["n"]})["n"]})
    flow._nodes[0]["inputs_from"][0]["from_node"][0]["node_id"] = "double_2"
    return flow


def recursive() -> asyncblock.Flow:
    flow = asyncblock.Flow("recursive")
    flow.node(flow)
    return flow


def test_a_constant_that_yaml_cannot_carry_is_refused() -> None:
    flow = asyncblock.Flow("objects")
    flow.node(double, {"n": object()})
    with pytest.raises(InvalidFlow, match="can't be written as YAML"):
        flow.to_yaml()
