"""Inputs of a flow that is run: what isn't given takes its default, or nothing where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import Context, Flow
from asyncblock.errors import InvalidInputs

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


async def test_strict_compares_the_inputs_of_the_root_with_their_schemas(tmp_path: Path) -> None:
    flow = Flow("strict")
    definition = {"json_schema": {"type": "integer"}, "value": 1}
    flow.output("o", flow.node(same, inputs={"x": flow.input("x", **definition)})["out"])
    async with asyncblock.embedded(tmp_path) as mainframe:
        with pytest.raises(InvalidInputs, match="flow 'strict' can't be run with these inputs: x: \"1\"") as caught:
            await mainframe.start(flow, {"x": "1"}, strict=True)
        assert list(caught.value.problems) == ["x"]
        assert await (await mainframe.start(flow, {"x": 2}, strict=True)).outputs() == {"o": 2}
        assert await (await mainframe.start(flow, {}, strict=True)).outputs() == {"o": 1}
        assert await (await mainframe.start(flow, {"x": "1"})).outputs() == {"o": "1"}
