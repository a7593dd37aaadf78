"""What a plan is made of: nodes with their inputs, flows of nodes, and all flows of a plan, as plain data.

``plan`` adds what is asked of a whole plan, ``planjson`` reads and writes it. Nothing here knows either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

__all__ = [
    "KINDS",
    "MAX_NODES",
    "MAX_NODE_ID",
    "MAX_WEIGHT",
    "REMEMBERED",
    "AllFlows",
    "FlowPlan",
    "InputPlan",
    "NodePlan",
    "Source",
]

MAX_NODES = 100_000
"""Nodes of the largest plan, all its flows together."""

MAX_WEIGHT = 1_000_000_000
"""What a node may count in its flow's progress at most: sums of larger ones would lose the others."""

MAX_NODE_ID: Final = 200
"""Characters of a node's id: it stands in every line of the journal about the node."""

KINDS: Final = ("task", "condition", "subflow", "slot", "service")

REMEMBERED: Final = "::"
"""``slot::handle`` names the input of a subflow node that its slot ``slot`` takes as a further one and keeps."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from: a node's output handle, or an input of the flow (``node_id`` is None)."""

    node_id: str | None
    handle: str

    def to_json(self) -> list[Any]:
        """Return the source as it stands in a plan."""
        return [self.node_id, self.handle]


@dataclass(frozen=True, slots=True)
class InputPlan:
    """An input handle of a node: its sources, or a static value when it has none."""

    sources: tuple[Source, ...] = ()
    has_value: bool = False
    value: Any = None
    optional: bool = False
    """The block doesn't declare it: no job waits for it, and one takes what is there."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node that runs, a slot's provider, or an entry of the catalog."""

    node_id: str
    kind: str
    block: Mapping[str, Any]
    """What an executor needs (task, service), the cases (condition), or what is declared (subflow, slot)."""
    inputs: Mapping[str, InputPlan] = field(default_factory=dict)
    concurrency: int = 1
    timeout: float | None = None
    group: str | None = None
    """Nodes joined by var edges have the same group: their values live in one process, or, portable ones, on one host.
    One that begins with ``*`` goes beyond its flow; any other is made anew for each run of the flow."""
    flow: str | None = None
    """The key of the flow that a subflow node runs."""
    slots: Mapping[str, NodePlan] = field(default_factory=dict)
    """What a subflow node provides for the slots of its flow."""
    weight: float = 1.0
    """What the node's progress counts in its flow's."""
    roams: bool = False
    """Of a node with a group: no later node takes two var values that could come to be in two processes if its jobs run
    wherever their inputs are."""


@dataclass(frozen=True)
class FlowPlan:
    """One flow: the root, a subflow or a slotflow."""

    title: str
    path: str | None
    nodes: tuple[NodePlan, ...]
    inputs_def: tuple[Mapping[str, Any], ...] = ()
    outputs: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    outputs_def: tuple[Mapping[str, Any], ...] = ()
    description: str | None = None
    forward_previews: tuple[str, ...] = ()
    """Nodes whose previews are shown as the subflow node's too."""
    scope: str = ""
    """The package that references in this flow start from."""

    def node(self, node_id: str) -> NodePlan:
        """Return a node by its id."""
        return self._index[node_id]

    @property
    def slots(self) -> list[NodePlan]:
        """Return the flow's slot nodes."""
        return [node for node in self.nodes if node.kind == "slot"]

    @cached_property
    def _index(self) -> dict[str, NodePlan]:
        return {node.node_id: node for node in self.nodes}

    @cached_property
    def targets(self) -> dict[tuple[str | None, str], list[Source]]:
        """Return where the values of each source go; a target without a node is an output of the flow.

        A source is its ``(node_id, handle)`` here: a run asks several times for each job (dispatch).
        """
        targets: dict[tuple[str | None, str], list[Source]] = {}
        for node in self.nodes:
            for handle, each in node.inputs.items():
                for source in each.sources:
                    targets.setdefault((source.node_id, source.handle), []).append(Source(node.node_id, handle))
        for handle, sources in self.outputs.items():
            for source in sources:
                targets.setdefault((source.node_id, source.handle), []).append(Source(None, handle))
        return targets

    def input_values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the flow's inputs with the defaults of those that weren't given."""
        values = dict(inputs)
        for definition in self.inputs_def:
            name = definition["handle"]
            if name not in values and ("value" in definition or definition.get("nullable")):
                values[name] = definition.get("value")
        return values


@dataclass(frozen=True)
class AllFlows(FlowPlan):
    """What a plan's JSON has: the root flow, the flows that nodes refer to, and what blocks may ask for."""

    flows: Mapping[str, FlowPlan] = field(default_factory=dict)
    """Subflows and slotflows by key."""
    catalog: Mapping[str, NodePlan] = field(default_factory=dict)
    """What blocks may ask for: tasks and subflows by ``package::name``. One that can't run holds why in
    ``block["refused"]``."""
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each package with flows: which package a name means there."""
