"""Which results are cached: what a manifest says of it, and what a run wants above that. A plan in, a plan out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from ..errors import InvalidFlow, Problem
from .plan import FlowPlan, NodePlan, Plan
from .report import did_you_mean

__all__ = ["cache_of", "cache_problem", "refreshed", "seconds_of", "with_cache", "without_cache"]

_KEYS: Final = ("ttl", "version")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_ALWAYS: Final[Mapping[str, Any]] = {"ttl": None, "version": ""}


def cache_problem(found: object) -> str | None:
    """Say what is wrong with a block's ``cache``; None when nothing is."""
    if isinstance(found, bool) or found is None:
        return None
    if not isinstance(found, Mapping):
        return f"'cache' is true, false, or a mapping with {' and '.join(_KEYS)}, not {found!r}"
    for key in found:
        if key not in _KEYS:
            return f"'cache' has no {key!r}{did_you_mean(_KEYS)}"
    ttl = found.get("ttl")
    if ttl is not None and seconds_of(ttl) is None:
        return f"'ttl' in 'cache' is a time above 0: seconds, or 90s, 15m, 12h, 30d, 2w; not {ttl!r}"
    version = found.get("version", "")
    if isinstance(version, bool) or not isinstance(version, (str, int, float)):
        return f"'version' in 'cache' is a text or a number, not {version!r}"
    return None


def cache_of(found: object) -> dict[str, Any] | bool | None:
    """Return a block's ``cache`` as it stands in a plan: what is right by ``cache_problem``."""
    if isinstance(found, Mapping):
        ttl = found.get("ttl")
        return {"ttl": None if ttl is None else seconds_of(ttl), "version": str(found.get("version", ""))}
    return dict(_ALWAYS) if found is True else found if found is False else None


def seconds_of(text: object) -> float | None:
    """Return the seconds that a time says; None for what is none."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text) if 0 < text < float("inf") else None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip()) if isinstance(text, str) else None
    return None if match is None or not float(match[1]) else float(match[1]) * _UNITS[match[2]]


def with_cache(plan: Plan) -> Plan:
    """Return the plan with a cache for each block that doesn't refuse it.

    Not for shell commands, of which nobody can tell what they read, unless they ask for it; services have none.
    """

    def wanted(node: NodePlan) -> NodePlan:
        block = node.block
        if node.kind != "task" or block.get("cache") is not None or block.get("language") != "python":
            return node
        return node if block.get("package") == "python:asyncblock.executor.shell" else _cached(node, _ALWAYS)

    return _each(plan, wanted)


def without_cache(plan: Plan) -> Plan:
    """Return the plan without any cache."""
    return _each(plan, lambda node: node if "cache" not in node.block else _cached(node, False))


def refreshed(plan: Plan, names: Collection[str]) -> Plan:
    """Return the plan in which nodes of the root flow, and what runs in them, run and are cached anew.

    Raises ``InvalidFlow`` naming every node that isn't there.
    """
    known = {node.node_id for node in plan.nodes}
    if missing := [name for name in names if name not in known]:
        words = (f"the flow has no node {name!r}{did_you_mean(known)}" for name in missing)
        raise InvalidFlow([Problem(each, plan.path) for each in words])
    flows = plan.flows_within(map(plan.node, names))
    nodes = tuple(_all(node, _again) if node.node_id in names else node for node in plan.nodes)
    changed = {key: _flow(flow, _again) if key in flows else flow for key, flow in plan.flows.items()}
    return replace(plan, nodes=nodes, flows=changed)


Change = Callable[[NodePlan], NodePlan]


def _again(node: NodePlan) -> NodePlan:
    if node.kind != "task" or node.block.get("language") != "python":
        return node
    cache = node.block.get("cache")
    return _cached(node, {**(cache if isinstance(cache, Mapping) else _ALWAYS), "refresh": True})


def _cached(node: NodePlan, cache: Mapping[str, Any] | bool) -> NodePlan:
    return replace(node, block={**node.block, "cache": dict(cache) if isinstance(cache, Mapping) else cache})


def _each(plan: Plan, change: Change) -> Plan:
    flows = {key: _flow(flow, change) for key, flow in plan.flows.items()}
    catalog = {key: _all(node, change) for key, node in plan.catalog.items()}
    nodes = tuple(_all(node, change) for node in plan.nodes)
    return replace(plan, nodes=nodes, flows=flows, catalog=catalog)


def _flow(flow: FlowPlan, change: Change) -> FlowPlan:
    return replace(flow, nodes=tuple(_all(node, change) for node in flow.nodes))


def _all(node: NodePlan, change: Change) -> NodePlan:
    slots = {name: _all(each, change) for name, each in node.slots.items()}
    return change(replace(node, slots=slots) if slots else node)
