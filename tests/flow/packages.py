"""Packages for tests: files written from texts, and the problems of a flow."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from asyncblock.errors import InvalidFlow
from asyncblock.flow import load_flow

__all__ = ["MAIN", "block", "problems", "write"]

MAIN = "async def main(inputs, ctx):\n    pass\n"


def write(path: Path, text: str) -> Path:
    """Write a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def block(root: Path, name: str, inputs: str = "", outputs: str = "", source: str = MAIN, more: str = "") -> Path:
    """Write a block whose handles are names, apart by spaces; ``x:var`` is a var handle, ``x=1`` has a default."""
    write(root / f"blocks/{name}/main.py", source)
    text = "executor: {name: python, options: {entry: main.py}}\n"
    text += f"inputs_def: [{', '.join(map(_handle, inputs.split()))}]\n"
    text += f"outputs_def: [{', '.join(map(_handle, outputs.split()))}]\n"
    return write(root / f"blocks/{name}/block.oo.yaml", text + textwrap.dedent(more))


def _handle(text: str) -> str:
    text, given, default = text.partition("=")
    name, _, kind = text.partition(":")
    schema = f", json_schema: {{contentMediaType: oomol/{kind}}}" if kind else ""
    return f"{{handle: {name}{schema}{f', value: {default}' if given else ''}}}"


def problems(path: Path) -> list[tuple[str, int | None, str]]:
    """Load a flow that can't be run; return file name, line and words of each problem."""
    with pytest.raises(InvalidFlow) as caught:
        load_flow(path)
    return [(Path(problem.file or "").name, problem.line, problem.message) for problem in caught.value.problems]
