"""A figure on its way to the worker: pickled with its arrays beside it, while other threads can run.

Pickle is used between a process and its own child only, over a pipe that no other process has. Nothing from the wire is
unpickled.
"""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import sys
import time
from collections.abc import Callable
from types import FunctionType
from typing import Any, BinaryIO

from ..values.brought import brought
from .yieldgil import yield_gil

__all__ = ["NamelessCode", "NotSendable", "dump", "frame", "pack", "read_frame", "read_here", "unpack"]

_COUNT = struct.Struct(">I")
_SIZE = struct.Struct(">Q")

_BESIDE = 16 << 10
"""Bytes from which an array travels beside the pickle, uncopied."""

_HOLD = 0.0005
"""Seconds that the pickler goes on before it lets another thread have the GIL: it calls back for every object."""


class NotSendable(Exception):
    """A figure can't be sent to the worker, or shouldn't be; it is drawn here."""


_numbers = itertools.count()
_kept: dict[int, Any] = {}
"""Objects to which pickles of this process refer by number."""


class NamelessCode:
    """Functions and classes that have no name by which they could be found again. They stay for as long as this does.

    A pickle that refers to them can be read in this process only.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def keep(self, value: Any) -> int:
        """Return a number for a value."""
        number = next(_numbers)
        _kept[number] = value
        self._numbers.append(number)
        return number

    def __del__(self) -> None:
        for number in self._numbers:
            _kept.pop(number, None)


class _Beside:
    """The arrays that travel beside a pickle. Apart from the pickler, which would form a circle with its callback."""

    def __init__(self, limit: int, *, everything_within: bool = False) -> None:
        self.buffers: list[memoryview] = []
        self._least = limit if everything_within else _BESIDE
        self._limit = limit
        self._size = 0

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < self._least:
            return True
        self._size += view.nbytes
        self.check(0)
        self.buffers.append(view)
        return False

    def check(self, pickled: int) -> None:
        if self._size + pickled > self._limit:
            raise NotSendable(f"it has more than {self._limit:,} bytes")


class _Pickler(pickle.Pickler):
    """Lets other threads run between objects, and stops when the figure is larger than it may be."""

    def __init__(self, file: io.BytesIO, beside: _Beside, kept: NamelessCode | None) -> None:
        self._file = file
        self._beside = beside
        self._keeping = kept
        self._since = time.perf_counter()
        super().__init__(file, protocol=5, buffer_callback=beside.take)

    def reducer_override(self, obj: Any) -> Any:
        if time.perf_counter() - self._since > _HOLD:
            self._beside.check(self._file.tell())
            yield_gil()
            self._since = time.perf_counter()
        numpy = brought("numpy", "ndarray")
        if numpy is not None and type(obj) is numpy.ndarray and _is_gappy_view(obj, numpy.ndarray):
            return _as_view(obj)
        if numpy is not None and isinstance(obj, numpy.dtype) and obj.isbuiltin == 1 and obj.metadata is None:
            # Pickled in its own way it comes out equal, but not the same one: matplotlib 3.9 takes that for no number.
            return numpy.dtype, (obj.str,)
        masked = brought("numpy.ma", "MaskedArray")
        if masked is not None and type(obj) is masked.MaskedArray and not obj.dtype.hasobject:
            # An image's numbers; its own way is by way of one long text of bytes.
            return _masked, (obj.data, obj.mask, obj.fill_value)
        if self._keeping is not None and isinstance(obj, (FunctionType, type)) and not _is_found(obj):
            return _from_kept, (self._keeping.keep(obj),)
        if _is_figure(obj):
            return _without_pyplot(obj.__reduce_ex__(5))
        return NotImplemented


def _from_kept(number: int) -> Any:
    return _kept[number]


def _is_figure(obj: Any) -> bool:
    module = brought("matplotlib.figure", "Figure")
    return module is not None and isinstance(obj, module.Figure)


def _without_pyplot(reduced: Any) -> Any:
    """Leave out that pyplot knows the figure: unpickling would make it pyplot's current one."""
    if isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict):
        reduced[2].pop("_restore_to_pylab", None)
    return reduced


def _is_found(obj: Any) -> bool:
    """Tell whether a function or a class is found under its name, which is how pickle refers to it."""
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _is_gappy_view(array: Any, kind: Any) -> bool:
    """Tell whether an array is a view with gaps of another one that travels well; numpy would copy it in one go.

    A line's x and y are such views: columns of its points.
    """
    base = array.base
    return (
        not (array.flags.c_contiguous or array.flags.f_contiguous)
        and type(base) is kind
        and bool(base.flags.c_contiguous)
        and not array.dtype.hasobject
        and base.nbytes <= 4 * array.nbytes
    )


def _as_view(array: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    place = array.__array_interface__["data"][0] - array.base.__array_interface__["data"][0]
    return _view, (array.base, array.shape, array.dtype, place, array.strides)


def _view(base: Any, shape: tuple[int, ...], dtype: Any, place: int, strides: tuple[int, ...]) -> Any:
    return type(base)(shape, dtype, base, place, strides)


def _masked(data: Any, mask: Any, fill_value: Any) -> Any:
    return sys.modules["numpy.ma"].MaskedArray(data, mask=mask, fill_value=fill_value)


def pack(value: object, limit: int, kept: NamelessCode | None = None) -> list[bytes | memoryview]:
    """Pickle a value; return the pieces of its frame. Raises ``NotSendable``.

    With ``kept`` also what only this process can read again.
    """
    file = io.BytesIO()
    beside = _Beside(limit)
    try:
        _Pickler(file, beside, kept).dump(value)
    except NotSendable:
        raise
    except Exception as problem:  # whatever the parts of the author's figure raise
        raise NotSendable(f"{type(problem).__name__}: {problem}") from None
    # Not ``getbuffer``: a file that is freed with an exported buffer complains (CPython 3.13).
    return frame([memoryview(file.getvalue()), *beside.buffers])


def dump(value: object, limit: int) -> bytes:
    """Pickle a value in one piece. Raises ``NotSendable``."""
    file = io.BytesIO()
    try:
        _Pickler(file, _Beside(limit, everything_within=True), None).dump(value)
    except NotSendable:
        raise
    except Exception as problem:
        raise NotSendable(f"{type(problem).__name__}: {problem}") from None
    return file.getvalue()


def frame(parts: list[memoryview]) -> list[bytes | memoryview]:
    """Put the number of parts and their sizes in front of them."""
    sizes = b"".join(_SIZE.pack(part.nbytes) for part in parts)
    return [_COUNT.pack(len(parts)) + sizes, *parts]


def read_frame(read: Callable[[int], bytearray]) -> list[bytearray]:
    """Read the parts of a frame; ``read`` returns as many bytes as asked for, or raises ``EOFError``."""
    (count,) = _COUNT.unpack(read(_COUNT.size))
    sizes = [size for (size,) in _SIZE.iter_unpack(read(_SIZE.size * count))]
    return [read(size) for size in sizes]


def read_here(pieces: list[bytearray]) -> Any:
    """Unpickle what ``pack`` made."""
    _, head, *buffers = pieces
    return pickle.loads(head, buffers=buffers)


def unpack(file: BinaryIO) -> Callable[[], Any]:
    """Read a frame in the worker; return what unpickles it. Raises ``EOFError`` when the parent is gone."""

    def read(size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            got = file.readinto(view)  # type: ignore[attr-defined]  # raw files have it
            if not got:
                raise EOFError
            view = view[got:]
        return data

    head, *buffers = read_frame(read)
    return lambda: pickle.loads(head, buffers=buffers)
