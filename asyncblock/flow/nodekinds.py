"""What each node of a flow is: a task, a service's block, a condition or a slot. Subflows are in ``subflownodes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from .cases import read_cases
from .flowinterface import FlowInterface
from .manifests import BlockManifest, Manifests
from .missinginputs import MissingInput
from .plan import InputPlan, NodePlan
from .report import read_handles
from .yamlfile import Map

__all__ = ["NOTHING", "Declared", "Finder", "NodeKinds"]


class Finder(Protocol):
    """How a flow's nodes find what they refer to. Each method reports what is wrong and then returns None."""

    manifests: Manifests
    places: dict[tuple[str | None, str], tuple[Path, int]]
    missing_inputs: list[MissingInput]
    strict: bool
    """Whether a handle that a block doesn't declare is a problem even where it does no harm."""

    def task(self, who: str, interface: FlowInterface, reference: str, line: int) -> BlockManifest | None:
        """Find a block."""
        ...

    def service(self, who: str, interface: FlowInterface, reference: str, line: int) -> BlockManifest | None:
        """Find a block of a service."""
        ...

    def subflow(
        self, who: str, interface: FlowInterface, kind: str, reference: object, line: int, further: Sequence[str] = ()
    ) -> FlowInterface | None:
        """Find a subflow or a slotflow, by reference or inline."""
        ...


@dataclass(slots=True)
class Declared:
    """A node that was read, before its connections are."""

    kind: str
    block: dict[str, Any]
    inputs_def: list[dict[str, Any]] | None
    flow: str | None = None
    slots: dict[str, NodePlan] = field(default_factory=dict)
    further: dict[str, InputPlan | Map] = field(default_factory=dict)
    """Inputs that slots take beside: what feeds them, or what they hold."""


NOTHING: Final = NodePlan("", "condition", {"cases": [], "default": None})
"""Stands for what nobody provides: none of its cases ever holds."""

Found = tuple[Declared, set[str] | None]
"""A node, and its output handles: None where anything goes."""


class NodeKinds:
    """Reads what the nodes of one flow are; problems go to the finder's report."""

    def __init__(self, finder: Finder, interface: FlowInterface) -> None:
        self.finder = finder
        self.interface = interface
        self.report = finder.manifests.report

    def problem(self, message: str, line: int | None) -> None:
        """Add a problem of the flow's file."""
        self.report.problem(message, self.interface.file, line)

    def task(self, who: str, node: Map) -> Found | None:
        """Read a task or a service's block."""
        if "service" in node:
            reference, line = node["service"], node.line_of("service")
            if not isinstance(reference, str):
                self.problem(f"{who}: 'service' is a reference: package::service::block", line)
                return None
            block, kind = self.finder.service(who, self.interface, reference, line), "task"
        else:
            block, kind = self.block(who, node), "task"
        if block is None:
            return None
        if "service" in node or isinstance(node.get("task"), str):
            self.add_additional(node, block)
        if "needs" in node:
            block.spec = dict(block.spec)
            self.finder.manifests.needs(who, node, self.interface.file, block.spec)
        declared = None if block.outputs_def is None else {each["handle"] for each in block.outputs_def}
        return Declared(kind, block.to_plan(), block.inputs_def), declared

    def block(self, who: str, node: Map) -> BlockManifest | None:
        """Return the block of a task, by reference or inline."""
        task, line = node["task"], node.line_of("task")
        if isinstance(task, str):
            found = self.finder.task(who, self.interface, task, line)
            # The additional handles of a node are its own.
            return None if found is None else replace(found)
        if isinstance(task, Map):
            return self.finder.manifests.block(who, task, self.interface.file)
        self.problem(f"{who}: 'task' is a reference or a mapping", line)
        return None

    def add_additional(self, node: Map, block: BlockManifest) -> None:
        """Add the node's own handles where the block allows additional ones."""
        inputs = read_handles(self.report, node, "inputs_def", self.interface.file)
        outputs = read_handles(self.report, node, "outputs_def", self.interface.file)
        if block.additional_inputs:
            block.inputs_def = _extended(block.inputs_def or [], inputs)
        if block.additional_outputs and block.outputs_def is not None:
            block.outputs_def = _extended(block.outputs_def, outputs)

    def condition(self, who: str, node: Map) -> Found | None:
        """Read a condition."""
        inputs_def = read_handles(self.report, node, "inputs_def", self.interface.file)
        found = read_cases(self.report, who, node, inputs_def, self.interface.file)
        return None if found is None else (Declared("condition", found[0], inputs_def), found[1])

    def slot(self, who: str, node: Map) -> Found | None:
        """Read a slot."""
        slot = node["slot"]
        if not isinstance(slot, Map):
            self.problem(f"{who}: 'slot' is a mapping of inputs_def and outputs_def", node.line_of("slot"))
            return None
        if self.interface.key is None:
            words = f"{who}: nothing provides for this slot; name it in the 'slots' of a node that runs this flow"
            self.report.leftover(words, "it puts nothing out", self.interface.file, node.line)
            if not self.report.compat:
                return None
        inputs_def = _extended(
            read_handles(self.report, slot, "inputs_def", self.interface.file),
            read_handles(self.report, node, "inputs_def", self.interface.file),
        )
        outputs_def = read_handles(self.report, slot, "outputs_def", self.interface.file)
        block = {"inputs_def": inputs_def, "outputs_def": outputs_def}
        if self.interface.key is None:
            return Declared("condition", dict(NOTHING.block), inputs_def if "inputs_def" in slot else None), None
        declared = {each["handle"] for each in outputs_def} if "outputs_def" in slot else None
        return Declared("slot", block, inputs_def if "inputs_def" in slot else None), declared


def _extended(defs: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {each["handle"] for each in defs}
    return [*defs, *({**each, "is_additional": True} for each in own if each["handle"] not in known)]
