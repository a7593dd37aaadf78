"""The nodes of one flow: a mapping of YAML in, a ``FlowPlan`` out. What they refer to, the loader finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from .cases import read_cases
from .faces import Face
from .manifests import Block, Manifests
from .plan import REMEMBERED, FlowPlan, InputPlan, NodePlan
from .report import did_you_mean, read_handles
from .unfed import Unfed
from .wiring import Wiring, check_start, defaults
from .yamlfile import Map

__all__ = ["Finder", "read_flow"]

_KINDS: Final = ("task", "subflow", "slot", "service", "conditions", "values")


class Finder(Protocol):
    """How a flow's nodes find what they refer to. Each method reports what is wrong and then returns None."""

    manifests: Manifests
    places: dict[tuple[str | None, str], tuple[Path, int]]
    unfed: list[Unfed]
    strict: bool
    """Whether a handle that a block doesn't declare is a problem even where it does no harm."""

    def task(self, who: str, face: Face, reference: str, line: int) -> Block | None:
        """Find a block."""
        ...

    def service(self, who: str, face: Face, reference: str, line: int) -> Block | None:
        """Find a block of a service."""
        ...

    def subflow(
        self, who: str, face: Face, kind: str, reference: object, line: int, further: Sequence[str] = ()
    ) -> Face | None:
        """Find a subflow or a slotflow, by reference or inline."""
        ...


@dataclass(slots=True)
class _Node:
    """A node that was read, before its connections are."""

    kind: str
    block: dict[str, Any]
    inputs_def: list[dict[str, Any]] | None
    flow: str | None = None
    slots: dict[str, NodePlan] = field(default_factory=dict)
    further: dict[str, InputPlan | Map] = field(default_factory=dict)
    """Inputs that slots take beside: what feeds them, or what they hold."""


def read_flow(finder: Finder, face: Face) -> FlowPlan:
    """Read a flow's nodes and connections."""
    return _FlowReader(finder, face).read()


