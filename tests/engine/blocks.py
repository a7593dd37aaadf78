"""Blocks for tests of blocks that run blocks, each in both forms, and plans in which they may reach each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import asyncblock
from asyncblock import Context, Flow, SyncContext
from asyncblock.block import AnyBlock
from asyncblock.flow.load import code_spec
from asyncblock.flow.plan import FlowPlan, NodePlan, Plan, Source

__all__ = ["entry", "plan_of", "subflow"]

X = [{"handle": "x"}]
OUT = [{"handle": "out"}]


@asyncblock.block(name="double", inputs=X, outputs=OUT, description="Doubles.")
async def double(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await ctx.report_progress(50)
    await ctx.report_log(f"doubling {inputs['x']}")
    return {"out": inputs["x"] * 2}


@asyncblock.block(name="double_sync", inputs=X, outputs=OUT)
def double_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    ctx.report_progress(50)
    ctx.report_log(f"doubling {inputs['x']}")
    return {"out": inputs["x"] * 2}


@asyncblock.block(name="many", inputs=X, outputs=[{"handle": "a"}, {"handle": "b"}])
async def many(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    for number in range(inputs["x"]):
        await ctx.output(number, "a")
    await ctx.outputs({"a": "last", "b": 1})
    return {"b": 2}


@asyncblock.block(name="fail", inputs=[], outputs=OUT)
async def fail(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(1, "out")
    raise ValueError("no such luck")


@asyncblock.block(
    name="typed",
    inputs=[
        {"handle": "n", "json_schema": {"type": "integer", "minimum": 1}},
        {"handle": "with_default", "value": "d"},
        {"handle": "nothing", "nullable": True},
    ],
    outputs=OUT,
)
async def typed(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": dict(inputs)}


def entry(block: AnyBlock, **fields: Any) -> NodePlan:
    """An entry of a plan's catalog."""
    return NodePlan(block.name, "task", {**code_spec(block), "description": block.description or None, **fields})


def plan_of(caller: AnyBlock, *others: AnyBlock, entries: Mapping[str, NodePlan] | None = None, **inputs: Any) -> Plan:
    """A flow with the node ``caller``, which may reach the other blocks as ``self::name``."""
    flow = Flow("asking")
    node = flow.node(caller, inputs=inputs, node_id="caller")
    flow.output("out", node["out"])
    blocks: tuple[AnyBlock, ...] = (double, double_sync, many, fail, typed, caller, *others)
    catalog = {f"pack::{each.name}": entry(each) for each in blocks}
    return dataclasses.replace(flow.plan(), scope="pack", catalog={**catalog, **(entries or {})}, code_blocks=blocks)


def subflow(
    plan: Plan,
    name: str,
    nodes: Sequence[NodePlan],
    outputs: Mapping[str, Sequence[Source]],
    inputs_def: Sequence[Mapping[str, Any]] = X,
) -> Plan:
    """Add a subflow to what blocks may reach."""
    sources = {handle: tuple(each) for handle, each in outputs.items()}
    inner = FlowPlan(name, None, tuple(nodes), tuple(inputs_def), sources, tuple(OUT), scope="pack")
    offered = {f"pack::{name}": NodePlan(name, "subflow", {}, flow=name)}
    return dataclasses.replace(plan, flows={**plan.flows, name: inner}, catalog={**plan.catalog, **offered})
