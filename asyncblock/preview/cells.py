"""One cell of a table: a value that JSON has as it is, everything else as a short text."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import re
from array import array
from collections import UserList, deque
from collections.abc import Collection, Iterable, Mapping, MappingView, Sized
from contextlib import suppress
from itertools import islice
from typing import Any

from ..errors import UnserializableValue
from ..values import dumps, loads
from ..values.brought import brought
from ..values.forms import key_text
from .limits import Limits

__all__ = ["DOTS", "cell", "label", "lenient", "safe_repr", "safe_str", "sendable", "shortened"]

DOTS = "..."

_PYTHON_S = frozenset({"builtins", "collections", "array"})
"""Modules with collections that have a ``repr`` as long as they are."""

_ADDRESS = re.compile(" at 0x[0-9a-fA-F]{4,16}")

_INT64 = range(-(2**63), 2**64)


def cell(value: Any, limits: Limits) -> Any:
    """Return a value's cell. Never raises: if a value can't be shown, the cell says what it is."""
    try:
        return _cell(value, limits)
    except Exception as problem:
        return f"<{type(value).__name__}: {type(problem).__name__}>"


def label(column: Any, limits: Limits) -> str | int | float:
    """Return a column's label; the levels of a MultiIndex are joined."""
    if isinstance(column, tuple):
        return shortened(" / ".join(str(cell(level, limits)) for level in column), limits.cell)
    made = cell(column, limits)
    if made is None:
        # NaN and NaT are others than None.
        return safe_str(column, limits.cell)
    return made if isinstance(made, (str, int, float)) and not isinstance(made, bool) else str(made)


def shortened(text: str, length: int) -> str:
    """Shorten a text; dots show where. Lone surrogates, which JSON can't carry, are escaped."""
    return sendable(f"{text[:length]}{DOTS}" if len(text) > length else text)


def sendable(text: str) -> str:
    """Escape lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def safe_repr(value: object, length: int) -> str:
    """Return a value's ``repr``, or say that it raised. Of what is long by itself only the beginning is looked at.

    Addresses in memory are left out, and one that is nothing else is the name of its class.
    """
    try:
        kind = type(value)
        if kind.__repr__ is object.__repr__:
            return shortened(f"<{kind.__module__}.{kind.__qualname__}>", length)
        if kind.__module__ not in _PYTHON_S or kind in (str, range) or not isinstance(value, Collection):
            return shortened(_ADDRESS.sub("", repr(value)[: 2 * length]), length)
        if len(value) <= length:
            return shortened(_ADDRESS.sub("", repr(value)[: 2 * length]), length)
        first = bytes(islice(value, length)) if kind in (bytes, bytearray) else list(islice(value, length))
        return f"{kind.__name__} of {len(value)}: {shortened(repr(first), length)}"
    except Exception as problem:
        return f"<{type(value).__name__}; its repr raises {type(problem).__name__}>"


def _cell(value: Any, limits: Limits, room: _Room | None = None) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _cell(value.value, limits, room)
    if isinstance(value, int):
        return int(value) if int(value) in _INT64 else shortened(str(value), limits.cell)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return shortened(str(value), limits.cell)
    if isinstance(value, (datetime.date, datetime.time)):
        # As JSON has them, in the fastest way. NaT is the one that isn't equal to itself.
        return value.isoformat() if value == value else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, (decimal.Decimal, complex, datetime.timedelta)):
        # As text: JSON has no such numbers, and a float would lose digits.
        return None if value != value else str(value)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.generic):
        return _numpy_scalar(value, limits)
    return _nested(value, limits, room)


def lenient(value: Any, limits: Limits) -> Any:
    """Return a container as JSON, with a short text for whatever in it has no form; None when it is too large."""
    try:
        return _cell(value, limits, _Room(limits.text))
    except _Full:
        return None


def _float(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _numpy_scalar(value: Any, limits: Limits) -> Any:
    if value.dtype.kind in "mM":
        return None if str(value) == "NaT" else str(value)
    if value.dtype.names:
        return {name: _cell(value[name], limits) for name in value.dtype.names}
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        # With the digits of its own precision, as in an output.
        return _float(float(str(value)))
    plain = value.item()
    # ``item`` of a type that Python doesn't have, such as longdouble, returns the same type.
    return str(value) if plain is value or type(plain) is type(value) else _cell(plain, limits)


# ---------------------------------------------------------------------- containers in a cell


_DEPTH = 30
"""Levels of containers that are looked into."""

_LISTED = 1000
"""Items of an array that are made at once."""

_ITEM = 4
"""Characters that an item takes at least, with its separators."""


class _Full(Exception):
    """A container has more in it than a cell shows."""


class _Room:
    """What is left for the items of one cell, so that a cell costs no more than it shows."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.depth = 0

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _Full


