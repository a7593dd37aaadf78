"""Values as JSON: the stated form of everything that a block may send, and words for what it may not.

Beyond what JSON has: dataclasses, named tuples and other mappings are objects; tuples, sets (sorted where they can be)
and numpy arrays are arrays; datetimes, dates, times and pandas timestamps are ISO 8601 text, timedeltas seconds; UUIDs
and paths are text; an Enum is its value; a Decimal is a number with all its digits; numpy scalars are numbers; NaN,
Infinity, NaT and NA are null. Everything else is an ``UnserializableValue`` at the call, with the path to it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import os
import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson

from .brought import brought
from .errors import UnserializableValue

__all__ = ["MAX_DEPTH", "Encoded", "dumps", "explained", "form_of", "is_small", "least_size", "loads"]

MAX_DEPTH: Final = 200
"""orjson refuses deeper values (254 levels); the margin is for the record around them."""

_INT64: Final = range(-(2**63), 2**64)


class Encoded:
    """JSON of one line that we have made ourselves; written as it is."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def dumps(value: object, *, handle: str | None = None) -> bytes:
    """Encode a value. Raises ``UnserializableValue`` naming ``handle`` and the path inside the value."""
    try:
        return orjson.dumps(value, default=form_of)
    except (TypeError, RecursionError) as error:
        raise explained(value, handle, error) from None


def loads(data: bytes | memoryview) -> Any:
    """Decode a value."""
    return orjson.loads(data)


def is_small(value: object, limit: int = 64 << 10) -> bool:
    """Estimate, at little cost, whether a value certainly encodes to at most about ``limit`` bytes.

    False means *maybe not*: such a value is encoded on a worker thread.
    """
    kind = type(value)
    if kind is str:
        return len(value) <= limit // 6  # type: ignore[arg-type]  # narrowed by type(), which mypy doesn't follow
    if value is None or kind is int or kind is float or kind is bool:
        return True
    if kind is dict or kind is list or kind is tuple:
        return _weigh(value, limit // 6, 3) >= 0
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _weigh([getattr(value, each.name, None) for each in dataclasses.fields(value)], limit // 6, 3) >= 0
    if isinstance(value, enum.Enum):
        return is_small(value.value, limit)
    # A fragment may be anything; it is looked at where there is time.
    return (
        kind is not orjson.Fragment
        and not isinstance(value, (dict, list, tuple, set, frozenset))
        and not hasattr(value, "__len__")
    )


_MEMBERS: Final = 1000
"""Members of a container that are looked at one by one before it is encoded."""


def least_size(value: object) -> int:
    """Return a size in bytes that a value has for certain, without converting it: 0 where that can't be told.

    Texts, bytes and arrays say theirs, and so do containers of few of them. An array counts with the memory that it
    takes, or with the shortest JSON of its items if that is more.
    """
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_least_of_member, value.values())) if len(value) <= _MEMBERS else 0
    if isinstance(value, (list, tuple)):
        return sum(map(_least_of_member, value)) if len(value) <= _MEMBERS else 0
    return _memory(value)


def _least_of_member(value: object) -> int:
    return len(value) if isinstance(value, str) else _memory(value)


_NO_ARRAYS: Final = frozenset({int, float, bool, type(None), dict, list, tuple})


def _memory(value: object) -> int:
    """Return what an array or a frame takes, its texts and objects not counted."""
    if type(value) in _NO_ARRAYS:
        return 0
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.ndarray):
        # Two characters for a digit and its comma, five for a constant.
        return max(value.nbytes, (5 if value.dtype.kind == "b" else 2) * value.size) if value.dtype.kind != "O" else 0
    pandas = brought("pandas", "DataFrame")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        # Asked column by column: a very wide one would take a while to say.
        return int(value.memory_usage(deep=False).sum()) if value.shape[1] <= _MEMBERS else 0
    if pandas is not None and isinstance(value, (pandas.Series, pandas.Index)):
        return int(value.nbytes)
    return 0


