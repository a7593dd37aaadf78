"""What a value that can't be had in another process is refused with, and how a class is named in that and in forms."""

from __future__ import annotations

__all__ = ["NotPortable", "key_of"]


class NotPortable(Exception):
    """A value can't be had in another process; the words say what of it."""


def key_of(kind: type) -> str:
    """Return what a class is called in words and files."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
