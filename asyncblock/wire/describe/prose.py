"""What the sources say of fields: the text behind each of a class's fields."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import Any

__all__ = ["about", "about_fields"]


def about(cls: Any) -> str:
    """Return what a class says of itself, in one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def about_fields(cls: Any) -> dict[str, str]:
    """Return what a class says of each of its fields, those of its bases included."""
    return _texts(cls.__module__, cls.__name__)


@cache
def _texts(module: str, name: str) -> dict[str, str]:
    node = _classes(module).get(name)
    if node is None:
        return {}
    found: dict[str, str] = {}
    # By their names: TypedDicts keep their bases from 3.12 on.
    for each in reversed(node.bases):
        base: Any = getattr(sys.modules[module], each.id, None) if isinstance(each, ast.Name) else None
        if getattr(base, "__module__", "typing") != "typing":
            found |= _texts(base.__module__, base.__name__)
    return found | dict(_fields(node))


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for statement, behind in zip(node.body, node.body[1:], strict=False):
        match statement, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, " ".join(text.split())))
    return found
