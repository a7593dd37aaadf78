"""Parts of a flow from the command line: ``--nodes``, ``--nodes-inputs``, and what nodes had last (``--use-cache``).

What is kept is the value of each connected input of each node's last job, by flow file, in the state directory. Of
values that live in a process (var) only DataFrames are kept, where the flow says ``serialize_for_cache``; secrets and
binary values never are. What makes the others runs again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import typer

from ..client import Session
from ..context.dataframes import is_kept, retain
from ..context.places import Places
from ..errors import AsyncBlockError
from ..flow.partial import is_confidential, only_nodes, with_node_inputs
from ..flow.plan import NodePlan, Plan
from ..link import Link
from ..server.journal.datadir import default_data_dir
from ..server.values import value_in
from ..store import StoreKey
from ..wire.bodies import BodyRef
from .inputs import parse_object

__all__ = ["Part", "keep_inputs", "kept_inputs"]

_MARKS = (b'"JobCreated"', b'"FlowJobStarted"', b'"SessionFinished"')
"""What a journal line holds that has to be read."""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a flow is to be run, and with which inputs of its nodes."""

    nodes: tuple[str, ...] = ()
    """Empty for all."""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    use_cache: bool = False

    @classmethod
    def read(cls, nodes: str | None, inputs: str | None, *, use_cache: bool = False) -> Part:
        """Read the options."""
        given = parse_object(inputs, "--nodes-inputs")
        for name, values in given.items():
            if not isinstance(values, dict):
                raise typer.BadParameter(f"node {name!r}: its inputs are an object", param_hint="--nodes-inputs")
        names = tuple(name.strip() for name in (nodes or "").split(",") if name.strip())
        return cls(names, given, use_cache)

    def shape(self, plan: Plan) -> Plan:
        """Return the part of a plan that is to be run."""
        if self.use_cache and self.nodes:
            kept = kept_inputs(plan)
            complete = [name for name in self.nodes if name in kept and _is_complete(plan, name, kept[name])]
            plan = with_node_inputs(plan, {name: kept[name] for name in complete})
        if self.inputs:
            plan = with_node_inputs(plan, self.inputs)
        return only_nodes(plan, self.nodes) if self.nodes else plan


def _is_complete(plan: Plan, node_id: str, values: dict[str, Any]) -> bool:
    try:
        node = plan.node(node_id)
    except KeyError:
        return False
    return all(handle in values and _is_there(values[handle]) for handle, each in node.inputs.items() if each.sources)


def _is_there(value: Any) -> bool:
    """Tell whether a value can be had: a var value was left in a file, and that is still there."""
    key = StoreKey.match(value)
    return key is None or (key.cache is not None and is_kept(Places().values_dir(), key.cache))


def _file_of(plan: Plan) -> Path:
    name = hashlib.sha256(str(plan.path).encode()).hexdigest()[:24]
    return default_data_dir() / "inputs" / f"{name}.json"


def kept_inputs(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what the nodes of a flow's file had last, by node and handle."""
    try:
        found = orjson.loads(_file_of(plan).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    nodes = found.get("nodes") if isinstance(found, dict) else None
    return nodes if isinstance(nodes, dict) else {}


async def keep_inputs(link: Link, session: Session, plan: Plan, inputs: dict[str, Any]) -> None:
    """Keep what each node's last job had, from the session's journal. What was kept of other nodes stays."""
    last = await _last_jobs(link, session)
    kept = kept_inputs(plan)
    before = _cached(kept)
    known = {node.node_id: node for node in plan.nodes}
    for node_id, refs in last.items():
        if node_id in known:
            values = await _values(link, session, plan, known[node_id], refs, inputs)
            kept[node_id] = {**kept.get(node_id, {}), **values}
    file = _file_of(plan)
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({"path": plan.path, "nodes": kept}))
    fresh.replace(file)
    # The file first: what it refers to is there at any time.
    retain(Places().values_dir(), session.session_id, _cached(kept), before)


def _cached(nodes: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of the files that values of nodes are kept in."""
    keys = (StoreKey.match(value) for values in nodes.values() for value in values.values())
    return {key.cache for key in keys if key is not None and key.cache is not None}


async def _last_jobs(link: Link, session: Session) -> dict[str, dict[str, Any]]:
    """Return the input references of the last job of each node of the root flow."""
    last: dict[str, dict[str, Any]] = {}
    offset, end = 0, False
    while not end:
        page = await link.read(session.session_id, offset)
        for _, lines in page.rows:
            for line in lines:
                if not any(mark in line for mark in _MARKS):
                    continue
                obj = orjson.loads(line)
                end = end or obj.get("type") == "SessionFinished"
                created = obj.get("type") in ("JobCreated", "FlowJobStarted")
                if created and obj.get("flow") is None and obj.get("caller") is None:
                    last[obj["node_id"]] = obj["inputs"]
        offset, end = page.next, end or page.end
    return last


async def _values(
    link: Link, session: Session, plan: Plan, node: NodePlan, refs: dict[str, Any], inputs: dict[str, Any]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for handle, ref in refs.items():
        sources = node.inputs[handle].sources if handle in node.inputs else ()
        hidden = handle in node.block.get("inputs_def_patch", {}) or any(is_confidential(plan, s) for s in sources)
        if not sources or hidden:
            continue
        if ref[0] == "input":
            values[handle] = plan.input_values(inputs).get(ref[1])
        elif ref[0] == "record":
            found, there = await _record(link, session, ref)
            if there:
                values[handle] = found
    return values


async def _record(link: Link, session: Session, ref: list[Any]) -> tuple[Any, bool]:
    """Return the value of a record's reference, and whether it could be had as JSON."""
    _, offset, line, index, handle = ref
    page = await link.read(session.session_id, offset)
    obj = orjson.loads(next(lines for place, lines in page.rows if place == offset)[line])
    found = value_in(obj["records"][index], handle, obj["link"])
    if found.body is None:
        return found.value, True
    body = BodyRef.from_json(found.body)
    if body is None or body.encoding == "raw":
        return None, False
    try:
        return await session.fetch(body), True
    except AsyncBlockError:
        return None, False
