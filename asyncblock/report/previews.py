"""Previews as markup. Every payload is shown somehow; as JSON if it hasn't the form that its type promises."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..page.markup import Markup, el, join
from .iframes import chart, chart_spec, frame, runs_scripts
from .markdown import markdown

__all__ = ["Drawn", "Framed", "draw", "name_of", "needs_network"]

Framed = Callable[[tuple[int, ...], str], Markup]
"""Makes the place of what a browser must run: which part of the preview it is (numbers in groups), and its name."""

_DATA_URL = re.compile(r"data:(image|audio|video)/[\w.+-]+(;[\w=.+-]+)*;base64,[A-Za-z0-9+/=\s]*\Z")
_LEVELS = 5
"""Groups in groups that are laid out."""

_CELLS = 40_000
"""Cells of a table that are laid out; a wider or longer one is cut, and says so."""

_COLUMNS = 200
_CELL = 2_000
_JSON = 400_000
"""Characters of JSON or text that are shown."""


@dataclass(slots=True)
class Drawn:
    """Markup, and what the page needs for it."""

    markup: Markup
    active: bool = False
    """There are frames that run scripts."""
    libraries: set[str] = field(default_factory=set)
    """Libraries for charts."""


def name_of(payload: Any, id: str | None, kind: str) -> str:
    """Return what a preview is called."""
    title = payload.get("title") if isinstance(payload, dict) else None
    return str(title) if isinstance(title, str) and title else (id or kind)


def draw(
    payload: Any, title: str, *, full: bool = False, part: tuple[int, ...] = (), framed: Framed | None = None
) -> Drawn:
    """Draw a payload; ``full`` cuts nothing. Where ``framed`` is given, HTML and charts are where it puts them."""
    kind = payload.get("type") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or "data" not in payload or not isinstance(kind, str):
        return Drawn(_json(payload, full))
    data = payload["data"]
    drawn = _of_kind(kind, data, payload, title, full, part, framed)
    if drawn is None:
        drawn = Drawn(_text(data, full) if isinstance(data, str) else _json(data, full))
    note = payload.get("note")
    if isinstance(note, str) and note:
        drawn.markup = join([drawn.markup, el("p", note, class_="note")])
    return drawn


def _of_kind(
    kind: str,
    data: Any,
    payload: Mapping[str, Any],
    title: str,
    full: bool,
    part: tuple[int, ...],
    framed: Framed | None,
) -> Drawn | None:
    if kind == "table" and isinstance(data, dict) and isinstance(data.get("rows"), list):
        return Drawn(_table(data, full))
    if kind == "image" or kind.startswith("image/"):
        return _images(data, payload, title)
    if kind in ("audio", "video"):
        return Drawn(_media(kind, data, title))
    if kind in ("html", "text/html") and isinstance(data, str):
        return _html(data, payload, title) if framed is None else _in_frame(payload, title, framed(part, title))
    if kind in ("markdown", "text/markdown") and isinstance(data, str):
        return Drawn(markdown(data))
    if kind == "iframe":
        return Drawn(_elsewhere("page", data))
    if kind == "group" and isinstance(data, list) and len(part) < _LEVELS:
        return _group(data, title, full, part, framed)
    if kind == "json":
        return Drawn(_json(data, full))
    return None


def _group(data: list[Any], title: str, full: bool, part: tuple[int, ...], framed: Framed | None) -> Drawn:
    whole = Drawn(Markup(""))
    parts = []
    for number, each in enumerate(data):
        name = name_of(each, None, "part")
        made = draw(each, f"{title}: {name}", full=full, part=(*part, number), framed=framed)
        whole.active = whole.active or made.active
        whole.libraries |= made.libraries
        parts.append(el("figure", el("figcaption", name), made.markup))
    whole.markup = el("div", parts, class_="group")
    return whole


def _images(data: Any, payload: Mapping[str, Any], title: str) -> Drawn:
    several = data if isinstance(data, list) else [data]
    titles = payload.get("titles")
    names = titles if isinstance(titles, list) else []
    parts = []
    for index, each in enumerate(several):
        name = str(names[index]) if index < len(names) else None
        picture = _image(each, name or title)
        parts.append(el("figure", el("figcaption", name), picture) if name else picture)
    return Drawn(el("div", parts, class_="pictures"))


def _image(data: Any, title: str) -> Markup:
    if isinstance(data, str):
        source = data.strip()
        if source.startswith(("<svg", "<?xml")):
            # Within an img element no script of it runs, and nothing is loaded.
            source = f"data:image/svg+xml;base64,{b64encode(source.encode('utf-8', 'replace')).decode()}"
        elif source.startswith("data:image/svg+xml,") or source.startswith("data:image/svg+xml;utf8,"):
            source = re.sub(r"[^!-~]", "", source)
            return el("img", src=source, alt=title, loading="lazy")
        if _DATA_URL.match(source):
            return el("img", src=source, alt=title, loading="lazy", decoding="async")
    return _elsewhere("picture", data)


def _media(kind: str, data: Any, title: str) -> Markup:
    if isinstance(data, str) and _DATA_URL.match(data):
        return el(kind, src=data, controls=True, preload="none", aria_label=title)
    return _elsewhere(kind, data)


def _elsewhere(what: str, data: Any) -> Markup:
    place = data if isinstance(data, str) else orjson.dumps(data, default=str).decode()
    return el("p", f"A {what} that is elsewhere, and isn't loaded: ", el("code", place[:_CELL]), class_="note")


def _html(data: str, payload: Mapping[str, Any], title: str) -> Drawn:
    beside = payload.get("mime")
    beside = beside if isinstance(beside, dict) else {}
    made = chart(beside, title)
    if made is not None:
        return Drawn(made[0], True, {made[1]})
    if needs_network(payload):
        parts = [el("p", "What draws this comes from the network, so it isn't here; asyncblock export writes it as a "
                    "file. Charts of plotly and Vega are drawn where plotly or vl-convert-python is installed.",
                    class_="note")]  # fmt: skip
        for media_type, each in beside.items():
            if isinstance(each, str) and media_type.startswith("image/") and media_type != "image/svg+xml":
                parts.insert(0, _image(f"data:{media_type};base64,{each}", title))
            elif media_type == "text/plain" and isinstance(each, str):
                parts.append(_text(each, False))
        return Drawn(join(parts))
    scripts = runs_scripts(data)
    return Drawn(frame(data, title, scripts=scripts), scripts)


def needs_network(payload: Mapping[str, Any]) -> bool:
    """Tell whether a preview says that its HTML needs the network."""
    needs = payload.get("needs")
    return isinstance(needs, list) and "network" in needs


def _in_frame(payload: Mapping[str, Any], title: str, place: Markup) -> Drawn:
    """Return the place of a frame; beside it the picture, for what can't be drawn without the network."""
    beside = payload.get("mime")
    beside = beside if isinstance(beside, dict) else {}
    if chart_spec(beside) is not None or not needs_network(payload):
        return Drawn(place, True)
    parts = [
        _image(f"data:{media_type};base64,{each}", title)
        for media_type, each in beside.items()
        if isinstance(each, str) and media_type.startswith("image/") and media_type != "image/svg+xml"
    ]
    return Drawn(join([*parts, place]), True)


