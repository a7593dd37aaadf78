"""Choosing the converter of a payload, by what the value itself offers."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from ..values import dumps, loads
from .figure import render_png
from .table import is_frame, table_of

__all__ = ["convert"]

_TEXT_LIMIT = 64 << 10
"""Characters of the text that stands for a value that nothing else can show."""

_REPRESENTATIONS = (
    ("_repr_html_", "text/html", "html"),
    ("_repr_svg_", "image/svg+xml", "html"),
    ("_repr_markdown_", "text/markdown", "markdown"),
)
"""Jupyter's methods, their media types, and the kind of preview that each makes; the first that answers is chosen."""


def convert(payload: object, *, id: str | None = None) -> dict[str, Any]:
    """Return a payload ``{"type", "data", ...}`` that is ready for JSON.

    A DataFrame becomes a table, a Figure or a picture an image; a dict with a ``type`` is shown as it is; other dicts
    and lists as JSON, texts as text; objects as Jupyter would show them, or else by their ``repr``.
    Raises whatever the value's own methods raise, and ``UnserializableValue``.
    """
    made = _convert(payload)
    if id is not None:
        made["id"] = id
    return made


def _convert(payload: object) -> dict[str, Any]:
    if isinstance(payload, Mapping) and isinstance(payload.get("type"), str):
        return _typed(payload)
    if is_frame(payload):
        return {"type": "table", "data": table_of(payload)}
    if hasattr(payload, "savefig"):
        return {"type": "image", "data": _png_url(render_png(payload))}
    if isinstance(payload, str):
        return {"type": "text", "data": payload}
    if isinstance(payload, (Mapping, list, tuple, int, float, bool)) or payload is None:
        return {"type": "json", "data": loads(dumps(payload))}
    return _represented(payload)


def _typed(payload: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(payload)
    data = made.get("data")
    if made["type"] == "table" and is_frame(data):
        made["data"] = table_of(data)
    elif made["type"] == "image" and hasattr(data, "savefig"):
        made["data"] = _png_url(render_png(data))
    # Round trip: what isn't JSON gets its stated form here, and an error that names it.
    checked: dict[str, Any] = loads(dumps(made))
    return checked


def _represented(payload: Any) -> dict[str, Any]:
    if callable(getattr(payload, "get_figure", None)) and hasattr(payload.get_figure(), "savefig"):
        return {"type": "image", "data": _png_url(render_png(payload.get_figure()))}
    png = getattr(payload, "_repr_png_", None)
    if callable(png) and (data := png()):
        return {"type": "image", "data": _png_url(data)}
    if hasattr(payload, "save") and hasattr(payload, "getbands"):
        buffer = io.BytesIO()
        payload.save(buffer, format="png")
        return {"type": "image", "data": _png_url(buffer.getvalue())}
    for method, _, kind in _REPRESENTATIONS:
        show = getattr(payload, method, None)
        if callable(show) and (text := show()):
            return {"type": kind, "data": str(text)}
    return {"type": "text", "data": repr(payload)[:_TEXT_LIMIT]}


def _png_url(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"
