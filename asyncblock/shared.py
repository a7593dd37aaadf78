"""Arrays in shared memory from the start: var values that other processes get without a copy.

``asyncblock.shared.empty(shape, dtype)``, or ``ctx.empty``, is ``numpy.empty`` whose memory is a file in memory that
has no name yet. When the array is put out, the file gets one, and whoever wants the value maps it privately. At the
same time its maker's own mapping becomes a private one, in place: what he writes into it from then on is his alone.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import mmap
import os
import sys
import weakref
from contextlib import suppress
from typing import Any, Final

from .errors import AsyncBlockError, LocalProtocolError
from .runtime.forks import claim, fresh_lock, generation
from .varvalues.depot import Depot
from .varvalues.filed import Filed
from .varvalues.valueid import ValueId

__all__ = ["Memory", "empty", "empty_in", "hand_over", "make_private", "memory_of", "offer", "withdraw"]

logger = logging.getLogger("asyncblock.shared")

LEAST: Final = 1 << 20
"""Bytes below which an array is a plain one: copying it takes 0.1 ms."""

_PIECE: Final = 64 << 20
"""Bytes that are mapped anew at once: while that is done (1 ms), no thread of the process gets a new page."""

_MAY_MOVE_HERE: Final = 3
"""``MREMAP_MAYMOVE | MREMAP_FIXED``"""

_lock = fresh_lock()
_depots: list[Depot] = []
"""Those of this process's executors."""
_told: set[str] = set()


class Memory(mmap.mmap):
    """What the arrays of one call of ``empty`` stand in."""

    depot: Depot
    fd: int
    born: int
    extent: int
    handed = False
    """What is in it isn't what is in its file any more."""


def empty(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    """Return an array like ``numpy.empty``, in shared memory; ``out=`` of numpy's functions may be one.

    A var handle takes it, or a part of it, without a copy; see ``Context.empty``. It is a plain array outside of an
    executor, below 1 MiB, and where memory for files has no room, which is logged once.
    """
    with _lock:
        depot = _depots[-1] if _depots else None
    return empty_in(depot, shape, dtype, order)


def empty_in(depot: Depot | None, shape: Any, dtype: Any, order: str) -> Any:
    """Return an array whose memory is a file of a depot, if there is one with room. Takes 0.1 s for each GB."""
    numpy: Any = importlib.import_module("numpy")
    dtype = numpy.dtype(dtype)
    count = 1
    for length in shape if isinstance(shape, (tuple, list)) else (shape,):
        count *= int(length)
    size = count * dtype.itemsize
    if depot is None or size < LEAST or dtype.hasobject or order not in ("C", "F"):
        # What numpy refuses it refuses with its own words.
        return numpy.empty(shape, dtype, order)
    try:
        memory = _memory(depot, size)
    except (OSError, ValueError, AsyncBlockError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _tell(f"an array of {size} bytes isn't in shared memory ({words}): other processes get a copy of it")
        return numpy.empty(shape, dtype, order)
    return numpy.ndarray(shape, dtype, buffer=memory, order=order)


def _tell(words: str) -> None:
    kind = words.partition("(")[2]
    first = kind not in _told
    _told.add(kind)
    logger.log(logging.WARNING if first else logging.DEBUG, "%s", words)


def _memory(depot: Depot, size: int) -> Memory:
    fd = depot.reserve(size)
    try:
        memory = Memory(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except BaseException:
        # Whatever it is: only this frame knows the descriptor.
        os.close(fd)
        raise
    claim(fd)
    memory.depot, memory.fd, memory.extent, memory.born = depot, fd, size, generation()
    weakref.finalize(memory, _close, fd).atexit = False
    return memory


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


# ---------------------------------------------------------------------- which executors there are


def offer(depot: Depot) -> None:
    """Let ``empty`` use a depot."""
    with _lock:
        _depots.append(depot)


def withdraw(depot: Depot) -> None:
    """Let ``empty`` use it no more."""
    with _lock, suppress(ValueError):
        _depots.remove(depot)


# ---------------------------------------------------------------------- handing over


def memory_of(value: Any, depot: Depot | None) -> Memory | None:
    """Return the shared memory of a depot that an array stands in, as long as its file has what the array shows."""
    numpy: Any = sys.modules.get("numpy")
    if depot is None or numpy is None or type(value) is not numpy.ndarray:
        return None
    array = value
    if array.nbytes < LEAST or any(step == 0 for step in array.strides):
        return None
    while isinstance(array, numpy.ndarray):
        array = array.base
    if not isinstance(array, Memory) or array.depot is not depot:
        return None
    return array if not array.handed and array.born == generation() else None


def hand_over(array: Any, memory: Memory, id: ValueId) -> Filed:
    """Give the file of an array's memory its name. ``make_private`` follows. Writes a little into the file.

    Raises ``OSError`` where there is no room for that, and ``NotPortable``; then nothing has changed.
    """
    from .values import portable

    _libc()
    start = array.__array_interface__["data"][0] - _address(memory)
    length = portable.seal(memory.fd, memory.extent, array, start, id.about())
    name = memory.depot.adopt(memory.fd, id)
    memory.handed = True
    return Filed(memory.depot, id, name, length)


def make_private(memory: Memory) -> None:
    """Let what is written into a memory from now on be its process's own. Call it off the loop: 10 ms for each GB."""
    address, libc = _address(memory), _libc()
    for start in range(0, memory.extent, _PIECE):
        size = min(_PIECE, memory.extent - start)
        # Mapped elsewhere first: what can fail fails there, and the old place is never without memory.
        fresh = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, _PRIVATE, memory.fd, start)
        if fresh in (None, _FAILED):
            raise _failed()
        if libc.mremap(fresh, size, size, _MAY_MOVE_HERE, address + start) in (None, _FAILED):
            raise _failed()


_PRIVATE: Final = mmap.MAP_PRIVATE | 0x4000
"""With ``MAP_NORESERVE``: most is never written, and a host that counts what could be might refuse it."""

_FAILED: Final = ctypes.c_void_p(-1).value


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _address(memory: Memory) -> int:
    numpy: Any = sys.modules["numpy"]
    return int(numpy.frombuffer(memory, "u1").__array_interface__["data"][0])


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mremap"):
        raise LocalProtocolError("this system can't map memory anew in its place")
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = (ctypes.c_void_p, size, number, number, number, ctypes.c_long)
    libc.mremap.argtypes = (ctypes.c_void_p, size, size, number, ctypes.c_void_p)
    return libc
