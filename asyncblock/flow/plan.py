"""Plan: a flow with everything resolved, as data. It goes over the wire and into the journal; no file is read again.

``Plan.from_json`` checks the structure of what came from outside; ``load`` makes plans of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ..errors import InvalidFlow, Problem

__all__ = ["MAX_NODES", "InputPlan", "NodePlan", "Plan", "Source"]

MAX_NODES = 100_000
"""Nodes of the largest flow."""

KINDS: Final = ("task", "condition")


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
    """A node that runs."""

    node_id: str
    kind: str
    block: Mapping[str, Any]
    """What an executor needs (task), or the cases (condition)."""
    inputs: Mapping[str, InputPlan]
    concurrency: int = 1
    timeout: float | None = None
    group: str | None = None
    """Nodes joined by var edges have the same group: their values live in one process."""


@dataclass(frozen=True)
class Plan:
    """A flow, resolved."""

    title: str
    path: str | None
    nodes: tuple[NodePlan, ...]
    inputs_def: tuple[Mapping[str, Any], ...] = ()
    outputs: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """Package directories by hash, where the plan was made. Not part of the plan's JSON."""
    code_blocks: tuple[Any, ...] = field(default=(), compare=False)
    """Blocks that live in this process's code. Not part of the plan's JSON."""

    def static_value(self, ref: Sequence[Any]) -> Any:
        """Return the value of a ``["static", node_id, handle]`` reference."""
        return self.node(ref[1]).inputs[ref[2]].value

    def node(self, node_id: str) -> NodePlan:
        """Return a node by its id."""
        return self._index[node_id]

    @cached_property
    def _index(self) -> dict[str, NodePlan]:
        return {node.node_id: node for node in self.nodes}

    def input_values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the flow's inputs with the defaults of those that weren't given."""
        values = dict(inputs)
        for definition in self.inputs_def:
            name = definition["handle"]
            if name not in values and ("value" in definition or definition.get("nullable")):
                values[name] = definition.get("value")
        return values

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {
            "version": 1,
            "title": self.title,
            "path": self.path,
            "inputs_def": [dict(each) for each in self.inputs_def],
            "nodes": [_node_to_json(node) for node in self.nodes],
            "outputs": {handle: [s.to_json() for s in sources] for handle, sources in self.outputs.items()},
        }

    @classmethod
    def from_json(cls, obj: object) -> Plan:
        """Read a plan from outside. Raises ``InvalidFlow`` with everything that is wrong with its structure."""
        reader = _Reader()
        plan = reader.plan(obj)
        if plan is None or reader.problems:
            raise InvalidFlow(reader.problems)
        return plan


def _node_to_json(node: NodePlan) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for handle, each in node.inputs.items():
        spec: dict[str, Any] = {"sources": [source.to_json() for source in each.sources]}
        if each.has_value:
            spec["value"] = each.value
        inputs[handle] = spec
    return {
        "node_id": node.node_id,
        "kind": node.kind,
        "block": dict(node.block),
        "inputs": inputs,
        "concurrency": node.concurrency,
        "timeout": node.timeout,
        "group": node.group,
    }


class _Reader:
    """Checks untrusted JSON and makes a plan of it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def _expect(self, condition: bool, words: str) -> bool:
        if not condition:
            self.problems.append(Problem(f"malformed plan: {words}"))
        return condition

    def plan(self, obj: object) -> Plan | None:
        if not isinstance(obj, dict):
            self._expect(False, "it isn't an object")
            return None
        nodes, outputs = obj.get("nodes"), obj.get("outputs")
        inputs_def = obj.get("inputs_def")
        fine = (
            self._expect(obj.get("version") == 1, "unknown version")
            and self._expect(isinstance(obj.get("title"), str), "title")
            and self._expect(isinstance(obj.get("path"), (str, type(None))), "path")
            and self._expect(isinstance(nodes, list) and 0 < len(nodes) <= MAX_NODES, f"1 to {MAX_NODES} nodes")
            and self._expect(isinstance(outputs, dict), "outputs")
            and self._expect(isinstance(inputs_def, list) and all(map(_is_handle_def, inputs_def)), "inputs_def")
        )
        if not fine:
            return None
        made = tuple(node for each in nodes or () if (node := self.node(each)) is not None)
        ids = {node.node_id for node in made}
        self._expect(len(ids) == len(made), "a node id stands twice")
        names = {each["handle"] for each in inputs_def or ()}
        plan = Plan(
            obj["title"],
            obj["path"],
            made,
            tuple(inputs_def or ()),
            {str(handle): self.sources(each) for handle, each in (outputs or {}).items()},
        )
        for source in _all_sources(plan):
            known = source.node_id in ids if source.node_id is not None else source.handle in names
            self._expect(known, f"a source names {source.node_id or 'the flow input'} {source.handle}")
        return plan

    def node(self, obj: object) -> NodePlan | None:
        if not isinstance(obj, dict):
            self._expect(False, "a node isn't an object")
            return None
        node_id, block, inputs = obj.get("node_id"), obj.get("block"), obj.get("inputs")
        name = f"node {node_id!r:.60}"
        timeout = obj.get("timeout")
        fine = (
            self._expect(isinstance(node_id, str) and 0 < len(node_id) <= 200, name)
            and self._expect(obj.get("kind") in KINDS, f"{name}: kind")
            and self._expect(isinstance(block, dict), f"{name}: block")
            and self._expect(isinstance(inputs, dict), f"{name}: inputs")
            and self._expect(type(obj.get("concurrency")) is int, f"{name}: concurrency")
            and self._expect(isinstance(timeout, (int, float, type(None))), f"{name}: timeout")
            and self._expect(isinstance(obj.get("group"), (str, type(None))), f"{name}: group")
        )
        if not fine or not isinstance(inputs, dict) or not isinstance(block, dict):
            return None
        if obj["kind"] == "task":
            self.block(name, block)
        return NodePlan(
            str(node_id),
            obj["kind"],
            block,
            {str(handle): self.input(name, each) for handle, each in inputs.items()},
            obj["concurrency"],
            timeout,
            obj["group"],
        )

    def block(self, name: str, block: Mapping[str, Any]) -> None:
        for key in ("language", "package", "hash", "entry", "function"):
            self._expect(isinstance(block.get(key), str), f"{name}: block.{key}")
        if str(block.get("package", "")).startswith("python:"):
            return
        for key in ("entry", "dir"):
            path = PurePosixPath(str(block.get(key, ".")))
            inside = not path.is_absolute() and ".." not in path.parts
            self._expect(inside, f"{name}: block.{key} {str(path)!r} leads out of its package")

    def input(self, name: str, obj: object) -> InputPlan:
        if not self._expect(isinstance(obj, dict), f"{name}: an input"):
            return InputPlan()
        assert isinstance(obj, dict)
        return InputPlan(self.sources(obj.get("sources")), "value" in obj, obj.get("value"))

    def sources(self, obj: object) -> tuple[Source, ...]:
        fine = isinstance(obj, list) and all(
            isinstance(each, list)
            and len(each) == 2
            and isinstance(each[0], (str, type(None)))
            and isinstance(each[1], str)
            for each in obj
        )
        if not self._expect(fine, "a list of sources"):
            return ()
        assert isinstance(obj, list)
        return tuple(Source(node_id, handle) for node_id, handle in obj)


def _is_handle_def(obj: object) -> bool:
    return isinstance(obj, dict) and isinstance(obj.get("handle"), str)


def _all_sources(plan: Plan) -> list[Source]:
    found = [source for node in plan.nodes for each in node.inputs.values() for source in each.sources]
    return found + [source for sources in plan.outputs.values() for source in sources]
