"""What a plan's blocks need of executors, and which of it nobody offers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..resources import Resources
from .plan import FlowPlan, NodePlan, Plan

__all__ = ["tasks_of", "unoffered"]


def tasks_of(plan: Plan) -> Iterator[tuple[str, NodePlan]]:
    """Return the tasks that a flow runs, each with its path (``outer/inner`` in a subflow), once."""
    seen: set[str] = set()
    waiting: list[tuple[str, FlowPlan]] = [("", plan)]
    while waiting:
        path, flow = waiting.pop(0)
        for node in flow.nodes:
            for each in (node, *node.slots.values()):
                name = f"{path}{node.node_id}" + ("" if each is node else f"/{each.node_id}")
                if each.kind == "task":
                    yield name, each
                elif each.flow is not None and each.flow not in seen:
                    seen.add(each.flow)
                    waiting.append((f"{name}/", plan.flows[each.flow]))


def unoffered(block: dict[str, Any], offers: Sequence[Resources]) -> Resources | None:
    """Return what a block needs and the best of those that offer something doesn't have; None where one has it all."""
    needs = Resources.of(block.get("needs"))
    if not needs:
        return None
    lacks = [needs.lacks(each) for each in offers] or [needs]
    least = min(lacks, key=lambda each: len(each.amounts) + len(each.labels))
    return least or None
