"""Connections: ``inputs_from`` and ``outputs_from`` of a flow, checked against what its nodes and inputs declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .plan import InputPlan, NodePlan, Source
from .report import Report, did_you_mean
from .yamlfile import Map

__all__ = ["FlowConnections", "check_start"]

_SECRET: Final = "oomol/secret"


@dataclass(slots=True)
class FlowConnections:
    """What the connections of one flow may name."""

    report: Report
    file: Path
    flow_inputs: set[str] = field(default_factory=set)
    outputs: dict[str, set[str] | None] = field(default_factory=dict)
    """Output handles by node; None where anything goes."""
    constants: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What value nodes hold, by node and handle."""
    ignored: set[str] = field(default_factory=set)
    cached: set[Source] = field(default_factory=set)
    """Outputs whose values are to be kept for later runs."""
    broken: set[str] = field(default_factory=set)
    """Nodes that were complained about already."""

    def input(self, who: str, spec: Map) -> InputPlan:
        """Read an entry of ``inputs_from``."""
        sources = self.sources(who, spec)
        if len(sources) == 1 and (sources[0].node_id or "", sources[0].handle) in self.constants:
            return InputPlan((), True, self.constants[sources[0].node_id or "", sources[0].handle])
        real = self._running(who, sources, spec)
        if real:
            if spec.get("serialize_for_cache"):
                self.cached.update(real)
            return InputPlan(tuple(real))
        if "value" in spec:
            return InputPlan((), True, spec["value"])
        named = [*_entries(spec, "from_node"), *_entries(spec, "from_flow")]
        if not sources and all(isinstance(each, Map) and each.get("node_id") in self.ignored for each in named):
            words = f"{who}: its input {spec['handle']!r} is fed by ignored nodes only: it will never run"
            self.report.warn(words, self.file, spec.line)
        return InputPlan()

    def says_something(self, who: str, spec: Map) -> bool:
        """Tell whether an entry of ``inputs_from`` has a value or a source; editors leave entries that have none."""
        return "value" in spec or any(self._list(who, spec, key) for key in ("from_node", "from_flow"))

    def merged(self, who: str, first: Map, more: Map) -> Map:
        """Make one entry of two for the same input: the first value counts, and all sources."""
        twice = f"input {first['handle']!r} stands twice in 'inputs_from'"
        words = f"{who}: {twice}; the first value counts, and the sources of both"
        self.report.warn(words, self.file, more.line)
        merged = Map(first.line)
        merged.key_lines = {**more.key_lines, **first.key_lines}
        merged.update({**more, **first})
        for key in ("from_node", "from_flow", "schema_overrides"):
            lists = [each[key] for each in (first, more) if isinstance(each.get(key), list)]
            if len(lists) == 2:
                merged[key] = [*lists[0], *lists[1]]
        return merged

    def existing(self, spec: Map) -> tuple[Source, ...]:
        """Return those sources of an entry of ``inputs_from`` that run and are declared, without a word of others."""
        found = [
            Source(each["node_id"], str(each.get("output_handle")))
            for each in _entries(spec, "from_node")
            if isinstance(each, Map) and isinstance(each.get("node_id"), str)
        ]
        named = [each.get("input_handle") for each in _entries(spec, "from_flow") if isinstance(each, Map)]
        found += [Source(None, str(handle)) for handle in named if handle in self.flow_inputs]
        return tuple(each for each in found if each.node_id is None or self._runs(each.node_id, each.handle))

    def _runs(self, node_id: str, handle: str) -> bool:
        declared = self.outputs.get(node_id, set())
        is_constant = (node_id, handle) in self.constants
        return node_id not in self.ignored and not is_constant and (declared is None or handle in declared)

    def output(self, spec: Map) -> tuple[Source, ...]:
        """Read an entry of ``outputs_from``."""
        who = f"the flow's output {spec['handle']!r}"
        return tuple(self._running(who, self.sources(who, spec), spec))

    def _running(self, who: str, sources: Sequence[Source], spec: Map) -> list[Source]:
        """Leave out value nodes: they never run."""
        real = [s for s in sources if (s.node_id or "", s.handle) not in self.constants]
        if len(real) < len(sources) and (real or who.startswith("the flow")):
            self.report.warn(
                f"{who}: a value node can't be a source beside others, nor an output of the flow", self.file, spec.line
            )
        return real

    def sources(self, who: str, spec: Map) -> list[Source]:
        """Read ``from_node`` and ``from_flow``."""
        sources: list[Source] = []
        for each in self._list(who, spec, "from_node"):
            if not isinstance(each, Map) or not isinstance(each.get("node_id"), str):
                self.report.problem(
                    f"{who}: an entry of 'from_node' needs 'node_id' and 'output_handle'", self.file, spec.line
                )
            elif self._is_there(who, each):
                sources.append(Source(each["node_id"], str(each.get("output_handle"))))
        for each in self._list(who, spec, "from_flow"):
            handle = each.get("input_handle") if isinstance(each, Map) else None
            if handle not in self.flow_inputs:
                words = f"{who}: the flow declares no input {handle!r}{did_you_mean(self.flow_inputs)}"
                line = getattr(each, "line", spec.line)
                self.report.leftover(words, "the connection is left out", self.file, line)
            else:
                sources.append(Source(None, str(handle)))
        return sources

    def _list(self, who: str, spec: Map, key: str) -> Iterable[Any]:
        found = spec.get(key)
        if found is not None and not isinstance(found, list):
            self.report.problem(f"{who}: {key!r} must be a list", self.file, spec.line_of(key))
            return ()
        return found or ()

    def _is_there(self, who: str, connection: Map) -> bool:
        node_id, handle = connection["node_id"], connection.get("output_handle")
        if node_id in self.ignored:
            self.report.warn(f"{who}: node {node_id!r} is ignored; so is this connection", self.file, connection.line)
            return False
        if node_id not in self.outputs:
            if node_id not in self.broken:
                words = f"{who}: there is no node {node_id!r}{did_you_mean(self.outputs)}"
                self.report.leftover(words, "the connection is left out", self.file, connection.line_of("node_id"))
            return False
        declared = self.outputs[node_id]
        if declared is not None and handle not in declared:
            words = f"{who}: node {node_id!r} declares no output {handle!r}{did_you_mean(declared)}"
            self.report.leftover(words, "nothing ever comes from it", self.file, connection.line_of("output_handle"))
            return self.report.compat
        return True

    def patches(self, who: str, spec: Map) -> list[dict[str, Any]]:
        """Read ``schema_overrides``: what of a value is a secret. Anything else that they say has no effect."""
        found: list[dict[str, Any]] = []
        for each in self._list(who, spec, "schema_overrides"):
            schema = each.get("schema") if isinstance(each, Map) else None
            if not isinstance(schema, Map):
                self.report.problem(f"{who}: a schema override needs a 'schema'", self.file, spec.line)
            elif schema.get("contentMediaType") == _SECRET:
                found.append({"path": each.get("path"), "schema": {"contentMediaType": _SECRET}})
        return found


