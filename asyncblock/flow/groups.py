"""Groups: nodes joined by var edges, transitively, run on one executor, because their values live in its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .plan import NodePlan, Plan

__all__ = ["with_groups"]

VAR = "oomol/var"


def with_groups(plan: Plan, complain: Callable[[str, str], None]) -> Plan:
    """Return the plan with its groups; ``complain(node_id, message)`` hears of var edges that can't work."""
    parent: dict[str, str] = {node.node_id: node.node_id for node in plan.nodes}

    def find(node_id: str) -> str:
        while parent[node_id] != node_id:
            parent[node_id] = parent[parent[node_id]]
            node_id = parent[node_id]
        return node_id

    joined: set[str] = set()
    nodes = {node.node_id: node for node in plan.nodes}
    for node in plan.nodes:
        for handle, each in node.inputs.items():
            for source in each.sources:
                producer = nodes.get(source.node_id or "")
                if producer is not None and _is_var(producer, "outputs_def", source.handle):
                    _check_spawn(producer, node, handle, complain)
                    joined |= {producer.node_id, node.node_id}
                    parent[find(node.node_id)] = find(producer.node_id)
    return replace(
        plan,
        nodes=tuple(replace(n, group=find(n.node_id)) if n.node_id in joined else n for n in plan.nodes),
    )


def _is_var(node: NodePlan, key: str, handle: str) -> bool:
    defs: Any = node.block.get(key)
    for each in defs or ():
        if isinstance(each, Mapping) and each.get("handle") == handle:
            schema = each.get("json_schema")
            return isinstance(schema, Mapping) and schema.get("contentMediaType") == VAR
    return False


def _check_spawn(producer: NodePlan, consumer: NodePlan, handle: str, complain: Callable[[str, str], None]) -> None:
    for node in (producer, consumer):
        if node.block.get("spawn"):
            complain(
                node.node_id,
                f"node {node.node_id!r} has a process of its own (spawn: true) and can't share the var value of "
                f"input {handle!r} with {(consumer if node is producer else producer).node_id!r}",
            )
