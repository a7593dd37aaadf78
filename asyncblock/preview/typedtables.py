"""JSON and tables, of what an author says is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..values import dumps, is_small, loads
from .cells import DOTS, cell, label
from .jupyter import encoded, is_offering
from .limits import Limits
from .rows import Rows, beside
from .table import rows_payload
from .typedparts import Again, as_it_is, as_json, cannot, text_of
from .typedtexts import written
from .written import csv_table

__all__ = ["csv", "json", "table"]


def json(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return a value as JSON, or the specification or the table that is made of it."""
    if type(data) in (dict, list, tuple, str):
        return as_it_is(data, limits, again)
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


def table(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return a table of a frame, of rows, or of columns."""
    if isinstance(data, str) and not is_offering(data):
        return {"data": text_of(data, "table", limits)}
    if isinstance(data, os.PathLike):
        return {"data": os.fspath(data)}
    if isinstance(data, dict):
        return _table_of_mapping(data, limits)
    if isinstance(data, (list, tuple)):
        return _table_of_rows(data, limits)
    made = again(data)
    if made["type"] != "table":
        raise cannot("table", data, f" (shown as {made['type']})")
    return made


def _table_of_mapping(data: dict[Any, Any], limits: Limits) -> dict[str, Any]:
    rows = data.get("rows")
    if isinstance(rows, (list, tuple)):
        small = is_small(data)
        found = None if small else encoded(data, limits.bytes)
        if small or found is not None:
            return {"data": loads(dumps(data)) if small else found}
        shown = Rows(len(rows), lambda start, stop: [_row_of(row, limits) for row in rows[start:stop]])
        return {"data": loads(dumps(_ends_of(data, limits))), **beside(shown, limits)}
    columns = list(islice(data.values(), limits.columns))
    if not data or not all(isinstance(each, (list, tuple)) or hasattr(each, "__array__") for each in columns):
        raise PreviewFailed("its data are a dict that has neither 'rows' and 'columns' nor a list for each column")
    count = max(map(len, columns))

    def row(number: int) -> list[Any]:
        return [cell(_item(each, number), limits) if number < len(each) else None for each in columns]

    names = [label(name, limits) for name in islice(data, limits.columns)]
    return _table_of(names, count, row, len(data), limits)


def _item(column: Any, number: int) -> Any:
    # A series has its own idea of what stands at a number.
    return column.iloc[number] if hasattr(column, "iloc") else column[number]


def _ends_of(data: dict[str, Any], limits: Limits) -> dict[str, Any]:
    rows = data["rows"]
    gap = [[DOTS] * len(data["columns"])] if isinstance(data.get("columns"), (list, tuple)) else []
    shown = rows if len(rows) <= limits.whole else [*rows[: limits.ends], *gap, *rows[-limits.ends :]]
    return {"row_count": len(rows), **data, "rows": [_row_of(row, limits) for row in shown]}


def _row_of(row: Any, limits: Limits) -> Any:
    return [cell(each, limits) for each in row[: limits.columns]] if isinstance(row, (list, tuple)) else row


def _table_of_rows(data: list[Any] | tuple[Any, ...], limits: Limits) -> dict[str, Any]:
    """Rows are mappings, sequences, or single values."""
    looked_at = [*data[: limits.ends], *data[-limits.ends :]] if len(data) > limits.whole else data
    if any(isinstance(each, Mapping) for each in looked_at):
        names: list[Any] = list(dict.fromkeys(key for each in looked_at if isinstance(each, Mapping) for key in each))
        shown = names[: limits.columns]

        def row(number: int) -> list[Any]:
            each = data[number]
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
    return {"data": csv_table(shown)}
