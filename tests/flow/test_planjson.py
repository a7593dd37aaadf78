"""Plans as JSON: what several nodes have in common is written once, and read as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import InvalidFlow
from asyncblock.flow import Flow, Plan, load_flow

from ..flows import until
from .packages import block, write


@asyncblock.block(inputs=[{"handle": "a"}], outputs=[{"handle": "out"}])
async def step(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"out": inputs["a"]}


def many(count: int) -> Plan:
    flow = Flow("many")
    node = flow.node(step, {"a": 0})
    for _ in range(count - 1):
        node = flow.node(step, {"a": node["out"]})
    return flow.plan()


def test_a_block_of_many_nodes_is_written_once() -> None:
    plan = many(1000)
    made = plan.to_json()
    assert len(made["blocks"]) == 1
    assert {node["block_at"] for node in made["nodes"]} == {0}
    assert "block" not in made["nodes"][0]
    read = Plan.from_json(orjson.loads(orjson.dumps(made)))
    assert read == plan
    assert read.nodes[0].block is read.nodes[999].block


def test_blocks_of_slots_subflows_and_the_catalog_are_shared_too_and_single_ones_stay(tmp_path: Path) -> None:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    block(root, "a", "x", "y")
    block(root, "b", "x=1", "y")
    write(
        root / "subflows/s/subflow.oo.yaml",
        """
        nodes:
          - {node_id: a, task: self::a, inputs_from: [{handle: x, value: 1}]}
          - {node_id: slot, slot: {inputs_def: [{handle: x}]}, inputs_from: [{handle: x, value: 2}]}
        """,
    )
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: s, subflow: self::s, slots: [{slot_node_id: slot, task: self::a}]}
          - {node_id: a, task: self::a, inputs_from: [{handle: x, value: 1}]}
        """,
    )
    plan = load_flow(path)
    made = plan.to_json()
    entries = [each["entry"] for each in made["blocks"] if "entry" in each]
    assert entries == ["blocks/a/main.py"]
    assert made["catalog"]["mine::b"]["block"]["entry"] == "blocks/b/main.py"
    assert Plan.from_json(orjson.loads(orjson.dumps(made))) == plan


@pytest.mark.parametrize("place", [1, -1, True, "0", None])
def test_a_node_whose_block_is_nowhere_is_refused(place: object) -> None:
    made = orjson.loads(orjson.dumps(many(2).to_json()))
    made["nodes"][1]["block_at"] = place
    with pytest.raises(InvalidFlow, match="node 'step_2': block"):
        Plan.from_json(made)


@pytest.mark.parametrize("blocks", [{}, None, [1], 5])
def test_blocks_that_are_none_are_refused(blocks: object) -> None:
    made = orjson.loads(orjson.dumps(many(2).to_json()))
    made["blocks"] = blocks
    with pytest.raises(InvalidFlow, match="block"):
        Plan.from_json(made)


async def test_a_flow_of_10_000_nodes_can_be_started() -> None:
    plan = many(10_000)
    assert len(orjson.dumps(plan.to_json())) < 2 << 20
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(plan)
        await until(session, events.BlockStarted)
        await session.cancel("seen enough")
        assert (await session.wait()).state == "cancelled"
