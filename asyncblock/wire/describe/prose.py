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
    found: dict[str, str] = {}
    for base in (*reversed(getattr(cls, "__orig_bases__", ())), cls):
        if getattr(base, "__module__", "typing") != "typing":
            found |= _texts(base.__module__).get(base.__name__, {})
    return found


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for statement, behind in zip(node.body, node.body[1:], strict=False):
        match statement, behind:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, " ".join(text.split())))
    return found
