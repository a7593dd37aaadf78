"""Blocks that a flow built in Python offers to its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncblock
from asyncblock import Context, Flow

from ..flows import end_of


@asyncblock.block(inputs=[{"handle": "n"}], outputs=[{"handle": "out"}], description="The next number.")
async def successor(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": inputs["n"] + 1}


@asyncblock.block(inputs=[{"handle": "n"}], outputs=[{"handle": "out"}])
async def twice_over(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    first = await (await ctx.run_block("successor", inputs={"n": inputs["n"]}))
    second = await (await ctx.run_block("self::successor", inputs={"n": first["out"]}))
    return {"out": [second["out"], (await ctx.query_block("successor"))["type"]]}


async def test_an_offered_block_is_run_by_its_name(tmp_path: Path) -> None:
    flow = Flow("offers", blocks=[successor])
    flow.output("o", flow.node(twice_over, inputs={"n": 1})["out"])
    async with asyncblock.embedded(tmp_path) as mainframe:
        end = end_of([event async for event in await mainframe.start(flow)])
    assert (end.state, end.outputs) == ("succeeded", {"o": [3, "task"]}), end.error
