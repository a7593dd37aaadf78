"""Loading a flow: files in, a validated ``Plan`` out, or every problem at once with file and line.

The plan holds everything that a run can come to: the flows that nodes refer to, and a catalog of the blocks and
subflows of their packages and of the packages that these depend on, for blocks that ask for blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from ..blockcode.enclosed import differ
from ..errors import InvalidFlow, Problem
from .codeblocks import CodeBlock, task_of
from .flowconnections import defaults
from .flowinterface import FlowInterface, read_interface
from .groups import with_groups
from .lookup import FILES, FLOW_FILES, Lookup, runnable_file
from .manifests import BlockManifest, Manifests, Package
from .missinginputs import MissingInput, is_pointless, still_missing
from .nodes import read_flow
from .plan import FlowPlan, InputPlan, NodePlan, Plan, Source
from .recursion import endless
from .report import Report, did_you_mean
from .yamlfile import Map, as_read

__all__ = ["COMPAT", "code_spec", "load_document", "load_flow"]

COMPAT: Final = ("oocana",)
"""Engines that a flow may be run as."""

_ASKED: Final = {kind: FILES[kind] for kind in ("task", "subflow")}
"""What blocks may ask for."""

_MAX_CATALOG = 1_000
"""Entries of a catalog; further ones are left out, and a warning says so."""


def load_flow(
    path: str | Path,
    *,
    search_paths: Sequence[Path] = (),
    inputs: Mapping[str, object] | None = None,
    languages: Collection[str] = (),
    shape: Callable[[Plan], Plan] | None = None,
    compat: str | None = None,
) -> Plan:
    """Load a flow file (or the directory that holds one) and everything that it refers to.

    A subflow is loaded like a flow, and a block's manifest as a flow of one node. ``inputs`` are what it will be
    started with: they are checked against what it declares. ``languages`` are those that executors have announced
    beside Python. ``shape`` may change the plan before the inputs are checked (``partial``). With
    ``compat="oocana"``, and where the flow's own file says so, it runs as in the existing engine where ours would do
    something more sensible; each such place is a warning.
    Raises ``InvalidFlow`` with all problems, each with file and line where they are known.
    """
    if compat not in (None, *COMPAT):
        raise InvalidFlow(f"compat is {' or '.join(map(repr, COMPAT))}, not {compat!r}")
    loader = _Loader(search_paths, languages, compat=compat is not None)
    return loader.load(Path(path), inputs or {}, shape or (lambda plan: plan))


def load_document(document: Mapping[str, Any], blocks: Sequence[CodeBlock[..., Any]]) -> Plan:
    """Make a plan of a flow that was built in Python; ``blocks`` are those of its code.

    Raises ``InvalidFlow`` with all problems.
    """
    _check_names(blocks)
    loader = _Loader((), ())
    plan = loader.load_document(as_read(document))
    entries = {f"::{block.name}": NodePlan(block.name, "task", code_spec(block)) for block in blocks}
    return replace(plan, catalog=entries, code_blocks=tuple(blocks))


def _check_names(blocks: Sequence[CodeBlock[..., Any]]) -> None:
    """Raise ``InvalidFlow`` for blocks that can't be told from each other and aren't the same."""
    known: dict[tuple[str, str, str], CodeBlock[..., Any]] = {}
    for block in blocks:
        other = known.setdefault((block.entry, block.function, block.hash), block)
        if other is not block and differ(getattr(other, "fn", other), getattr(block, "fn", block)):
            raise InvalidFlow(
                f"two blocks of the flow are called {block.function!r} in module {block.entry!r}, and differ in "
                "something that no text says (an object that they have closed over, say): give each a function with a "
                "name of its own"
            )


def code_spec(block: CodeBlock[..., Any]) -> dict[str, Any]:
    """Return what an executor needs of a block of code."""
    report = Report()
    made = Manifests(report, ()).block(block.name, as_read(task_of(block)), _NO_FILE)
    assert made is not None
    return made.to_plan()


_NO_FILE = Path("flow.oo.yaml")
"""Stands for the file of a flow that has none."""


class _Loader:
    """One loading."""

    def __init__(self, search_paths: Sequence[Path], languages: Collection[str], *, compat: bool = False) -> None:
        self._report = Report(compat=compat)
        self.manifests = Manifests(self._report, languages)
        self.places: dict[tuple[str | None, str], tuple[Path, int]] = {}
        """File and line of each node, by flow."""
        self.missing_inputs: list[MissingInput] = []
        self.strict = False
        self._search_paths = search_paths
        self._lookup = Lookup(search_paths)
        self._blocks: dict[Path, BlockManifest | None] = {}
        self._interfaces: dict[object, FlowInterface | None] = {}
        self._keys: set[str] = set()
        self._unread: deque[FlowInterface] = deque()
        self._flows: dict[str, FlowPlan] = {}

    def load(self, path: Path, inputs: Mapping[str, object], shape: Callable[[Plan], Plan]) -> Plan:
        found = runnable_file(path)
        if found is None:
            raise InvalidFlow([Problem(_nowhere(path), str(path))])
        found = found.resolve()
        manifest = self.manifests.file(found)
        self._report.check()
        assert manifest is not None
        package = self.manifests.package_of(found.parent)
        if (said := manifest.get("compat")) is not None:
            if said not in COMPAT:
                words = f"'compat' is {' or '.join(COMPAT)}, not {said!r}"
                self._report.problem(words, str(found), manifest.line_of("compat"))
            self._report.compat = True
        if "nodes" not in manifest and "executor" in manifest:
            root, line = self._single(manifest, found, package), manifest.line_of("inputs_def")
        else:
            root, line = self._root(manifest, found, package), manifest.line_of("inputs_def")
        for key, node_id in endless(self._flows):
            words = f"node {node_id!r} runs the flow that it is in, at once and for ever"
            self._report.problem(words, *self.places.get((key, node_id), (found, None)))
        if self._report.problems:
            self._check_inputs(root, inputs, line)
            self._refuse_pointless(root)
        self._report.check()
        flows = dict(self._flows)
        catalog, packages = _Catalog(self, [package, *self._homes()]).read(self._directories(found), self._search_paths)
        self._report.check()
        plan = Plan(
            **{f.name: getattr(root, f.name) for f in fields(FlowPlan)},
            flows={**flows, **self._flows},
            catalog=catalog,
            packages=packages,
            roots=dict(self.manifests.roots),
            warnings=tuple(self._report.warnings),
        )

        def complain(key: str | None, node_id: str, words: str) -> None:
            self._report.problem(words, *self.places.get((key, node_id), (found, None)))

        whole = with_groups(plan, complain)
        plan = shape(whole)
        self._check_inputs(plan, inputs, line)
        plan = self._judge_unfed(plan, asked_for=len(plan.nodes) < len(whole.nodes))
        self._report.check()
        return plan

    def _judge_unfed(self, plan: Plan, *, asked_for: bool) -> Plan:
        """Refuse a flow in which nothing can run, or not what was asked for; else warn of nodes that can't."""
        if asked_for or is_pointless(plan):
            before = len(self._report.warnings)
            self._refuse_pointless(plan, whole=not asked_for)
            return replace(plan, warnings=(*plan.warnings, *self._report.warnings[before:]))
        warnings = [Problem(each.warning, each.file, each.line) for each in still_missing(plan, self.missing_inputs)]
        return replace(plan, warnings=(*plan.warnings, *warnings))

    def _refuse_pointless(self, root: FlowPlan, *, whole: bool = True) -> None:
        if whole and not is_pointless(root):
            return
        found = [each for each in still_missing(root, self.missing_inputs) if each.flow is None]
        for each in found:
            self._report.leftover(each.words, "the node never runs", each.file, each.line)
        if not found and whole and not self._report.problems:
            self._report.leftover("no node of the flow can run", "it is over at once", root.path)

    def load_document(self, manifest: Map) -> Plan:
        """Load a flow that stands in no file: references in it are absolute."""
        package = Package(Path.cwd(), "")
        # Editors leave nothing behind here: it must have been mistyped.
        self.strict = True
        root = self._root(manifest, _NO_FILE, package)
        plan = Plan(
            **{f.name: getattr(replace(root, path=None), f.name) for f in fields(FlowPlan)},
            flows={
                key: replace(flow, path=None) if flow.path == str(_NO_FILE) else flow
                for key, flow in self._flows.items()
            },
            roots=dict(self.manifests.roots),
            warnings=tuple(self._report.warnings),
        )
        for each in self.missing_inputs:
            self._report.problem(each.words, _NO_FILE, each.line)
        if not self._report.problems:
            plan = with_groups(plan, lambda key, node_id, words: self._report.problem(words))
        found = [
            replace(each, file=None if each.file == str(_NO_FILE) else each.file, line=each.line or None)
            for each in self._report.problems
        ]
        if found:
            raise InvalidFlow([*dict.fromkeys(found)])
        return plan

    def _root(self, manifest: Map, file: Path, package: Package) -> FlowPlan:
        interface = read_interface(self._report, None, manifest, file, package)
        root = read_flow(self, interface)
        self._read_all()
        return root

    def _read_all(self) -> None:
        while self._unread:
            interface = self._unread.popleft()
            assert interface.key is not None
            self._flows[interface.key] = read_flow(self, interface)

    def _single(self, manifest: Map, file: Path, package: Package) -> FlowPlan:
        """Make a flow of one block: its inputs and outputs are the flow's."""
        name = file.parent.name
        block = self.manifests.block(f"block {name!r}", manifest, file)
        if block is None:
            return FlowPlan(name, str(file), ())
        block.spec["path"] = str(file)
        handles = [each["handle"] for each in block.inputs_def or ()]
        outputs = [each["handle"] for each in block.outputs_def or ()]
        inputs = {handle: InputPlan((Source(None, handle),)) for handle in handles}
        node = NodePlan(name, "task", block.to_plan(), inputs)
        return FlowPlan(
            block.description or name,
            str(file),
            (node,),
            tuple(block.inputs_def or ()),
            {handle: (Source(name, handle),) for handle in outputs},
            tuple(block.outputs_def or ()),
            scope=package.name,
        )

    def _check_inputs(self, root: FlowPlan, inputs: Mapping[str, object], line: int) -> None:
        definitions = {each["handle"]: each for each in root.inputs_def}
        for name in inputs:
            if name not in definitions:
                self._report.problem(f"the flow has no input {name!r}{did_you_mean(definitions)}", root.path, line)
        fallback = defaults(definitions.values())
        for name in definitions:
            if (None, name) in root.targets and name not in inputs and name not in fallback:
                words = f"the flow's input {name!r} is required: give it with --input {name}=..."
                self._report.problem(words, root.path, line, code="input", subject=name)

    # ------------------------------------------------------------------ what nodes refer to

    def task(self, who: str, interface: FlowInterface, reference: str, line: int) -> BlockManifest | None:
        """Find a block."""
        file = self._find("task", reference, interface)
        if file is None:
            self._report.problem(
                f"{who}: there is no block {reference!r}{self._instead('task', reference, interface)}",
                interface.file,
                line,
            )
            return None
        return self.block_at(who, file)

    def block_at(self, who: str, file: Path) -> BlockManifest | None:
        """Return the block of a manifest, read once."""
        if file not in self._blocks:
            manifest = self.manifests.file(file, who)
            block = self._blocks[file] = None if manifest is None else self.manifests.block(who, manifest, file)
            if block is not None:
                block.spec["path"] = str(file)
        return self._blocks[file]

    def service(self, who: str, interface: FlowInterface, reference: str, line: int) -> BlockManifest | None:
        """Find a block of a service."""
        service, separator, name = reference.rpartition("::")
        if not separator or "::" not in service:
            words = f"{who}: a service block is named package::service::block, not {reference!r}"
            self._report.problem(words, interface.file, line)
            return None
        file = self._find("service", service, interface)
        if file is None:
            words = f"{who}: there is no service {service!r}{self._instead('service', service, interface)}"
            self._report.problem(words, interface.file, line)
            return None
        return self.manifests.service(who, file, name)

    def subflow(
        self, who: str, interface: FlowInterface, kind: str, reference: object, line: int, further: Sequence[str] = ()
    ) -> FlowInterface | None:
        """Find a subflow or a slotflow, by reference or inline."""
        if isinstance(reference, Map):
            return self._new_interface(
                f"{interface.key or 'flow'}.{len(self._keys)}", reference, interface.file, interface.package, further
            )
        if not isinstance(reference, str):
            self._report.problem(f"{who}: {kind!r} is a reference or a mapping", interface.file, line)
            return None
        file = self._find(kind, reference, interface)
        if file is None:
            words = f"{who}: there is no {kind} {reference!r}{self._instead(kind, reference, interface)}"
            self._report.problem(words, interface.file, line)
            return None
        return self.interface_at(who, file, further)

    def interface_at(self, who: str, file: Path, further: Sequence[str] = ()) -> FlowInterface | None:
        """Return the interface of a flow's file, made once for each set of further inputs."""
        known = (file, tuple(sorted(further)))
        if known not in self._interfaces:
            manifest = self.manifests.file(file, who)
            package = self.manifests.package_of(file.parent)
            self._interfaces[known] = (
                None
                if manifest is None
                else self._new_interface(f"{package.name}::{file.parent.name}", manifest, file, package, further)
            )
        return self._interfaces[known]

    def _new_interface(
        self, key: str, manifest: Map, file: Path, package: Package, further: Sequence[str]
    ) -> FlowInterface:
        number, unique = 1, key
        while unique in self._keys:
            number += 1
            unique = f"{key}#{number}"
        self._keys.add(unique)
        interface = read_interface(self._report, unique, manifest, file, package, further)
        self._unread.append(interface)
        return interface

    def _find(self, kind: str, reference: str, interface: FlowInterface) -> Path | None:
        home = interface.package
        return self._lookup.find(kind, reference, interface.directory, home.root, home.name, home.dependencies)

    def _instead(self, kind: str, reference: str, interface: FlowInterface) -> str:
        """Say which versions of a package there are, when the one that is depended on is missing, or what it has."""
        package, separator, _ = reference.partition("::")
        if separator and package in ("self", interface.package.name) and package not in interface.package.dependencies:
            return did_you_mean(f"{package}::{name}" for name in self._lookup.names(kind, interface.package.root))
        return self._versions(reference, interface)

    def _versions(self, reference: str, interface: FlowInterface) -> str:
        package, separator, _ = reference.partition("::")
        wanted = interface.package.dependencies.get(package)
        if not separator or wanted is None:
            return ""
        there = self._lookup.installed(package, interface.directory)
        return f"; {interface.package.name} depends on {package} {wanted}, installed is {', '.join(there) or 'none'}"

    # ------------------------------------------------------------------ for the catalog

    def warn(self, message: str, file: Path) -> None:
        """Add a warning."""
        self._report.warn(message, file)

    def _homes(self) -> list[Package]:
        """Return the packages of the flows that were read."""
        return [self.manifests.package_of(Path(flow.path).parent) for flow in self._flows.values() if flow.path]

    def _directories(self, root: Path) -> list[Path]:
        """Return the directories of the flows that were read, that of the root first."""
        files = [root, *(Path(flow.path) for flow in self._flows.values() if flow.path)]
        return list(dict.fromkeys(file.parent for file in files))

    def dependencies(self, package: Package) -> dict[str, Package]:
        """Return the packages that a package depends on, those that are there."""
        found: dict[str, Package] = {}
        for name in package.dependencies:
            for root in self._lookup.package(name, package.root, package.dependencies):
                if root.is_dir():
                    found[name] = self.manifests.package_of(root.resolve())
                    break
        return found

    def try_block(self, file: Path) -> BlockManifest | str:
        """Return a block that no node names, or why it can't be run."""
        kept, self._report = self._report, Report(compat=self._report.compat)
        self.manifests.report = self._report
        try:
            block = self.block_at(f"block {file.parent.name!r}", file)
            return block if block is not None else _first(self._report)
        finally:
            self._report = self.manifests.report = kept

    def try_flow(self, file: Path) -> FlowInterface | str:
        """Return a subflow that no node names, or why it can't be run. What it refers to is read too."""
        kept, self._report = self._report, Report(compat=self._report.compat)
        self.manifests.report = self._report
        missing_inputs, self.missing_inputs = self.missing_inputs, []
        flows, interfaces = dict(self._flows), dict(self._interfaces)
        try:
            interface = self.interface_at(f"subflow {file.parent.name!r}", file)
            self._read_all()
            if interface is not None and not self._report.problems:
                return interface
            self._flows, self._interfaces = flows, interfaces
            return _first(self._report)
        finally:
            self._unread.clear()
            self._report = self.manifests.report = kept
            self.missing_inputs = missing_inputs


