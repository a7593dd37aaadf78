"""Which imports of a flow's block files can't be resolved in this environment. Nothing is imported to find that out.

Only imports that certainly run when a block is loaded count: not those in functions, under a condition, or in a ``try``
that expects them to fail.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

from ..blockcode.syntax import parse
from ..errors import Problem
from ..flow.needed import tasks_of
from ..flow.plan import Plan

__all__ = ["unresolved_imports"]

_EXPECTED: Final = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})

_OOCANA: Final = "oocana"
"""Blocks that name it for type checkers alone get its context all the same."""


def unresolved_imports(plan: Plan) -> list[Problem]:
    """Return a problem for each import of a block's files that finds nothing here. Reads files."""
    found: dict[Problem, None] = {}
    readers: dict[Path, _PackageImports] = {}
    for name, node in tasks_of(plan):
        block = node.block
        root = Path(str(block.get("root") or ""))
        if block.get("language") != "python" or not block.get("root") or not root.is_dir():
            continue
        reader = readers.setdefault(root, _PackageImports(root))
        for problem in reader.problems(root / str(block["entry"])):
            found.setdefault(problem)
        if block.get("context") == _OOCANA and not _is_installed(_OOCANA):
            found.setdefault(Problem(f"node {name!r}: {_words(_OOCANA)}", plan.path, None, "import", _OOCANA))
    return list(found)


class _PackageImports:
    """One package; each of its files is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[Path, list[Problem]] = {}
        self._next: dict[Path, list[Path]] = {}

    def problems(self, entry: Path) -> Iterator[Problem]:
        """Yield those of a file and of all that it imports of its package."""
        waiting, seen = [*self._inits(entry), entry], set[Path]()
        while waiting:
            file = waiting.pop()
            if file in seen:
                continue
            seen.add(file)
            if file not in self._read:
                self._look(file)
            yield from self._read[file]
            waiting += self._next[file]

    def _look(self, file: Path) -> None:
        problems: list[Problem] = []
        own: list[Path] = []
        self._read[file], self._next[file] = problems, own
        try:
            tree = parse(file.read_bytes(), str(file))
        except (OSError, SyntaxError, ValueError, RecursionError):
            # Said elsewhere, where it is the entry's.
            return
        for statement in _certain(tree.body):
            for level, module, names in _modules(statement):
                found = self._find(file, level, module, names)
                if found is None:
                    top = "." * level + module
                    subject = module.partition(".")[0]
                    problems.append(Problem(_words(top), str(file), statement.lineno, "import", subject))
                else:
                    own += found

    def _find(self, file: Path, level: int, module: str, names: list[str]) -> list[Path] | None:
        """Return the package's own files that an import runs; None when it finds nothing."""
        parts = module.split(".") if module else []
        if level:
            base = file.parent
            for _ in range(level - 1):
                base = base.parent
            return self._below(base, parts, names)
        top = parts[0]
        if top in sys.stdlib_module_names:
            return []
        places = list(dict.fromkeys((file.parent, self._block_directory(file.parent), self._root)))
        for place in places:
            if _module_at(place / top) not in (None, file):
                return self._below(place, parts, names)
        if _is_installed(top):
            return []
        for place in places:
            if (place / top).is_dir():
                return self._below(place, parts, names)
        return None

    def _below(self, base: Path, parts: list[str], names: list[str]) -> list[Path] | None:
        found: list[Path] = []
        place = base
        for part in parts:
            place /= part
            file = _module_at(place)
            if file is None and not place.is_dir():
                return None
            found += [file] if file is not None else []
        for name in names:
            # What isn't a module is a name in one.
            file = _module_at(place / name)
            found += [file] if file is not None else []
        return [*found, *(each for file in found for each in self._inits(file))]

    def _inits(self, file: Path) -> Iterator[Path]:
        """Yield the ``__init__.py`` of each directory above a file, up to the package's root: they run before it."""
        for directory in file.parents:
            if directory.is_relative_to(self._root) and (directory / "__init__.py").is_file():
                yield directory / "__init__.py"

    def _block_directory(self, directory: Path) -> Path:
        for each in (directory, *directory.parents):
            if not each.is_relative_to(self._root):
                break
            if any(each.glob("*.oo.yaml")) or any(each.glob("*.oo.yml")):
                return each
        return self._root


def _words(name: str) -> str:
    # Imported only here: mostly nothing is missing, and then a check needn't load the executor's modules.
    from ..executor.diagnosis.failure import missing_extra

    hint = missing_extra(ModuleNotFoundError(name=name)) if not name.startswith(".") else ""
    return f"the import of {name!r} can't be resolved here{hint}"


def _module_at(place: Path) -> Path | None:
    candidates = (place / "__init__.py", *(place.with_name(place.name + end) for end in (*EXTENSION_SUFFIXES, ".py")))
    return next((each for each in candidates if each.is_file()), None)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ValueError, ImportError):
        return name in sys.modules


def _modules(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[int, str, list[str]]]:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield 0, alias.name, []
    elif statement.level or statement.module:
        yield statement.level, statement.module or "", [alias.name for alias in statement.names]


def _certain(statements: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run whenever their module does."""
    for each in statements:
        if isinstance(each, (ast.Import, ast.ImportFrom)):
            yield each
        elif isinstance(each, (ast.With, ast.ClassDef)):
            yield from _certain(each.body)
        elif isinstance(each, ast.Try):
            if not any(map(_expects_failure, each.handlers)):
                yield from _certain(each.body)
                yield from _certain(each.orelse)
            yield from _certain(each.finalbody)
        elif isinstance(each, ast.If) and ast.unparse(each.test).rpartition(".")[2] == "TYPE_CHECKING":
            for inner in _certain(each.body):
                if any(module.partition(".")[0] == _OOCANA for _, module, _ in _modules(inner)):
                    yield inner


def _expects_failure(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(each, ast.Name) and each.id in _EXPECTED for each in ast.walk(handler.type))
