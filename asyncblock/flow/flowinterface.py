"""What those who refer to a flow see of it: inputs, outputs and slots, known before its nodes are read.

By that a subflow can refer to itself, and each file is read once however often it is referred to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .manifests import Package
from .report import Report, read_handles
from .yamlfile import Map

__all__ = ["FlowInterface", "FlowSlot", "read_interface"]


@dataclass(slots=True)
class FlowSlot:
    """A slot of a flow: what it is given, and what it must put out."""

    node_id: str
    inputs: list[str]
    outputs: list[str] | None
    line: int


@dataclass(slots=True)
class FlowInterface:
    """A flow seen from outside."""

    key: str | None
    """Its key in the plan; None is the root."""
    manifest: Map
    file: Path
    package: Package
    inputs_def: list[dict[str, Any]] = field(default_factory=list)
    outputs_def: list[dict[str, Any]] = field(default_factory=list)
    outputs: set[str] = field(default_factory=set)
    slots: dict[str, FlowSlot] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where relative references start."""
        return self.file.parent


def read_interface(
    report: Report, key: str | None, manifest: Map, file: Path, package: Package, further: Sequence[str] = ()
) -> FlowInterface:
    """Read what a flow shows. ``further`` are inputs that it gets from a slot without declaring them."""
    interface = FlowInterface(key, manifest, file, package)
    interface.inputs_def = read_handles(report, manifest, "inputs_def", file)
    known = {each["handle"] for each in interface.inputs_def}
    interface.inputs_def += [{"handle": name} for name in further if name not in known]
    interface.outputs_def = read_handles(report, manifest, "outputs_def", file)
    interface.outputs = {each["handle"] for each in interface.outputs_def}
    outputs_from = manifest.get("outputs_from")
    for each in outputs_from if isinstance(outputs_from, list) else ():
        if isinstance(each, Map) and isinstance(each.get("handle"), str):
            interface.outputs.add(each["handle"])
    nodes = manifest.get("nodes")
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, Map) and isinstance(node.get("node_id"), str) and "slot" in node and not node.get("ignore"):
            interface.slots[node["node_id"]] = _slot(node)
    return interface


def _slot(node: Map) -> FlowSlot:
    slot = node["slot"]
    defs = slot if isinstance(slot, Map) else Map(node.line)
    inputs = [*_names(defs.get("inputs_def")), *_names(node.get("inputs_def")), *_names(node.get("inputs_from"))]
    outputs = _names(defs.get("outputs_def")) if "outputs_def" in defs else None
    return FlowSlot(node["node_id"], list(dict.fromkeys(inputs)), outputs, node.line)


def _names(defs: object) -> list[str]:
    if not isinstance(defs, list):
        return []
    return [each["handle"] for each in defs if isinstance(each, Map) and isinstance(each.get("handle"), str)]
