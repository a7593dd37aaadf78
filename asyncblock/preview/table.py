"""Frames, series, Arrow tables and arrays as tables: whole when short, else beginning, a row of dots, and end.

What is shown of a frame is taken at the call, so an author may change it at once. An index is shown, as leading
columns, when it says something: when it has a name, several levels, or labels that aren't numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .cells import DOTS, cell, label, shortened
from .limits import Limits
from .registry import register_builtin
from .turns import let_go

__all__ = ["Taken", "array_table", "is_frame", "table_of", "take"]

_TAKEN_CELLS = 20_000
"""Cells that are taken at the call; more are left for the thread."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The shown part of a frame: its head, and its tail if there are rows in between."""

    head: Any
    tail: Any
    row_count: int
    column_count: int


def is_frame(value: object) -> bool:
    """Tell whether a value is a DataFrame of any make, by the methods that each has."""
    kind = type(value)
    return hasattr(kind, "__dataframe__") and hasattr(kind, "to_dict") and hasattr(value, "shape")


def take(frame: Any, limits: Limits) -> Any:
    """Take what is shown of a frame, if that is quick; else return the frame."""
    frame = _as_frame(frame)
    rows = min(_count(frame), limits.whole)
    columns = frame.shape[1] if len(frame.shape) > 1 else 1
    return _taken(frame, limits) if rows * min(columns, limits.columns) <= _TAKEN_CELLS else frame


def table_of(value: Any, limits: Limits) -> dict[str, Any]:
    """Return ``{"rows", "columns", "row_count"}``. Only the rows and columns that are shown are converted."""
    taken = value if isinstance(value, Taken) else _taken(_as_frame(value), limits)
    columns, head = _read(taken.head, limits)
    tail = _read(taken.tail, limits)[1] if taken.tail is not None else None
    return _table(columns, head, tail, taken.row_count, taken.column_count, limits)


def array_table(array: Any, limits: Limits) -> dict[str, Any]:
    """Return an array of one or two dimensions, or of records, as a table."""
    names = array.dtype.names
    count = array.shape[0]
    width = len(names) if names else (array.shape[1] if array.ndim > 1 else 1)
    shown = range(min(width, limits.columns))
    columns = [label(names[number], limits) if names else number for number in shown]

    def rows(part: Any) -> list[list[Any]]:
        if names:
            return [[cell(row[names[number]], limits) for number in shown] for row in part]
        if part.ndim == 1:
            return [[cell(value, limits)] for value in part]
        return _cells((row[: limits.columns] for row in part), limits)

    whole = count <= limits.whole
    head = rows(array if whole else array[: limits.ends])
    tail = None if whole else rows(array[count - limits.ends :])
    return _table(columns, head, tail, count, width, limits)


def _table(
    columns: list[Any], head: list[list[Any]], tail: list[list[Any]] | None, count: int, width: int, limits: Limits
) -> dict[str, Any]:
    rows = head if tail is None else [*head, [DOTS] * len(columns), *tail]
    if width > limits.columns:
        columns = [*columns, f"{DOTS} {width - limits.columns} more"]
        rows = [[*row, DOTS] for row in rows]
    return {"rows": rows, "columns": columns, "row_count": count}


# ---------------------------------------------------------------------- frames


def _as_frame(value: Any) -> Any:
    """Make a frame of a series."""
    return value.to_frame() if len(value.shape) == 1 and hasattr(value, "to_frame") else value


def _count(frame: Any) -> int:
    count = frame.shape[0]
    if not isinstance(count, int):
        raise TypeError(f"a {type(frame).__name__} whose number of rows isn't known; compute it first")
    return count


def _taken(frame: Any, limits: Limits) -> Taken:
    count = _count(frame)
    width = frame.shape[1]
    narrow = _narrow(frame, min(width, limits.columns))
    if count <= limits.whole:
        return Taken(_copied(narrow), None, count, width)
    return Taken(_copied(narrow.head(limits.ends)), _copied(narrow.tail(limits.ends)), count, width)


def _narrow(frame: Any, width: int) -> Any:
    if width == frame.shape[1]:
        return frame
    if hasattr(frame, "iloc"):
        return frame.iloc[:, :width]
    return frame.select(list(frame.columns)[:width])


def _copied(part: Any) -> Any:
    copy = getattr(part, "copy", None) or getattr(part, "clone", None)
    return copy() if copy is not None else part