class _FlowReader:
    """One flow; its problems go to the finder's report."""

    def __init__(self, finder: Finder, face: Face) -> None:
        self._finder = finder
        self._face = face
        self._file: Path = face.file
        self._report = finder.manifests.report
        self._wiring = Wiring(self._report, face.file, {each["handle"] for each in face.inputs_def})

    def read(self) -> FlowPlan:
        flow, face = self._face.manifest, self._face
        if flow.get("injection"):
            words = "'injection' (running blocks in another package's layer) isn't supported; remove it"
            self._report.problem(words, self._file, flow.line_of("injection"))
        kept = self._kept(flow)
        self._constants([node for node in kept if "values" in node])
        made = [(node, self._declare(node)) for node in kept if "values" not in node]
        nodes = tuple(self._connect(node, each) for node, each in made if each is not None)
        self._mark_cached(nodes)
        outputs = self._outputs(flow)
        if stuck := check_start(nodes):
            words = f"these nodes wait for each other and can never start: {', '.join(stuck)}"
            self._report.problem(words, self._file, flow.line_of("nodes"))
        description = flow.get("description")
        return FlowPlan(
            str(flow.get("title") or description or face.directory.name),
            str(self._file),
            nodes,
            tuple(face.inputs_def),
            outputs,
            tuple(face.outputs_def),
            description if isinstance(description, str) else None,
            self._forwarded(flow, nodes),
            face.package.name,
        )

    def _problem(self, message: str, line: int | None) -> None:
        self._report.problem(message, self._file, line)

    # ------------------------------------------------------------------ which nodes there are

    def _kept(self, flow: Map) -> list[Map]:
        nodes = flow.get("nodes")
        if not isinstance(nodes, list):
            self._problem("a flow needs 'nodes', a list", flow.line_of("nodes"))
            return []
        kept, seen = [], dict[str, int]()
        for node in nodes:
            if not isinstance(node, Map) or not isinstance(node.get("node_id"), str) or not node["node_id"]:
                words = "a node must be a mapping" if not isinstance(node, Map) else "a node needs a 'node_id'"
                self._problem(words, getattr(node, "line", flow.line_of("nodes")))
                continue
            node_id, line = node["node_id"], node.line_of("node_id")
            if node_id in seen:
                self._problem(f"node id {node_id!r} is used twice (first in line {seen[node_id]})", line)
            seen.setdefault(node_id, line)
            self._finder.places[self._face.key, node_id] = (self._file, node.line)
            if node.get("ignore"):
                self._wiring.ignored.add(node_id)
            elif self._has_one_kind(node):
                kept.append(node)
            else:
                self._wiring.broken.add(node_id)
        if self._face.key is None and not any("values" not in node for node in kept) and not self._wiring.broken:
            self._problem("the flow is empty: it has no node that can run", flow.line_of("nodes"))
        return kept

    def _has_one_kind(self, node: Map) -> bool:
        kinds = [kind for kind in _KINDS if kind in node]
        if len(kinds) == 1:
            return True
        words = "it has none" if not kinds else f"it has {' and '.join(kinds)}"
        self._problem(f"node {node['node_id']!r} needs exactly one of {', '.join(_KINDS)}; {words}", node.line)
        return False

    def _constants(self, nodes: Sequence[Map]) -> None:
        for node in nodes:
            node_id, values = node["node_id"], node["values"]
            self._wiring.outputs[node_id] = handles = set[str]()
            if not isinstance(values, list):
                self._problem(f"node {node_id!r}: 'values' must be a list", node.line_of("values"))
                continue
            for each in values:
                if isinstance(each, Map) and isinstance(each.get("handle"), str):
                    self._wiring.constants[node_id, each["handle"]] = each.get("value")
                    handles.add(each["handle"])
                else:
                    self._problem(f"node {node_id!r}: a value needs a 'handle'", getattr(each, "line", node.line))

    # ------------------------------------------------------------------ what each node is

    def _declare(self, node: Map) -> _Node | None:
        who, node_id = f"node {node['node_id']!r}", node["node_id"]
        if "inject" in node:
            words = f"{who}: 'inject' (running a block in another package's layer) isn't supported; remove it"
            self._problem(words, node.line_of("inject"))
        found: tuple[_Node, set[str] | None] | None
        if "conditions" in node:
            found = self._condition(who, node)
        elif "slot" in node:
            found = self._slot(who, node)
        elif "subflow" in node:
            found = self._subflow(who, node)
        else:
            found = self._task(who, node)
        if found is None:
            self._wiring.broken.add(node_id)
            return None
        self._wiring.outputs[node_id] = found[1]
        return found[0]

    def _task(self, who: str, node: Map) -> tuple[_Node, set[str] | None] | None:
        if "service" in node:
            reference, line = node["service"], node.line_of("service")
            if not isinstance(reference, str):
                self._problem(f"{who}: 'service' is a reference: package::service::block", line)
                return None
            block, kind = self._finder.service(who, self._face, reference, line), "task"
        else:
            block, kind = self._block(who, node), "task"
        if block is None:
            return None
        if isinstance(node.get("task"), str):
            self._add_additional(node, block)
        declared = None if block.outputs_def is None else {each["handle"] for each in block.outputs_def}
        return _Node(kind, block.to_plan(), block.inputs_def), declared

    def _block(self, who: str, node: Map) -> Block | None:
        task, line = node["task"], node.line_of("task")
        if isinstance(task, str):
            found = self._finder.task(who, self._face, task, line)
            # The additional handles of a node are its own.
            return None if found is None else replace(found)
        if isinstance(task, Map):
            return self._finder.manifests.block(who, task, self._file)
        self._problem(f"{who}: 'task' is a reference or a mapping", line)
        return None

    def _add_additional(self, node: Map, block: Block) -> None:
        """Add the node's own handles where the block allows additional ones."""
        inputs = read_handles(self._report, node, "inputs_def", self._file)
        outputs = read_handles(self._report, node, "outputs_def", self._file)
        if block.additional_inputs:
            block.inputs_def = _extended(block.inputs_def or [], inputs)
        if block.additional_outputs and block.outputs_def is not None:
            block.outputs_def = _extended(block.outputs_def, outputs)

    def _condition(self, who: str, node: Map) -> tuple[_Node, set[str]] | None:
        inputs_def = read_handles(self._report, node, "inputs_def", self._file)
        found = read_cases(self._report, who, node, inputs_def, self._file)
        return None if found is None else (_Node("condition", found[0], inputs_def), found[1])

    def _slot(self, who: str, node: Map) -> tuple[_Node, set[str] | None] | None:
        slot = node["slot"]
        if not isinstance(slot, Map):
            self._problem(f"{who}: 'slot' is a mapping of inputs_def and outputs_def", node.line_of("slot"))
            return None
        if self._face.key is None:
            words = f"{who}: nothing provides for this slot; name it in the 'slots' of a node that runs this flow"
            self._problem(words, node.line)
            return None
        inputs_def = _extended(
            read_handles(self._report, slot, "inputs_def", self._file),
            read_handles(self._report, node, "inputs_def", self._file),
        )
        outputs_def = read_handles(self._report, slot, "outputs_def", self._file)
        block = {"inputs_def": inputs_def, "outputs_def": outputs_def}
        declared = {each["handle"] for each in outputs_def} if "outputs_def" in slot else None
        return _Node("slot", block, inputs_def if "inputs_def" in slot else None), declared

    # ------------------------------------------------------------------ subflows and what they are provided with

    def _subflow(self, who: str, node: Map) -> tuple[_Node, set[str] | None] | None:
        face = self._finder.subflow(who, self._face, "subflow", node["subflow"], node.line_of("subflow"))
        if face is None:
            return None
        made = _Node("subflow", {"inputs_def": face.inputs_def}, face.inputs_def, face.key)
        given = node.get("slots")
        if given is not None and not isinstance(given, list):
            self._problem(f"{who}: 'slots' must be a list", node.line_of("slots"))
            given = []
        for each in given or ():
            self._provide(who, node, face, made, each)
        named = {each.get("slot_node_id") for each in _maps(given)}
        if missing := [slot for slot in face.slots if slot not in named]:
            names = ", ".join(map(repr, missing))
            words = f"{who}: nothing provides for the slots {names} of {face.file}; name each in 'slots'"
            self._problem(words, node.line_of("slots"))
        return made, face.outputs

    def _provide(self, who: str, node: Map, face: Face, made: _Node, given: object) -> None:
        if not isinstance(given, Map) or not isinstance(given.get("slot_node_id"), str):
            self._problem(f"{who}: an entry of 'slots' needs a 'slot_node_id'", getattr(given, "line", node.line))
            return
        slot_id = given["slot_node_id"]
        who = f"{who}, slot {slot_id!r}"
        slot = face.slots.get(slot_id)
        if slot is None:
            words = f"{who}: {face.file} has no such slot{did_you_mean(face.slots)}"
            self._problem(words, given.line_of("slot_node_id"))
            return
        if slot_id in made.slots:
            self._problem(f"{who}: two providers for one slot", given.line_of("slot_node_id"))
            return
        kinds = [kind for kind in ("task", "subflow", "slotflow") if kind in given]
        if len(kinds) != 1:
            self._problem(f"{who}: it needs exactly one of task, subflow, slotflow", given.line)
            return
        further = {each["handle"]: each for each in _maps(given.get("inputs_from")) if "handle" in each}
        names = [*further, *(each["handle"] for each in read_handles(self._report, given, "inputs_def", self._file))]
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
            block = self._block(who, given)
            if block is None:
                return None
            if isinstance(given["task"], str):
                self._add_additional(given, block)
            outputs = None if block.outputs_def is None else {each["handle"] for each in block.outputs_def}
            return NodePlan(slot_id, "task", block.to_plan()), block.inputs_def, outputs
        reference, further = given[kind], tuple(dict.fromkeys(inputs)) if kind == "slotflow" else ()
        if kind == "slotflow" and isinstance(reference, str) and not reference.startswith(("self::", ".", "/")):
            self._problem(f"{who}: a slotflow belongs to the flow's own package: self::name", line)
            return None
        face = self._finder.subflow(who, self._face, kind, reference, line, further)
        if face is None:
            return None
        if face.slots:
            self._problem(f"{who}: {face.file} has slots itself; nothing could provide for them", line)
            return None
        return (
            NodePlan(slot_id, "subflow", {"inputs_def": face.inputs_def}, flow=face.key),
            face.inputs_def,
            face.outputs,
        )

    def _check_provider(
        self,
        who: str,
        given: Map,
        inputs: Sequence[str],
        promised: Sequence[str] | None,
        inputs_def: list[dict[str, Any]] | None,
        outputs: set[str] | None,
        made: _Node,
        slot_id: str,
    ) -> None:
        """A provider gets the slot's inputs, its own further ones, and the defaults of the rest."""
        own = f"{slot_id}{REMEMBERED}"
        known = {*inputs, *(name.removeprefix(own) for name in made.further if name.startswith(own))}
        for name, default in defaults(inputs_def or ()).items():
            if name not in known:
                made.further[f"{own}{name}"] = default
                known.add(name)
        for each in inputs_def or ():
            if each["handle"] not in known:
                words = f"{who}: nothing feeds the provider's input {each['handle']!r}; give it in its 'inputs_from'"
                self._problem(words, given.line)
        lacking = [name for name in promised or () if outputs is not None and name not in outputs]
        if lacking:
            words = f"{who}: the provider has no output {', '.join(map(repr, lacking))}, which the slot declares"
            self._report.warn(words, self._file, given.line)

    # ------------------------------------------------------------------ connections

    def _connect(self, node: Map, made: _Node) -> NodePlan:
        who = f"node {node['node_id']!r}"
        definitions = None if made.inputs_def is None else {each["handle"]: each for each in made.inputs_def}
        inputs: dict[str, InputPlan] = {}
        patches: dict[str, list[dict[str, Any]]] = {}
        strays: list[Map] = []
        given = node.get("inputs_from")
        if given is not None and not isinstance(given, list):
            self._problem(f"{who}: 'inputs_from' must be a list", node.line_of("inputs_from"))
            given = []
        for each in given or ():
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                self._problem(f"{who}: an entry of 'inputs_from' needs a 'handle'", getattr(each, "line", node.line))
                continue
            handle = each["handle"]
            if definitions is not None and handle not in definitions:
                strays.append(each)
            elif handle in inputs:
                self._problem(f"{who}: input {handle!r} stands twice in 'inputs_from'", each.line)
            elif self._wiring.says_something(who, each):
                inputs[handle] = self._wiring.input(who, each)
                if found := self._wiring.patches(who, each):
                    patches[handle] = found
        unfed = self._fill(node, definitions or {}, inputs)
        self._judge(who, node, definitions or {}, unfed, strays)
        for name, spec in made.further.items():
            inputs[name] = spec if isinstance(spec, InputPlan) else self._wiring.input(f"{who}, slot input", spec)
        if patches:
            made.block["inputs_def_patch"] = patches
        return NodePlan(
            node["node_id"],
            made.kind,
            made.block,
            inputs,
            self._number(who, node, "concurrency", 1, whole=True),
            self._number(who, node, "timeout", None, least=0.001),
            None,
            made.flow,
            made.slots,
            self._number(who, node, "progress_weight", 0.0 if made.kind == "condition" else 1.0, least=0),
        )

    def _fill(
        self, node: Map, definitions: Mapping[str, Mapping[str, Any]], inputs: dict[str, InputPlan]
    ) -> list[Unfed]:
        """An input that nothing feeds takes the block's own default; return those that have none."""
        fallback = defaults(definitions.values())
        unfed: list[Unfed] = []
        for handle in definitions:
            if handle not in inputs:
                inputs[handle] = fallback.get(handle, InputPlan())
                if handle not in fallback:
                    unfed.append(Unfed(self._face.key, node["node_id"], handle, str(self._file), node.line))
        return unfed

    def _judge(
        self,
        who: str,
        node: Map,
        definitions: Mapping[str, Mapping[str, Any]],
        unfed: Sequence[Unfed],
        strays: Sequence[Map],
    ) -> None:
        """Handles that the block doesn't declare are ignored, unless one that it declares is left without a value."""
        for stray in strays:
            words = f"{who}: the block declares no input {stray['handle']!r}{did_you_mean(definitions)}"
            if unfed or self._finder.strict:
                self._problem(words, stray.line_of("handle"))
            else:
                self._report.warn(f"{words}; it is ignored", self._file, stray.line_of("handle"))
        if strays:
            for each in unfed:
                self._problem(each.words, each.line)
        else:
            self._finder.unfed.extend(unfed)

    def _number(
        self, who: str, node: Map, key: str, default: Any, *, whole: bool = False, least: float | None = None
    ) -> Any:
        value = node.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            kind = "an integer" if whole else "a number"
            self._problem(f"{who}: {key!r} must be {kind}", node.line_of(key))
        elif least is not None and not value >= least:
            seconds = " of seconds" if key == "timeout" else ""
            words = f"{who}: {key!r} must be a number{seconds} {'above 0' if least else 'from 0'}"
            self._problem(words, node.line_of(key))
        else:
            return value
        return default

    def _outputs(self, flow: Map) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        given = flow.get("outputs_from")
        if given is not None and not isinstance(given, list):
            self._problem("'outputs_from' must be a list", flow.line_of("outputs_from"))
            return outputs
        for each in given or ():
            line = getattr(each, "line", flow.line_of("outputs_from"))
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                self._problem("an entry of 'outputs_from' needs a 'handle'", line)
            elif each["handle"] in outputs:
                self._problem(f"output {each['handle']!r} stands twice in 'outputs_from'", line)
            else:
                outputs[each["handle"]] = self._wiring.output(each)
        return outputs

    def _mark_cached(self, nodes: Sequence[NodePlan]) -> None:
        """Where an input says ``serialize_for_cache``, the output that feeds it is kept (E3)."""
        for node in nodes:
            defs = node.block.get("outputs_def")
            wanted = {source.handle for source in self._wiring.cached if source.node_id == node.node_id}
            if wanted and defs and isinstance(node.block, dict):
                node.block["outputs_def"] = [
                    {**each, "_serialize_for_cache": True} if each["handle"] in wanted else each for each in defs
                ]

    def _forwarded(self, flow: Map, nodes: Sequence[NodePlan]) -> tuple[str, ...]:
        given = flow.get("forward_previews")
        if given is None:
            return ()
        known = {node.node_id for node in nodes}
        if not isinstance(given, list):
            self._problem("'forward_previews' must be a list of nodes", flow.line_of("forward_previews"))
            return ()
        for name in given:
            if name not in known and name not in self._wiring.ignored | self._wiring.broken:
                words = f"'forward_previews' names {name!r}, which is no node here{did_you_mean(known)}"
                self._report.warn(words, self._file, flow.line_of("forward_previews"))
        return tuple(str(name) for name in given)


def _maps(found: object) -> list[Map]:
    return [each for each in found if isinstance(each, Map)] if isinstance(found, list) else []


def _extended(defs: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {each["handle"] for each in defs}
    return [*defs, *({**each, "is_additional": True} for each in own if each["handle"] not in known)]