# ---------------------------------------------------------------------- tables, JSON, text


def _table(data: Mapping[str, Any], full: bool) -> Markup:
    rows = [each if isinstance(each, list) else [each] for each in data["rows"]]
    columns = data.get("columns")
    names = [str(each) for each in columns] if isinstance(columns, list) else []
    width = max(len(names), max((len(each) for each in rows), default=0))
    shown = width if full else min(width, _COLUMNS)
    height = len(rows) if full else min(len(rows), max(_CELLS // max(shown, 1), 20))
    count = data.get("row_count")
    numbers = [all(_is_number(row[i]) for row in rows if i < len(row)) for i in range(shown)]
    body = [
        el("tr", [_cell(row[i] if i < len(row) else None, numbers[i]) for i in range(shown)]) for row in rows[:height]
    ]
    words = [f"{count if isinstance(count, int) else len(rows):,} rows", f"{width:,} columns"]
    if height < len(rows):
        words.append(f"the first {height:,} rows are here")
    if shown < width:
        words.append(f"the first {shown:,} columns are here")
    head = [
        el("th", names[i] if i < len(names) else "", scope="col", class_="n" if numbers[i] else None)
        for i in range(shown)
    ]
    return join(
        [
            el("div", el("table", el("thead", el("tr", head)), el("tbody", body), class_="data"), class_="scroll"),
            el("p", " · ".join(words), class_="note"),
        ]
    )


def _is_number(value: Any) -> bool:
    """Tell whether a cell fits into a column of numbers; so do the dots for rows that were left out."""
    return value is None or isinstance(value, (int, float)) or value in ("...", "…")


def _cell(value: Any, number: bool) -> Markup:
    if value is None:
        return el("td", "–", class_="none")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        shown = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
        return el("td", shown if len(shown) <= _CELL else shown[: _CELL - 1] + "…", class_="n" if number else None)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    return el("td", shown, class_="n" if number else None, title=None if isinstance(value, int) else repr(value))


def _json(value: Any, full: bool) -> Markup:
    return _text(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode(), full, "json")


def _text(value: str, full: bool, kind: str | None = None) -> Markup:
    if full or len(value) <= _JSON:
        return el("pre", value, class_=kind)
    words = f"the first {_JSON:,} of {len(value):,} characters"
    return join([el("pre", value[:_JSON], class_=kind), el("p", words, class_="note")])
