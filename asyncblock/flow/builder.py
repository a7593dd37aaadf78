"""Flow: a flow built in Python, with the same plan as one from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import InvalidFlow, Problem
from .groups import with_groups
from .plan import InputPlan, NodePlan, Plan, Source

__all__ = ["CodeBlock", "Flow", "Node"]


class CodeBlock(Protocol):
    """What a flow needs of a function under ``@asyncblock.block``."""

    name: str
    package: str
    hash: str
    entry: str
    function: str
    inputs_def: Sequence[Mapping[str, Any]] | None
    outputs_def: Sequence[Mapping[str, Any]] | None
    retries: Mapping[str, Any] | None
    sync: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a flow under construction; ``node["handle"]`` is one of its outputs."""

    node_id: str

    def __getitem__(self, handle: str) -> Source:
        return Source(self.node_id, handle)


class Flow:
    """A flow built in Python::

    flow = Flow("sums")
    a = flow.node(load, inputs={"path": flow.input("path")})
    flow.output("total", flow.node(add, inputs={"rows": a["rows"]})["total"])
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._nodes: list[NodePlan] = []
        self._blocks: list[CodeBlock] = []
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, tuple[Source, ...]] = {}

    def input(self, name: str, **definition: Any) -> Source:
        """Declare an input of the flow; ``value=...`` makes it optional."""
        self._inputs[name] = {"handle": name, **definition}
        return Source(None, name)

    def node(
        self,
        block: CodeBlock,
        inputs: Mapping[str, Any] | None = None,
        *,
        node_id: str | None = None,
        concurrency: int = 1,
        timeout: float | None = None,
    ) -> Node:
        """Add a node. An input is a constant, an output of another node, or a list of such outputs (a merge)."""
        if not hasattr(block, "outputs_def"):
            raise InvalidFlow(f"{block!r} is no block; put @asyncblock.block above the function")
        node_id = node_id or self._free_id(block.name)
        made = {handle: _input_of(value) for handle, value in (inputs or {}).items()}
        for definition in block.inputs_def or ():
            if definition["handle"] not in made and ("value" in definition or definition.get("nullable")):
                made[definition["handle"]] = InputPlan((), True, definition.get("value"))
        self._blocks.append(block)
        self._nodes.append(NodePlan(node_id, "task", _spec(block), made, concurrency, timeout))
        return Node(node_id)

    def _free_id(self, name: str) -> str:
        taken = {node.node_id for node in self._nodes}
        number, node_id = 1, name
        while node_id in taken:
            number += 1
            node_id = f"{name}_{number}"
        return node_id

    def output(self, name: str, *sources: Source) -> None:
        """Declare an output of the flow."""
        self._outputs[name] = sources

    def plan(self) -> Plan:
        """Check the flow and return its plan. Raises ``InvalidFlow`` with every problem."""
        problems = [Problem(message) for message in self._check()]
        if problems:
            raise InvalidFlow(problems)
        plan = Plan(
            self.title,
            None,
            tuple(self._nodes),
            tuple(self._inputs.values()),
            dict(self._outputs),
            code_blocks=tuple(self._blocks),
        )
        return with_groups(plan, lambda node_id, message: problems.append(Problem(message)))

    def _check(self) -> list[str]:
        found: list[str] = []
        nodes = {node.node_id: node for node in self._nodes}
        if not nodes:
            found.append(f"the flow {self.title!r} is empty")
        if len(nodes) < len(self._nodes):
            found.append("a node id is used twice")
        for node in self._nodes:
            found += _check_node(node, nodes)
        for name, sources in self._outputs.items():
            found += [f"output {name!r}: {words}" for source in sources if (words := _check_source(source, nodes))]
        return found


def _input_of(value: Any) -> InputPlan:
    if isinstance(value, Source):
        return InputPlan((value,))
    if isinstance(value, list) and value and all(isinstance(each, Source) for each in value):
        return InputPlan(tuple(value))
    return InputPlan((), True, value)


def _spec(block: CodeBlock) -> dict[str, Any]:
    return {
        "language": "python",
        "package": block.package,
        "hash": block.hash,
        "dir": ".",
        "entry": block.entry,
        "function": block.function,
        "spawn": False,
        "sync": block.sync,
        "inputs_def": None if block.inputs_def is None else [dict(each) for each in block.inputs_def],
        "outputs_def": None if block.outputs_def is None else [dict(each) for each in block.outputs_def],
        "retries": None if block.retries is None else dict(block.retries),
    }


def _check_node(node: NodePlan, nodes: Mapping[str, NodePlan]) -> list[str]:
    found: list[str] = []
    defs = node.block.get("inputs_def")
    if defs is not None:
        declared = {each["handle"] for each in defs}
        found += [f"node {node.node_id!r}: no input {handle!r}" for handle in node.inputs if handle not in declared]
        missing = declared - set(node.inputs)
        found += [f"node {node.node_id!r}: nothing feeds its input {handle!r}" for handle in sorted(missing)]
    for handle, each in node.inputs.items():
        for source in each.sources:
            if words := _check_source(source, nodes):
                found.append(f"node {node.node_id!r}, input {handle!r}: {words}")
    return found


def _check_source(source: Source, nodes: Mapping[str, NodePlan]) -> str | None:
    if source.node_id is None:
        return None
    node = nodes.get(source.node_id)
    if node is None:
        return f"there is no node {source.node_id!r} in this flow"
    defs = node.block.get("outputs_def")
    if defs is not None and source.handle not in {each["handle"] for each in defs}:
        return f"node {source.node_id!r} declares no output {source.handle!r}"
    return None
