"""Every ``await`` of the mainframe's own code, counted and made to raise: an importer that rewrites what it loads.

Install it in a process that hasn't imported ``asyncblock.server`` yet. A site is a file's path inside the package and
the place of the ``await``, ``async with`` or ``async for`` in it, counted from 0 in the order of the source.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Awaits", "sites"]

PACKAGE = "asyncblock.server"
LEFT_OUT = ("asyncblock.server.journal", "asyncblock.server.cluster", "asyncblock.server.jetstream")
"""The journal has fault tests of its own, with a disk that refuses (``tests/server/journal/test_diskerrors.py``); sets of
mainframes have theirs."""

Site = tuple[str, int, int]
"""File, place among its sites, line."""


def _root() -> Path:
    found = importlib.util.find_spec("asyncblock")
    assert found is not None and found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])


def _file_of(name: str) -> Path:
    return _root().parent / f"{name.replace('.', '/')}.py"


def _awaits(tree: ast.AST) -> Iterator[ast.Await | ast.AsyncFor | ast.withitem]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Await, ast.AsyncFor)):
            yield node
        elif isinstance(node, ast.AsyncWith):
            yield from node.items


def _line(node: ast.Await | ast.AsyncFor | ast.withitem) -> int:
    return node.context_expr.lineno if isinstance(node, ast.withitem) else node.lineno


def sites() -> list[Site]:
    """Return all of them, read from the syntax trees."""
    found = []
    left_out = {_file_of(name).with_suffix("") for name in LEFT_OUT}
    for path in sorted((_root() / "server").rglob("*.py")):
        if path.parent in left_out:
            continue
        nodes = list(_awaits(ast.parse(path.read_text())))
        found += [(path.name, place, _line(node)) for place, node in enumerate(nodes)]
    return found


class Awaits(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the mainframe's modules so that each await asks here first."""

    def __init__(self) -> None:
        self.visited: set[tuple[str, int]] = set()
        self.armed: tuple[str, int] | None = None
        """The site whose next visit raises ``error``."""
        self.error: Exception = RuntimeError("never")
        self.hits = 0

    def install(self) -> None:
        """Rewrite what is imported from here on."""
        assert PACKAGE not in sys.modules, "the mainframe's modules are there already"
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the modules that are to be rewritten."""
        if not name.startswith(PACKAGE) or name.startswith(LEFT_OUT) or name == PACKAGE:
            return None
        file = _file_of(name)
        # Rooms are packages with nothing in them to rewrite.
        return importlib.util.spec_from_file_location(name, file, loader=self) if file.exists() else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Rewrite and run a module."""
        path = Path(str(module.__file__))
        tree = ast.parse(path.read_text())
        for place, node in enumerate(_awaits(tree)):
            if isinstance(node, ast.Await):
                node.value = self._asked("awaits_await_", path.name, place, node.value)
            elif isinstance(node, ast.AsyncFor):
                node.iter = self._asked("awaits_enter_", path.name, place, node.iter)
            else:
                node.context_expr = self._asked("awaits_enter_", path.name, place, node.context_expr)
        module.__dict__["awaits_await_"] = self._await
        module.__dict__["awaits_enter_"] = self._enter
        exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), module.__dict__)

    @staticmethod
    def _asked(name: str, file: str, place: int, value: ast.expr) -> ast.expr:
        asked = ast.Call(ast.Name(name, ast.Load()), [ast.Constant(file), ast.Constant(place), value], [])
        return ast.copy_location(asked, value)

    async def _await(self, file: str, place: int, value: Awaitable[Any]) -> Any:
        try:
            self._visit(file, place)
        except Exception:
            if inspect.iscoroutine(value):
                value.close()
            raise
        return await value

    def _enter(self, file: str, place: int, value: Any) -> Any:
        self._visit(file, place)
        return value

    def _visit(self, file: str, place: int) -> None:
        self.visited.add((file, place))
        if self.armed == (file, place):
            self.armed = None
            self.hits += 1
            raise self.error
