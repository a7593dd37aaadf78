"""Nodes that run subflows, and what they provide for the subflows' slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .flowconnections import defaults
from .flowinterface import FlowInterface
from .nodekinds import NOTHING, Declared, Found, NodeKinds
from .plan import REMEMBERED, NodePlan
from .report import did_you_mean, read_handles
from .yamlfile import Map

__all__ = ["SubflowNodes"]


class SubflowNodes:
    """Reads the subflow nodes of one flow."""

    def __init__(self, kinds: NodeKinds) -> None:
        self._kinds = kinds

    def read(self, who: str, node: Map) -> Found | None:
        """Read a subflow's node."""
        interface = self._kinds.finder.subflow(
            who, self._kinds.interface, "subflow", node["subflow"], node.line_of("subflow")
        )
        if interface is None:
            return None
        made = Declared("subflow", {"inputs_def": interface.inputs_def}, interface.inputs_def, interface.key)
        given = node.get("slots")
        if given is not None and not isinstance(given, list):
            self._kinds.problem(f"{who}: 'slots' must be a list", node.line_of("slots"))
            given = []
        for each in given or ():
            self._provide(who, node, interface, made, each)
        named = {each.get("slot_node_id") for each in _maps(given)}
        if missing := [slot for slot in interface.slots if slot not in named]:
            names = ", ".join(map(repr, missing))
            words = f"{who}: nothing provides for the slots {names} of {interface.file}; name each in 'slots'"
            self._kinds.report.leftover(
                words, "they put nothing out", self._kinds.interface.file, node.line_of("slots")
            )
            made.slots.update((slot, replace(NOTHING, node_id=slot)) for slot in missing)
        return made, interface.outputs

    def _provide(self, who: str, node: Map, interface: FlowInterface, made: Declared, given: object) -> None:
        if not isinstance(given, Map) or not isinstance(given.get("slot_node_id"), str):
            self._kinds.problem(f"{who}: an entry of 'slots' needs a 'slot_node_id'", getattr(given, "line", node.line))
            return
        slot_id = given["slot_node_id"]
        who = f"{who}, slot {slot_id!r}"
        slot = interface.slots.get(slot_id)
        if slot is None:
            words = f"{who}: {interface.file} has no such slot{did_you_mean(interface.slots)}"
            line = given.line_of("slot_node_id")
            self._kinds.report.leftover(words, "its provider is left out", self._kinds.interface.file, line)
            return
        if slot_id in made.slots:
            self._kinds.problem(f"{who}: two providers for one slot", given.line_of("slot_node_id"))
            return
        kinds = [kind for kind in ("task", "subflow", "slotflow") if kind in given]
        if len(kinds) != 1:
            self._kinds.problem(f"{who}: it needs exactly one of task, subflow, slotflow", given.line)
            return
        further = {each["handle"]: each for each in _maps(given.get("inputs_from")) if "handle" in each}
        names = [
            *further,
            *(
                each["handle"]
                for each in read_handles(self._kinds.report, given, "inputs_def", self._kinds.interface.file)
            ),
        ]
        provider = self._provider(who, given, kinds[0], slot_id, [*slot.inputs, *names])
        if provider is None:
            return
        made.slots[slot_id], inputs_def, outputs = provider
        for name, spec in further.items():
            made.further[f"{slot_id}{REMEMBERED}{name}"] = spec
        self._check_provider(who, given, slot.inputs, slot.outputs, inputs_def, outputs, made, slot_id)

    def _provider(
        self, who: str, given: Map, kind: str, slot_id: str, inputs: Sequence[str]
    ) -> tuple[NodePlan, list[dict[str, Any]] | None, set[str] | None] | None:
        line = given.line_of(kind)
        if kind == "task":
            block = self._kinds.block(who, given)
            if block is None:
                return None
            if isinstance(given["task"], str):
                self._kinds.add_additional(given, block)
            outputs = None if block.outputs_def is None else {each["handle"] for each in block.outputs_def}
            return NodePlan(slot_id, "task", block.to_plan()), block.inputs_def, outputs
        reference, further = given[kind], tuple(dict.fromkeys(inputs)) if kind == "slotflow" else ()
        if kind == "slotflow" and isinstance(reference, str) and not reference.startswith(("self::", ".", "/")):
            self._kinds.problem(f"{who}: a slotflow belongs to the flow's own package: self::name", line)
            return None
        interface = self._kinds.finder.subflow(who, self._kinds.interface, kind, reference, line, further)
        if interface is None:
            return None
        if interface.slots:
            self._kinds.problem(f"{who}: {interface.file} has slots itself; nothing could provide for them", line)
            return None
        return (
            NodePlan(slot_id, "subflow", {"inputs_def": interface.inputs_def}, flow=interface.key),
            interface.inputs_def,
            interface.outputs,
        )

    def _check_provider(
        self,
        who: str,
        given: Map,
        inputs: Sequence[str],
        promised: Sequence[str] | None,
        inputs_def: list[dict[str, Any]] | None,
        outputs: set[str] | None,
        made: Declared,
        slot_id: str,
    ) -> None:
        """A provider gets the slot's inputs, its own further ones, and the defaults of the rest."""
        own = f"{slot_id}{REMEMBERED}"
        known = {*inputs, *(name.removeprefix(own) for name in made.further if name.startswith(own))}
        fallback = {} if self._kinds.report.compat else defaults(inputs_def or ())
        for name, default in fallback.items():
            if name not in known:
                made.further[f"{own}{name}"] = default
                known.add(name)
        for each in inputs_def or ():
            if each["handle"] not in known:
                words = f"{who}: nothing feeds the provider's input {each['handle']!r}; give it in its 'inputs_from'"
                self._kinds.report.leftover(words, "the block runs without it", self._kinds.interface.file, given.line)
        lacking = [name for name in promised or () if outputs is not None and name not in outputs]
        if lacking:
            words = f"{who}: the provider has no output {', '.join(map(repr, lacking))}, which the slot declares"
            self._kinds.report.warn(words, self._kinds.interface.file, given.line)


def _maps(found: object) -> list[Map]:
    return [each for each in found if isinstance(each, Map)] if isinstance(found, list) else []
