"""Blocks that are functions of this process: what a flow asks of one, and the task that it is in a document.

``builder`` puts them into flows and ``load`` into plans. Nothing here imports the author's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

__all__ = ["CodeBlock", "task_of"]


class CodeBlock(Protocol[P, R_co]):
    """What a flow needs of a function under ``@asyncblock.block``."""

    name: str
    package: str
    hash: str
    entry: str
    function: str
    inputs_def: Sequence[Mapping[str, Any]] | None
    outputs_def: Sequence[Mapping[str, Any]] | None
    retries: Mapping[str, Any] | None
    cache: Mapping[str, Any] | bool | None
    recompute: bool
    needs: Mapping[str, Any] | None
    sync: bool

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""
        ...


def task_of(block: CodeBlock[..., Any]) -> dict[str, Any]:
    """Return the inline task that a block of code is in a document."""
    options: dict[str, Any] = {"module": block.entry, "function": block.function, "hash": block.hash}
    if block.sync:
        options["sync"] = True
    task: dict[str, Any] = {"executor": {"name": "python", "options": options}}
    if block.inputs_def is not None:
        task["inputs_def"] = [dict(each) for each in block.inputs_def]
    if block.outputs_def is not None:
        task["outputs_def"] = [dict(each) for each in block.outputs_def]
    if block.retries is not None:
        task["retries"] = dict(block.retries)
    if block.cache is not None:
        task["cache"] = dict(block.cache) if isinstance(block.cache, Mapping) else block.cache
    if block.recompute:
        task["recompute"] = True
    if block.needs is not None:
        task["needs"] = dict(block.needs)
    return task
