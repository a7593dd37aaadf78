"""Frames, series and arrays as tables: whole when short, else beginning, a row of dots, and end.

What is shown of a frame is taken at the call, so an author may change it at once. An index is shown as leading
columns, unless it only counts the rows: from 0, one by one, without a name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .cells import DOTS, cell, label, shortened
from .floats import is_narrow, narrow_list, short_of
from .framerows import frame_rows, snapshot
from .limits import Limits
from .polarsrows import is_polars, polars_rows
from .registry import register_builtin
from .rowindex import is_counting
from .rows import Block, TableRows, beside, cells_of, widened
from .yieldgil import yield_gil

__all__ = ["Taken", "array_payload", "frame_payload", "is_frame", "made_table", "rows_payload", "take"]

_TAKEN_CELLS = 20_000
"""Cells up to which a frame is taken at the call; larger ones are left to the thread."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The shown part of a frame: its head, and its tail if there are rows in between."""

    head: Any
    tail: Any
    row_count: int
    column_count: int
    index: Any = None
    """The index of all rows, which never changes; None where there is none."""
    kind: str = "frame"
    """What it was taken of."""
    whole: Any = None
    """All rows of the shown columns, as they were at the call; None for a frame of an unknown library."""


def is_frame(value: object) -> bool:
    """Tell whether a value is a DataFrame of any library, by the methods that all of them have."""
    kind = type(value)
    return hasattr(kind, "__dataframe__") and hasattr(kind, "to_dict") and hasattr(value, "shape")


def take(frame: Any, limits: Limits) -> Any:
    """Take what is shown of a frame, if that is quick; else return the frame."""
    frame = _as_frame(frame)
    rows = min(_count(frame), limits.whole)
    columns = frame.shape[1] if len(frame.shape) > 1 else 1
    return _taken(frame, limits) if rows * min(columns, limits.columns) <= _TAKEN_CELLS else frame


def frame_payload(value: Any, limits: Limits) -> dict[str, Any]:
    """Return a frame as a table ``{"rows", "columns", "row_count"}``, of which only what is shown is converted.

    The rows of a longer one are beside it.
    """
    taken = value if isinstance(value, Taken) else _taken(_as_frame(value), limits)
    index = None if taken.index is None or is_counting(taken.index) else taken.index
    columns, head = _read(taken.head, index is not None, limits)
    tail = _read(taken.tail, index is not None, limits)[1] if taken.tail is not None else None
    rows = None if taken.whole is None else frame_rows(taken.whole, index, taken.column_count, limits)
    table = made_table(columns, head, tail, taken.row_count, taken.column_count, limits)
    return {"type": "table", "data": table, **beside(rows, limits)}


def rows_payload(columns: list[Any], count: int, rows: Block, width: int, limits: Limits) -> dict[str, Any]:
    """Return a table of rows that are made when they are asked for: its ends, and all of them beside it."""
    head = [list(row) for row in rows(0, count if count <= limits.whole else limits.ends)]
    tail = None if count <= limits.whole else [list(row) for row in rows(count - limits.ends, count)]
    table = made_table(columns, head, tail, count, width, limits)
    return {"type": "table", "data": table, **beside(TableRows(count, widened(rows, width, limits)), limits)}


def array_payload(array: Any, limits: Limits) -> dict[str, Any]:
    """Return an array of one or two dimensions, or of records, as a table."""
    names = array.dtype.names
    count = array.shape[0]
    width = len(names) if names else (array.shape[1] if array.ndim > 1 else 1)
    shown = range(min(width, limits.columns))
    labels = [label(names[number], limits) if names else number for number in shown]

    def rows(start: int, stop: int) -> list[Any]:
        part = array[start:stop]
        if names:
            return [[cell(row[names[number]], limits) for number in shown] for row in part]
        part = part[:, : limits.columns] if part.ndim > 1 else part[:, None]
        if type(part) is not sys.modules["numpy"].ndarray:
            # What is masked, say.
            return _cells(part, limits)
        # Lists of moments would be lists of numbers.
        lists = part.dtype.kind in "biufO"
        columns = [part[:, number] for number in range(part.shape[1])]
        narrow = is_narrow(part.dtype)
        listed = [narrow_list(each) if narrow else each.tolist() if lists else list(each) for each in columns]
        found = [cells_of(values, limits) for values in listed]
        return list(zip(*found, strict=True)) if found else [()] * len(part)

    return rows_payload(labels, count, rows, width, limits)