def _weigh(value: Any, budget: int, depth: int) -> int:
    """Return what is left of a budget after a value; negative when it is used up or the value is too deep to tell."""
    kind = type(value)
    if kind is str:
        return budget - len(value) - 2
    if value is None or kind is int or kind is float or kind is bool:
        return budget - 8
    if depth == 0 or kind not in (dict, list, tuple) or len(value) * 2 > budget:
        return -1
    items = value.values() if kind is dict else value
    if kind is dict:
        budget -= sum(len(key) + 3 if type(key) is str else 8 for key in value)
    for item in items:
        budget = _weigh(item, budget, depth - 1)
        if budget < 0:
            return -1
    return budget


# ---------------------------------------------------------------------- forms that orjson doesn't know


def form_of(value: object) -> object:
    """Return something that orjson can encode in place of a value; TypeError for what has no form."""
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        return list(value) if fields is None else dict(zip(fields, value, strict=True))
    if isinstance(value, Encoded):
        return orjson.Fragment(value.data)
    if isinstance(value, (set, frozenset)):
        return _sorted(value)
    if isinstance(value, decimal.Decimal):
        return orjson.Fragment(format(value, "f") if value.is_finite() else "null")
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        # Subclasses such as pandas' Timestamp; NaT says that it isn't equal to itself.
        return value.isoformat() if value == value else None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return _of_numpy_or_pandas(value)


def _sorted(value: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def _of_numpy_or_pandas(value: object) -> object:
    numpy = brought("numpy", "ndarray")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return _of_array(value)
        if isinstance(value, numpy.datetime64):
            return None if numpy.isnat(value) else str(value)
        if isinstance(value, numpy.timedelta64):
            return None if numpy.isnat(value) else value / numpy.timedelta64(1, "s")
        if isinstance(value, numpy.generic):
            return value.item()
    pandas = brought("pandas", "DataFrame")
    if pandas is not None and (value is pandas.NaT or value is pandas.NA):
        return None
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _of_array(array: Any) -> object:
    if array.dtype.kind in "biuf" and array.flags.c_contiguous and array.dtype.itemsize <= 8:
        try:
            return orjson.Fragment(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
        except TypeError:
            return array.tolist()
    # orjson would write NaT as a moment in 1677: datetimes go one by one.
    return list(array) if array.dtype.kind in "mM" else array.tolist()


# ---------------------------------------------------------------------- what went wrong, and where


def explained(value: object, handle: str | None, error: BaseException) -> UnserializableValue:
    """Return what is wrong with a value, with the path to it."""
    found = _culprit(value, "", set(), 0)
    if found is None:
        return UnserializableValue(str(error), handle=handle)
    path, reason = found
    return UnserializableValue(reason, handle=handle, path=path.lstrip("."))


def _culprit(value: object, path: str, above: set[int], depth: int) -> tuple[str, str] | None:
    """Walk to the first thing that has no form; return its path and why."""
    if depth > MAX_DEPTH:
        return path[:200] + "...", f"it is nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, (dict, list, tuple)) or dataclasses.is_dataclass(value):
        if id(value) in above:
            return path, "it contains itself"
        return _culprit_inside(value, path, above | {id(value)}, depth + 1)
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and value not in _INT64:
        return path, "the integer has more than 64 bits; send it as text"
    if isinstance(value, str):
        return (path, "the text has lone surrogates") if _has_surrogates(value) else None
    try:
        orjson.dumps(value, default=form_of)
    except (TypeError, RecursionError):
        return path, _why(value)
    return None


def _culprit_inside(value: Any, path: str, above: set[int], depth: int) -> tuple[str, str] | None:
    if dataclasses.is_dataclass(value):
        steps = [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    elif isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return path, f"the key {key!r} is of type {type(key).__name__}; keys are text"
            if _has_surrogates(key):
                return path, "a key has lone surrogates"
        steps = [(f".{key}", item) for key, item in value.items()]
    else:
        steps = [(f"[{index}]", item) for index, item in enumerate(value)]
    for step, item in steps:
        found = _culprit(item, path + step, above, depth)
        if found is not None:
            return found
    return None


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _why(value: object) -> str:
    name = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)) or getattr(value, "__asyncblock_body__", False):
        return f"JSON has no {name}; declare the handle as oomol/bin"
    if hasattr(value, "__await__"):
        return f"it is a {name}: was an 'await' forgotten?"
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        return f"it is a {name}: make a list of it first"
    return f"JSON has no form for {name}; declare the handle as oomol/var to hand it on in this process"
