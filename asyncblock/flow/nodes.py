"""The nodes of one flow: a mapping of YAML in, a ``FlowPlan`` out. What they refer to, the loader finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

from .flowconnections import FlowConnections, check_start, defaults
from .flowinterface import FlowInterface
from .manifests import is_shell
from .misfit import misfit
from .missinginputs import MissingInput
from .nodekinds import Declared, Finder, Found, NodeKinds
from .plan import MAX_NODE_ID, MAX_WEIGHT, FlowPlan, InputPlan, NodePlan, Source
from .report import did_you_mean, read_flag
from .subflownodes import SubflowNodes
from .yamlfile import Map

__all__ = ["read_flow"]

_KINDS: Final = ("task", "subflow", "slot", "service", "conditions", "values")

_FLOW_KEYS: Final = (
    "title", "description", "nodes", "inputs_def", "outputs_def", "outputs_from", "forward_previews", "compat",
)  # fmt: skip
_NODE_KEYS: Final = (
    *_KINDS, "node_id", "inputs_from", "inputs_def", "outputs_def", "slots", "concurrency", "timeout", "ignore",
    "needs", "recompute", "progress_weight", "description", "title", "icon", "inject",
)  # fmt: skip
_INPUT_KEYS: Final = ("handle", "value", "from_node", "from_flow", "schema_overrides", "serialize_for_cache")


def read_flow(finder: Finder, interface: FlowInterface) -> FlowPlan:
    """Read a flow's nodes and connections."""
    return _FlowReader(finder, interface).read()