def _nested(value: Any, limits: Limits, room: _Room | None) -> Any:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        # An array or a tensor without dimensions.
        inner = value[()] if hasattr(value, "__array_interface__") else value.item()
        if inner is not value and type(inner) is type(value):
            # With a unit, say, it stays what it is.
            return safe_str(value, limits.cell)
        return _whole(value, limits) if inner is value else _cell(inner, limits, room)
    parts = _parts(value)
    if parts is None:
        return _whole(value, limits)
    if room is not None:
        return _inside(parts, limits, room)
    try:
        return _inside(parts, limits, _Room(limits.cell))
    except _Full:
        shape = getattr(value, "shape", None)
        size = shape if isinstance(shape, tuple) else len(value) if isinstance(value, Sized) else None
        return f"<{type(value).__name__}>" if size is None else f"<{type(value).__name__} of {size}>"


def _parts(value: Any) -> Mapping[Any, Any] | Iterable[Any] | None:
    """Return the items of a container, or its members by name; None for what is shown as one thing."""
    if isinstance(value, Mapping):
        return value
    fields = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple):
        return dict(zip(fields, value, strict=True))
    if isinstance(value, (list, tuple, deque, range, UserList, MappingView, array)):
        items: Iterable[Any] = value  # type: ignore[assignment]  # a MappingView has them
        return items
    if isinstance(value, (set, frozenset)):
        return _in_order(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    kind = type(value)
    if hasattr(kind, "__array__") and hasattr(kind, "to_pylist") and len(value) <= _LISTED:
        # Arrow's: its own items aren't Python's.
        listed: list[Any] = value.to_pylist()
        return listed
    if hasattr(kind, "__array__") and hasattr(kind, "shape") and (hasattr(kind, "tolist") or hasattr(kind, "to_list")):
        # Arrays and series of any make; item by item, for a list of moments would be a list of numbers.
        items = value
        return items
    return None


def _in_order(value: set[Any] | frozenset[Any]) -> Iterable[Any]:
    if len(value) <= 1000:
        with suppress(Exception):
            return sorted(value)
    return value


def _inside(parts: Mapping[Any, Any] | Iterable[Any], limits: Limits, room: _Room) -> Any:
    if isinstance(parts, Sized):
        room.take(len(parts))
    if room.depth >= _DEPTH:
        return DOTS
    room.depth += 1
    try:
        if isinstance(parts, Mapping):
            names = _Names(limits)
            return {names.of(key): _item(each, limits, room, key) for key, each in parts.items()}
        return [_item(each, limits, room) for each in parts]
    finally:
        room.depth -= 1


class _Names:
    """The names of an object's members. If two keys have the same text, both members are kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._times: dict[str, int] = {}

    def of(self, key: object) -> str:
        """Return a key's text: as in an output if that allows such a key, else as a column's label."""
        text = self._text(key)
        if text in self._times and not isinstance(key, str):
            text = safe_repr(key, self._limits.cell)
        while text in self._times:
            self._times[text] += 1
            text = f"{text} ({self._times[text]})"
        self._times[text] = 1
        return text

    def _text(self, key: object) -> str:
        if isinstance(key, (bytes, bytearray)):
            return safe_repr(key, self._limits.cell)
        if not isinstance(key, str):
            with suppress(Exception):  # it has none, or its own methods raise
                return shortened(key_text(key), self._limits.cell)
        return str(label(key, self._limits))


def _item(value: Any, limits: Limits, room: _Room, key: object = "") -> Any:
    made = _cell(value, limits, room)
    room.take(_ITEM + (len(made) if isinstance(made, str) else 0) + (len(key) if isinstance(key, str) else 0))
    return made


def _whole(value: Any, limits: Limits) -> Any:
    if hasattr(value, "shape") or hasattr(value, "__len__"):
        size = getattr(value, "shape", None)
        if not isinstance(size, tuple) or math.prod(size) > 100:
            return f"<{type(value).__name__} of {size if size is not None else len(value)}>"
    try:
        made = loads(dumps(value))
    except UnserializableValue:
        return safe_str(value, limits.cell)
    return shortened(made, limits.cell) if isinstance(made, str) else made


def safe_str(value: object, length: int) -> str:
    try:
        if type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__:
            return f"<{type(value).__qualname__}>"
        return shortened(_ADDRESS.sub("", str(value)[: 2 * length]), length)
    except Exception as problem:
        return f"<{type(value).__name__}; its str raises {type(problem).__name__}>"
