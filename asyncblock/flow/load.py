"""Loading a flow: files in, a validated ``Plan`` out, or every problem at once with file and line."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidFlow, Problem, Unavailable
from ..packages import package_hash, package_name, package_root
from .conditions import OPERATORS, UNARY
from .groups import with_groups
from .lookup import block_file, flow_file
from .plan import InputPlan, NodePlan, Plan, Source
from .yamlfile import Map, read_yaml

__all__ = ["load_flow"]

_NODE_KINDS = ("task", "subflow", "slot", "service", "conditions", "values")
_UNSUPPORTED = {"subflow": "subflow", "slot": "slot", "service": "service"}
_LANGUAGES = ("python",)


def load_flow(
    path: str | Path, *, search_paths: Sequence[Path] = (), inputs: Mapping[str, object] | None = None
) -> Plan:
    """Load a flow file (or the directory that holds one) and everything that it refers to.

    ``inputs`` are what the flow will be started with: they are checked against what it declares.
    Raises ``InvalidFlow`` with all problems, each with file and line where they are known.
    """
    return _Loader(Path(path), search_paths).load(inputs or {})


class _Loader:
    """One loading: collects problems, and goes on after each as far as it makes sense."""

    def __init__(self, path: Path, search_paths: Sequence[Path]) -> None:
        self._given = path
        self._search_paths = search_paths
        self._problems: list[Problem] = []
        self._file = str(path)
        self._roots: dict[str, Path] = {}
        self._hashes: dict[Path, str] = {}
        self._blocks: dict[Path, Map | None] = {}
        self._declared: dict[str, set[str] | None] = {}
        """Output handles by node; None where anything goes."""

    def load(self, inputs: Mapping[str, object]) -> Plan:
        found = flow_file(self._given)
        if found is None:
            raise InvalidFlow([Problem(self._nowhere(), str(self._given))])
        self._file = str(found)
        flow, problems = read_yaml(found)
        if flow is None:
            raise InvalidFlow(problems)
        self._directory = found.resolve().parent
        plan = self._flow(flow, found)
        self._check_inputs(flow, plan, inputs)
        if self._problems:
            raise InvalidFlow(sorted(self._problems, key=lambda p: (p.file or "", p.line or 0)))
        return plan

    def _nowhere(self) -> str:
        if self._given.is_dir():
            return "the directory holds no flow.oo.yaml"
        return "there is no such flow; give a file, a directory, or the name of an example (asyncblock examples)"

    def _problem(self, message: str, line: int | None = None, file: str | None = None) -> None:
        self._problems.append(Problem(message, file or self._file, line))

    # ------------------------------------------------------------------ the flow

    def _flow(self, flow: Map, found: Path) -> Plan:
        nodes = flow.get("nodes")
        line = flow.line_of("nodes")
        if not isinstance(nodes, list):
            self._problem("a flow needs 'nodes', a list", line)
            nodes = []
        kept = [node for node in nodes if self._is_node(node) and not node.get("ignore")]
        if isinstance(flow.get("nodes"), list) and not any("values" not in node for node in kept):
            self._problem("the flow is empty: it has no node that can run", line)
        self._check_ids(kept)
        inputs_def = self._handle_defs(flow, "inputs_def")
        constants = self._constants(kept)
        declared_inputs = {each["handle"] for each in inputs_def}
        specs = [(node, self._block_of(node)) for node in kept if "values" not in node]
        made = [self._node(node, block, declared_inputs, constants) for node, block in specs if block is not None]
        outputs = self._outputs(flow, declared_inputs)
        title = flow.get("title") or flow.get("description") or self._directory.name
        plan = Plan(str(title), str(found), tuple(made), tuple(inputs_def), outputs, roots=dict(self._roots))
        if not self._problems:
            plan = with_groups(plan, self._problem_of(kept))
            self._check_start(plan, flow)
        return plan

    def _problem_of(self, nodes: Sequence[Map]) -> Any:
        lines = {str(node.get("node_id")): node.line for node in nodes}
        return lambda node_id, message: self._problem(message, lines.get(node_id))

    def _is_node(self, node: object) -> bool:
        if not isinstance(node, Map):
            self._problem("a node must be a mapping")
            return False
        kinds = [kind for kind in _NODE_KINDS if kind in node]
        if not isinstance(node.get("node_id"), str) or not node["node_id"]:
            self._problem("a node needs a 'node_id'", node.line)
        elif len(kinds) != 1:
            words = "it has none" if not kinds else f"it has {' and '.join(kinds)}"
            self._problem(f"node {node['node_id']!r} needs exactly one of {', '.join(_NODE_KINDS)}; {words}", node.line)
        elif kinds[0] in _UNSUPPORTED:
            self._problem(f"node {node['node_id']!r}: {kinds[0]} nodes can't be run by this version", node.line)
        else:
            return True
        return False

    def _check_ids(self, nodes: Sequence[Map]) -> None:
        seen: dict[str, int] = {}
        for node in nodes:
            node_id, line = node["node_id"], node.line_of("node_id")
            if node_id in seen:
                self._problem(f"node id {node_id!r} is used twice (first in line {seen[node_id]})", line)
            seen.setdefault(node_id, line)

    def _constants(self, nodes: Sequence[Map]) -> dict[tuple[str, str], Any]:
        """Return what value nodes hold, by node and handle."""
        constants: dict[tuple[str, str], Any] = {}
        for node in nodes:
            if "values" not in node:
                continue
            handles: set[str] = set()
            for each in node["values"] if isinstance(node["values"], list) else ():
                if isinstance(each, Map) and isinstance(each.get("handle"), str):
                    constants[node["node_id"], each["handle"]] = each.get("value")
                    handles.add(each["handle"])
            self._declared[node["node_id"]] = handles
        return constants

    # ------------------------------------------------------------------ blocks

    def _block_of(self, node: Map) -> tuple[str, dict[str, Any]] | None:
        if "conditions" in node:
            return self._condition(node)
        task = node["task"]
        if isinstance(task, str):
            found = self._referenced(node, task)
            if found is None:
                return None
            manifest, file = found
        elif isinstance(task, Map):
            manifest, file = task, Path(self._file)
        else:
            self._problem(f"node {node['node_id']!r}: 'task' is a reference or a mapping", node.line_of("task"))
            return None
        return self._task(node, manifest, file)

    def _referenced(self, node: Map, reference: str) -> tuple[Map, Path] | None:
        line = node.line_of("task")
        file = block_file(reference, self._directory, self._search_paths)
        if file is None:
            self._problem(f"node {node['node_id']!r}: there is no block {reference!r}", line)
            return None
        file = file.resolve()
        if file not in self._blocks:
            manifest, problems = read_yaml(file)
            self._problems += problems
            self._blocks[file] = manifest
        known = self._blocks[file]
        return None if known is None else (known, file)

    def _task(self, node: Map, manifest: Map, file: Path) -> tuple[str, dict[str, Any]] | None:
        name = f"node {node['node_id']!r}"
        executor = manifest.get("executor")
        if not isinstance(executor, Map) or not isinstance(executor.get("name"), str):
            self._problem(f"{name}: the block needs 'executor' with a 'name'", manifest.line, str(file))
            return None
        if executor["name"] not in _LANGUAGES:
            words = f"{name}: executor {executor['name']!r} can't be run here; {', '.join(_LANGUAGES)} can"
            self._problem(words, executor.line_of("name"), str(file))
            return None
        options = executor.get("options") if isinstance(executor.get("options"), Map) else Map(executor.line)
        assert isinstance(options, Map)
        directory = file.resolve().parent
        block = self._python(name, options, directory, executor, file)
        if block is None:
            return None
        inputs_def = self._handle_defs(manifest, "inputs_def", file)
        outputs_def = self._handle_defs(manifest, "outputs_def", file) if "outputs_def" in manifest else None
        if manifest is not node.get("task"):
            inputs_def = self._additional(node, manifest, "inputs", inputs_def) or []
            outputs_def = self._additional(node, manifest, "outputs", outputs_def)
        self._declared[node["node_id"]] = None if outputs_def is None else {each["handle"] for each in outputs_def}
        block.update(
            inputs_def=inputs_def if "inputs_def" in manifest or inputs_def else None,
            outputs_def=outputs_def,
            retries=self._retries(name, manifest, file),
            path=str(file) if manifest is not node.get("task") else None,
        )
        return "task", block

    def _retries(self, name: str, manifest: Map, file: Path) -> dict[str, Any] | None:
        found = manifest.get("retries")
        if found is None:
            return None
        problem = _retry_problem(found)
        if problem is not None:
            self._problem(f"{name}: {problem}", manifest.line_of("retries"), str(file))
            return None
        if isinstance(found, Map):
            return {"retries": 1, **found}
        return {"retries": found} if found else None

    def _additional(
        self, node: Map, manifest: Map, kind: str, defs: list[dict[str, Any]] | None
    ) -> list[dict[str, Any]] | None:
        """Add the node's own handles where the block allows additional ones."""
        own = self._handle_defs(node, f"{kind}_def")
        if not own or not manifest.get(f"additional_{kind}") or (kind == "outputs" and defs is None):
            return defs
        known = {each["handle"] for each in defs or ()}
        return [*(defs or ()), *({**each, "is_additional": True} for each in own if each["handle"] not in known)]

    def _python(self, name: str, options: Map, directory: Path, executor: Map, file: Path) -> dict[str, Any] | None:
        if isinstance(options.get("module"), str):
            return self._code(name, options, executor, file)
        entry = str(options.get("entry", "index.py"))
        function = str(options.get("function", "main"))
        line = options.line_of("entry")
        source = (directory / entry).resolve()
        root = package_root(directory)
        if not source.is_file():
            self._problem(f"{name}: the entry file {entry!r} isn't there ({source})", line, str(file))
            return None
        if not source.is_relative_to(root):
            self._problem(f"{name}: the entry file {entry!r} lies outside of its package {root}", line, str(file))
            return None
        problem = _missing_function(source, function)
        if problem is not None:
            self._problem(f"{name}: {problem}", line, str(file))
            return None
        try:
            digest = self._hashes.get(root) or package_hash(root)
        except Unavailable as error:
            self._problem(f"{name}: {error}", None, str(file))
            return None
        self._hashes[root] = digest
        self._roots[digest] = root
        return {
            "language": "python",
            "package": package_name(root),
            "hash": digest,
            "dir": directory.relative_to(root).as_posix(),
            "entry": source.relative_to(root).as_posix(),
            "function": function,
            "spawn": bool(options.get("spawn", False)),
            "sync": _is_sync(source, function),
        }

    def _code(self, name: str, options: Map, executor: Map, file: Path) -> dict[str, Any]:
        """A block that lives in importable Python code."""
        module = str(options["module"])
        return {
            "language": "python",
            "package": f"python:{module}",
            "hash": str(options.get("hash", "")),
            "dir": ".",
            "entry": module,
            "function": str(options.get("function", "main")),
            "spawn": False,
        }

    def _condition(self, node: Map) -> tuple[str, dict[str, Any]] | None:
        conditions = node["conditions"]
        name = f"node {node['node_id']!r}"
        if not isinstance(conditions, Map) or not isinstance(conditions.get("cases"), list):
            self._problem(f"{name}: 'conditions' needs 'cases', a list", node.line_of("conditions"))
            return None
        handles: set[str] = set()
        for case in conditions["cases"]:
            if not isinstance(case, Map) or not isinstance(case.get("handle"), str):
                self._problem(f"{name}: a case needs a 'handle'", getattr(case, "line", conditions.line))
                continue
            handles.add(case["handle"])
            for expression in case.get("expressions") or ():
                self._check_expression(name, expression, case)
        default = conditions.get("default")
        if isinstance(default, Map) and isinstance(default.get("handle"), str):
            handles.add(default["handle"])
        self._declared[node["node_id"]] = handles
        inputs_def = self._handle_defs(node, "inputs_def")
        return "condition", {
            "cases": [dict(case) for case in conditions["cases"] if isinstance(case, Map)],
            "default": dict(default) if isinstance(default, Map) else None,
            "inputs_def": inputs_def,
        }

    def _check_expression(self, name: str, expression: object, case: Map) -> None:
        if not isinstance(expression, Map):
            self._problem(f"{name}: an expression must be a mapping", case.line)
            return
        operator = expression.get("operator")
        if operator not in OPERATORS:
            self._problem(f"{name}: unknown operator {operator!r}", expression.line_of("operator"))
        elif operator in (">", "<", ">=", "<=") and not isinstance(expression.get("value"), (int, float)):
            self._problem(f"{name}: {operator!r} compares numbers only", expression.line_of("value"))
        elif operator not in UNARY and "value" not in expression:
            self._problem(f"{name}: {operator!r} needs a 'value'", expression.line)

    # ------------------------------------------------------------------ handles and connections

    def _handle_defs(self, mapping: Map, key: str, file: Path | None = None) -> list[dict[str, Any]]:
        defs: list[dict[str, Any]] = []
        found = mapping.get(key)
        if found is None:
            return defs
        if not isinstance(found, list):
            self._problem(f"{key!r} must be a list", mapping.line_of(key), str(file) if file else None)
            return defs
        seen: set[str] = set()
        for each in found:
            if isinstance(each, Map) and "group" in each and "handle" not in each:
                continue
            line = getattr(each, "line", mapping.line_of(key))
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                self._problem(f"{key}: each entry needs a 'handle'", line, str(file) if file else None)
            elif each["handle"] in seen:
                self._problem(f"{key}: handle {each['handle']!r} stands twice", line, str(file) if file else None)
            else:
                seen.add(each["handle"])
                defs.append(dict(each))
        return defs

    def _node(
        self,
        node: Map,
        kind_and_block: tuple[str, dict[str, Any]],
        flow_inputs: set[str],
        constants: Mapping[tuple[str, str], Any],
    ) -> NodePlan:
        kind, block = kind_and_block
        name = f"node {node['node_id']!r}"
        definitions = {each["handle"]: each for each in block.get("inputs_def") or ()}
        inputs = {}
        for each in node.get("inputs_from") or ():
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                self._problem(f"{name}: an entry of 'inputs_from' needs a 'handle'", getattr(each, "line", node.line))
            elif block.get("inputs_def") is not None and each["handle"] not in definitions:
                words = f"{name}: the block declares no input {each['handle']!r}"
                self._problem(words + _did_you_mean(definitions), each.line_of("handle"))
            elif each["handle"] in inputs:
                self._problem(f"{name}: input {each['handle']!r} stands twice in 'inputs_from'", each.line)
            else:
                inputs[each["handle"]] = self._input(name, each, flow_inputs, constants)
        for handle, definition in definitions.items():
            if handle not in inputs:
                inputs[handle] = self._default(name, node, handle, definition)
        concurrency, timeout = node.get("concurrency", 1), node.get("timeout")
        if type(concurrency) is not int:
            self._problem(f"{name}: 'concurrency' must be an integer", node.line_of("concurrency"))
            concurrency = 1
        if timeout is not None and (not isinstance(timeout, (int, float)) or timeout <= 0):
            self._problem(f"{name}: 'timeout' must be a number of seconds above 0", node.line_of("timeout"))
            timeout = None
        return NodePlan(node["node_id"], kind, block, inputs, concurrency, timeout)

    def _default(self, name: str, node: Map, handle: str, definition: Mapping[str, Any]) -> InputPlan:
        """An input that nothing feeds takes the block's own default; without one the node could never run."""
        if "value" in definition or definition.get("nullable"):
            return InputPlan((), True, definition.get("value"))
        words = f"{name}: nothing feeds its input {handle!r}; give it a value or a source in 'inputs_from'"
        self._problem(words, node.line)
        return InputPlan()

    def _input(
        self, name: str, spec: Map, flow_inputs: set[str], constants: Mapping[tuple[str, str], Any]
    ) -> InputPlan:
        sources = self._sources(name, spec, flow_inputs)
        if len(sources) == 1 and (sources[0].node_id or "", sources[0].handle) in constants:
            return InputPlan((), True, constants[sources[0].node_id or "", sources[0].handle])
        real = [s for s in sources if (s.node_id or "", s.handle) not in constants]
        if not real and "value" not in spec and not sources:
            self._problem(f"{name}: nothing feeds its input {spec['handle']!r}", spec.line)
        return InputPlan(tuple(real), not real and "value" in spec, None if real else spec.get("value"))

    def _sources(self, name: str, spec: Map, flow_inputs: set[str]) -> list[Source]:
        sources: list[Source] = []
        for each in spec.get("from_node") or ():
            if not isinstance(each, Map) or not isinstance(each.get("node_id"), str):
                self._problem(f"{name}: an entry of 'from_node' needs 'node_id' and 'output_handle'", spec.line)
            else:
                sources.append(Source(each["node_id"], str(each.get("output_handle"))))
                self._later.append((name, each))
        for each in spec.get("from_flow") or ():
            handle = each.get("input_handle") if isinstance(each, Map) else None
            if handle not in flow_inputs:
                words = f"{name}: the flow declares no input {handle!r}"
                self._problem(words + _did_you_mean(flow_inputs), getattr(each, "line", spec.line))
            else:
                sources.append(Source(None, str(handle)))
        return sources

    @property
    def _later(self) -> list[tuple[str, Map]]:
        """Connections whose source is checked when all nodes are known."""
        if not hasattr(self, "_connections"):
            self._connections: list[tuple[str, Map]] = []
        return self._connections

    def _outputs(self, flow: Map, flow_inputs: set[str]) -> dict[str, tuple[Source, ...]]:
        outputs: dict[str, tuple[Source, ...]] = {}
        for each in flow.get("outputs_from") or ():
            if not isinstance(each, Map) or not isinstance(each.get("handle"), str):
                line = getattr(each, "line", flow.line_of("outputs_from"))
                self._problem("an entry of 'outputs_from' needs a 'handle'", line)
            else:
                outputs[each["handle"]] = tuple(self._sources("the flow's outputs", each, flow_inputs))
        for name, connection in self._later:
            self._check_connection(name, connection)
        return outputs

    def _check_connection(self, name: str, connection: Map) -> None:
        node_id, handle = connection["node_id"], connection.get("output_handle")
        if node_id not in self._declared:
            if not any(f"node {node_id!r}" in problem.message for problem in self._problems):
                known = _did_you_mean(self._declared)
                self._problem(f"{name}: there is no node {node_id!r}{known}", connection.line_of("node_id"))
            return
        declared = self._declared[node_id]
        if declared is not None and handle not in declared:
            words = f"{name}: node {node_id!r} declares no output {handle!r}{_did_you_mean(declared)}"
            self._problem(words, connection.line_of("output_handle"))

    # ------------------------------------------------------------------ the whole

    def _check_start(self, plan: Plan, flow: Map) -> None:
        """Refuse nodes that can never run: those on cycles that nothing outside starts, and what hangs on them."""
        fed = {None} | {node.node_id for node in plan.nodes if not any(i.sources for i in node.inputs.values())}
        waiting = [node for node in plan.nodes if node.node_id not in fed]
        while True:
            now = [
                node
                for node in waiting
                if all(any(s.node_id in fed for s in i.sources) for i in node.inputs.values() if i.sources)
            ]
            if not now:
                break
            fed.update(node.node_id for node in now)
            waiting = [node for node in waiting if node.node_id not in fed]
        if waiting:
            names = ", ".join(node.node_id for node in waiting)
            self._problem(f"these nodes wait for each other and can never start: {names}", flow.line_of("nodes"))

    def _check_inputs(self, flow: Map, plan: Plan, inputs: Mapping[str, object]) -> None:
        definitions = {each["handle"]: each for each in plan.inputs_def}
        line = flow.line_of("inputs_def")
        for name in inputs:
            if name not in definitions:
                self._problem(f"the flow has no input {name!r}{_did_you_mean(definitions)}", line)
        used = {
            source.handle
            for node in plan.nodes
            for each in node.inputs.values()
            for source in each.sources
            if source.node_id is None
        }
        for name, definition in definitions.items():
            optional = "value" in definition or definition.get("nullable")
            if name in used and name not in inputs and not optional:
                self._problem(f"the flow's input {name!r} is required: give it with --input {name}=...", line)


