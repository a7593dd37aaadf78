"""What can be told of a block's Python file without running it."""

from __future__ import annotations

import ast
from importlib.util import decode_source
from pathlib import Path

from ..blockcode.syntax import parse

__all__ = ["is_sync", "missing_function"]


def missing_function(source: Path, function: str) -> str | None:
    """Say that a file certainly has no such function; None when it has or when only running it could tell."""
    try:
        content = source.read_bytes()
        decode_source(content)
        tree = parse(content, str(source))
    except UnicodeDecodeError as error:
        return f"{source} isn't UTF-8 (byte {error.start})"
    except SyntaxError as error:
        if error.lineno is None:
            return f"{source} isn't UTF-8: {error.msg}"
        return f"{source}:{error.lineno}: {error.msg}"
    except (OSError, ValueError) as error:
        return f"{source} can't be read: {error}"
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name) for alias in statement.names)
        elif not isinstance(statement, ast.Expr):
            names.update(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            names.update(
                node.name for node in ast.walk(statement) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            )
    if function in names or "*" in names or "__getattr__" in names:
        return None
    defined = sorted(n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return f"{source} has no function {function!r}" + (f"; it has {', '.join(defined)}" if defined else "")


def is_sync(source: Path, function: str) -> bool:
    """Tell whether a function certainly is a plain ``def``; what a decorator or an import brings isn't known."""
    try:
        tree = parse(source.read_bytes(), str(source))
    except (SyntaxError, OSError, ValueError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in tree.body if isinstance(node, kinds) and node.name == function]
    return bool(found) and isinstance(found[-1], ast.FunctionDef) and not found[-1].decorator_list
