"""Choosing what shows a payload. Runs on worker threads; figures are left as ``Rendering`` for the worker process.

In this order: payloads that an author gave a type, converters (users' first), what an object offers to Jupyter, the
figure that it holds, the things in a container that can be shown, what JSON has a form for, and its ``repr``. Only
values of exactly Python's own types are plain: an heir of ``dict``, ``list`` or ``str`` may know better how it looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from . import animation as animation  # they register their converters
from . import arrowtables as arrowtables
from . import libraries as libraries
from . import pages as pages
from . import picture as picture
from . import pillow as pillow
from . import plotlyfigure as plotlyfigure
from . import renderables as renderables
from . import styled as styled
from . import table as table
from . import vega as vega
from . import widgets as widgets
from .authorfiles import contents_of
from .cells import lenient, safe_repr
from .containers import Again, grouped, has_members, held
from .displayed import Bundle, displayed, displays
from .figure import current_figure, is_drawable, is_figure, is_plot
from .jupyter import as_json, is_offering, payload_of, shown, text_payload
from .limits import Limits
from .pillow import opened
from .registry import find, register_builtin
from .renderer import Rendering
from .signatures import picture_of_bytes
from .typed import is_typed, typed

__all__ = ["converted", "is_plain", "taken"]

_LEVELS = 8
"""How often a converter's answer may be another value that has to be converted, and how deep containers are shown."""

_TAKEN = frozenset({"table", "image", "html", "markdown"})
"""Types for which a value is shown as it is when no type is given, so that it can be taken in the same way."""

_PLAIN = frozenset({type(None), str, dict, list, tuple, int, float, bool})


def is_plain(payload: object) -> bool:
    """Tell whether a payload is of a type that is shown as text or JSON, if nothing in it can be shown."""
    return type(payload) in _PLAIN


def taken(payload: Any, limits: Limits) -> Any:
    """Take, at the call, what is shown of a payload, where that is quick; else return the payload."""
    if type(payload) is dict and is_typed(payload):
        data = payload["data"]
        return {**payload, "data": taken(data, limits) if payload["type"] in _TAKEN else data}
    if is_plain(payload):
        return payload
    entry = find(payload)
    return payload if entry is None or entry.take is None else entry.take(payload, limits)


def converted(payload: Any, limits: Limits, levels: int = _LEVELS) -> dict[str, Any]:
    """Return a payload ``{"type", "data", ...}`` that is ready for JSON but for its ``Rendering`` parts.

    Raises whatever the value's own methods raise, ``UnserializableValue`` and ``PreviewFailed``.
    """
    if levels <= 0:
        raise PreviewFailed(f"it leads to another value more than {_LEVELS} times; the last is a {_kind(payload)}")

    def again(value: Any) -> dict[str, Any]:
        return converted(value, limits, levels - 1)

    if is_typed(payload) and (type(payload) is dict or not is_offering(payload)):
        return typed(payload, limits, again)
    if isinstance(payload, Bundle):
        return payload_of(payload, limits)
    entry = find(payload)
    if entry is not None:
        made = entry.converter(payload, limits)
        return made if entry.is_final and isinstance(made, dict) else again(made)
    if isinstance(payload, str) and not is_offering(payload):
        return text_payload(payload, limits)
    if is_plain(payload):
        return grouped(payload, limits, again) or _json(payload, limits)
    return _other(payload, limits, again)


def _other(value: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if is_offering(value):
        made = shown(value, limits)
        if made is not None:
            return made
    if displays(value) and (parts := displayed(value)):
        return again(parts[0] if len(parts) == 1 else parts)
    made = grouped(value, limits, again) if has_members(value) else None
    if made is not None:
        return made
    figure = held(value)
    if figure is not None:
        return again(figure)
    if is_drawable(value):
        return _figure(value, limits)
    made = grouped(value, limits, again)
    if made is not None:
        return made
    found = contents_of(value, limits)
    if isinstance(found, (bytes, bytearray, memoryview)):
        image = opened(found)
        made = again(image) if image is not None else picture_of_bytes(found, limits)
    return made or _json(value, limits)


def _json(value: Any, limits: Limits) -> dict[str, Any]:
    """Show what JSON has a form for as it is sent by an output; of other things their ``repr``."""
    try:
        return as_json(value, limits)
    except UnserializableValue as problem:
        if "contains itself" in problem.reason or "levels deep" in problem.reason:
            raise
        if isinstance(value, (dict, list, tuple, Mapping)):
            made = lenient(value, limits)
            if made is not None:
                return {"type": "json", "data": made}
    return {"type": "text", "data": safe_repr(value, limits.text)}


def _kind(value: object) -> str:
    return type(value).__name__


def _figure(value: Any, limits: Limits) -> dict[str, Any]:
    return {"type": "image", "data": Rendering(value, limits)}


def _pyplot(module: Any, limits: Limits) -> Any:
    figure = current_figure(module)
    return _figure(figure, limits) if figure is not None else {"type": "text", "data": "pyplot has no open figure"}


register_builtin(is_figure, _figure)
register_builtin(is_plot, _figure)
register_builtin(lambda value: getattr(value, "__name__", None) == "matplotlib.pyplot", _pyplot)
