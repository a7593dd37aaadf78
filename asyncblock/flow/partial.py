"""Parts of a flow: only some nodes and what they need, inputs of nodes given from outside. A plan in, a plan out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidFlow, Problem
from .plan import InputPlan, NodePlan, Plan, Source
from .report import did_you_mean

__all__ = ["is_confidential", "only_nodes", "upstream_of", "with_node_inputs"]


def only_nodes(plan: Plan, wanted: Collection[str]) -> Plan:
    """Return the plan with these nodes of its root flow and those that they need, transitively.

    Outputs that come from other nodes are left out. Raises ``InvalidFlow`` naming every node that isn't there.
    """
    _check_nodes(plan, wanted)
    kept = upstream_of(plan, wanted)
    outputs = {
        handle: found
        for handle, sources in plan.outputs.items()
        if (found := tuple(source for source in sources if source.node_id in kept))
    }
    return replace(plan, nodes=tuple(node for node in plan.nodes if node.node_id in kept), outputs=outputs)


def upstream_of(plan: Plan, wanted: Collection[str]) -> set[str]:
    """Return nodes and all that feed them."""
    kept: set[str] = set()
    todo = list(wanted)
    while todo:
        node_id = todo.pop()
        if node_id not in kept:
            kept.add(node_id)
            sources = (source for each in plan.node(node_id).inputs.values() for source in each.sources)
            todo += [source.node_id for source in sources if source.node_id is not None]
    return kept


def with_node_inputs(plan: Plan, given: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan with values for inputs of nodes: each stands for the handle's own value and for its sources.

    Raises ``InvalidFlow`` naming every node that isn't there. A handle that isn't declared is a warning.
    """
    _check_nodes(plan, given)
    warnings = list(plan.warnings)
    nodes: list[NodePlan] = []
    for node in plan.nodes:
        values = given.get(node.node_id)
        if values is None:
            nodes.append(node)
            continue
        defs = node.block.get("inputs_def")
        known = {*node.inputs, *(each["handle"] for each in defs or ())}
        inputs = dict(node.inputs)
        for handle, value in values.items():
            if defs is not None and handle not in known:
                words = f"node {node.node_id!r}: the block declares no input {handle!r}{did_you_mean(known)}"
                warnings.append(Problem(words, plan.path))
            else:
                inputs[handle] = InputPlan((), True, value)
        nodes.append(replace(node, inputs=inputs))
    return replace(plan, nodes=tuple(nodes), warnings=tuple(warnings))


def _check_nodes(plan: Plan, names: Collection[str]) -> None:
    known = {node.node_id for node in plan.nodes}
    missing = [name for name in names if name not in known]
    if missing:
        raise InvalidFlow(
            [Problem(f"the flow has no node {name!r}{did_you_mean(known)}", plan.path) for name in missing]
        )


def is_confidential(plan: Plan, source: Source) -> bool:
    """Tell whether a source's values are secrets: nothing of them is kept."""
    if source.node_id is None:
        return False
    for each in plan.node(source.node_id).block.get("outputs_def") or ():
        schema = each.get("json_schema")
        if each["handle"] == source.handle and isinstance(schema, Mapping):
            return schema.get("contentMediaType") in ("oomol/secret", "oomol/credential")
    return False
