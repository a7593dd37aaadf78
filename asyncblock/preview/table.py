"""DataFrames as tables: the whole when it is short, else its beginning, a row of dots, and its end."""

from __future__ import annotations

import math
from typing import Any

from ..errors import UnserializableValue
from ..values import dumps, loads

__all__ = ["is_frame", "table_of"]

_WHOLE = 10
"""Rows up to which a frame is shown whole."""

_ENDS = 5
"""Rows shown of the beginning and of the end of a longer one."""

_MAX_COLUMNS = 200
"""Columns shown; a wider frame is cut and says so by a column of dots."""

_MAX_CELL = 1000
"""Characters of a cell."""

_DOTS = "..."


def is_frame(value: object) -> bool:
    """Tell whether a value is a DataFrame, by the methods that every kind of it has."""
    return hasattr(value, "__dataframe__") and hasattr(value, "to_dict") and hasattr(value, "shape")


def table_of(frame: Any) -> dict[str, Any]:
    """Return ``{"rows", "columns", "row_count"}``. Only the rows and columns that are shown are converted."""
    row_count, column_count = frame.shape
    wide = column_count > _MAX_COLUMNS
    columns = [_label(column) for column in list(frame.columns)[:_MAX_COLUMNS]]
    if row_count <= _WHOLE:
        rows = _rows(frame)
    else:
        rows = [*_rows(frame.head(_ENDS)), [_DOTS] * len(columns), *_rows(frame.tail(_ENDS))]
    if wide:
        columns.append(f"{_DOTS} {column_count - _MAX_COLUMNS} more")
        rows = [[*row, _DOTS] for row in rows]
    return {"rows": rows, "columns": columns, "row_count": row_count}


def _rows(frame: Any) -> list[list[Any]]:
    if hasattr(frame, "iloc"):
        shown = frame.iloc[:, :_MAX_COLUMNS]
        found = shown.itertuples(index=False, name=None)
    else:
        found = frame.select(frame.columns[:_MAX_COLUMNS]).rows()
    return [[_cell(value) for value in row] for row in found]


def _label(column: Any) -> Any:
    if isinstance(column, tuple):
        return " / ".join(map(str, column))
    return column if isinstance(column, (str, int, float)) else str(column)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    if not isinstance(value, str):
        try:
            value = loads(dumps(value))
        except UnserializableValue:
            value = str(value)
    text = value if isinstance(value, str) else None
    return f"{text[:_MAX_CELL]}{_DOTS}" if text is not None and len(text) > _MAX_CELL else value
