"""Inputs that nobody declares, and those that nothing feeds: what an editor leaves behind, and what a typo does."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import InvalidFlow
from asyncblock.flow import Flow, Plan, load_flow
from asyncblock.flow.partial import only_nodes, with_node_inputs

from ..flows import all_of, end_of
from .packages import block, problems, write

INC = "async def main(inputs, ctx):\n    return {'y': inputs['x'] + 1}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with a block ``inc`` (input x, output y) and one ``opt`` whose input has a default."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    block(root, "inc", "x", "y", INC)
    block(root, "opt", "x=5", "y", INC)
    return root


def flow(root: Path, text: str) -> Path:
    return write(root / "flows/f/flow.oo.yaml", text)


DANGLING = """
nodes:
  - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1}]}
  - {node_id: b, task: self::inc}
  - {node_id: c, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: b, output_handle: y}]}]}
outputs_from: [{handle: y, from_node: [{node_id: a, output_handle: y}, {node_id: c, output_handle: y}]}]
"""


def test_a_handle_that_the_block_does_not_declare_is_ignored_with_a_warning(root: Path) -> None:
    plan = load_flow(
        flow(
            root,
            """
            nodes:
              - node_id: n
                task: self::inc
                inputs_from:
                  - {handle: x, value: 1}
                  - {handle: gone, value: 2}
            """,
        )
    )
    assert list(plan.nodes[0].inputs) == ["x"]
    [warning] = plan.warnings
    assert (warning.line, "declares no input 'gone'; there is 'x'; it is ignored" in warning.message) == (6, True)


def test_a_mistyped_handle_is_refused_when_a_declared_one_is_left_without_a_value(root: Path) -> None:
    path = flow(
        root,
        """
        nodes:
          - {node_id: fine, task: self::inc, inputs_from: [{handle: x, value: 1}]}
          - node_id: n
            task: self::inc
            inputs_from: [{handle: ex, value: 2}]
        """,
    )
    assert problems(path) == [
        (
            "flow.oo.yaml",
            3,
            "node 'n': nothing feeds its input 'x'; give it a value or a source in 'inputs_from'",
        ),
        ("flow.oo.yaml", 5, "node 'n': the block declares no input 'ex'; there is 'x'"),
    ]


async def test_a_node_that_nothing_feeds_is_warned_of_and_never_runs(root: Path) -> None:
    path = flow(root, DANGLING)
    [warning] = load_flow(path).warnings
    assert warning.line == 3
    assert warning.message.startswith("node 'b': nothing feeds its input 'x'")
    assert warning.message.endswith("the node won't run")
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(path)
        found = [event async for event in session]
    assert end_of(found).outputs == {"y": 2}
    assert [event.node_id for event in all_of(found, events.JobCreated)] == ["a"]


def test_inputs_of_nodes_feed_what_nothing_else_does(root: Path) -> None:
    path = flow(root, DANGLING)
    plan = load_flow(path, shape=lambda plan: with_node_inputs(plan, {"b": {"x": 1}}))
    assert plan.warnings == ()
    assert plan.node("b").inputs["x"].value == 1


@pytest.mark.parametrize("wanted", ["b", "c"])
def test_a_node_that_was_asked_for_and_cannot_run_is_refused(root: Path, wanted: str) -> None:
    path = flow(root, DANGLING)
    with pytest.raises(InvalidFlow, match=r":3: node 'b': nothing feeds its input 'x'"):
        load_flow(path, shape=lambda plan: only_nodes(plan, [wanted]))
    assert load_flow(path, shape=lambda plan: only_nodes(plan, ["a"])).warnings == ()


def test_a_flow_in_which_nothing_can_run_is_refused(root: Path) -> None:
    path = flow(root, "nodes:\n  - {node_id: a, task: self::inc}\n  - {node_id: b, task: self::inc}\n")
    assert [(line, "nothing feeds its input 'x'" in words) for _, line, words in problems(path)] == [
        (2, True),
        (3, True),
    ]


def test_a_flow_that_ignored_nodes_would_have_fed_is_refused(root: Path) -> None:
    path = flow(
        root,
        """
        nodes:
          - {node_id: a, ignore: true, task: self::opt}
          - {node_id: b, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: y}]}]}
        """,
    )
    assert [words for _, _, words in problems(path)] == ["no node of the flow can run"]


def test_an_entry_without_value_and_source_takes_the_blocks_default(root: Path) -> None:
    plan = load_flow(flow(root, "nodes: [{node_id: n, task: self::opt, inputs_from: [{handle: x}]}]\n"))
    assert plan.nodes[0].inputs["x"].value == 5


def test_a_node_of_a_subflow_that_nothing_feeds_is_warned_of(root: Path) -> None:
    write(
        root / "subflows/s/subflow.oo.yaml",
        "nodes:\n  - {node_id: one, task: self::opt}\n  - {node_id: two, task: self::inc}\n",
    )
    plan = load_flow(flow(root, "nodes: [{node_id: n, subflow: self::s}]\n"))
    [warning] = plan.warnings
    assert (Path(warning.file or "").name, warning.line) == ("subflow.oo.yaml", 3)
    assert Plan.from_json(plan.to_json()).flows["mine::s"].node("two").inputs["x"].sources == ()


class X(TypedDict):
    x: int


@asyncblock.block
async def plus(inputs: X) -> X:
    return {"x": inputs["x"] + 1}


@pytest.mark.parametrize(
    ("inputs", "words"), [({}, "nothing feeds its input 'x'"), ({"x": 1, "z": 1}, "declares no input 'z'")]
)
def test_a_flow_built_in_python_is_exact(inputs: dict[str, int], words: str) -> None:
    made = Flow("f")
    made.node(plus, {"x": 1})
    made.node(plus, inputs)
    with pytest.raises(InvalidFlow, match=words):
        made.plan()


def test_an_empty_package_file_is_a_package_without_a_name(root: Path) -> None:
    write(root / "package.oo.yaml", "")
    plan = load_flow(flow(root, "nodes: [{node_id: n, task: self::opt}]\n"))
    assert plan.nodes[0].block["package"] == "pkg"
