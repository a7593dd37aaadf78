"""Arrow's tables, batches and arrays as tables. Only the scalars that are shown are made, and nanoseconds are kept."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from .cells import cell, label, shortened
from .limits import Limits
from .moments import duration_text, moment_text, time_text
from .registry import register_builtin
from .rows import cells_of
from .table import rows_payload

__all__: list[str] = []

_TEXTS = frozenset({"string", "large_string", "string_view"})

_AT_ONCE = 256 << 10
"""Bytes of values that are made at once."""

_DEPTH = 30
"""Levels of lists and structs that are looked into."""


def _columns_of(value: Any, limits: Limits) -> tuple[list[Any], int, int, Callable[[int], Any]]:
    """Return the shown columns' names, how many there are in all, the number of rows, and what gets a column."""
    if hasattr(value, "column"):
        # Not ``column_names``: that makes a text for each of them.
        schema = value.schema
        names = [schema.field(number).name for number in range(min(len(schema), limits.columns))]
        return names, len(schema), value.num_rows, value.column
    return ["value"], 1, len(value), lambda _: value


def _arrow(value: Any, limits: Limits) -> dict[str, Any]:
    names, width, count, column = _columns_of(value, limits)

    def rows(start: int, stop: int) -> list[Any]:
        columns = [_cells(column(number).slice(start, stop - start), limits) for number in range(len(names))]
        return list(zip(*columns, strict=True)) if columns else [()] * (stop - start)

    return rows_payload([label(name, limits) for name in names], count, rows, width, limits)


def _cells(values: Any, limits: Limits) -> list[Any]:
    """Return the cells of a part of a column; numbers and short texts many in one go."""
    kind = str(values.type)
    if kind in ("float", "halffloat"):
        # Its text has the digits that it has.
        texts = values.cast("float").cast("string").to_pylist()
        return cells_of([None if text is None else float(text) for text in texts], limits)
    if values.nbytes <= _AT_ONCE and (kind in _TEXTS or kind.startswith(("int", "uint", "float", "double", "bool"))):
        return cells_of(values.to_pylist(), limits)
    return [_arrow_cell(scalar, limits) for scalar in values]


def _arrow_cell(scalar: Any, limits: Limits) -> Any:
    try:
        # Nested values may be long; their length is known without making them.
        values = getattr(scalar, "values", None)
        if _is_array(values) and len(values) > limits.cell:
            return f"<list of {len(values)}>"
        # A text or bytes: only what is shown of it is made.
        long = scalar.as_buffer() if hasattr(scalar, "as_buffer") else None
        if long is not None and long.size > 4 * limits.cell + 4:
            if "binary" in str(scalar.type):
                return f"<{long.size} bytes>"
            return shortened(long.slice(0, 4 * limits.cell + 4).to_pybytes().decode(errors="ignore"), limits.cell)
        return cell(_value(scalar, limits.cell), limits)
    except Exception as problem:
        return f"<{type(scalar).__name__}: {type(problem).__name__}>"


def _is_array(values: Any) -> TypeGuard[Any]:
    return values is not None and not callable(values) and hasattr(values, "__len__")


def _value(scalar: Any, length: int, depth: int = 0) -> Any:
    """Return Python's value of a scalar. Not by ``as_py``, which would lose nanoseconds or import pandas for them."""
    if not scalar.is_valid or depth > _DEPTH:
        return None
    kind = type(scalar).__name__
    if getattr(scalar.type, "unit", None) == "ns":
        return _of_nanoseconds(kind, scalar)
    if kind == "DictionaryScalar":
        return _value(scalar.value, length, depth)
    if kind == "FixedShapeTensorScalar":
        return scalar.to_numpy()
    if kind == "ExtensionScalar" and hasattr(scalar, "value"):
        made = scalar.as_py()
        return made if made is None or not hasattr(made, "is_valid") else _value(made, length, depth)
    if kind == "MapScalar":
        pairs = _items(scalar.values, length, depth)
        return [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in pairs]
    if kind == "StructScalar":
        return {name: _value(each, length, depth + 1) for name, each in scalar.items()}
    values = getattr(scalar, "values", None)
    return _items(values, length, depth) if _is_array(values) else scalar.as_py()


def _items(values: Iterable[Any], length: int, depth: int) -> list[Any]:
    items: list[Any] = []
    for each in values:
        if len(items) > length:
            # One more than a cell shows, so that the cell says how many there are.
            break
        items.append(_value(each, length, depth + 1))
    return items


def _of_nanoseconds(kind: str, scalar: Any) -> str:
    nanoseconds = int(scalar.value)
    if kind == "DurationScalar":
        return duration_text(nanoseconds)
    if kind == "Time64Scalar":
        return time_text(nanoseconds)
    return moment_text(nanoseconds, _zone(scalar.type.tz))


def _zone(name: str | None) -> datetime.tzinfo | None:
    if name is None:
        return None
    zone = sys.modules["pyarrow"].lib.string_to_tzinfo(name)
    return zone if isinstance(zone, datetime.tzinfo) else datetime.UTC


def _scalar(scalar: Any, limits: Limits) -> dict[str, Any]:
    made = _arrow_cell(scalar, limits)
    return {"type": "text" if isinstance(made, str) else "json", "data": made}


def _dataset(dataset: Any, limits: Limits) -> dict[str, Any]:
    """A dataset isn't read: what is in it is told."""
    shown = [f"{field.name}: {field.type}" for field in list(dataset.schema)[: limits.columns]]
    return {"type": "text", "data": f"{type(dataset).__name__}, not read; its columns: {', '.join(shown)}"}


register_builtin("pyarrow.Scalar", _scalar)
register_builtin("pyarrow.dataset.Dataset", _dataset)
for _name in ("pyarrow.Table", "pyarrow.RecordBatch", "pyarrow.ChunkedArray", "pyarrow.Array"):
    register_builtin(_name, _arrow)
