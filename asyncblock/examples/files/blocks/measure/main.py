from __future__ import annotations

import ast
from pathlib import Path


def main(inputs: dict[str, str]) -> dict[str, object]:
    """Read and parse a file; a block that is no coroutine runs in a thread."""
    path = Path(inputs["path"])
    text = path.read_text("utf-8")
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {"file": {"name": path.name, "lines": len(text.splitlines()), "functions": len(functions)}}
