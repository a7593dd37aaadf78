"""One cell of a table: what JSON has as it is, everything else as a short text."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import sys
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from ..errors import UnserializableValue
from ..values import dumps, is_small, loads
from .limits import Limits

__all__ = ["DOTS", "cell", "label", "safe_repr", "sendable", "shortened"]

DOTS = "..."

_PYTHON_S = frozenset({"builtins", "collections", "array"})
"""Modules whose collections have a ``repr`` that is as long as they are."""

_INT64 = range(-(2**63), 2**64)


def cell(value: Any, limits: Limits) -> Any:
    """Return what stands in a table for a value. Never raises: what can't be shown says what it is."""
    try:
        return _cell(value, limits)
    except Exception as problem:
        return f"<{type(value).__name__}: {type(problem).__name__}>"


def label(column: Any, limits: Limits) -> str | int | float:
    """Return a column's label; the levels of a MultiIndex are joined."""
    if isinstance(column, tuple):
        return shortened(" / ".join(str(cell(level, limits)) for level in column), limits.cell)
    made = cell(column, limits)
    return made if isinstance(made, (str, int, float)) and not isinstance(made, bool) else str(made)


def shortened(text: str, length: int) -> str:
    """Cut a text, and say so by dots. Lone surrogates, which JSON can't carry, are escaped."""
    return sendable(f"{text[:length]}{DOTS}" if len(text) > length else text)


def sendable(text: str) -> str:
    """Escape lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def safe_repr(value: object, length: int) -> str:
    """Return a value's ``repr``, or say that it raised. Of what is long by itself only the beginning is looked at."""
    try:
        kind = type(value)
        if kind.__module__ not in _PYTHON_S or kind in (str, range) or not isinstance(value, Collection):
            return shortened(repr(value), length)
        if len(value) <= length:
            return shortened(repr(value), length)
        first = bytes(islice(value, length)) if kind in (bytes, bytearray) else list(islice(value, length))
        return f"{kind.__name__} of {len(value)}: {shortened(repr(first), length)}"
    except Exception as problem:
        return f"<{type(value).__name__}; its repr raises {type(problem).__name__}>"


def _cell(value: Any, limits: Limits) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value in _INT64 else shortened(str(value), limits.cell)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return shortened(str(value), limits.cell)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, (decimal.Decimal, complex, datetime.timedelta)):
        # As text: JSON has no such number, and a float would lose digits.
        return None if value != value else str(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _numpy_scalar(value, limits)
    return _nested(value, limits)


def _float(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _numpy_scalar(value: Any, limits: Limits) -> Any:
    if value.dtype.kind in "mM":
        return None if str(value) == "NaT" else str(value)
    plain = value.item()
    # Types that Python doesn't have, such as longdouble, are their own item.
    return str(value) if plain is value or type(plain) is type(value) else _cell(plain, limits)


def _nested(value: Any, limits: Limits) -> Any:
    if isinstance(value, (list, tuple, Mapping, set, frozenset)) and not isinstance(value, str):
        if len(value) > limits.cell or not is_small(_plain(value), 6 * limits.cell):
            return f"<{type(value).__name__} of {len(value)}>"
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not all(is_small(getattr(value, each.name, None), 6 * limits.cell) for each in dataclasses.fields(value)):
            return f"<{type(value).__name__}>"
    elif hasattr(value, "shape") or hasattr(value, "__len__"):
        size = getattr(value, "shape", None)
        if not isinstance(size, tuple) or math.prod(size) > 100:
            return f"<{type(value).__name__} of {size if size is not None else len(value)}>"
    try:
        made = loads(dumps(value))
    except UnserializableValue:
        return safe_str(value, limits.cell)
    if isinstance(made, str):
        return shortened(made, limits.cell)
    return made


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (set, frozenset)) else value


def safe_str(value: object, length: int) -> str:
    try:
        return shortened(str(value), length)
    except Exception as problem:
        return f"<{type(value).__name__}; its str raises {type(problem).__name__}>"
