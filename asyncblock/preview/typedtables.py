"""JSON and tables, made of what an author declares to be one."""

from __future__ import annotations

import io
import os
from collections import UserList, deque
from collections.abc import Callable, Mapping
from csv import Error as CsvError
from csv import reader
from itertools import islice
from json import loads as parse
from types import SimpleNamespace
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..values import dumps, is_small, loads
from ..values.forms import members
from .authorfiles import whole_of
from .cells import DOTS, cell, label
from .containers import has_members
from .jupyter import encoded, is_offering
from .limits import Limits
from .rows import TableRows, beside
from .table import rows_payload
from .tabletexts import csv_table
from .typedparts import Again, as_it_is, as_json, cannot, text_of
from .typedtexts import written

__all__ = ["csv", "json", "table"]


def json(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return a value as JSON, or the specification or the table that is made of it."""
    if type(data) in (dict, list, tuple, str):
        return as_it_is(data, limits, again)
    if isinstance(data, os.PathLike):
        data = whole_of(data, limits)
    if isinstance(data, (bytes, bytearray)):
        return as_json(_parsed(data, "json", limits), limits)
    try:
        return as_json(data, limits)
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


def _parsed(data: bytes | bytearray, kind: str, limits: Limits) -> Any:
    """Return what a file of JSON says. Raises ``PreviewFailed``."""
    if len(data) > limits.bytes:
        raise PreviewFailed(f"the {kind} has more than the limit of {limits.bytes:,} bytes")
    try:
        # With functions of ours for what a long text has most of, so that other threads get their turn.
        return parse(data, object_hook=lambda each: each, parse_int=lambda each: int(each), parse_float=_real)
    except (ValueError, RecursionError) as problem:
        raise PreviewFailed(f"its data is no JSON: {problem}") from None


def _real(digits: str) -> float:
    return float(digits)


def table(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return a table of a frame, of rows, or of columns."""
    if isinstance(data, str) and not is_offering(data):
        text = text_of(data, "table", limits)
        return _table_of_csv(text, ",", limits) if "\n" in text.strip() else {"data": text}
    if isinstance(data, os.PathLike):
        if not os.fspath(data).endswith(".json"):
            return _table_of_file(data, limits)
        data = _parsed(whole_of(data, limits), "table", limits)
    data = getattr(data, "data", data) if _is_styled(data) else data
    if isinstance(data, dict):
        return _table_of_mapping(data, limits)
    if isinstance(data, (list, tuple)):
        return _table_of_rows(data, limits)
    made = again(data)
    if made["type"] != "table":
        raise cannot("table", data, f" (shown as {made['type']})")
    return made


_COLUMNS = (list, tuple, range, deque, UserList)


def _is_styled(data: Any) -> bool:
    """Tell whether data is pandas' Styler; as a table, its frame is shown."""
    return f"{type(data).__module__}.{type(data).__qualname__}" == "pandas.io.formats.style.Styler"


def _table_of_file(path: os.PathLike[str], limits: Limits) -> dict[str, Any]:
    """Return the table in a CSV file, up to the size that a preview may have."""
    made = written(path, "table", limits)
    assert made is not None
    separator = "\t" if os.fspath(path).endswith((".tsv", ".tab")) else ","
    table = _table_of_csv(made["data"], separator, limits)
    return {**table, "note": "the beginning of a longer file"} if "note" in made else table


def _table_of_csv(text: str, separator: str, limits: Limits) -> dict[str, Any]:
    try:
        found = list(reader(io.StringIO(text, newline=""), delimiter=separator))
    except CsvError as problem:
        raise PreviewFailed(f"its data is no CSV: {problem}") from None
    head, rows = (found[0], found[1:]) if found else ([], [])
    width = len(head)
    names = [label(name, limits) for name in head[: limits.columns]]

    def row(number: int) -> list[Any]:
        return [cell(each, limits) for each in (*rows[number], *[None] * width)[: min(width, limits.columns)]]

    return _table_of(names, len(rows), row, width, limits)


def _table_of_mapping(data: dict[Any, Any], limits: Limits) -> dict[str, Any]:
    rows = data.get("rows")
    if isinstance(rows, (list, tuple)):
        small = is_small(data)
        found = None if small else encoded(data, limits.bytes)
        if small or found is not None:
            return {"data": loads(dumps(data)) if small else found}
        shown = TableRows(len(rows), lambda start, stop: [_row_of(row, limits) for row in rows[start:stop]])
        return {"data": loads(dumps(_ends_of(data, limits))), **beside(shown, limits)}
    columns = list(islice(data.values(), limits.columns))
    if not all(isinstance(each, _COLUMNS) or hasattr(each, "__array__") for each in columns):
        raise PreviewFailed("its data are a dict that has neither 'rows' and 'columns' nor a list for each column")
    count = max(map(len, columns), default=0)

    def row(number: int) -> list[Any]:
        return [cell(_item(each, number), limits) if number < len(each) else None for each in columns]

    names = [label(name, limits) for name in islice(data, limits.columns)]
    return _table_of(names, count, row, len(data), limits)


def _item(column: Any, number: int) -> Any:
    # A series looks a number up in its index, not by position.
    return column.iloc[number] if hasattr(column, "iloc") else column[number]


def _ends_of(data: dict[str, Any], limits: Limits) -> dict[str, Any]:
    rows = data["rows"]
    gap = [[DOTS] * len(data["columns"])] if isinstance(data.get("columns"), (list, tuple)) else []
    shown = rows if len(rows) <= limits.whole else [*rows[: limits.ends], *gap, *rows[-limits.ends :]]
    return {"row_count": len(rows), **data, "rows": [_row_of(row, limits) for row in shown]}


def _row_of(row: Any, limits: Limits) -> Any:
    return [cell(each, limits) for each in row[: limits.columns]] if isinstance(row, (list, tuple)) else row


def _table_of_rows(data: list[Any] | tuple[Any, ...], limits: Limits) -> dict[str, Any]:
    """Rows are mappings, things with fields, sequences, or single values."""
    looked_at = [*data[: limits.ends], *data[-limits.ends :]] if len(data) > limits.whole else data
    looked_at = [_as_mapping(each) for each in looked_at]
    if any(isinstance(each, Mapping) for each in looked_at):
        names: list[Any] = list(dict.fromkeys(key for each in looked_at if isinstance(each, Mapping) for key in each))
        shown = names[: limits.columns]

        def row(number: int) -> list[Any]:
            each = _as_mapping(data[number])
            return [cell(each.get(name) if isinstance(each, Mapping) else each, limits) for name in shown]

        return _table_of([label(name, limits) for name in shown], len(data), row, len(names), limits)
    width = max((len(each) for each in looked_at if isinstance(each, (list, tuple))), default=1)
    columns = range(min(width, limits.columns))

    def values(number: int) -> list[Any]:
        each = data[number] if isinstance(data[number], (list, tuple)) else [data[number]]
        return [cell(each[column], limits) if column < len(each) else None for column in columns]

    return _table_of(list(columns), len(data), values, width, limits)


def _table_of(
    names: list[Any], count: int, row: Callable[[int], list[Any]], width: int, limits: Limits
) -> dict[str, Any]:
    def rows(start: int, stop: int) -> list[Any]:
        return [row(number) for number in range(start, stop)]

    return rows_payload(names, count, rows, width, limits)


def _as_mapping(row: Any) -> Any:
    """Return a row with named values as a mapping; another one as it is."""
    if isinstance(row, Mapping) or not has_members(row):
        return row
    if isinstance(row, SimpleNamespace):
        return vars(row)
    found = members(row)
    return row if found is None else dict(found)


def csv(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return CSV, or a table as some."""
    made = written(data, "csv", limits)
    if made is not None:
        return made
    try:
        shown = table(data, limits, again)["data"]
    except PreviewFailed:
        raise cannot("csv", data) from None
    if not isinstance(shown, dict):
        raise cannot("csv", data)
    if isinstance(data, (list, tuple)) and shown["columns"] == list(range(len(shown["columns"]))):
        # Rows without names: if they have a head, it is the first row. Positions as names aren't the author's.
        shown = {**shown, "columns": []}
    return {"data": csv_table(shown)}
