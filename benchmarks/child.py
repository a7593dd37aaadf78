"""The process that measures one subject once: ``python -m benchmarks.child`` with its order on standard input.

Prints one JSON line: the function's figures, and ``peak_mb``, the most memory that the process had;
``children_peak_mb`` is that of the largest process that it started.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import resource
import sys
from collections.abc import Callable

import orjson

__all__ = ["main"]


def main() -> None:
    """Measure what standard input names."""
    order = orjson.loads(sys.stdin.buffer.readline())
    if not order["rival"]:
        _calm()
    module, _, name = order["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    figures = function(**order["arguments"])
    if inspect.iscoroutine(figures):
        with asyncio.Runner(loop_factory=None if order["rival"] else _factory()) as runner:
            figures = runner.run(figures)
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    figures["children_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale
    print(orjson.dumps(figures).decode(), flush=True)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # Imported here: a rival's memory is measured without asyncblock.
    from asyncblock.iothread import loop_factory

    return loop_factory()


def _calm() -> None:
    """Let the garbage collector come as rarely as in an executor process."""
    from asyncblock import collector

    collector.calm()


if __name__ == "__main__":
    main()
