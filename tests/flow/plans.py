"""Plans for tests of the pure machine, written short: ``node("sum", x="a.o", k=5)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncblock.flow.plan import FlowPlan, InputPlan, NodePlan, Plan, Source

__all__ = ["flow", "node", "plan"]


def node(node_id: str, *, concurrency: int = 1, kind: str = "task", **inputs: Any) -> NodePlan:
    """Make a node. ``"a.o"`` is a source, ``".x"`` an input of the flow, a list a merge, anything else a constant."""
    made = {}
    options = {key: inputs.pop(key) for key in ("flow", "slots", "weight", "timeout", "remembered") if key in inputs}
    inputs.update(options.pop("remembered", {}))
    for handle, given in inputs.items():
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list):
            sources = tuple(Source(name or None, out) for name, _, out in (each.partition(".") for each in given))
            made[handle] = InputPlan(sources)
        else:
            made[handle] = InputPlan((), True, given)
    block: dict[str, Any] = {"language": "python", "package": "p", "hash": "h", "entry": "e", "function": "f"}
    return NodePlan(node_id, kind, block if kind == "task" else {}, made, concurrency, **options)


def flow(
    *nodes: NodePlan, outputs: Mapping[str, str] | None = None, inputs: tuple[str, ...] = (), **more: Any
) -> FlowPlan:
    """Make a flow that nodes can run."""
    return FlowPlan("test", more.pop("path", None), nodes, _defs(inputs), _targets(outputs), **more)


def plan(*nodes: NodePlan, outputs: Mapping[str, str] | None = None, inputs: tuple[str, ...] = (), **more: Any) -> Plan:
    """Make a whole plan; ``flows`` and ``catalog`` are what its nodes and blocks refer to."""
    return Plan("test", None, nodes, _defs(inputs), _targets(outputs), **more)


def _defs(inputs: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    return tuple({"handle": name} for name in inputs)


def _targets(outputs: Mapping[str, str] | None) -> dict[str, tuple[Source, ...]]:
    targets: dict[str, tuple[Source, ...]] = {}
    for handle, source in (outputs or {}).items():
        name, _, out = source.partition(".")
        targets[handle] = (Source(name or None, out),)
    return targets
