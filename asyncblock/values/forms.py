"""Forms: what stands in JSON for values that it doesn't have, and which keys have a text that nobody can mistake.

Numbers travel as numbers where whoever reads them gets them back: integers of 64 bits, and what a double holds.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from ..shapes import kind_of
from .brought import brought

__all__ = [
    "Encoded",
    "NoForm",
    "array_json",
    "form_of",
    "has_fields",
    "is_numeric",
    "key_text",
    "members",
    "rows_as_lists",
    "spelled",
]


class Encoded:
    """JSON of one line that we have made ourselves; written as it is."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class NoForm(TypeError):
    """Why a value can't travel, in words for its author."""


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
        return _number(value)
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
    return _of_library(value)


def _sorted(value: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(value)
    except Exception:  # whatever classes raise that can't be compared; a Decimal that is NaN raises InvalidOperation
        return list(value)


def _number(value: decimal.Decimal) -> float | int | None:
    """Return a Decimal as the number that readers get, if that has the same digits."""
    if not value.is_finite():
        return None
    number = float(value)
    if not math.isfinite(number) or decimal.Decimal(repr(number)) != value:
        raise NoForm("the Decimal has digits that a JSON number (a double) would lose; send it as text")
    # Written without a point where the author has none.
    _, _, exponent = value.as_tuple()
    return int(number) if exponent == 0 and abs(number) < 2**53 else number


def _of_library(value: object) -> object:
    if isinstance(value, float):
        # Past the subclass's own methods; numpy's float64 is one.
        return float.__pos__(value)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _of_array(value, numpy) if isinstance(value, numpy.ndarray) else _of_scalar(value, numpy)
    pandas = brought("pandas", "DataFrame")
    if pandas is not None and (value is pandas.NaT or value is pandas.NA):
        return None
    if has_fields(value):
        found = members(value)
        return _dumped(value) if found is None else dict(found)
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _dumped(model: Any) -> object:
    try:
        return model.model_dump(mode="json", fallback=_plain)
    except TypeError:
        # Older ones (before 2.11) have no such parameter; then what they don't know has no form.
        return model.model_dump(mode="json")


def _plain(value: object) -> object:
    return orjson.loads(orjson.dumps(value, default=form_of))


def has_fields(value: object) -> bool:
    """Tell whether a value is of a class of attrs, msgspec or pydantic."""
    kind = type(value)
    return (
        hasattr(kind, "__attrs_attrs__") or hasattr(kind, "__struct_fields__") or hasattr(kind, "__pydantic_fields__")
    )


def members(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Return the members of what is written as an object; None for what isn't, or says in one go what is in it."""
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return iter(zip(value._fields, value, strict=True))
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        # As orjson does: private attributes stay at home.
        return ((name, getattr(value, name)) for name in names if not name.startswith("_") and hasattr(value, name))
    if isinstance(value, Mapping):
        return iter(value.items())
    if has_fields(value) and not hasattr(type(value), "__pydantic_fields__"):
        kind = kind_of(type(value))
        return None if kind is None else iter(kind.values(value).items())
    return None


# ---------------------------------------------------------------------- arrays


def is_numeric(array: Any) -> bool:
    """Tell whether an array's items are numbers or times, which are written many in one call."""
    return array.dtype.kind in "biufmM" and not _is_masked(array)


def _is_masked(array: Any) -> bool:
    masked = brought("numpy.ma", "MaskedArray")
    return masked is not None and isinstance(array, masked.MaskedArray)


def rows_as_lists(array: Any, step: int = 512) -> Iterator[Any]:
    """Return an array's rows, or items, as Python has them; not all at once."""
    for start in range(0, len(array), step):
        yield from _listed(array[start : start + step])


def _of_array(array: Any, numpy: Any) -> object:
    if array.ndim == 0 and not _is_masked(array):
        return array[()]
    if not is_numeric(array):
        return _listed(array)
    kind = array.dtype.kind
    if kind == "M":
        # orjson would write NaT as a moment in 1677.
        texts = numpy.datetime_as_string(array).astype(object)
        texts[numpy.isnat(array)] = None
        return texts.tolist()
    if kind == "m":
        array = array / numpy.timedelta64(1, "s")
    text = array_json(array)
    return array.tolist() if text is None else orjson.Fragment(text)


def array_json(array: Any) -> bytes | None:
    """Return the JSON of an array of one axis or more; None where it isn't of numbers, or of such that orjson knows."""
    if array.dtype.kind not in "biuf" or _is_masked(array):
        return None
    numpy = sys.modules["numpy"]
    try:
        return _array_text(numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), numpy)
    except TypeError:
        return None


_SHORT: Final = 6
"""Numbers of a row up to which brackets are put in afterwards: orjson takes as long for a row as for nine of them."""


def _array_text(array: Any, numpy: Any) -> bytes:
    """Return the JSON of an array of numbers. Raises ``TypeError`` for numbers that orjson doesn't know."""
    if array.ndim > 1 and array.size and array.shape[-1] <= _SHORT:
        if array.shape[-1] == 1:
            # Each number stands in brackets; so do the ends of the rows that it is in.
            text = _array_text(numpy.ascontiguousarray(array[..., 0]), numpy)
            return b"[" + text.replace(b",", b"],[") + b"]"
        if array.dtype.kind != "f":
            return _bracketed(array, numpy)
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def _bracketed(array: Any, numpy: Any) -> bytes:
    """Return the JSON of an array by way of that of a flat one: each comma between two rows is replaced."""
    text = bytearray(orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY))
    signs = numpy.frombuffer(text, "u1")
    commas = numpy.flatnonzero(signs == _COMMA)
    levels: int = array.ndim - 1
    step = 1
    for level in range(1, levels + 1):
        step *= array.shape[-level]
        # The ends of larger parts are ends of smaller ones, too.
        signs[commas[step - 1 :: step]] = _MARK + level
    made = bytes(text)
    for level in range(1, levels + 1):
        made = made.replace(bytes([_MARK + level]), b"]" * level + b"," + b"[" * level)
    return b"[" * levels + made + b"]" * levels


