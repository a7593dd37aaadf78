"""Whether the index of a frame says anything: one that only counts the rows, from 0 and without a name, doesn't."""

from __future__ import annotations

from typing import Any

__all__ = ["is_counting"]

_BLOCK = 100_000
"""Labels that are compared at once; numpy lets other threads run meanwhile."""


def is_counting(index: Any) -> bool:
    """Tell whether an index is exactly 0, 1, 2 ... and has no name. Most others are told by their ends."""
    if hasattr(index, "levels") or list(index.names) != [None]:
        return False
    count = len(index)
    if not count:
        # Nothing is lost; but what a frame without rows is indexed by may have a meaning only by its name.
        return True
    if isinstance(getattr(index, "step", None), int):
        return bool(index.start == 0 and index.step == 1)
    if getattr(index.dtype, "kind", "O") not in "iu":
        return False
    try:
        return bool(index[0] == 0 and index[count - 1] == count - 1 and _counts(index, count))
    except (TypeError, ValueError):
        # Nullable ones, with something missing.
        return False


def _counts(index: Any, count: int) -> bool:
    for start in range(0, count, _BLOCK):
        block = index[start : start + _BLOCK].to_numpy()
        # The difference from its own beginning, without importing anything: an array counts if it is sorted by ones.
        if block[0] != start or block[-1] != start + len(block) - 1 or bool((block[1:] - block[:-1] != 1).any()):
            return False
    return True
