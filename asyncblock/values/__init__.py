"""Values as JSON: the stated form of everything that a block may send, and words for what it may not.

Beyond what JSON has: dataclasses, named tuples, classes of attrs and msgspec and other mappings are objects, and so is
what ``model_dump(mode="json")`` of a pydantic model gives; tuples, sets (sorted where they can be) and numpy arrays are
arrays; datetimes, dates, times and pandas timestamps are ISO 8601 text, timedeltas seconds; UUIDs and paths are text;
an Enum is its value; numpy scalars are numbers, and a Decimal is one whose digits survive in a double; NaN, Infinity,
NaT, NA and what an array masks are null. Keys are text, or what has an unambiguous one: numbers, truth values, dates,
times, UUIDs, paths, and enums of these.

Everything else is an ``UnserializableValue`` at the call, with the path to it: a key such as a tuple or None, two keys
of one object with the same text, an integer beyond 64 bits, a Decimal with more digits, a text with lone surrogates.
Whatever is encoded here can be decoded.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any, Final

import orjson

from ..errors import UnserializableValue
from .brought import brought
from .forms import Encoded, NoForm, form_of, has_fields, is_numeric, key_text, members, rows_as_lists, spelled

__all__ = ["MAX_DEPTH", "Encoded", "dumps", "explained", "form_of", "is_small", "least_size", "loads"]

MAX_DEPTH: Final = 200
"""orjson refuses deeper values (254 levels); the margin is for the record around them."""

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**64 - 1


def dumps(value: object, *, handle: str | None = None) -> bytes:
    """Encode a value. Raises ``UnserializableValue`` naming ``handle`` and the path inside the value."""
    try:
        return orjson.dumps(value, default=form_of)
    except (TypeError, RecursionError) as error:
        try:
            # Seldom: keys that aren't text, times with a zone.
            return orjson.dumps(spelled(value), default=form_of)
        except (TypeError, RecursionError):
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
        and not has_fields(value)
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


# ---------------------------------------------------------------------- what went wrong, and where


def explained(value: object, handle: str | None, error: BaseException) -> UnserializableValue:
    """Return what is wrong with a value, with the path to it."""
    try:
        found = _culprit(value, "", set(), 0)
    except Exception as problem:
        # An author's method, which may raise what it likes.
        return UnserializableValue(f"{type(problem).__name__} while it was read: {problem}", handle=handle)
    if found is None:
        return UnserializableValue(str(error), handle=handle)
    path, reason = found
    return UnserializableValue(reason, handle=handle, path=path.lstrip("."))


def _culprit(value: object, path: str, above: set[int], depth: int) -> tuple[str, str] | None:
    """Walk to the first thing that has no form; return its path and why."""
    if depth > MAX_DEPTH:
        return path[:200] + "...", f"it is nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, (bool, float)):
        return None
    if isinstance(value, int) and not _LOWEST <= int.__add__(value, 0) <= _HIGHEST:
        return path, "the integer has more than 64 bits; send it as text"
    if isinstance(value, str):
        return (path, "the text has lone surrogates") if _has_surrogates(value) else None
    found = members(value)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.ndim and not is_numeric(value):
        value = list(rows_as_lists(value))
    if found is not None or isinstance(value, (list, tuple)):
        if id(value) in above:
            return path, "it contains itself"
        return _culprit_inside(value, found, path, above | {id(value)}, depth + 1)
    try:
        orjson.dumps(spelled(value), default=form_of)
    except (TypeError, RecursionError) as error:
        return path, _why(value, error)
    return None


def _culprit_inside(
    value: Any, found: Iterator[tuple[Any, Any]] | None, path: str, above: set[int], depth: int
) -> tuple[str, str] | None:
    if found is None:
        steps = ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        texts: set[str] = set()
        named = list(found)
        for key, _ in named:
            try:
                text = key_text(key)
            except NoForm as error:
                return path, str(error)
            if _has_surrogates(text):
                return path, "a key has lone surrogates"
            if text in texts:
                return path, f"two of its keys have the text {text!r}"
            texts.add(text)
        steps = ((f".{key_text(key)}", item) for key, item in named)
    for step, item in steps:
        culprit = _culprit(item, path + step, above, depth)
        if culprit is not None:
            return culprit
    return None


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _why(value: object, error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(error, NoForm) or isinstance(cause, NoForm):
        return str(error if isinstance(error, NoForm) else cause)
    name = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)) or getattr(value, "__asyncblock_body__", False):
        return f"JSON has no {name}; declare the handle as oomol/bin"
    if hasattr(value, "__await__"):
        return f"it is a {name}: was an 'await' forgotten?"
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        return f"it is a {name}: make a list of it first"
    if cause is not None and not isinstance(cause, TypeError):
        return f"{name} can't be written as JSON: {type(cause).__name__}: {cause}"
    return f"JSON has no form for {name}; declare the handle as oomol/var to hand it on in this process"
