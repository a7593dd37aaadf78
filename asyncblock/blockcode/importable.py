"""Which of its package's code a block can come to run: its entry file, what that imports from the package, and so on.

As ``executor.imports`` finds modules, or more of them: a name may mean a module beside the importing file, or in any
directory above it up to the package's root. Code that isn't Python counts whole. Where a file may import by names that
only exist at run time, or asks where it stands, the whole package counts; not where it asks for one file of data beside
it, whose name the source says (``datapaths``).
"""

from __future__ import annotations

import ast
import hashlib
import sys
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from .datapaths import data_names
from .identity import imports_in, read_file, syntax_digest
from .packages import code_files, is_manifest
from .syntax import parse

__all__ = ["Importable", "importable"]

_DIGITS: Final = 32
"""Of a digest: it travels with each dispatch."""

_KNOWN: Final = 4096
"""Sources whose imports are kept."""

_DYNAMIC_MODULES: Final = frozenset({"importlib", "runpy", "pkgutil", "imp", "zipimport"})
_DYNAMIC_NAMES: Final = frozenset(
    {"__import__", "exec", "eval", "compile", "__file__", "__path__", "__spec__", "__loader__"}
)


@dataclass(frozen=True, slots=True)
class Importable:
    """What of a package a block can come to run."""

    digest: str
    files: tuple[str, ...]
    """Relative to the package's root, sorted."""
    outside: frozenset[str]
    """The first parts of the names of modules that it imports from elsewhere; not those of the standard library."""
    whole: bool = False
    """All code of the package counts."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a source says of its imports."""

    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    """Level, module, and the names that are imported from it."""
    dynamic: bool


_known: dict[bytes, _Said] = {}
_lock: Final = threading.Lock()


def importable(root: Path, entry: str) -> Importable:
    """Return what a block with an entry file can come to run. Reads files; raises as ``packages.package_hash``."""
    return _Search(root).reach(entry)


class _Search:
    """One package, read once."""

    def __init__(self, root: Path) -> None:
        self._files = code_files(root)
        self._outside: set[str] = set()

    def reach(self, entry: str) -> Importable:
        others = {name for name in self._files if not name.endswith(".py") and not is_manifest(name)}
        found: dict[str, bytes] = {}
        waiting = [entry, *self._inits(entry)]
        whole = not entry.endswith(".py")
        while waiting:
            name = waiting.pop()
            path = self._files.get(name)
            if name in found or path is None or (source := read_file(path)) is None:
                # What can't be read, and what is too long for a source, counts as all the rest does.
                whole = whole or (name not in found and path is not None)
                continue
            found[name] = source
            said = _said(source, str(path))
            whole = whole or said.dynamic
            for level, module, names in said.imports:
                for each in self._meant(name, level, module, names):
                    waiting += [each, *self._inits(each)]
        if whole:
            python = {name for name in self._files if name.endswith(".py")}
            for name in python - found.keys():
                found[name] = read_file(self._files[name]) or b""
                for level, module, names in _said(found[name], name).imports:
                    for _ in self._meant(name, level, module, names):
                        pass
        return self._made(found, others, whole)

    def _made(self, found: dict[str, bytes], others: set[str], whole: bool) -> Importable:
        digest = hashlib.sha256()
        files = sorted({*found, *others})
        for name in files:
            if name in found:
                content = syntax_digest(found[name], name)
            else:
                content = hashlib.sha256(read_file(self._files[name], 256 << 20) or b"").digest()
            text = name.encode("utf-8", "surrogateescape")
            digest.update(b"%d:%b:%b" % (len(text), text, content))
        return Importable(digest.hexdigest()[:_DIGITS], tuple(files), frozenset(self._outside), whole)

    def _inits(self, name: str) -> Iterator[str]:
        """Yield the ``__init__.py`` of each directory above a file: they run before it."""
        for directory in PurePosixPath(name).parents:
            init = (directory / "__init__.py").as_posix()
            if init in self._files:
                yield init

    def _meant(self, importer: str, level: int, module: str, names: tuple[str, ...]) -> Iterator[str]:
        """Yield the files of the package that an import may mean."""
        home = PurePosixPath(importer).parent
        if level:
            above = [home, *home.parents]
            if level <= len(above):
                yield from self._below(above[level - 1], module.split(".") if module else [], names)
            return
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            return
        # A block called pandas.py that imports pandas doesn't mean itself.
        elsewhere = True
        for base in (home, *home.parents):
            for each in self._below(base, module.split("."), names):
                elsewhere = elsewhere and each == importer
                yield each
        if elsewhere:
            self._outside.add(top)

    def _below(self, base: PurePosixPath, parts: list[str], names: tuple[str, ...]) -> Iterator[str]:
        place = base
        for part in parts:
            place /= part
            yield from self._module(place)
        for name in names:
            if name == "*":
                here = (each for each in self._files if PurePosixPath(each).parent == place)
                yield from (each for each in here if each.endswith(".py"))
            else:
                yield from self._module(place / name)

    def _module(self, place: PurePosixPath) -> Iterator[str]:
        for name in (f"{place.as_posix()}.py", (place / "__init__.py").as_posix()):
            if name in self._files:
                yield name


def _said(source: bytes, filename: str) -> _Said:
    key = hashlib.sha256(source).digest()
    with _lock:
        found = _known.get(key)
    if found is None:
        try:
            found = _read(parse(source, filename))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = _Said((), True)
        with _lock:
            if len(_known) >= _KNOWN:
                _known.clear()
            _known[key] = found
    return found


def _read(tree: ast.AST) -> _Said:
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    dynamic = False
    for node in imports_in(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        else:
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
    for level, module, names in imports:
        top = module.partition(".")[0]
        if not level and top in _DYNAMIC_MODULES and not (f"{module}." + ".".join(names)).startswith("importlib.meta"):
            dynamic = True
    harmless = data_names(tree)
    return _Said(tuple(imports), dynamic or any(_is_dynamic(node, harmless) for node in ast.walk(tree)))


def _is_dynamic(node: ast.AST, harmless: Collection[ast.AST]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _DYNAMIC_NAMES and node not in harmless
    # ``sys.path``, from which names come that can't be told.
    return isinstance(node, ast.Attribute) and node.attr == "path" and getattr(node.value, "id", None) == "sys"
