"""Plans as JSON: how they are written, and how one that came from outside is checked, every problem at once.

A block that several nodes have is written once, in ``blocks``; such a node has ``block_at``, its place there, instead
of ``block``. So a plan of 10,000 nodes fits into a message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any, TypeVar

import orjson

from ..errors import InvalidFlow, Problem
from ..resources import LABELS, needs_problem
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

__all__ = ["plan_from_json", "plan_to_json"]

P = TypeVar("P", bound=AllFlows)

_DEFAULTS = {f.name: f.default for f in fields(NodePlan)}


def plan_to_json(plan: AllFlows) -> dict[str, Any]:
    """Return a plan as JSON-ready data. What has its default isn't written."""
    blocks = _Blocks(plan)
    made: dict[str, Any] = {"version": 1, **_flow_to_json(plan, blocks)}
    if plan.flows:
        made["flows"] = {key: _flow_to_json(flow, blocks) for key, flow in plan.flows.items()}
    if plan.catalog:
        made["catalog"] = {key: _node_to_json(entry, blocks) for key, entry in plan.catalog.items()}
    if plan.packages:
        made["packages"] = {scope: dict(names) for scope, names in plan.packages.items()}
    if blocks.shared:
        made["blocks"] = blocks.shared
    return made


class _Blocks:
    """The blocks that several nodes of a plan have."""

    def __init__(self, plan: AllFlows) -> None:
        self.shared: list[dict[str, Any]] = []
        self._places: dict[bytes, int] = {}
        self._counts = Counter(_content(node) for node in _all_nodes(plan))

    def written(self, node: NodePlan) -> dict[str, Any]:
        """Return how a node's block is written."""
        content = _content(node)
        if self._counts[content] < 2:
            return {"block": dict(node.block)}
        if content not in self._places:
            self._places[content] = len(self.shared)
            self.shared.append(dict(node.block))
        return {"block_at": self._places[content]}


def _content(node: NodePlan) -> bytes:
    return orjson.dumps(dict(node.block))


def _all_nodes(plan: AllFlows) -> Iterator[NodePlan]:
    waiting = [*plan.nodes, *(node for flow in plan.flows.values() for node in flow.nodes), *plan.catalog.values()]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.slots.values())


def _flow_to_json(flow: FlowPlan, blocks: _Blocks) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": flow.title,
        "path": flow.path,
        "inputs_def": [dict(each) for each in flow.inputs_def],
        "nodes": [_node_to_json(node, blocks) for node in flow.nodes],
        "outputs": {handle: [s.to_json() for s in sources] for handle, sources in flow.outputs.items()},
    }
    if flow.outputs_def:
        made["outputs_def"] = [dict(each) for each in flow.outputs_def]
    if flow.description is not None:
        made["description"] = flow.description
    if flow.forward_previews:
        made["forward_previews"] = list(flow.forward_previews)
    if flow.scope:
        made["scope"] = flow.scope
    return made


def _node_to_json(node: NodePlan, blocks: _Blocks) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for handle, each in node.inputs.items():
        spec: dict[str, Any] = {"sources": [source.to_json() for source in each.sources]}
        if each.has_value:
            spec["value"] = each.value
        if each.optional:
            spec["optional"] = True
        inputs[handle] = spec
    made: dict[str, Any] = {"node_id": node.node_id, "kind": node.kind, **blocks.written(node), "inputs": inputs}
    for name in ("concurrency", "timeout", "group", "flow", "weight", "roams"):
        value = getattr(node, name)
        if value != _DEFAULTS[name]:
            made[name] = value
    if node.slots:
        made["slots"] = {slot: _node_to_json(each, blocks) for slot, each in node.slots.items()}
    return made


def plan_from_json(obj: object, make: Callable[..., P]) -> P:
    """Read a plan from outside, made by ``make``. Raises ``InvalidFlow`` with all that is wrong with its structure."""
    reader = _Reader()
    plan = reader.plan(obj, make)
    if plan is None or reader.problems:
        raise InvalidFlow(reader.problems)
    return plan


