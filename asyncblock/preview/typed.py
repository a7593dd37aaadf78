"""Payloads that an author gave a type: ``{"type": "image", "data": X}``, where X may be whatever a person puts there.

What can't be made of X is a ``PreviewFailed`` that says so. A mapping that merely has a member "type" is no such
payload: it needs ``data``, and a type that is known or is a media type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..values import dumps, is_small, loads
from .cells import DOTS, cell, label, safe_str, sendable
from .files import beginning_of, whole_of
from .heads import text_head
from .jupyter import bundle_of, encoded, is_offering, json_of
from .limits import Limits
from .picture import Pixels
from .renderer import Rendering
from .signatures import media_type_of, url_of
from .table import made_table
from .written import csv_table, html_table, markdown_table

__all__ = ["KINDS", "is_typed", "typed"]

KINDS = frozenset({"image", "html", "json", "table", "text", "markdown", "video", "audio", "iframe", "csv"})
"""The types of payloads."""

_IMAGES = 20
"""Images of one payload that are shown."""

Again = Callable[[Any], dict[str, Any]]
Maker = Callable[[Any, Limits, Again], dict[str, Any]]


def is_typed(payload: object) -> bool:
    """Tell whether a payload has the form that an author gives."""
    if not isinstance(payload, Mapping) or "data" not in payload:
        return False
    kind = payload.get("type")
    return isinstance(kind, str) and (kind in KINDS or "/" in kind)


def typed(payload: Mapping[str, Any], limits: Limits, again: Again) -> dict[str, Any]:
    """Return a payload of the type that its author gave. Raises ``PreviewFailed`` and ``UnserializableValue``."""
    rest = {key: each for key, each in payload.items() if key != "data"}
    checked: dict[str, Any] = loads(dumps(rest))
    made = _MAKERS.get(checked["type"], _any)(payload["data"], limits, again)
    return {**checked, **made}


def _cannot(kind: str, data: Any, why: str = "") -> PreviewFailed:
    taken = getattr(data, "kind", None) if type(data).__module__.startswith(__package__) else None
    return PreviewFailed(f"its data is of type {taken or type(data).__name__}{why}, of which no {kind} can be made")


def _any(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Something of a type that we don't know: as it is."""
    if is_small(data):
        return {"data": loads(dumps(data))}
    return _as_json(data, limits)


def _as_json(data: Any, limits: Limits) -> dict[str, Any]:
    try:
        made, note = json_of(data, limits)
    except UnserializableValue:
        # Once more, for an error that names the whole path.
        dumps({"data": data})
        raise
    return {"data": made, **note}


# ---------------------------------------------------------------------- pictures, sounds, films, pages


