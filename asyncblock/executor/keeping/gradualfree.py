"""Freeing large values a little at a time: at once, freeing 60 MB of nested ones holds the GIL for 100 ms."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

__all__ = ["free_gradually"]

_YIELD: Final = 0.0005
"""Seconds after which the GIL is given up."""

_PART: Final = 512
"""Items that are freed between two looks at the clock."""


def free_gradually(values: list[Any]) -> None:
    """Free the lists and dicts in ``values`` that nobody else holds, and what is in them. On a worker thread.

    What somebody else holds, at any depth, is left as it is.
    """
    until = time.perf_counter() + _YIELD
    while values:
        if type(values[-1]) not in (list, dict) or not values[-1] or _references(values) > _ALONE:
            values.pop()
        else:
            values += [each for each in _taken(values[-1]) if type(each) in (list, dict)]
        if time.perf_counter() >= until:
            # This gives the GIL up at once; to wait for the interpreter to take it would be 5 ms, its switch interval.
            time.sleep(0)
            until = time.perf_counter() + _YIELD


def _taken(container: list[Any] | dict[str, Any]) -> list[Any]:
    if isinstance(container, dict):
        return [container.popitem()[1] for _ in range(min(len(container), _PART))]
    part = container[-_PART:]
    del container[-_PART:]
    return part


def _references(values: list[Any]) -> int:
    """Count who holds the last of the values. Nobody can come to hold what only the list holds."""
    return sys.getrefcount(values[-1])


_ALONE: Final = _references([[]]) if getattr(sys, "_is_gil_enabled", lambda: True)() else -1
"""The count of what only the list holds; without a GIL counts say nothing, and nothing is taken apart."""