class _Reader:
    """Checks untrusted JSON and makes a plan of it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._nodes = 0
        self._blocks: list[Any] = []

    def _expect(self, condition: bool, words: str) -> bool:
        if not condition:
            self.problems.append(Problem(f"malformed plan: {words}"))
        return condition

    def plan(self, obj: object, make: Callable[..., P]) -> P | None:
        if not isinstance(obj, dict):
            self._expect(False, "it isn't an object")
            return None
        flows, catalog, packages = obj.get("flows", {}), obj.get("catalog", {}), obj.get("packages", {})
        fine = (
            self._expect(obj.get("version") == 1, "unknown version")
            and self._expect(isinstance(flows, dict), "flows")
            and self._expect(isinstance(catalog, dict) and len(catalog) <= MAX_NODES, "catalog")
            and self._expect(
                isinstance(packages, dict) and all(isinstance(names, dict) for names in packages.values()), "packages"
            )
            and self._expect(isinstance(obj.get("blocks", []), list), "blocks")
        )
        self._blocks = obj.get("blocks", []) if fine else []
        root = self.flow("", obj)
        if not fine or root is None:
            return None
        made = {str(key): flow for key, each in flows.items() if (flow := self.flow(f"flow {key!r}: ", each))}
        plan = make(
            **{f.name: getattr(root, f.name) for f in fields(FlowPlan)},
            flows=made,
            catalog={key: n for key, each in catalog.items() if (n := self.node("catalog: ", each, entry=True))},
            packages={str(scope): {str(k): str(v) for k, v in names.items()} for scope, names in packages.items()},
        )
        self._expect(self._nodes <= MAX_NODES, f"more than {MAX_NODES} nodes")
        self._check_references(plan, plan)
        for each in made.values():
            self._check_references(each, plan)
        for key, entry in plan.catalog.items():
            self._expect(entry.kind != "subflow" or entry.flow in made or "refused" in entry.block, f"catalog {key!r}")
        return plan

    def _check_references(self, flow: FlowPlan, plan: AllFlows) -> None:
        ids = {node.node_id for node in flow.nodes}
        names = {each["handle"] for each in flow.inputs_def}
        for source in _all_sources(flow):
            # A slotflow's further inputs are named by those who provide it.
            known = source.node_id in ids if source.node_id is not None else source.handle in names
            self._expect(known, f"a source names {source.node_id or 'the flow input'} {source.handle}")
        for node in flow.nodes:
            for each in (node, *node.slots.values()):
                if each.kind == "subflow":
                    self._expect(each.flow in plan.flows, f"node {node.node_id!r}: there is no flow {each.flow!r}")
            for handle in node.inputs:
                slot, further, _ = handle.partition(REMEMBERED)
                if further and node.kind == "subflow":
                    self._expect(slot in node.slots, f"node {node.node_id!r}: input {handle!r}")

    def flow(self, where: str, obj: object) -> FlowPlan | None:
        if not isinstance(obj, dict):
            self._expect(False, f"{where}it isn't an object")
            return None
        nodes, outputs = obj.get("nodes"), obj.get("outputs")
        inputs_def, outputs_def = obj.get("inputs_def"), obj.get("outputs_def", [])
        forward, description = obj.get("forward_previews", []), obj.get("description")
        fine = (
            self._expect(isinstance(obj.get("title"), str), f"{where}title")
            and self._expect(isinstance(obj.get("path"), (str, type(None))), f"{where}path")
            and self._expect(isinstance(nodes, list) and len(nodes) <= MAX_NODES, f"{where}1 to {MAX_NODES} nodes")
            and self._expect(bool(nodes) or bool(where), f"1 to {MAX_NODES} nodes")
            and self._expect(isinstance(outputs, dict), f"{where}outputs")
            and self._expect(_are_handle_defs(inputs_def), f"{where}inputs_def")
            and self._expect(_are_handle_defs(outputs_def), f"{where}outputs_def")
            and self._expect(isinstance(forward, list) and all(isinstance(n, str) for n in forward), f"{where}forward")
            and self._expect(isinstance(description, (str, type(None))), f"{where}description")
            and self._expect(isinstance(obj.get("scope", ""), str), f"{where}scope")
        )
        if not fine:
            return None
        made = tuple(node for each in nodes or () if (node := self.node(where, each)) is not None)
        self._nodes += len(made)
        self._expect(len({node.node_id for node in made}) == len(made), f"{where}a node id stands twice")
        return FlowPlan(
            obj["title"],
            obj["path"],
            made,
            tuple(inputs_def or ()),
            {str(handle): self.sources(each) for handle, each in (outputs or {}).items()},
            tuple(outputs_def),
            description,
            tuple(forward),
            obj.get("scope", ""),
        )

    def node(self, where: str, obj: object, *, entry: bool = False) -> NodePlan | None:
        if not isinstance(obj, dict):
            self._expect(False, f"{where}a node isn't an object")
            return None
        node_id, block, inputs, slots = obj.get("node_id"), self.block_of(obj), obj.get("inputs"), obj.get("slots", {})
        name = f"{where}node {node_id!r:.60}"
        timeout, weight = obj.get("timeout"), obj.get("weight", 1.0)
        fine = (
            self._expect(isinstance(node_id, str) and 0 < len(node_id) <= MAX_NODE_ID, name)
            and self._expect(obj.get("kind") in KINDS, f"{name}: kind")
            and self._expect(isinstance(block, dict), f"{name}: block")
            and self._expect(isinstance(inputs, dict), f"{name}: inputs")
            and self._expect(isinstance(slots, dict), f"{name}: slots")
            and self._expect(type(obj.get("concurrency", 1)) is int, f"{name}: concurrency")
            and self._expect(_is_number(timeout) or timeout is None, f"{name}: timeout")
            and self._expect(_is_number(weight) and 0 <= weight <= MAX_WEIGHT, f"{name}: weight")
            and self._expect(isinstance(obj.get("group"), (str, type(None))), f"{name}: group")
            and self._expect(isinstance(obj.get("flow"), (str, type(None))), f"{name}: flow")
            and self._expect(isinstance(obj.get("roams", False), bool), f"{name}: roams")
        )
        if not fine or not isinstance(inputs, dict) or not isinstance(block, dict):
            return None
        if obj["kind"] in ("task", "service") and not (entry and "refused" in block):
            self.block(name, block)
        if obj["kind"] == "condition":
            self._expect(_is_condition(block), f"{name}: block of a condition")
        providers = {str(slot): self.node(f"{name}, slot ", each) for slot, each in slots.items()}
        return NodePlan(
            str(node_id),
            obj["kind"],
            block,
            {str(handle): self.input(name, each) for handle, each in inputs.items()},
            obj.get("concurrency", 1),
            timeout,
            obj.get("group"),
            obj.get("flow"),
            {slot: each for slot, each in providers.items() if each is not None},
            weight,
            obj.get("roams", False),
        )

    def block_of(self, obj: Mapping[str, Any]) -> Any:
        place = obj.get("block_at")
        if type(place) is not int:
            return obj.get("block")
        return self._blocks[place] if 0 <= place < len(self._blocks) else None

    def block(self, name: str, block: Mapping[str, Any]) -> None:
        for key in ("language", "package", "hash", "entry", "function"):
            self._expect(isinstance(block.get(key), str), f"{name}: block.{key}")
        self._expect(_is_retries(block.get("retries")), f"{name}: block.retries")
        self._expect(_is_cache(block.get("cache")), f"{name}: block.cache")
        self._expect(isinstance(block.get("recompute", False), bool), f"{name}: block.recompute")
        self._expect(_is_needs(block.get("needs")), f"{name}: block.needs")
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
        return InputPlan(
            self.sources(obj.get("sources")), "value" in obj, obj.get("value"), obj.get("optional") is True
        )

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


def _is_condition(block: Mapping[str, Any]) -> bool:
    cases, default = block.get("cases"), block.get("default")
    named = [*(cases if isinstance(cases, list) else [None]), *([] if default is None else [default])]
    return all(
        isinstance(each, dict)
        and isinstance(each.get("handle"), str)
        and isinstance(each.get("expressions", []), list)
        and all(isinstance(expression, dict) for expression in each.get("expressions", []))
        for each in named
    )


def _is_retries(obj: object) -> bool:
    """Tell whether something is a retry policy, or none; who needs more has another problem."""
    if not isinstance(obj, dict):
        return True
    retries, backoff, errors = obj.get("retries", 0), obj.get("backoff", 1.0), obj.get("not_retried", [])
    return (
        type(retries) is int
        and 0 <= retries <= 1000
        and _is_number(backoff)
        and 0 <= backoff <= 86400
        and isinstance(errors, list)
        and all(isinstance(each, str) for each in errors)
    )


def _is_cache(obj: object) -> bool:
    """Tell whether something says how a block's results are cached, or that they aren't."""
    if not isinstance(obj, dict):
        return obj is None or isinstance(obj, bool)
    ttl = obj.get("ttl")
    fine = ttl is None or (_is_number(ttl) and ttl > 0)
    retried = obj.get("retry_of", "none")
    fine = fine and isinstance(retried, str) and retried.isalnum() and isinstance(obj.get("keep", True), bool)
    return fine and isinstance(obj.get("version", ""), str) and isinstance(obj.get("refresh", False), bool)


def _is_needs(obj: object) -> bool:
    """Tell whether something says what a block needs: numbers, as texts with units are for people."""
    if obj is None:
        return True
    return (
        isinstance(obj, dict)
        and needs_problem(obj) is None
        and all(name == LABELS or _is_number(each) for name, each in obj.items())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_handle_defs(obj: object) -> bool:
    return isinstance(obj, list) and all(isinstance(each, dict) and isinstance(each.get("handle"), str) for each in obj)


def _all_sources(flow: FlowPlan) -> list[Source]:
    found = [source for node in flow.nodes for each in node.inputs.values() for source in each.sources]
    return found + [source for sources in flow.outputs.values() for source in sources]
