from __future__ import annotations

from typing import Any

import pytest

from asyncblock.errors import InvalidFlow
from asyncblock.flow.entries import JobCreated, SessionBegun
from asyncblock.flow.partial import only_nodes, with_node_inputs
from asyncblock.flow.plan import Plan
from asyncblock.flow.run import Run

from .plans import node, plan

FLOW = plan(
    node("a"),
    node("b", x="a.o"),
    node("c", x="a.o"),
    node("d", x="b.o", y="c.o"),
    outputs={"b": "b.o", "d": "d.o"},
)


def test_only_the_nodes_that_are_needed_are_kept() -> None:
    part = only_nodes(FLOW, ["b"])
    assert [each.node_id for each in part.nodes] == ["a", "b"]
    assert [*part.outputs] == ["b"]
    assert Plan.from_json(part.to_json()) == part


def test_inputs_of_nodes_stand_for_their_sources() -> None:
    part = only_nodes(with_node_inputs(FLOW, {"d": {"x": 1, "y": 2}}), ["d"])
    assert [each.node_id for each in part.nodes] == ["d"]
    [made] = Run(part, "s").feed(SessionBegun())
    assert isinstance(made, JobCreated)
    assert [part.static_value(ref) for ref in made.inputs.values()] == [1, 2]


@pytest.mark.parametrize("act", [lambda: only_nodes(FLOW, ["b", "z"]), lambda: with_node_inputs(FLOW, {"z": {}})])
def test_a_node_that_is_not_there_is_named(act: Any) -> None:
    with pytest.raises(InvalidFlow, match="no node 'z'; there is 'a', 'b', 'c', 'd'"):
        act()


def test_an_input_that_is_not_declared_is_a_warning() -> None:
    declared = node("n", x=1)
    declared.block["inputs_def"] = [{"handle": "x"}]  # type: ignore[index]
    part = with_node_inputs(plan(declared), {"n": {"q": 1}})
    assert "declares no input 'q'; there is 'x'" in part.warnings[0].message
    assert part.nodes == (declared,)