class _FlowReader:
    """One flow; its problems go to the finder's report."""

    def __init__(self, finder: Finder, interface: FlowInterface) -> None:
        self._finder = finder
        self._kinds = NodeKinds(finder, interface)
        self._subflows = SubflowNodes(self._kinds)
        self._interface = interface
        self._file: Path = interface.file
        self._report = finder.manifests.report
        inputs = {each["handle"] for each in interface.inputs_def}
        self._connections = FlowConnections(self._report, interface.file, inputs)

    def read(self) -> FlowPlan:
        flow, interface = self._interface.manifest, self._interface
        self._report.misspelt("the flow", flow, _FLOW_KEYS, self._file)
        if flow.get("injection"):
            words = "'injection' (running blocks in another package's layer) isn't supported; remove it"
            self._report.problem(words, self._file, flow.line_of("injection"))
        kept = self._kept(flow)
        self._constants([node for node in kept if "values" in node])
        made = [(node, self._declare(node)) for node in kept if "values" not in node]
        nodes = tuple(self._connect(node, each) for node, each in made if each is not None)
        _mark_cached(nodes, self._connections.cached)
        outputs = self._outputs(flow)
        if stuck := check_start(nodes):
            words = f"these nodes wait for each other and can never start: {', '.join(stuck)}"
            self._report.leftover(words, "they never run", self._file, flow.line_of("nodes"))
        description = flow.get("description")
        return FlowPlan(
            str(flow.get("title") or description or interface.directory.name),
            str(self._file),
            nodes,
            tuple(interface.inputs_def),
            outputs,
            tuple(interface.outputs_def),
            description if isinstance(description, str) else None,
            self._forwarded(flow, nodes),
            interface.package.name,
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
            if len(node_id) > MAX_NODE_ID:
                words = f"the node id {node_id[:40]!r}... has {len(node_id)} characters; {MAX_NODE_ID} may be"
                self._problem(words, line)
            if node_id in seen:
                self._problem(f"node id {node_id!r} is used twice (first in line {seen[node_id]})", line)
            seen.setdefault(node_id, line)
            self._finder.places[self._interface.key, node_id] = (self._file, node.line)
            if node.get("ignore"):
                self._connections.ignored.add(node_id)
            elif self._has_one_kind(node):
                kept.append(node)
            else:
                self._connections.broken.add(node_id)
        only_values = all("values" in node for node in kept)
        if self._interface.key is None and only_values and not self._connections.broken:
            self._problem("the flow is empty: it has no node that can run", flow.line_of("nodes"))
        return kept

    def _has_one_kind(self, node: Map) -> bool:
        kinds = [kind for kind in _KINDS if kind in node]
        if len(kinds) == 1:
            return True
        self._report.misspelt(f"node {node['node_id']!r}", node, _NODE_KEYS, self._file)
        words = "it has none" if not kinds else f"it has {' and '.join(kinds)}"
        self._problem(f"node {node['node_id']!r} needs exactly one of {', '.join(_KINDS)}; {words}", node.line)
        return False

    def _constants(self, nodes: Sequence[Map]) -> None:
        for node in nodes:
            node_id, values = node["node_id"], node["values"]
            self._connections.outputs[node_id] = handles = set[str]()
            if not isinstance(values, list):
                self._problem(f"node {node_id!r}: 'values' must be a list", node.line_of("values"))
                continue
            for each in values:
                if isinstance(each, Map) and isinstance(each.get("handle"), str):
                    self._connections.constants[node_id, each["handle"]] = each.get("value")
                    handles.add(each["handle"])
                else:
                    self._problem(f"node {node_id!r}: a value needs a 'handle'", getattr(each, "line", node.line))

    def _declare(self, node: Map) -> Declared | None:
        who, node_id = f"node {node['node_id']!r}", node["node_id"]
        self._report.misspelt(who, node, _NODE_KEYS, self._file)
        if "inject" in node:
            words = f"{who}: 'inject' (running a block in another package's layer) isn't supported; remove it"
            self._problem(words, node.line_of("inject"))
        if "needs" in node and not ("task" in node or "service" in node):
            self._problem(f"{who}: 'needs' is for tasks; give it to those that need it", node.line_of("needs"))
        found: Found | None
        if "conditions" in node:
            found = self._kinds.condition(who, node)
        elif "slot" in node:
            found = self._kinds.slot(who, node)
        elif "subflow" in node:
            found = self._subflows.read(who, node)
        else:
            found = self._kinds.task(who, node)
        if found is None:
            self._connections.broken.add(node_id)
            return None
        self._connections.outputs[node_id] = found[1]
        return found[0]

    # ------------------------------------------------------------------ connections

    def _connect(self, node: Map, made: Declared) -> NodePlan:
        who = f"node {node['node_id']!r}"
        definitions = None if made.inputs_def is None else {each["handle"]: each for each in made.inputs_def}
        specs: dict[str, Map] = {}
        strays: dict[str, Map] = {}
        given = node.get("inputs_from")
        if given is not None and not isinstance(given, list):
            self._problem(f"{who}: 'inputs_from' must be a list", node.line_of("inputs_from"))
            given = []
        for each in given or ():
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                self._problem(f"{who}: an entry of 'inputs_from' needs a 'handle'", getattr(each, "line", node.line))
                continue
            handle = each["handle"]
            self._report.misspelt(f"{who}, input {handle!r}", each, _INPUT_KEYS, self._file)
            kept = strays if definitions is not None and handle not in definitions else specs
            if kept is strays or self._connections.says_something(who, each):
                kept[handle] = each if handle not in kept else self._connections.merged(who, kept[handle], each)
        inputs = {handle: self._connections.input(who, each) for handle, each in specs.items()}
        patches = {handle: found for handle, each in specs.items() if (found := self._connections.patches(who, each))}
        self._judge_constants(who, given or (), definitions or {}, inputs)
        missing = self._fill(node, made, definitions or {}, inputs)
        taken = self._judge(who, node, definitions or {}, missing, list(strays.values()))
        if made.kind == "task":
            inputs |= taken
        for name, spec in made.further.items():
            inputs[name] = spec if isinstance(spec, InputPlan) else self._connections.input(f"{who}, slot input", spec)
        if patches:
            made.block["inputs_def_patch"] = patches
        if "recompute" in node:
            self._recompute(who, node, made)
        if isinstance(node.get("description"), str):
            made.block["description"] = node["description"]
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
            self._weight(who, node, 0.0 if made.kind == "condition" else 1.0),
        )

    def _judge_constants(
        self,
        who: str,
        given: Iterable[Any],
        definitions: Mapping[str, Mapping[str, Any]],
        inputs: Mapping[str, InputPlan],
    ) -> None:
        """Warn of a constant that isn't what the block takes. Some convert what they get: the flow runs."""
        lines = {
            each["handle"]: each for each in given if isinstance(each, Map) and isinstance(each.get("handle"), str)
        }
        for handle, plan in inputs.items():
            words = misfit(definitions[handle], plan.value) if plan.has_value and handle in definitions else None
            if words is None:
                continue
            where = (None, None) if self._finder.strict else (self._file, lines[handle].line_of("value"))
            self._report.warn(f"{who}, input {handle!r}: {words}", *where)

    def _recompute(self, who: str, node: Map, made: Declared) -> None:
        """A node may say otherwise than its block whether lost values are made again."""
        if made.kind != "task":
            words = f"{who}: 'recompute' is for nodes that run a block; in a subflow, set it on the nodes inside"
            self._problem(words, node.line_of("recompute"))
        elif read_flag(self._report, who, node, "recompute", self._file):
            made.block["recompute"] = True
        else:
            made.block.pop("recompute", None)

    def _fill(
        self,
        node: Map,
        made: Declared,
        definitions: Mapping[str, Mapping[str, Any]],
        inputs: dict[str, InputPlan],
    ) -> list[MissingInput]:
        """An input that nothing feeds takes the block's own default; return those that have none."""
        fallback = defaults(definitions.values())
        if self._report.compat and not is_shell(made.block):
            for handle in [handle for handle in fallback if handle not in inputs]:
                words = f"node {node['node_id']!r}: its input {handle!r} has a default, and nothing feeds it"
                self._report.leftover(words, "defaults don't count inside of a flow", self._file, node.line)
                del fallback[handle]
        missing: list[MissingInput] = []
        for handle in definitions:
            if handle not in inputs:
                inputs[handle] = fallback.get(handle, InputPlan())
                if handle not in fallback:
                    at = (str(self._file), node.line)
                    missing.append(MissingInput(self._interface.key, node["node_id"], handle, *at))
        return missing

    def _judge(
        self,
        who: str,
        node: Map,
        definitions: Mapping[str, Mapping[str, Any]],
        missing: Sequence[MissingInput],
        strays: Sequence[Map],
    ) -> dict[str, InputPlan]:
        """Return what feeds handles that the block doesn't declare: it gets what comes, and waits for nothing.

        Where one that it declares is left without a value, the other was mistyped.
        """
        taken: dict[str, InputPlan] = {}
        for stray in strays:
            words = f"{who}: the block declares no input {stray['handle']!r}{did_you_mean(definitions)}"
            line = stray.line_of("handle")
            fed = self._connections.existing(stray)
            then = "it gets what comes, and doesn't wait for it" if fed else "it is ignored"
            if self._finder.strict:
                self._problem(words, line)
                continue
            if missing:
                self._report.leftover(words, then, self._file, line)
            else:
                self._report.warn(f"{words}; {then}", self._file, line)
            if fed:
                taken[stray["handle"]] = InputPlan(fed, optional=True)
        for each in missing:
            if strays and not self._report.compat:
                self._problem(each.words, each.line)
            else:
                self._finder.missing_inputs.append(each)
        return taken

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

    def _weight(self, who: str, node: Map, default: float) -> Any:
        weight = self._number(who, node, "progress_weight", default, least=0)
        if weight <= MAX_WEIGHT:
            return weight
        self._problem(f"{who}: 'progress_weight' may be {MAX_WEIGHT} at most", node.line_of("progress_weight"))
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
            else:
                outputs[each["handle"]] = (*outputs.get(each["handle"], ()), *self._connections.output(each))
        return outputs

    def _forwarded(self, flow: Map, nodes: Sequence[NodePlan]) -> tuple[str, ...]:
        given = flow.get("forward_previews")
        if given is None:
            return ()
        known = {node.node_id for node in nodes}
        if not isinstance(given, list):
            self._problem("'forward_previews' must be a list of nodes", flow.line_of("forward_previews"))
            return ()
        for name in given:
            if name not in known and name not in self._connections.ignored | self._connections.broken:
                words = f"'forward_previews' names {name!r}, which is no node here{did_you_mean(known)}"
                self._report.warn(words, self._file, flow.line_of("forward_previews"))
        return tuple(str(name) for name in given)


def _mark_cached(nodes: Sequence[NodePlan], cached: Set[Source]) -> None:
    """Where an input says ``serialize_for_cache``, the output that feeds it is kept (E3)."""
    for node in nodes:
        defs = node.block.get("outputs_def")
        wanted = {source.handle for source in cached if source.node_id == node.node_id}
        if wanted and defs and isinstance(node.block, dict):
            node.block["outputs_def"] = [
                {**each, "_serialize_for_cache": True} if each["handle"] in wanted else each for each in defs
            ]