def _entries(spec: Map, key: str) -> list[Any]:
    found = spec.get(key)
    return found if isinstance(found, list) else []


def check_start(nodes: Sequence[NodePlan]) -> list[str]:
    """Return the nodes that can never start: those that wait for each other, and what hangs on them."""
    missing: dict[str, set[str]] = {}
    waiting: dict[str | None, list[tuple[str, str]]] = {}
    ready: list[str | None] = [None]
    for node in nodes:
        fed = {handle for handle, each in node.inputs.items() if each.sources and not each.optional}
        missing[node.node_id] = fed
        if not fed:
            ready.append(node.node_id)
        for handle in fed:
            for source in node.inputs[handle].sources:
                waiting.setdefault(source.node_id, []).append((node.node_id, handle))
    while ready:
        for node_id, handle in waiting.pop(ready.pop(), ()):
            handles = missing[node_id]
            if handle in handles:
                handles.discard(handle)
                if not handles:
                    ready.append(node_id)
    return [node_id for node_id, handles in missing.items() if handles]


def defaults(definitions: Iterable[Mapping[str, Any]]) -> dict[str, InputPlan]:
    """Return the inputs that need no source, with what they hold then."""
    return {
        each["handle"]: InputPlan((), True, each.get("value"))
        for each in definitions
        if "value" in each or each.get("nullable")
    }
