"""Manifests of blocks and services: files in, what an executor needs out. Each file is read once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..blockcode.importable import importable
from ..blockcode.packages import PACKAGE_FILES, package_hash, package_name, package_root
from ..errors import Unavailable
from ..resources import needs_of, needs_problem
from .cached import cache_of, cache_problem
from .report import Report, read_flag, read_handles
from .retries import retry_problem
from .source import is_sync, missing_function
from .yamlfile import Map, read_yaml

__all__ = ["LANGUAGES", "BlockManifest", "Manifests", "is_shell"]

LANGUAGES: Final = ("python", "shell")
"""What can be run without asking who is connected."""

CONTEXTS: Final = ("asyncblock", "oocana")
"""Whose context a Python block may say that it was written for."""

_SHELL: Final = {
    "language": "python",
    "package": "python:asyncblock.executor.shell",
    "hash": "",
    "dir": ".",
    "entry": "asyncblock.executor.shell",
    "function": "shell",
    "spawn": False,
    "sync": False,
}
"""The block behind ``executor: {name: shell}``; every executor has it."""


def is_shell(block: Mapping[str, Any]) -> bool:
    """Tell whether a block is a shell command: its inputs are ours, not its author's."""
    return block.get("package") == _SHELL["package"]


_SHELL_INPUTS: Final = (
    {"handle": "command", "json_schema": {"type": "string"}},
    {"handle": "cwd", "nullable": True, "value": None},
    {"handle": "envs", "nullable": True, "value": None},
)
_SHELL_OUTPUTS: Final = ({"handle": "stdout"}, {"handle": "stderr"})

_BLOCK_KEYS: Final = (
    "executor", "inputs_def", "outputs_def", "additional_inputs", "additional_outputs", "retries", "cache", "needs",
    "recompute", "description", "title", "icon",
)  # fmt: skip

_SERVICE_KEYS: Final = ("name", *(key for key in _BLOCK_KEYS if key != "executor"))

_START_AT: Final = ("block_start", "session_start", "app_start")
_STOP_AT: Final = ("block_end", "session_end", "app_end", "never")


@dataclass(slots=True)
class BlockManifest:
    """A block that was read: what an executor needs, and what it declares."""

    spec: dict[str, Any]
    inputs_def: list[dict[str, Any]] | None
    """None when anything goes."""
    outputs_def: list[dict[str, Any]] | None
    additional_inputs: bool = False
    additional_outputs: bool = False
    description: str | None = None

    def to_plan(self) -> dict[str, Any]:
        """Return the block as it stands in a plan."""
        return {**self.spec, "inputs_def": self.inputs_def, "outputs_def": self.outputs_def}


@dataclass(slots=True)
class Package:
    """A package: where it is, what it is called, and what it depends on."""

    root: Path
    name: str
    dependencies: dict[str, str] = field(default_factory=dict)


