"""The beginning of what is too large to be shown whole: of texts, lists and mappings, at every level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .yieldgil import yield_gil

__all__ = ["head_of", "text_head"]

_ITEMS = 5_000
"""Items between two turns of other threads."""

_DEPTH = 100
"""Levels that are looked into; what is deeper stays as it is."""


def text_head(text: str, size: int) -> str:
    """Return as much of the beginning of a text as has no more bytes than that."""
    text = text[:size]
    if text.isascii():
        return text
    made = text.encode("utf-8", "surrogatepass")
    end = min(size, len(made))
    # No character in halves: those behind its first byte have the bits 10 in front.
    while end < len(made) and made[end] & 0xC0 == 0x80:
        end -= 1
    return made[:end].decode("utf-8", "surrogatepass")


def head_of(value: Any, size: int) -> Any:
    """Return the beginning of a value, of about that many bytes of JSON; the value isn't changed."""
    return _Head(size).of(value, 0)


class _Head:
    """Copies a value until the room is used up."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items = 0

    def of(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            shown = text_head(value, max(self._room, 0))
            self._room -= len(shown) + 2
            return shown
        if depth < _DEPTH and isinstance(value, Mapping):
            return self._mapping(value, depth)
        if (depth < _DEPTH and isinstance(value, (list, tuple, set, frozenset))) or hasattr(value, "__array__"):
            return self._sequence(value, depth)
        self._room -= len(str(value)) + 1 if isinstance(value, (int, float)) else 30
        return value

    def _sequence(self, value: Any, depth: int) -> Any:
        if not getattr(value, "shape", (1,)):
            return value
        shown = []
        for each in value:
            if self._is_full():
                break
            shown.append(self.of(each, depth + 1))
        return shown

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        shown = {}
        for key, each in value.items():
            if self._is_full():
                break
            self._room -= len(str(key)) + 4
            shown[key] = self.of(each, depth + 1)
        return shown

    def _is_full(self) -> bool:
        self._items += 1
        self._room -= 1
        if self._items % _ITEMS == 0:
            yield_gil()
        return self._room <= 0
