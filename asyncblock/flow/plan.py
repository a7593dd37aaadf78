"""Plan: a flow with everything resolved, as data. It goes over the wire and into the journal; no file is read again.

A plan is its root flow, the flows that nodes refer to (by key), and a catalog: blocks and flows that no node names but
that a block may ask for by reference. ``planjson`` reads and writes plans; ``load`` makes them of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any, Final

from ..errors import Problem

__all__ = [
    "KINDS",
    "MAX_NODES",
    "MAX_WEIGHT",
    "MAX_NODE_ID",
    "REMEMBERED",
    "FlowPlan",
    "InputPlan",
    "NodePlan",
    "Plan",
    "Source",
    "Spec",
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

Spec = Sequence[Any] | None
"""What a job runs: None for its node's own block, ``["slot", flow, node_id, slot]`` for what a subflow node provides,
``["catalog", key]`` for what a block asked for, with a mapping of what it added as a third item."""


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
class Plan(FlowPlan):
    """A flow, resolved, with everything that it can come to run."""

    flows: Mapping[str, FlowPlan] = field(default_factory=dict)
    """Subflows and slotflows by key."""
    catalog: Mapping[str, NodePlan] = field(default_factory=dict)
    """What blocks may ask for: tasks and subflows by ``package::name``. One that can't run holds why in
    ``block["refused"]``."""
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each package with flows: which package a name means there."""
    roots: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """Package directories by hash, where the plan was made. Not part of the plan's JSON."""
    code_blocks: tuple[Any, ...] = field(default=(), compare=False)
    """Blocks that live in this process's code. Not part of the plan's JSON."""
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    """What is odd and doesn't keep the flow from running. Not part of the plan's JSON."""

    def input_problems(self, inputs: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the inputs that the flow is to be started with."""
        definitions = {each["handle"]: each for each in self.inputs_def}
        known = f"; there is {', '.join(map(repr, sorted(definitions)))}" if definitions else ""
        found = [f"the flow has no input {name!r}{known}" for name in inputs if name not in definitions]
        given = self.input_values(inputs)
        used = {s.handle for node in self.nodes for each in node.inputs.values() for s in each.sources if not s.node_id}
        missing = [name for name in definitions if name in used and name not in given]
        return found + [f"the flow's input {name!r} is required" for name in missing]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        from .planjson import plan_to_json

        return plan_to_json(self)

    @classmethod
    def from_json(cls, obj: object) -> Plan:
        """Read a plan from outside. Raises ``InvalidFlow`` with everything that is wrong with its structure."""
        from .planjson import plan_from_json

        return plan_from_json(obj)

    def flow(self, key: str | None) -> FlowPlan:
        """Return a flow by its key; None is the root."""
        return self if key is None else self.flows[key]

    def static_value(self, ref: Sequence[Any]) -> Any:
        """Return the value of a ``["static", node_id, handle]`` reference; a fourth item is the flow's key."""
        flow = self.flow(ref[3] if len(ref) > 3 else None)
        return flow.node(ref[1]).inputs[ref[2]].value

    def resolve(self, flow: str | None, node_id: str, spec: Spec = None) -> NodePlan:
        """Return what a job runs. A slot's provider has the slot node's own timeout, concurrency and weight."""
        if spec is None:
            return self.flow(flow).node(node_id)
        if spec[0] == "catalog":
            return _with_handles(self.catalog[spec[1]], spec[2] if len(spec) > 2 else {})
        provider = self.flow(spec[1]).node(spec[2]).slots[spec[3]]
        node = self.flow(flow).node(node_id)
        return replace(provider, inputs=node.inputs, timeout=node.timeout, weight=node.weight)

    def find(self, flow: str | None, reference: str) -> str | None:
        """Return the catalog's key for a reference (``self::x``, ``pkg::x``, a name or a path) made in a flow."""
        home = self.flow(flow)
        package, separator, name = reference.partition("::")
        if separator:
            scope = home.scope if package == "self" else self.packages.get(home.scope, {}).get(package, package)
            key = f"{scope}::{name}"
            return key if key in self.catalog else None
        if "/" in reference:
            return self._by_path.get(normpath(PurePosixPath(home.path or ".").parent / reference))
        candidates = (f"{home.scope}::{reference}", *(key for key in self.catalog if key.endswith(f"::{reference}")))
        return next((key for key in candidates if key in self.catalog), None)

    @cached_property
    def _by_path(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, entry in self.catalog.items():
            if path := entry.block.get("path"):
                found[str(path)] = found[str(PurePosixPath(path).parent)] = key
        return found


def _with_handles(node: NodePlan, added: Mapping[str, Any]) -> NodePlan:
    """Add handle definitions to a block's own."""
    more = {
        name: [*(node.block.get(name) or ()), *added[name]] for name in ("inputs_def", "outputs_def") if name in added
    }
    return replace(node, block={**node.block, **more}) if more else node
