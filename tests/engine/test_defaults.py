"""Inputs of a flow that is run: what isn't given takes its default, or nothing where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import Context, Flow

from ..flows import end_of


@asyncblock.block(inputs=[{"handle": "x"}], outputs=[{"handle": "out"}])
async def same(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": inputs["x"]}


@pytest.mark.parametrize(
    ("definition", "given", "expected"),
    [
        ({"value": 5}, {}, 5),
        ({"value": 5}, {"x": 6}, 6),
        ({"value": None}, {}, None),
        ({"nullable": True}, {}, None),
        ({"nullable": True, "value": "v"}, {}, "v"),
        ({"nullable": True, "value": "v"}, {"x": None}, None),
    ],
)
async def test_an_input_of_the_root_takes_its_default(
    tmp_path: Path, definition: dict[str, Any], given: dict[str, Any], expected: object
) -> None:
    flow = Flow("defaults")
    flow.output("o", flow.node(same, inputs={"x": flow.input("x", **definition)})["out"])
    async with asyncblock.embedded(tmp_path) as mainframe:
        end = end_of([event async for event in await mainframe.start(flow, given)])
    assert (end.state, end.outputs) == ("succeeded", {"o": expected}), end.error
