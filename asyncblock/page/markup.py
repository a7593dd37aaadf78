"""Markup in which every text is a text: whatever isn't ``Markup`` already is escaped, in elements and in attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Any

__all__ = ["Markup", "el", "join", "seen", "text"]

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What has no place in a document: control characters, and halves of surrogate pairs."""

_VOID = frozenset({"br", "col", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is markup. Only this module's functions and literals of ours make it."""

    __slots__ = ()


Child = Any
"""``Markup``, a text or number, an iterable of these, or None for nothing."""


def seen(value: str) -> str:
    """Return a text without what has no place in a document."""
    return _UNSEEN.sub("\ufffd", value)


def text(value: object) -> Markup:
    """Escape a text."""
    return Markup(escape(seen(str(value)), quote=True))


def join(children: Iterable[Child]) -> Markup:
    """Put children one after another."""
    return Markup("".join(map(_made, children)))


def el(name: str, /, *children: Child, **attributes: object) -> Markup:
    """Make an element. ``_`` in an attribute's name stands for ``-``, at its end for nothing; None leaves it out."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{text(value)}"')
    if name in _VOID:
        return Markup("".join([*parts, ">"]))
    return Markup("".join([*parts, ">", *map(_made, children), f"</{name}>"]))


def _made(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int, float)):
        return text(child)
    return join(child)
