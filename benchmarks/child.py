"""The process that measures one subject once: ``python -m benchmarks.child`` with its order on standard input.

Prints one JSON line: the function's figures, and ``peak_mb``, the most memory that the process had;
``children_peak_mb`` is that of the largest process that it started; ``notes`` says what the build of asyncblock doesn't
have of that with which its executor processes run.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import resource
import sys
from typing import Any

import orjson

__all__ = ["main"]


def main() -> None:
    """Measure what standard input names."""
    order = orjson.loads(sys.stdin.buffer.readline())
    notes: list[str] = []
    factory = None if order["rival"] else _as_an_executor(notes)
    module, _, name = order["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    figures = function(**order["arguments"])
    if inspect.iscoroutine(figures):
        with asyncio.Runner(loop_factory=factory) as runner:
            figures = runner.run(figures)
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    figures["children_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale
    figures["notes"] = notes
    print(orjson.dumps(figures).decode(), flush=True)


_CALM = ("asyncblock.runtime.collector:calm", "asyncblock.collector:calm")
_BLOCK_LOOP = ("asyncblock.executor.guards.blockloop:block_loop", "asyncblock.executor.blockloop:block_loop")
_LOOP_FACTORY = ("asyncblock.runtime.iothread:loop_factory", "asyncblock.iothread:loop_factory")
"""Where builds have these. With ``--against`` older ones are measured: a new place is added, the old one stays."""


def _as_an_executor(notes: list[str]) -> Any:
    """Collect garbage as rarely as an executor process of this build, and return the factory of its blocks' loop."""
    if calm := _first(_CALM):
        calm()
    else:
        notes.append("its executor processes have the usual garbage collector")
    if block_loop := _first(_BLOCK_LOOP):
        return block_loop
    if loop_factory := _first(_LOOP_FACTORY):
        return loop_factory()
    notes.append("its executor processes have the standard loop")
    return None


def _first(places: tuple[str, ...]) -> Any:
    # Imported here: a rival's memory is measured without asyncblock.
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


if __name__ == "__main__":
    main()
