"""Where a source asks for its own place only to name one file of data: ``Path(__file__).parent / "prices.csv"``."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import Final

__all__ = ["data_names"]

_CODE: Final = frozenset(
    {"", ".py", ".pyc", ".pyw", ".pyi", ".so", ".pyd", ".sh", ".bash", ".zip", ".whl", ".egg", ".pth"}
)
"""Suffixes of what can be run or imported; of a name without any it can't be told."""

_SAME: Final = frozenset({"Path", "PurePath", "str", "fspath", "abspath", "realpath", "dirname", "resolve", "absolute"})
"""Functions and methods that make the same path of one, or the directory above it."""

_JOINS: Final = frozenset({"join", "joinpath", "with_name"})

_AWAY: Final = frozenset(
    {"parent", "parents", "dirname", "with_name", "with_stem", "with_suffix", "relative_to", "walk"}
)
"""What leads from a path to others."""


def data_names(tree: ast.AST) -> set[ast.AST]:
    """Return the mentions of ``__file__`` that only name files of data; none where paths lead on to others."""
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found: set[ast.AST] = set()
    passed: set[ast.AST] = set()
    for node in above:
        if isinstance(node, ast.Name) and node.id == "__file__":
            last, chain = _climbed(node, above)
            if PurePosixPath(last).suffix.lower() in _CODE:
                return set()
            found.add(node)
            passed |= chain
    leads_on = any(_word(node) in _AWAY and node not in passed for node in above)
    return set() if leads_on else found


def _climbed(node: ast.AST, above: dict[ast.AST, ast.AST]) -> tuple[str, set[ast.AST]]:
    """Follow a path outwards as long as all that is done to it stands in the source; return its last name."""
    last = ""
    chain: set[ast.AST] = set()
    while (outer := above.get(node)) is not None:
        chain.add(node)
        match outer:
            case ast.Attribute(attr="parent" | "parents"):
                last = ""
            case ast.Subscript(value=value, slice=ast.Constant(value=int())) if value is node:
                pass
            case ast.Attribute() if _word(outer) in _SAME | _JOINS and _is_called(outer, above):
                pass
            case ast.Call(func=func, args=args, keywords=[]) if func is node and _constants(args) is not None:
                last = (_constants(args) or [last])[-1]
            case ast.Call(func=func, args=[first], keywords=[]) if first is node and _word(func) in _SAME:
                last = "" if _word(func) == "dirname" else last
                chain |= set(ast.walk(func))
            case ast.Call(func=func, args=[first, *more], keywords=[]) if first is node and _word(func) == "join":
                if not (names := _constants(more)):
                    return "", chain
                last = names[-1]
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(name))) if left is node:
                last = name
            case _:
                break
        node = outer
    chain.add(node)
    return last, chain


def _word(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_called(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    outer = above.get(node)
    return isinstance(outer, ast.Call) and outer.func is node


def _constants(nodes: list[ast.expr]) -> list[str] | None:
    """Return the texts that are given; None where one isn't in the source."""
    found = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found if len(found) == len(nodes) else None