def _image(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if isinstance(data, (list, tuple)) and not _is_matrix(data):
        made = [_one_image(each, limits, again) for each in data[:_IMAGES]]
        note = {"note": f"the first {_IMAGES} of {len(data):,}"} if len(data) > _IMAGES else {}
        return {"data": [url for each in made for url in _flat(each["data"])], **note}
    return _one_image(data, limits, again)


def _is_matrix(data: Any) -> bool:
    """Tell whether nested lists hold the numbers of one picture."""
    return bool(data) and isinstance(data[0], (list, tuple)) and bool(data[0]) and not isinstance(data[0][0], str)


def _flat(data: Any) -> list[Any]:
    return data if isinstance(data, list) else [data]


def _one_image(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if isinstance(data, Rendering):
        return {"data": data}
    if isinstance(data, str):
        return {"data": _text(data, "image", limits)}
    if isinstance(data, (bytes, bytearray, memoryview)):
        return {"data": url_of(data, "image", limits)}
    if isinstance(data, os.PathLike):
        return {"data": url_of(whole_of(data, limits), "image", limits)}
    if data is None or isinstance(data, (int, float)):
        raise _cannot("image", data)
    if hasattr(type(data), "__array_interface__") and hasattr(data, "dtype"):
        data = Pixels(data)
    elif isinstance(data, (list, tuple)):
        raise PreviewFailed("its data are nested lists, of which no image can be made; numpy.array(...) of them can")
    made = again(data)
    if made["type"] == "image":
        return {name: each for name, each in made.items() if name != "type"}
    picture = _picture_beside(made)
    if picture is None:
        raise _cannot("image", _bare(data), f" (shown as {made['type']})")
    return {"data": picture}


def _bare(data: Any) -> Any:
    return data.array if isinstance(data, Pixels) else data


def _picture_beside(made: Mapping[str, Any]) -> str | None:
    """Return a picture that travels beside a chart, as a data URL."""
    for media_type, each in made.get("mime", {}).items():
        if media_type == "image/svg+xml" or not media_type.startswith("image/"):
            continue
        return f"data:{media_type};base64,{each}"
    return None


def _media(kind: str) -> Maker:
    def make(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
        if isinstance(data, str):
            return {"data": _text(data, kind, limits)}
        if isinstance(data, (bytes, bytearray, memoryview)):
            return {"data": url_of(data, kind, limits)}
        if isinstance(data, os.PathLike):
            return {"data": url_of(whole_of(data, limits), kind, limits)}
        return {"data": _source_of(data, kind, limits)}

    return make


def _source_of(data: Any, kind: str, limits: Limits) -> str:
    """Return the address in what a display object (``IPython.display.Audio``, ``Video``, ``IFrame``) offers."""
    html = bundle_of(data, "text/html")[0].get("text/html") if is_offering(data) else None
    found = re.search(r"""<(?:iframe|source|audio|video)\b[^>]*?\ssrc=["']([^"']+)""", html) if html else None
    if found is None:
        raise _cannot(kind, data)
    return _text(found[1], kind, limits)


def _iframe(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if isinstance(data, (str, os.PathLike)):
        return {"data": _text(os.fspath(data), "iframe", limits)}
    try:
        return {"data": _source_of(data, "iframe", limits)}
    except PreviewFailed:
        made = again(data)
        if made["type"] != "html":
            raise
        return made


# ---------------------------------------------------------------------- texts


def _text(text: Any, kind: str, limits: Limits) -> str:
    if len(text) > limits.bytes:
        raise PreviewFailed(f"the {kind} has {len(text):,} characters; the limit is {limits.bytes:,}")
    return sendable(str(text))


def _cut(text: str, limits: Limits) -> dict[str, Any]:
    shown = text_head(text, limits.bytes)
    if len(shown) == len(text):
        return {"data": sendable(str(text))}
    return {"data": sendable(shown) + DOTS, "note": f"the first {len(shown):,} of {len(text):,} characters"}


def _written(data: Any, kind: str, limits: Limits) -> dict[str, Any] | None:
    """Return what is a text already: one, bytes of one, or a file's."""
    if isinstance(data, str) and not is_offering(data):
        return _cut(data, limits)
    if isinstance(data, (bytes, bytearray)):
        media_type = media_type_of(data)
        if media_type is not None and media_type != "image/svg+xml":
            raise _cannot(kind, data, f" ({media_type})")
        return _cut(bytes(data[: limits.bytes + 1]).decode("utf-8", "replace"), limits)
    if isinstance(data, os.PathLike):
        return _cut(beginning_of(data, limits).decode("utf-8", "replace"), limits)
    return None


def _as_text(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    made = _written(data, "text", limits)
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


def _html(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    made = _written(data, "html", limits)
    if made is not None:
        return made
    if data is None or isinstance(data, (bool, int, float)) or type(data) in (dict, list, tuple):
        raise _cannot("html", data)
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
    raise _cannot("html", data, f" (shown as {shown['type']})")


def _around(before: str, picture: Any, behind: str) -> Any:
    if not isinstance(picture, Rendering):
        return f"{before}{picture}{behind}"
    picture.around = (before, behind)
    return picture


def _markdown(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    made = _written(data, "markdown", limits)
    if made is not None:
        return made
    if data is None or isinstance(data, (bool, int, float)) or type(data) in (dict, list, tuple):
        raise _cannot("markdown", data)
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
    raise _cannot("markdown", data, f" (shown as {shown['type']})")


# ---------------------------------------------------------------------- JSON, tables


def _json(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if type(data) in (dict, list, tuple, str):
        return _any(data, limits, again)
    try:
        return _as_json(data, limits)
    except UnserializableValue:
        made = again(data)
        if made["type"] == "json":
            return made
        beside = made.get("mime", {})
        found = next((each for name, each in beside.items() if name.endswith("json")), None)
        if found is None and made["type"] == "table":
            found = made["data"]
        if found is None:
            raise
        return {"data": found}


def _table(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if isinstance(data, str) and not is_offering(data):
        return {"data": _text(data, "table", limits)}
    if isinstance(data, os.PathLike):
        return {"data": os.fspath(data)}
    if isinstance(data, dict):
        return _table_of_mapping(data, limits)
    if isinstance(data, (list, tuple)):
        return {"data": _table_of_rows(data, limits)}
    made = again(data)
    if made["type"] != "table":
        raise _cannot("table", data, f" (shown as {made['type']})")
    return made


def _table_of_mapping(data: dict[Any, Any], limits: Limits) -> dict[str, Any]:
    rows = data.get("rows")
    if isinstance(rows, (list, tuple)):
        small = is_small(data)
        found = None if small else encoded(data, limits.bytes)
        if small or found is not None:
            return {"data": loads(dumps(data)) if small else found}
        return {"data": loads(dumps(_ends_of(data, limits)))}
    columns = list(islice(data.values(), limits.columns))
    if not data or not all(isinstance(each, (list, tuple)) or hasattr(each, "__array__") for each in columns):
        raise PreviewFailed("its data are a dict that has neither 'rows' and 'columns' nor a list for each column")
    count = max(map(len, columns))

    def row(number: int) -> list[Any]:
        return [cell(each[number], limits) if number < len(each) else None for each in columns]

    names = [label(name, limits) for name in islice(data, limits.columns)]
    return {"data": _cut_rows(names, count, row, len(data), limits)}


def _ends_of(data: dict[str, Any], limits: Limits) -> dict[str, Any]:
    rows = data["rows"]
    gap = [[DOTS] * len(data["columns"])] if isinstance(data.get("columns"), (list, tuple)) else []
    shown = rows if len(rows) <= limits.whole else [*rows[: limits.ends], *gap, *rows[-limits.ends :]]
    cells = [_cells_of(row, limits) if isinstance(row, (list, tuple)) else row for row in shown]
    return {"row_count": len(rows), **data, "rows": cells}


def _cells_of(row: list[Any] | tuple[Any, ...], limits: Limits) -> list[Any]:
    return [cell(each, limits) for each in row[: limits.columns]]


def _table_of_rows(data: list[Any] | tuple[Any, ...], limits: Limits) -> dict[str, Any]:
    """Rows are mappings, sequences, or single values."""
    looked_at = [*data[: limits.ends], *data[-limits.ends :]] if len(data) > limits.whole else data
    if any(isinstance(each, Mapping) for each in looked_at):
        names: list[Any] = list(dict.fromkeys(key for each in looked_at if isinstance(each, Mapping) for key in each))
        shown = names[: limits.columns]

        def row(number: int) -> list[Any]:
            each = data[number]
            return [cell(each.get(name) if isinstance(each, Mapping) else each, limits) for name in shown]

        return _cut_rows([label(name, limits) for name in shown], len(data), row, len(names), limits)
    width = max((len(each) for each in looked_at if isinstance(each, (list, tuple))), default=1)
    columns = range(min(width, limits.columns))

    def values(number: int) -> list[Any]:
        each = data[number] if isinstance(data[number], (list, tuple)) else [data[number]]
        return [cell(each[column], limits) if column < len(each) else None for column in columns]

    return _cut_rows(list(columns), len(data), values, width, limits)


def _cut_rows(
    names: list[Any], count: int, row: Callable[[int], list[Any]], width: int, limits: Limits
) -> dict[str, Any]:
    if count <= limits.whole:
        return made_table(names, _made(row, range(count)), None, count, width, limits)
    tail = _made(row, range(count - limits.ends, count))
    return made_table(names, _made(row, range(limits.ends)), tail, count, width, limits)


def _made(row: Callable[[int], list[Any]], numbers: Iterable[int]) -> list[list[Any]]:
    return [row(number) for number in numbers]


def _csv(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    made = _written(data, "csv", limits)
    if made is not None:
        return made
    try:
        shown = _table(data, limits, again)["data"]
    except PreviewFailed:
        raise _cannot("csv", data) from None
    if not isinstance(shown, dict):
        raise _cannot("csv", data)
    return {"data": csv_table(shown)}


_MAKERS: dict[str, Maker] = {
    "image": _image,
    "video": _media("video"),
    "audio": _media("audio"),
    "iframe": _iframe,
    "text": _as_text,
    "html": _html,
    "markdown": _markdown,
    "json": _json,
    "table": _table,
    "csv": _csv,
}
