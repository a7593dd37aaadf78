"""The rows of a short polars frame, with the nanoseconds that Python's own types would lose."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .moments import duration_text, moment_text, time_text

__all__ = ["is_polars", "polars_columns", "polars_rows"]


def is_polars(frame: object) -> bool:
    """Tell whether a frame is polars' own."""
    return any(each.__module__.partition(".")[0] == "polars" for each in type(frame).__mro__)


def polars_rows(frame: Any) -> Iterable[Iterable[Any]]:
    """Return the rows of a frame."""
    columns = polars_columns(frame)
    return zip(*columns, strict=True) if columns else [()] * frame.shape[0]


def polars_columns(frame: Any) -> list[list[Any]]:
    """Return the values of a short frame's columns."""
    return [_values(frame.to_series(number)) for number in range(frame.shape[1])]


def _values(series: Any) -> list[Any]:
    if _name(series.dtype) in ("Float32", "Float16"):
        # Its text has the digits that it has.
        texts = series.cast(sys.modules["polars"].String).to_list()
        return [None if text is None else float(text) for text in texts]
    values: list[Any] = series.to_list()
    if not _has_nanoseconds(series.dtype):
        return values
    numbers = series.to_physical().to_list()
    return [_exact(series.dtype, value, number) for value, number in zip(values, numbers, strict=True)]


def _has_nanoseconds(kind: Any) -> bool:
    inner = getattr(kind, "inner", None)
    fields = getattr(kind, "fields", None)
    if inner is not None:
        return _has_nanoseconds(inner)
    if fields is not None:
        return any(_has_nanoseconds(field.dtype) for field in fields)
    return _name(kind) == "Time" or getattr(kind, "time_unit", None) == "ns"


def _exact(kind: Any, value: Any, number: Any) -> Any:
    """Return a value; where it has nanoseconds, the text of its number of them."""
    if value is None or number is None:
        return value
    if isinstance(value, dict):
        return {field.name: _exact(field.dtype, value[field.name], number[field.name]) for field in kind.fields}
    inner = getattr(kind, "inner", None)
    if inner is not None:
        return [_exact(inner, *pair) for pair in zip(value, number, strict=True)]
    if not isinstance(number, int) or not _has_nanoseconds(kind):
        return value
    if _name(kind) == "Time":
        return time_text(number)
    return duration_text(number) if _name(kind) == "Duration" else moment_text(number, value.tzinfo)


def _name(kind: Any) -> str:
    return type(kind).__name__ if not isinstance(kind, type) else kind.__name__