def _retry_problem(found: object) -> str | None:
    """Say what is wrong with a block's ``retries``: a number, or a mapping."""
    if not isinstance(found, Map):
        return None if _is_count(found) else "'retries' must be a whole number, or a mapping with one"
    for key in found:
        if key not in ("retries", "backoff", "not_retried", "release"):
            return f"'retries' has no {key!r}; there is retries, backoff, not_retried, release"
    if not _is_count(found.get("retries", 1)):
        return "'retries' in 'retries' must be a whole number from 0"
    backoff = found.get("backoff", 1.0)
    if isinstance(backoff, bool) or not isinstance(backoff, (int, float)) or backoff < 0:
        return "'backoff' must be a number of seconds from 0"
    names = found.get("not_retried", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "'not_retried' must be a list of names of exceptions"
    if found.get("release", "finish") not in ("finish", "stream"):
        return "'release' must be 'finish' (outputs go on when an attempt has finished) or 'stream' (as they come)"
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_sync(source: Path, function: str) -> bool:
    """Tell whether a function certainly is a plain ``def``; what a decorator or an import brings isn't known."""
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except (SyntaxError, OSError, ValueError):
        return False
    found = [node for node in tree.body if isinstance(node, _FUNCTIONS) and node.name == function]
    return bool(found) and isinstance(found[-1], ast.FunctionDef) and not found[-1].decorator_list


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _did_you_mean(names: Mapping[str, Any] | set[str]) -> str:
    known = sorted(names)
    return f"; there is {', '.join(map(repr, known[:10]))}" if known else ""


def _missing_function(source: Path, function: str) -> str | None:
    """Say that a file certainly has no such function; None when it has or when only running it could tell."""
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except SyntaxError as error:
        return f"{source}:{error.lineno}: {error.msg}"
    except (OSError, ValueError) as error:
        return f"{source} can't be read: {error}"
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name) for alias in statement.names)
        elif not isinstance(statement, ast.Expr):
            names.update(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            names.update(
                node.name for node in ast.walk(statement) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            )
    if function in names or "*" in names or "__getattr__" in names:
        return None
    defined = sorted(n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return f"{source} has no function {function!r}" + (f"; it has {', '.join(defined)}" if defined else "")