_COMMA: Final = ord(",")
_MARK: Final = 0x80
"""Above all that stands in the text of numbers; numpy's arrays have at most 64 axes."""


def _listed(array: Any) -> Any:
    if not _is_masked(array) or array.dtype.kind not in "biufmM" or not array.size:
        return array.tolist()
    # The numbers as they are written elsewhere: ``tolist`` has other digits for those of single precision.
    numpy = brought("numpy", "ndarray")
    items = orjson.loads(orjson.dumps(_of_array(numpy.asarray(array.data), numpy), default=form_of))
    found = numpy.array(items, dtype=object)
    found[numpy.ma.getmaskarray(array)] = None
    return found.tolist()


def _of_scalar(value: Any, numpy: Any) -> object:
    if isinstance(value, numpy.datetime64):
        return None if numpy.isnat(value) else str(value)
    if isinstance(value, numpy.timedelta64):
        return None if numpy.isnat(value) else float(value / numpy.timedelta64(1, "s"))
    if isinstance(value, numpy.floating):
        if value.dtype.itemsize < 8:
            # The same text as in an array: the digits of its own precision.
            return orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
        number = float(value)
        if number != value and value == value:
            raise NoForm(
                f"the {type(value).__name__} has more digits than a JSON number (a double); use float() or str()"
            )
        return number
    item = value.item()
    if isinstance(item, numpy.generic):
        raise NoForm(f"JSON has no form for {type(value).__name__}")
    return item


# ---------------------------------------------------------------------- keys


def key_text(key: object) -> str:
    """Return a key's text: its own, or one that nobody can mistake. Raises ``NoForm`` where there is none."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(key, numpy.generic):
        key = form_of(key)
        if isinstance(key, orjson.Fragment):
            return orjson.dumps(key).decode()
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    if isinstance(key, decimal.Decimal) and key.is_finite():
        return str(key)
    if isinstance(key, (datetime.datetime, datetime.date, datetime.time)) and key == key:
        return key.isoformat()
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, (uuid.UUID, os.PathLike)):
        text = os.fspath(key) if isinstance(key, os.PathLike) else str(key)
        if isinstance(text, str):
            return text
    raise NoForm(f"the key {key!r:.100} is of type {type(key).__name__}, which has no text of its own; keys are text")


MAX_SPELLED: Final = 250
"""Levels, as orjson has them."""


def spelled(value: object, depth: int = 0) -> object:
    """Return a value with the keys and times written out that orjson itself refuses. Raises ``NoForm``."""
    if depth > MAX_SPELLED:
        raise RecursionError("it is nested too deep")
    if isinstance(value, enum.Enum):
        return spelled(value.value, depth + 1)
    found = members(value)
    if found is not None:
        texts: dict[str, object] = {}
        for key, item in found:
            text = key if type(key) is str else key_text(key)
            if text in texts:
                raise NoForm(f"two of its keys have the text {text!r}")
            texts[text] = spelled(item, depth + 1)
        return texts
    if isinstance(value, (list, tuple)):
        return [spelled(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return [spelled(item, depth + 1) for item in _sorted(value)]
    if isinstance(value, (datetime.datetime, datetime.time)):
        return form_of(value)
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind == "O":
        return spelled(_listed(value), depth + 1)
    return value
