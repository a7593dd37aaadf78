"""Text, HTML, markdown and CSV, made of what an author declares to be one."""

from __future__ import annotations

import os
from typing import Any

from ..errors import UnserializableValue
from .authorfiles import beginning_of
from .cells import DOTS, cell, safe_str, sendable
from .heads import text_head
from .jupyter import bundle_of, encoded, is_offering
from .limits import Limits
from .renderer import Rendering
from .signatures import media_type_of
from .tabletexts import html_table, markdown_table
from .typedparts import Again, cannot

__all__ = ["as_text", "html", "markdown", "written"]


_LOOKED_AT = 1000
"""Bytes that are looked at to tell whether a file is text."""


def _cut(text: str, limits: Limits) -> dict[str, Any]:
    shown = text_head(text, limits.bytes)
    if len(shown) == len(text):
        return {"data": sendable(str(text))}
    return {"data": sendable(shown) + DOTS, "note": f"the first {len(shown):,} of {len(text):,} characters"}


def written(data: Any, kind: str, limits: Limits) -> dict[str, Any] | None:
    """Return a text that is given as such, as bytes, or as a file."""
    if isinstance(data, str) and not is_offering(data):
        return _cut(data, limits)
    if isinstance(data, (bytes, bytearray)):
        media_type = "application/pdf" if data.startswith(b"%PDF-") else media_type_of(data)
        if media_type is not None and media_type != "image/svg+xml":
            raise cannot(kind, data, f" ({media_type})")
        if b"\0" in data[:_LOOKED_AT]:
            raise cannot(kind, data, " that are no text")
        return _cut(bytes(data[: limits.bytes + 1]).decode("utf-8", "replace"), limits)
    if isinstance(data, os.PathLike):
        return written(beginning_of(data, limits), kind, limits)
    return None


def as_text(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return a text, or a value written as one."""
    made = written(data, "text", limits)
    if made is not None:
        return made
    if data is None or isinstance(data, (bool, int, float)):
        return {"data": cell(data, limits)}
    if type(data) in (dict, list, tuple):
        try:
            found = encoded(data, limits.bytes)
        except UnserializableValue:
            found = None
        if found is not None:
            return {"data": found.data.decode()}
    return _cut(str(data) if isinstance(data, str) else safe_str(data, limits.bytes), limits)


def html(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return HTML, or what offers or becomes some."""
    made = written(data, "html", limits)
    if made is not None:
        return made
    if data is None or isinstance(data, (bool, int, float)) or type(data) in (dict, list, tuple):
        raise cannot("html", data)
    shown = again(data)
    if shown["type"] == "html":
        return shown
    bundle = bundle_of(data, "text/html")[0] if is_offering(data) else {}
    if isinstance(bundle.get("text/html"), str) and len(bundle["text/html"]) <= limits.bytes:
        return {"data": sendable(bundle["text/html"])}
    if shown["type"] == "image" and not isinstance(shown["data"], list):
        return {"data": _around('<img src="', shown["data"], '">')}
    if shown["type"] == "table":
        return {"data": html_table(shown["data"])}
    raise cannot("html", data, f" (shown as {shown['type']})")


def _around(before: str, picture: Any, behind: str) -> Any:
    if not isinstance(picture, Rendering):
        return f"{before}{picture}{behind}"
    picture.around = (before, behind)
    return picture


def markdown(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return markdown, given as text or offered by an object."""
    made = written(data, "markdown", limits)
    if made is not None:
        return made
    if data is None or isinstance(data, (bool, int, float)) or type(data) in (dict, list, tuple):
        raise cannot("markdown", data)
    for media_type in ("text/markdown", "text/latex") if is_offering(data) else ():
        found = bundle_of(data, media_type)[0].get(media_type)
        if isinstance(found, str):
            return _cut(found, limits)
    shown = again(data)
    if shown["type"] == "image" and not isinstance(shown["data"], list):
        return {"data": _around("![](", shown["data"], ")")}
    if shown["type"] == "table":
        return {"data": markdown_table(shown["data"])}
    if shown["type"] == "html" and isinstance(shown["data"], str) and "<script" not in shown["data"]:
        # Markdown may have HTML in it.
        return {"data": shown["data"]}
    raise cannot("markdown", data, f" (shown as {shown['type']})")
