"""The process that draws figures: ``python -m asyncblock.preview.worker``, asked and answered over its standard pipes.

When it is ready it says so; then one request, one answer, until the pipe closes: then its parent is gone, and so is
it. It imports matplotlib when it starts, for it is only started when there is something to draw.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..runtime.forks import claim
from .figure import png_of
from .figurepickle import unpack

__all__ = ["ANSWER", "DRAWN", "FAILED", "UNREADABLE", "main"]

ANSWER = struct.Struct(">BBQ")
"""An answer's head: how it went, whether this process ends with it, the length of what follows."""

DRAWN, FAILED, UNREADABLE = range(3)

_MEMORY_LIMIT = 768 << 20
"""Bytes of memory beyond which the process ends after an answer, so that a new one takes its place."""

_FIGURES = 500
"""Figures after which it ends."""


def main() -> None:
    """Draw figures until the pipe closes."""
    # What a figure's own code reads and prints must not be taken from the requests nor end up among the answers, and
    # what it starts has neither of them.
    requests, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    claim(requests.fileno())
    claim(answers)
    # Without it there are Vega's charts.
    if find_spec("matplotlib") is not None:
        import_module("matplotlib").use("agg")
        warm_up()
    # An answer without a request says that it is ready: the first figure's time begins now.
    _write(answers, ANSWER.pack(DRAWN, False, 0))
    for number in range(1, _FIGURES + 1):
        try:
            load = unpack(requests)
        except EOFError:
            return
        status, data = _answer(load)
        ends = number == _FIGURES or _memory() > _MEMORY_LIMIT
        _write(answers, ANSWER.pack(status, ends, len(data)) + data)
        if ends:
            return


def warm_up() -> None:
    """Draw a small figure, so that fonts are read before the first request."""
    figure = import_module("matplotlib.figure").Figure(figsize=(1, 1))
    figure.subplots().set_title("warm")
    png_of(figure, 1_000_000)


def _answer(load: Any) -> tuple[int, bytes]:
    try:
        figure, pixels, size, chosen = load()
    except Exception as problem:
        return UNREADABLE, _words(problem)
    try:
        return DRAWN, png_of(figure, pixels, chosen, size)
    except Exception as problem:
        return FAILED, _words(problem)
    finally:
        # A figure that came from pyplot registers itself with pyplot when it is unpickled.
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


def _words(problem: BaseException) -> bytes:
    return f"{type(problem).__name__}: {problem}"[:10_000].encode("utf-8", "backslashreplace")


def _memory() -> int:
    """Return the bytes of memory that this process holds; at its peak where the system doesn't tell more."""
    try:
        # Linux counts what the parent held when it started this process towards ``ru_maxrss``.
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    main()
