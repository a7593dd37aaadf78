"""A plan is made of whatever names a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.client.resolving import flow_of, plan_of, plan_of_row, resolve_flow
from asyncblock.errors import InvalidFlow, Rejected, RemoteProtocolError

from ..flows import one_block


@asyncblock.block
async def double(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return twice the value."""
    return {"out": 2 * inputs["value"]}


def test_a_path_and_the_name_of_an_example_are_read_from_files(tmp_path: Path) -> None:
    path = one_block(tmp_path, "def main(inputs, ctx): ...\n")
    assert [node.node_id for node in resolve_flow(path, None, ()).nodes] == ["n"]
    assert len(resolve_flow("stocks", None, ()).nodes) == 6
    with pytest.raises(InvalidFlow, match="stocks"):
        resolve_flow("stoks", None, ())


def test_the_inputs_of_a_flow_that_was_built_are_checked() -> None:
    flow = asyncblock.Flow("doubling")
    flow.node(double, {"value": flow.input("number")})
    assert resolve_flow(flow, {"number": 1}, ()) == plan_of(flow)
    with pytest.raises(InvalidFlow, match="nubmer"):
        resolve_flow(flow, {"nubmer": 1}, ())


def test_the_plan_of_a_session_is_in_its_first_row() -> None:
    flow = asyncblock.Flow("doubling")
    flow.node(double, {"value": flow.input("number")})
    line = orjson.dumps({"type": "SessionStarted", "plan": plan_of(flow).to_json()})
    assert plan_of_row([b'{"type":"Else"}', line]) == plan_of(flow)
    with pytest.raises(Rejected, match="doesn't hold its plan"):
        plan_of_row([])
    for wrong in (b"[]", b"{", b'{"type":"SessionStarted"}'):
        with pytest.raises(RemoteProtocolError, match="can't be read"):
            plan_of_row([wrong])


def test_a_block_alone_is_a_flow_whose_handles_are_its_own() -> None:
    @asyncblock.block(inputs=[{"handle": "a"}], outputs=[{"handle": "b"}])
    async def plus(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
        return {"b": inputs["a"] + 1}

    plan = plan_of(flow_of(plus))
    assert ([each["handle"] for each in plan.inputs_def], [*plan.outputs]) == (["a"], ["b"])