class Manifests:
    """Reads manifests, and hashes the packages that they lie in."""

    def __init__(self, report: Report, languages: Collection[str]) -> None:
        self.report = report
        self.roots: dict[str, Path] = {}
        """Package directories by hash."""
        self._languages = {*LANGUAGES, *languages}
        self._files: dict[Path, Map | None] = {}
        self._hashes: dict[Path, str | None] = {}
        self._packages: dict[Path, Package] = {}
        self._functions: dict[tuple[Path, str], str | None] = {}
        self._codes: dict[tuple[Path, str], str] = {}

    def file(self, path: Path, who: str = "") -> Map | None:
        """Return what a YAML file holds; its problems are reported once, with whoever referred to it first."""
        if path not in self._files:
            self._files[path], problems = read_yaml(path)
            prefix = f"{who}: " if who else ""
            self.report.problems += [replace(each, message=f"{prefix}{each.message}") for each in problems]
        return self._files[path]

    def package_of(self, directory: Path) -> Package:
        """Return the package that a directory belongs to."""
        root = package_root(directory)
        if root not in self._packages:
            package = self._packages[root] = Package(root, package_name(root))
            for name in PACKAGE_FILES:
                there = (root / name).is_file() and (root / name).stat().st_size > 0
                manifest = self.file(root / name) if there else None
                dependencies = None if manifest is None else manifest.get("dependencies")
                if isinstance(dependencies, Mapping):
                    package.dependencies = {str(key): str(value) for key, value in dependencies.items()}
                    break
        return self._packages[root]

    # ------------------------------------------------------------------ blocks

    def block(self, who: str, manifest: Map, file: Path) -> BlockManifest | None:
        """Read a block's manifest (or an inline task); ``who`` begins every message."""
        executor = manifest.get("executor")
        self.report.misspelt(who, manifest, _BLOCK_KEYS, file)
        if not isinstance(executor, Map) or not isinstance(executor.get("name"), str):
            self.report.problem(f"{who}: the block needs 'executor' with a 'name'", file, manifest.line)
            return None
        language = executor["name"]
        if language not in self._languages:
            can = ", ".join(sorted(self._languages))
            words = f"{who}: executor {language!r} can't be run here; {can} can, others when an executor announces them"
            words += f" (check the flow with --language {language})"
            self.report.problem(words, file, executor.line_of("name"), code="language", subject=language)
            return None
        given = executor.get("options")
        options = given if isinstance(given, Map) else Map(executor.line)
        if language == "shell":
            # Its file says where the command runs.
            spec: dict[str, Any] | None = {**_SHELL, "path": str(file.resolve())}
        elif language == "python" and isinstance(options.get("module"), str):
            spec = _code(options)
        else:
            spec = self._spec(who, language, options, file)
        if spec is None:
            return None
        inputs = read_handles(self.report, manifest, "inputs_def", file)
        outputs = read_handles(self.report, manifest, "outputs_def", file)
        if language == "shell":
            inputs += [dict(each) for each in _SHELL_INPUTS if each["handle"] not in {i["handle"] for i in inputs}]
            outputs = outputs or [dict(each) for each in _SHELL_OUTPUTS]
        block = BlockManifest(spec, inputs if inputs or "inputs_def" in manifest else None, None)
        if outputs or "outputs_def" in manifest:
            block.outputs_def = outputs
        self._declare(who, manifest, file, block)
        if "cache" in manifest and (cache := self._cache(who, manifest, file)) is not None:
            spec["cache"] = cache
        self.needs(who, manifest, file, spec)
        return block

    def _declare(self, who: str, manifest: Map, file: Path, block: BlockManifest) -> None:
        """Read what a block and a service's block declare alike, besides their handles."""
        block.additional_inputs = _allowed(manifest, "additional_inputs")
        block.additional_outputs = _allowed(manifest, "additional_outputs")
        block.description = _text(manifest.get("description"))
        block.spec["retries"] = self._retries(who, manifest, file)
        if read_flag(self.report, who, manifest, "recompute", file):
            block.spec["recompute"] = True

    def _spec(self, who: str, language: str, options: Map, file: Path) -> dict[str, Any] | None:
        directory = file.resolve().parent
        package = self.package_of(directory)
        python = language == "python"
        entry = str(options.get("entry", "index.py" if python else ""))
        function = str(options.get("function", "main"))
        line = options.line_of("entry")
        source = (directory / entry).resolve()
        if python and not source.is_file():
            self.report.problem(f"{who}: the entry file {entry!r} isn't there ({source})", file, line)
            return None
        if entry and not source.is_relative_to(package.root):
            words = f"{who}: the entry file {entry!r} lies outside of its package {package.root}"
            self.report.problem(words, file, line)
            return None
        if python and (problem := self._missing(source, function)) is not None:
            self.report.problem(f"{who}: {problem}", file, line)
            return None
        digest = self.hash_of(who, package.root, file)
        if digest is None:
            return None
        spec: dict[str, Any] = {
            "language": language,
            "package": package.name,
            "hash": digest,
            "root": str(package.root),
            "dir": directory.relative_to(package.root).as_posix(),
            "entry": source.relative_to(package.root).as_posix() if entry else "",
            "function": function,
            "spawn": bool(options.get("spawn", False)),
            "sync": python and is_sync(source, function),
        }
        if python:
            spec["code"] = self._code_of(package.root, spec["entry"])
            if (context := options.get("context")) is not None:
                if context not in CONTEXTS:
                    words = f"{who}: 'context' is {' or '.join(CONTEXTS)}, not {context!r}"
                    self.report.problem(words, file, options.line_of("context"))
                spec["context"] = context
        else:
            spec["options"] = dict(options)
        return spec

    def _code_of(self, root: Path, entry: str) -> str:
        """Return a digest of what of its package a block can come to run: finer than the package's hash."""
        key = (root, entry)
        if key not in self._codes:
            self._codes[key] = importable(root, entry).digest
        return self._codes[key]

    def _missing(self, source: Path, function: str) -> str | None:
        key = (source, function)
        if key not in self._functions:
            self._functions[key] = missing_function(source, function)
        return self._functions[key]

    def hash_of(self, who: str, root: Path, file: Path) -> str | None:
        """Return a package's hash; executors are asked for it."""
        if root not in self._hashes:
            try:
                digest = self._hashes[root] = package_hash(root)
                self.roots[digest] = root
            except Unavailable as error:
                self._hashes[root] = None
                self.report.problem(f"{who}: {error}", file)
        return self._hashes[root]

    def _retries(self, who: str, manifest: Map, file: Path) -> dict[str, Any] | None:
        found = manifest.get("retries")
        if found is None:
            return None
        problem = retry_problem(found)
        if problem is not None:
            self.report.problem(f"{who}: {problem}", file, manifest.line_of("retries"))
            return None
        if isinstance(found, Map):
            return {"retries": 1, **found}
        return {"retries": found} if found else None

    def _cache(self, who: str, manifest: Map, file: Path) -> dict[str, Any] | bool | None:
        problem = cache_problem(manifest["cache"])
        if problem is not None:
            self.report.problem(f"{who}: {problem}", file, manifest.line_of("cache"))
            return None
        return cache_of(manifest["cache"])

    def needs(self, who: str, manifest: Map, file: Path, spec: dict[str, Any]) -> None:
        """Read what a manifest, or a node, says that a block needs."""
        problem = needs_problem(manifest.get("needs"))
        if problem is not None:
            self.report.problem(f"{who}: {problem}", file, manifest.line_of("needs"))
        elif (needs := needs_of(manifest.get("needs"))) is not None:
            spec["needs"] = needs
        elif "needs" in manifest:
            spec.pop("needs", None)

    # ------------------------------------------------------------------ services

    def service(self, who: str, file: Path, name: str) -> BlockManifest | None:
        """Read one block of a service."""
        manifest = self.file(file, who)
        if manifest is None:
            return None
        executor, blocks = manifest.get("executor"), manifest.get("blocks")
        if not isinstance(executor, Map) or not isinstance(executor.get("name", "python"), str):
            self.report.problem(f"{who}: the service needs 'executor'", file, manifest.line)
            return None
        if executor.get("name", "python") not in {"python", *self._languages} - {"shell"}:
            language = str(executor["name"])
            words = f"{who}: executor {language!r} can't be run here; no executor has announced it"
            self.report.problem(words, file, executor.line_of("name"), code="language", subject=language)
            return None
        for key, known in (("start_at", _START_AT), ("stop_at", _STOP_AT)):
            value = executor.get(key)
            if value is not None and str(value).lower() not in known:
                words = f"{who}: {key} can't be {value!r}; it is {', '.join(known)}"
                self.report.problem(words, file, executor.line_of(key))
        named = {each.get("name"): each for each in blocks if isinstance(each, Map)} if isinstance(blocks, list) else {}
        found = named.get(name)
        if found is None:
            there = ", ".join(repr(each) for each in named)
            self.report.problem(f"{who}: the service has no block {name!r}; it has {there or 'none'}", file)
            return None
        self.report.misspelt(who, found, _SERVICE_KEYS, file)
        if found.get("cache"):
            words = f"{who}: what a service's block returns isn't cached; the service itself can keep it"
            self.report.problem(words, file, found.line_of("cache"))
        spec = self._spec(who, executor.get("name", "python"), executor, file)
        if spec is None:
            return None
        spec["service"] = {**executor, "block": name}
        self.needs(who, manifest, file, spec)
        self.needs(who, found, file, spec)
        inputs = read_handles(self.report, found, "inputs_def", file)
        outputs = read_handles(self.report, found, "outputs_def", file) if "outputs_def" in found else None
        block = BlockManifest(spec, inputs if "inputs_def" in found else None, outputs)
        self._declare(who, found, file, block)
        return block


def _code(options: Map) -> dict[str, Any]:
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
        "sync": options.get("sync") is True,
    }


def _allowed(manifest: Map, key: str) -> bool:
    """Tell whether a manifest allows additional handles: ``true``, or a mapping that says more."""
    value = manifest.get(key)
    return value is True or isinstance(value, Mapping)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
