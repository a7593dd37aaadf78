"""Compiles a file of a block package with its absolute imports redirected to where ``imports`` says that they lead.

Line numbers, docstrings and the names that are bound stay as they are written.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import CodeType

from ...blockcode.syntax import parse

__all__ = ["Locate", "compile_redirected"]

Locate = Callable[[str], str | None]
"""The full name of the module that a top-level name means in the file; None to leave the import as it is."""


def compile_redirected(source: bytes, path: Path, locate: Locate) -> CodeType:
    """Compile a file. Raises ``SyntaxError`` with file and line."""
    tree = parse(source, str(path))
    _redirect(tree, locate)
    return compile(tree, str(path), "exec", dont_inherit=True)


def _redirect(node: ast.AST, locate: Locate) -> None:
    """Rewrite the import statements below a node. Statements stand in lists, so expressions are never looked at."""
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            setattr(node, field, [new for each in statements for new in _redirected(each, locate)])
    for field in ("handlers", "cases"):
        for each in getattr(node, field, ()):
            _redirect(each, locate)


def _redirected(statement: ast.stmt, locate: Locate) -> list[ast.stmt]:
    if isinstance(statement, ast.Import):
        return [_placed(new, statement) for alias in statement.names for new in _import(alias, locate)]
    if isinstance(statement, ast.ImportFrom):
        if statement.level == 0 and statement.module is not None:
            top, dot, below = statement.module.partition(".")
            statement.module = f"{locate(top) or top}{dot}{below}"
    else:
        _redirect(statement, locate)
    return [statement]


def _import(alias: ast.alias, locate: Locate) -> list[ast.stmt]:
    top, dot, below = alias.name.partition(".")
    found = locate(top)
    if found is None:
        return [ast.Import([alias])]
    full = f"{found}{dot}{below}"
    if alias.asname is not None or not below:
        return [ast.Import([ast.alias(full, alias.asname or top)])]
    # ``import a.b`` imports both and binds a.
    call = ast.Call(ast.Name("__import__", ast.Load()), [ast.Constant(full)], [])
    return [ast.Expr(call), ast.Import([ast.alias(found, top)])]


def _placed(new: ast.stmt, old: ast.stmt) -> ast.stmt:
    return ast.fix_missing_locations(ast.copy_location(new, old))