class _Catalog:
    """What blocks may ask for: the blocks and subflows of the flows' packages and of those that these depend on."""

    def __init__(self, loader: _Loader, homes: Sequence[Package]) -> None:
        self._loader = loader
        self._homes = {package.root: package for package in homes}
        self._scopes: dict[str, Path] = {}
        self._entries: dict[str, NodePlan] = {}
        self._files: set[Path] = set()
        self._full = False

    def read(
        self, flows: Sequence[Path], search_paths: Sequence[Path]
    ) -> tuple[dict[str, NodePlan], dict[str, dict[str, str]]]:
        """Return the entries, and which package a name means in each; ``flows`` are the directories of flows."""
        packages: dict[str, dict[str, str]] = {}
        for directory in flows:
            # ``self::`` begins above the directory of a package's flows, wherever the package's own file is.
            self._add_layout(directory.parent.parent, self._loader.manifests.package_of(directory).name)
        for home in self._homes.values():
            self._add(home, home.name)
            names = packages.setdefault(home.name, {})
            for name, package in self._loader.dependencies(home).items():
                if package.root == self._scopes.get(home.name):
                    continue
                scope = name if self._scopes.get(name, package.root) == package.root else package.root.name
                names[name] = scope
                self._add(package, scope)
        for directory in dict.fromkeys((*search_paths, *flows)):
            for kind, (folders, _) in _ASKED.items():
                for place in (directory, *(directory / folder for folder in folders)):
                    self._add_all(kind, place, "")
        return self._entries, {scope: names for scope, names in packages.items() if names}

    def _add(self, package: Package, scope: str) -> None:
        if scope in self._scopes:
            return
        self._scopes[scope] = package.root
        self._add_layout(package.root, scope)

    def _add_layout(self, root: Path, scope: str) -> None:
        for kind, (folders, _) in _ASKED.items():
            for folder in folders:
                self._add_all(kind, root / folder, scope)

    def _add_all(self, kind: str, place: Path, scope: str) -> None:
        """Add what stands in the directories of a place; without a scope it is asked for by its bare name."""
        for directory in sorted(place.glob("*/")):
            file = next((directory / name for name in _ASKED[kind][1] if (directory / name).is_file()), None)
            key = f"{scope}::{directory.name}"
            if file is None or key in self._entries or (not scope and file.resolve() in self._files):
                continue
            if len(self._entries) >= _MAX_CATALOG:
                if not self._full:
                    self._loader.warn(f"blocks can ask for {_MAX_CATALOG} blocks; {key} isn't one of them", file)
                self._full = True
                return
            self._files.add(file.resolve())
            self._entries[key] = self._entry(kind, file.resolve(), directory.name)

    def _entry(self, kind: str, file: Path, name: str) -> NodePlan:
        if kind == "task":
            block = self._loader.try_block(file)
            if isinstance(block, str):
                return NodePlan(name, "task", {"refused": block, "path": str(file)})
            about = {
                "description": block.description,
                "additional_inputs": block.additional_inputs,
                "additional_outputs": block.additional_outputs,
            }
            return NodePlan(name, "task", {**block.to_plan(), **{key: value for key, value in about.items() if value}})
        interface = self._loader.try_flow(file)
        if isinstance(interface, str):
            return NodePlan(name, "subflow", {"refused": interface, "path": str(file)})
        return NodePlan(name, "subflow", {"path": str(file)}, flow=interface.key)


def _first(report: Report) -> str:
    return str(report.problems[0]) if report.problems else "it can't be read"


def _nowhere(path: Path) -> str:
    if path.is_dir():
        return f"the directory holds no {FLOW_FILES[0]}, and no flow in a directory 'flows'"
    return "there is no such flow; give a file, a directory, or the name of an example (asyncblock examples)"
