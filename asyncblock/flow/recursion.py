"""Flows that certainly call themselves for ever: through nodes that begin whatever comes. Others end at a depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .plan import FlowPlan

__all__ = ["endless"]


def endless(flows: Mapping[str, FlowPlan]) -> Iterator[tuple[str, str]]:
    """Return the nodes, each with its flow, that lead back to their flow without waiting for a value."""
    edges = {
        key: [
            (node.node_id, node.flow)
            for node in flow.nodes
            if node.flow is not None and all(each.has_value or each.optional for each in node.inputs.values())
        ]
        for key, flow in flows.items()
    }
    for key, found in edges.items():
        for node_id, target in found:
            if key in _reached(edges, target):
                yield key, node_id


def _reached(edges: Mapping[str, list[tuple[str, str]]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting.extend(target for _, target in edges.get(key, ()))
    return reached
