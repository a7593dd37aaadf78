"""How often a block is tried again, as its manifest says: a number, or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["retry_problem"]

_KEYS: Final = ("retries", "backoff", "not_retried", "release")


def retry_problem(found: object) -> str | None:
    """Say what is wrong with a block's ``retries``; None when nothing is."""
    if not isinstance(found, Mapping):
        return None if _is_count(found) else "'retries' must be a whole number, or a mapping with one"
    for key in found:
        if key not in _KEYS:
            return f"'retries' has no {key!r}; there is {', '.join(_KEYS)}"
    if not _is_count(found.get("retries", 1)):
        return "'retries' in 'retries' must be a whole number from 0"
    backoff = found.get("backoff", 1.0)
    if isinstance(backoff, bool) or not isinstance(backoff, (int, float)) or backoff < 0:
        return "'backoff' must be a number of seconds from 0"
    names = found.get("not_retried", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "'not_retried' must be a list of names of exceptions"
    if found.get("release", "finish") not in ("finish", "stream"):
        return "'release' must be 'finish' (outputs go on when an attempt has finished) or 'stream' (as they come)"
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