def made_table(
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
        raise TypeError(f"the number of rows of this {type(frame).__name__} isn't known; compute it first")
    return count


def _taken(frame: Any, limits: Limits) -> Taken:
    count = _count(frame)
    width = frame.shape[1]
    narrow = _narrow(frame, min(width, limits.columns))
    index = frame.index if hasattr(frame, "iloc") and hasattr(getattr(frame, "index", None), "names") else None
    kind = type(frame).__name__
    if count <= limits.whole:
        return Taken(_copied(narrow), None, count, width, index, kind)
    ends = _copied(narrow.head(limits.ends)), _copied(narrow.tail(limits.ends))
    return Taken(*ends, count, width, index, kind, snapshot(narrow))


def _narrow(frame: Any, width: int) -> Any:
    if width == frame.shape[1]:
        return frame
    if hasattr(frame, "iloc"):
        return frame.iloc[:, :width]
    return frame.select(list(frame.columns)[:width])


def _copied(part: Any) -> Any:
    copy = getattr(part, "copy", None) or getattr(part, "clone", None)
    return copy() if copy is not None else part


def _read(part: Any, indexed: bool, limits: Limits) -> tuple[list[Any], list[list[Any]]]:
    """Return the labels and the rows of a short frame."""
    columns = [label(column, limits) for column in part.columns]
    found: Iterable[Iterable[Any]]
    if hasattr(part, "itertuples"):
        # Without columns an iteration would end at once, and the rows would be lost.
        found = part.itertuples(index=False, name=None) if columns else [()] * len(part)
        rows = _cells(found, limits)
        for number, dtype in enumerate(part.dtypes):
            if is_narrow(dtype):
                for row, value in zip(rows, short_of([row[number] for row in rows], dtype), strict=True):
                    row[number] = value
        return _with_index(part.index, columns, rows, limits) if indexed else (columns, rows)
    return columns, _cells(polars_rows(part) if is_polars(part) else part.rows(), limits)


def _cells(rows: Iterable[Iterable[Any]], limits: Limits) -> list[list[Any]]:
    made = []
    for row in rows:
        made.append([cell(value, limits) for value in row])
        yield_gil()
    return made


def _with_index(
    index: Any, columns: list[Any], rows: list[list[Any]], limits: Limits
) -> tuple[list[Any], list[list[Any]]]:
    labels = ["" if name is None else label(name, limits) for name in index.names]
    # A MultiIndex with a single level has tuples, too.
    levels = [list(entry) if hasattr(index, "levels") else [entry] for entry in index]
    return (
        labels + columns,
        [[cell(level, limits) for level in each] + row for each, row in zip(levels, rows, strict=True)],
    )


def _lazy_frame(frame: Any, limits: Limits) -> dict[str, Any]:
    """A lazy frame is never collected: its columns are shown."""
    schema = frame.collect_schema() if hasattr(frame, "collect_schema") else frame.schema
    shown = [f"{name}: {kind}" for name, kind in list(schema.items())[: limits.columns]]
    more = f", {DOTS} {len(schema) - len(shown)} more" if len(schema) > len(shown) else ""
    text = f"{type(frame).__name__}, not collected; its columns: {', '.join(shown)}{more}"
    return {"type": "text", "data": shortened(text, limits.text)}


for _name in ("pandas.DataFrame", "pandas.Series", "polars.DataFrame", "polars.Series"):
    register_builtin(_name, frame_payload, take=take)
register_builtin("polars.LazyFrame", _lazy_frame)
register_builtin(Taken, frame_payload)
register_builtin(is_frame, frame_payload, take=take)
