"""Which JSON every reader takes as the same: no key twice in an object, no integer beyond 64 bits."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

__all__ = ["not_plain"]

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# The largest integer of 64 bits with a sign has 19 digits: shorter ones need no look.
_LONG_INTEGER: Final = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")


def not_plain(raw: bytes, value: Any) -> str | None:
    """Return why readers may take a text differently, or None. ``value`` is what it was read as."""
    again = orjson.dumps(value)
    if again == raw:
        return None
    bare = _STRING.sub(b"", raw)
    if _has_huge(bare):
        return "there is an integer of more than 64 bits"
    if bare.count(b":") != _STRING.sub(b"", again).count(b":"):
        return "there is a key twice in an object"
    return None


def _has_huge(bare: bytes) -> bool:
    return any(
        len(found := match.group()) > 20 or not -(1 << 63) <= int(found) < 1 << 64
        for match in _LONG_INTEGER.finditer(bare)
    )
