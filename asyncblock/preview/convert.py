"""Choosing what shows a payload. Runs on worker threads; figures are left as ``Rendering`` for the worker process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnserializableValue
from ..values import dumps, is_small, loads
from . import charts as charts  # they register their converters
from . import picture as picture
from . import table as table
from .cells import DOTS, shortened
from .figure import is_drawable
from .jupyter import as_json, json_of, shown
from .limits import Limits
from .registry import find, register_builtin
from .renderer import Rendering

__all__ = ["converted", "is_plain", "taken"]

_LEVELS = 4
"""How often a converter's answer may be another value that has to be converted."""


def is_plain(payload: object) -> bool:
    """Tell whether a payload is shown as text or JSON."""
    return payload is None or isinstance(payload, (str, Mapping, list, tuple, int, float, bool))


def taken(payload: Any, limits: Limits) -> Any:
    """Take, at the call, what is shown of a payload, where that is quick; else return the payload."""
    if type(payload) is dict and payload.get("type") in ("table", "image"):
        return {**payload, "data": taken(payload["data"], limits)} if "data" in payload else dict(payload)
    if is_plain(payload):
        return payload
    entry = find(payload)
    return payload if entry is None or entry.take is None else entry.take(payload, limits)


def converted(payload: Any, limits: Limits) -> dict[str, Any]:
    """Return a payload ``{"type", "data", ...}`` that is ready for JSON but for its ``Rendering`` parts.

    Raises whatever the value's own methods raise, ``UnserializableValue`` and ``PreviewFailed``.
    """
    for _ in range(_LEVELS):
        if isinstance(payload, Mapping) and isinstance(payload.get("type"), str):
            return _typed(payload, limits)
        entry = find(payload)
        if entry is None:
            break
        payload = entry.converter(payload, limits)
    if isinstance(payload, str):
        return {"type": "text", "data": shortened(payload, limits.bytes)}
    return as_json(payload, limits) if is_plain(payload) else shown(payload, limits)


def _typed(payload: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    made = dict(payload)
    data = made.get("data")
    if made["type"] == "table" and not is_plain(data):
        made["data"] = _inner(data, "table", limits)
    elif made["type"] == "image" and isinstance(data, (list, tuple)):
        made["data"] = [each if isinstance(each, str) else _inner(each, "image", limits) for each in data]
    elif made["type"] == "image" and not is_plain(data):
        made["data"] = _inner(data, "image", limits)
    elif is_small(data) or isinstance(data, str):
        # Round trip: what isn't JSON gets its stated form here, and an error that names it.
        checked: dict[str, Any] = loads(dumps(made))
        return checked
    else:
        return _large(made, limits)
    return made


def _large(made: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Encode a large value that an author gave a type; of a table that is too large only the ends are left."""
    data = made.pop("data")
    checked: dict[str, Any] = loads(dumps(made))
    try:
        encoded = json_of(data, limits)
    except UnserializableValue:
        # Once more, for an error that names the whole path.
        dumps({"data": data})
        raise
    if encoded is None and made["type"] == "table" and isinstance(data, dict) and isinstance(data.get("rows"), list):
        encoded = json_of(_ends_of(data, limits), limits)
    if encoded is None:
        text = f"a {made['type']} of more than {limits.bytes:,} bytes of JSON"
        return {**checked, "type": "text", "data": text}
    return {**checked, "data": encoded}


def _ends_of(data: dict[str, Any], limits: Limits) -> dict[str, Any]:
    rows = data["rows"]
    gap = [[DOTS] * len(data["columns"])] if isinstance(data.get("columns"), (list, tuple)) else []
    shown = rows if len(rows) <= limits.whole else [*rows[: limits.ends], *gap, *rows[-limits.ends :]]
    return {"row_count": len(rows), **data, "rows": shown}


def _inner(data: Any, kind: str, limits: Limits) -> Any:
    """Convert what an author put under ``data`` of a table or an image."""
    if isinstance(data, Rendering):
        return data
    made = converted(data, limits)
    return made["data"] if made["type"] == kind else loads(dumps(data))


def _figure(value: Any, limits: Limits) -> dict[str, Any]:
    return {"type": "image", "data": Rendering(value, limits)}


register_builtin(is_drawable, _figure)
