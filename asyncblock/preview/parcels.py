"""A figure on its way to the worker: pickled with its arrays beside it, letting other threads run all the while.

Pickle is between a process and its own child, over a pipe that nobody else has; nothing from the wire is unpickled.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from .turns import let_go

__all__ = ["NotSendable", "frame", "pack", "read_frame", "unpack"]

_COUNT = struct.Struct(">I")
_SIZE = struct.Struct(">Q")

_BESIDE = 16 << 10
"""Bytes from which an array travels beside the pickle, uncopied."""

_HOLD = 0.0005
"""Seconds that the pickler goes on before it lets another thread have the GIL: it calls back for every object."""


class NotSendable(Exception):
    """A figure that can't go to the worker, or shouldn't; it is drawn here."""


class _Pickler(pickle.Pickler):
    """Lets other threads run between objects, and stops when the figure is larger than it may be."""

    def __init__(self, file: io.BytesIO, limit: int) -> None:
        self.buffers: list[memoryview] = []
        self._file = file
        self._limit = limit
        self._beside = 0
        self._since = time.perf_counter()
        super().__init__(file, protocol=5, buffer_callback=self._buffer)

    def reducer_override(self, obj: Any) -> Any:
        if time.perf_counter() - self._since > _HOLD:
            if self._beside + self._file.tell() > self._limit:
                raise NotSendable(f"it has more than {self._limit:,} bytes")
            let_go()
            self._since = time.perf_counter()
        numpy = sys.modules.get("numpy")
        if numpy is not None and type(obj) is numpy.ndarray and _is_gappy_view(obj, numpy.ndarray):
            return _as_view(obj)
        masked = sys.modules.get("numpy.ma")
        if masked is not None and type(obj) is masked.MaskedArray and not obj.dtype.hasobject:
            # An image's numbers; its own way is by way of one long text of bytes.
            return _masked, (obj.data, obj.mask, obj.fill_value)
        return NotImplemented

    def _buffer(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _BESIDE:
            return True
        self._beside += view.nbytes
        if self._beside > self._limit:
            raise NotSendable(f"it has more than {self._limit:,} bytes")
        self.buffers.append(view)
        return False


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


def pack(value: object, limit: int) -> list[bytes | memoryview]:
    """Pickle a value; return the pieces of its frame. Raises ``NotSendable``."""
    file = io.BytesIO()
    pickler = _Pickler(file, limit)
    try:
        pickler.dump(value)
    except NotSendable:
        raise
    except Exception as problem:  # whatever the parts of the author's figure raise
        raise NotSendable(f"{type(problem).__name__}: {problem}") from None
    return frame([file.getbuffer(), *pickler.buffers])


def frame(parts: list[memoryview]) -> list[bytes | memoryview]:
    """Put the number of parts and their sizes in front of them."""
    sizes = b"".join(_SIZE.pack(part.nbytes) for part in parts)
    return [_COUNT.pack(len(parts)) + sizes, *parts]


def read_frame(read: Callable[[int], bytearray]) -> list[bytearray]:
    """Read the parts of a frame; ``read`` returns as many bytes as asked for, or raises ``EOFError``."""
    (count,) = _COUNT.unpack(read(_COUNT.size))
    sizes = [size for (size,) in _SIZE.iter_unpack(read(_SIZE.size * count))]
    return [read(size) for size in sizes]


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