def _read(part: Any, limits: Limits) -> tuple[list[Any], list[list[Any]]]:
    """Return the labels and the rows of a short frame."""
    columns = [label(column, limits) for column in part.columns]
    found: Iterable[Iterable[Any]]
    if hasattr(part, "itertuples"):
        # An iteration over no columns would end at once.
        found = part.itertuples(index=False, name=None) if columns else [()] * len(part)
        rows = _cells(found, limits)
        return _with_index(part.index, columns, rows, limits)
    return columns, _cells(part.rows(), limits)


def _cells(rows: Iterable[Iterable[Any]], limits: Limits) -> list[list[Any]]:
    made = []
    for row in rows:
        made.append([cell(value, limits) for value in row])
        let_go()
    return made


def _with_index(
    index: Any, columns: list[Any], rows: list[list[Any]], limits: Limits
) -> tuple[list[Any], list[list[Any]]]:
    names = list(index.names)
    several = getattr(index, "nlevels", 1) > 1
    if not several and names == [None] and getattr(index.dtype, "kind", "O") in "iu":
        return columns, rows
    labels = ["" if name is None else label(name, limits) for name in names]
    # One of a single level has tuples all the same.
    levels = [list(entry) if hasattr(index, "levels") else [entry] for entry in index]
    return (
        labels + columns,
        [[cell(level, limits) for level in each] + row for each, row in zip(levels, rows, strict=True)],
    )


def _frame(value: Any, limits: Limits) -> dict[str, Any]:
    return {"type": "table", "data": table_of(value, limits)}


def _lazy_frame(frame: Any, limits: Limits) -> dict[str, Any]:
    """A lazy frame is never collected: what it will be is told."""
    schema = frame.collect_schema() if hasattr(frame, "collect_schema") else frame.schema
    shown = [f"{name}: {kind}" for name, kind in list(schema.items())[: limits.columns]]
    more = f", {DOTS} {len(schema) - len(shown)} more" if len(schema) > len(shown) else ""
    text = f"{type(frame).__name__}, not collected; its columns: {', '.join(shown)}{more}"
    return {"type": "text", "data": shortened(text, limits.text)}


# ---------------------------------------------------------------------- Arrow


def _arrow_columns(value: Any, limits: Limits) -> tuple[list[Any], int, int, Callable[[int], Any]]:
    """Return the shown columns' names, how many there are in all, the number of rows, and what gets a column."""
    if hasattr(value, "column"):
        # Not ``column_names``: that makes a text for each of them.
        schema = value.schema
        names = [schema.field(number).name for number in range(min(len(schema), limits.columns))]
        return names, len(schema), value.num_rows, value.column
    return ["value"], 1, len(value), lambda _: value


def _arrow(value: Any, limits: Limits) -> dict[str, Any]:
    names, width, count, column = _arrow_columns(value, limits)
    ends = [(0, count)] if count <= limits.whole else [(0, limits.ends), (count - limits.ends, limits.ends)]

    def part(offset: int, length: int) -> list[list[Any]]:
        columns = [
            [_arrow_cell(scalar, limits) for scalar in column(number).slice(offset, length)]
            for number in range(len(names))
        ]
        return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(length)]

    parts = [part(offset, length) for offset, length in ends]
    labels = [label(name, limits) for name in names]
    tail = parts[1] if len(parts) > 1 else None
    return {"type": "table", "data": _table(labels, parts[0], tail, count, width, limits)}


def _arrow_cell(scalar: Any, limits: Limits) -> Any:
    try:
        # Nested values may be long: their length is known before they are made.
        values = getattr(scalar, "values", None)
        if values is not None and not callable(values) and len(values) > limits.cell:
            return f"<list of {len(values)}>"
        # A text or bytes; only as much of it as is shown.
        long = scalar.as_buffer() if hasattr(scalar, "as_buffer") else None
        if long is not None and long.size > 4 * limits.cell + 4:
            if "binary" in str(scalar.type):
                return f"<{long.size} bytes>"
            return shortened(long.slice(0, 4 * limits.cell + 4).to_pybytes().decode(errors="ignore"), limits.cell)
        return cell(scalar.as_py(), limits)
    except Exception as problem:
        return f"<{type(scalar).__name__}: {type(problem).__name__}>"


for _name in ("pandas.DataFrame", "pandas.Series", "polars.DataFrame", "polars.Series"):
    register_builtin(_name, _frame, take=take)
register_builtin("polars.LazyFrame", _lazy_frame)
for _name in ("pyarrow.Table", "pyarrow.RecordBatch", "pyarrow.ChunkedArray", "pyarrow.Array"):
    register_builtin(_name, _arrow)
register_builtin(Taken, _frame)
register_builtin(is_frame, _frame, take=take)
