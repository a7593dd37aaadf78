"""For whose context a function was written: ours, or that of the package ``oocana``.

What is said of the block decides (``context: oocana`` among its executor's options), then the annotation of a
parameter, then what the function's module has imported. Names that are imported for type checkers only count too.
"""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..blockcode.syntax import parse
from ..shapes.hints import hints_of, innermost

__all__ = ["SURFACES", "is_for_oocana", "takes_oocana"]

SURFACES: Final = ("asyncblock", "oocana")
"""What ``context`` among an executor's options may be."""

_CONTEXTS: Final = ("Context", "ServiceContextAbstractClass")


def is_for_oocana(fn: Callable[..., Any], said: object = None) -> bool:
    """Tell whether a function wants the context of ``oocana``. ``said`` is what its block's options say of that."""
    if said in SURFACES:
        return said == "oocana"
    written = _Written(fn)
    for hint in written.hints.values():
        if (package := written.package_of(hint)) is not None:
            return package == "oocana"
    names = getattr(written.inner, "__globals__", {})
    # What the import system writes into each module is nobody's choice.
    packages = {_home_of(value) for name, value in names.items() if not name.startswith("__")}
    if any(isinstance(hint, (str, typing.ForwardRef)) for hint in written.hints.values()):
        packages |= {each.package for each in written.imported.values()}
    return "oocana" in packages and "asyncblock" not in packages


def takes_oocana(fn: Callable[..., Any], parameter: str) -> bool:
    """Tell whether a parameter is annotated with the context of ``oocana``."""
    written = _Written(fn)
    return written.package_of(written.hints.get(parameter)) == "oocana"


class _Bound(NamedTuple):
    """What an import has bound: from which package, and the name there; None for a module."""

    package: str
    name: str | None


class _Written:
    """A function's annotations, and what its file imports."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.inner = innermost(fn)
        self.hints = {name: hint for name, hint in hints_of(self.inner).items() if name != "return"}
        self._imported: Mapping[str, _Bound] | None = None

    @property
    def imported(self) -> Mapping[str, _Bound]:
        """What the function's file imports, wherever it does; read when an annotation stayed text."""
        if self._imported is None:
            code: Any = getattr(self.inner, "__code__", None)
            try:
                tree = parse(Path(code.co_filename).read_bytes(), code.co_filename)
            except (OSError, SyntaxError, ValueError, AttributeError, RecursionError):
                # It was made of no file that could be read.
                tree = ast.Module([], [])
            self._imported = dict(_imports(tree))
        return self._imported

    def package_of(self, hint: Any) -> str | None:
        """Return the package whose context an annotation means; None for another one."""
        if isinstance(hint, typing.ForwardRef):
            hint = hint.__forward_arg__
        if isinstance(hint, str):
            return self._meant(hint)
        if typing.get_origin(hint) is typing.Annotated:
            return self.package_of(typing.get_args(hint)[0])
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            return next((found for part in typing.get_args(hint) if (found := self.package_of(part))), None)
        if not isinstance(hint, type):
            return None
        if getattr(hint, "__asyncblock_context__", False):
            return "asyncblock"
        theirs = any(_home_of(each) == "oocana" and each.__name__ in _CONTEXTS for each in hint.__mro__)
        return "oocana" if theirs else None

    def _meant(self, text: str) -> str | None:
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError):
            return None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                bound, name = self.imported.get(node.id), None
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                bound, name = self.imported.get(node.value.id), node.attr
            else:
                continue
            if bound is not None and bound.package in SURFACES and (bound.name or name) in (*_CONTEXTS, "SyncContext"):
                return bound.package
        return None


def _home_of(value: object) -> str:
    """Return the package that something comes from: a module, a class, a function."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def _imports(tree: ast.Module) -> Iterator[tuple[str, _Bound]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.partition(".")[0]
                yield alias.asname or package, _Bound(package, None)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, _Bound(node.module.partition(".")[0], alias.name)
