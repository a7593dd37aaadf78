"""Plan: a flow with everything resolved, as data. It goes over the wire and into the journal; no file is read again.

A plan is its root flow, the flows that nodes refer to (by key), and a catalog: blocks and flows that no node names but
that a block may ask for by reference. ``planjson`` reads and writes plans; ``load`` makes them of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from ..errors import Problem
from .planjson import plan_from_json, plan_to_json
from .planparts import (
    KINDS,
    MAX_NODE_ID,
    MAX_NODES,
    MAX_WEIGHT,
    REMEMBERED,
    AllFlows,
    FlowPlan,
    InputPlan,
    NodePlan,
    Source,
)

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

Spec = Sequence[Any] | None
"""What a job runs: None for its node's own block, ``["slot", flow, node_id, slot]`` for what a subflow node provides,
``["catalog", key]`` for what a block asked for, with a mapping of what it added as a third item."""


@dataclass(frozen=True)
class Plan(AllFlows):
    """A flow, resolved, with everything that it can come to run."""

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
        return plan_to_json(self)

    @classmethod
    def from_json(cls, obj: object) -> Plan:
        """Read a plan from outside. Raises ``InvalidFlow`` with everything that is wrong with its structure."""
        return plan_from_json(obj, cls)

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

    def flows_within(self, nodes: Iterable[NodePlan]) -> set[str]:
        """Return the keys of the flows that run in nodes, at any depth; what blocks may ask for isn't counted."""
        found: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            waiting += node.slots.values()
            if node.flow is not None and node.flow not in found:
                found.add(node.flow)
                waiting += self.flows[node.flow].nodes
        return found

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
