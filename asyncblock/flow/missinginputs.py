"""Inputs that nothing feeds: their node never runs. A warning, as long as others do and nobody asked for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .plan import FlowPlan, NodePlan

__all__ = ["MissingInput", "is_pointless", "still_missing"]


@dataclass(frozen=True, slots=True)
class MissingInput:
    """An input without value, source or default."""

    flow: str | None
    node_id: str
    handle: str
    file: str
    line: int

    @property
    def words(self) -> str:
        """Say it as a problem."""
        return (
            f"node {self.node_id!r}: nothing feeds its input {self.handle!r}; "
            "give it a value or a source in 'inputs_from'"
        )

    @property
    def warning(self) -> str:
        """Say it as a warning."""
        return f"{self.words}: the node won't run"


def still_missing(plan: FlowPlan, found: Iterable[MissingInput]) -> list[MissingInput]:
    """Leave out those that were fed meanwhile, or whose node isn't in the plan any more."""
    nodes = {node.node_id: node for node in plan.nodes}
    return [each for each in found if each.flow is not None or _is_missing(nodes.get(each.node_id), each.handle)]


def _is_missing(node: NodePlan | None, handle: str) -> bool:
    if node is None or handle not in node.inputs:
        return False
    given = node.inputs[handle]
    return not given.sources and not given.has_value


def is_pointless(plan: FlowPlan) -> bool:
    """Tell whether no node of the root flow can ever begin."""
    return not any(_begins(node) for node in plan.nodes)


def _begins(node: NodePlan) -> bool:
    return all(
        any(source.node_id is None for source in each.sources) if each.sources else each.has_value
        for each in node.inputs.values()
        if not each.optional
    )
