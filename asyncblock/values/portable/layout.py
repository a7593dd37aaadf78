"""The file that a value is: blocks of memory, each on a boundary of 64 bytes, then the description, then where it is.

Blocks are written, not mapped: a full disk or memory is an error of the write, never a signal. The reader maps a whole
file, privately: what it writes into its pages is its own, and they stay when the file is removed.
"""

from __future__ import annotations

import importlib
import mmap
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

import orjson

from ...errors import LocalProtocolError
from .portableforms import MOST, Form, NotPortable, pack, unpack

__all__ = ["LONGEST", "MOST", "load", "save", "seal", "size_of"]

_MAGIC: Final = b"ABVALUE1"
_TAIL: Final = struct.Struct("<QQ8s")
"""Where the description is, how long, and what sort of file it is."""

_BOUNDARY: Final = 64
"""What Arrow and numpy's vector code like, and no item is larger."""

_PIECE: Final = 16 << 20
"""Bytes of an array with gaps that are laid together at once."""

LONGEST: Final = 64
"""Columns, or members, up to which a value is looked through on an event loop: 20 us each."""


def size_of(value: object) -> int:
    """Return about how many bytes a value would move, without moving any. Raises ``NotPortable`` with what is wrong."""
    measure = _Measure()
    try:
        form = pack(value, measure)
    except NotPortable:
        raise
    except Exception as error:  # whatever the author's library raises
        raise NotPortable(f"{type(error).__name__} while it was looked through: {error}") from error
    return measure.size + len(orjson.dumps(form))


class _Measure:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.size = 0
        self.libraries: set[str] = set()
        self.depth = 0
        self.few = MOST

    def array(self, array: Any) -> Form:
        from .arrays import array_form

        self.size += array.nbytes
        return array_form(array)

    def raw(self, data: Any) -> Form:
        self.size += len(data)
        return []

    def arrow(self, size: int, write: Callable[[Any], None]) -> Form:
        self.size += size
        return []


# ---------------------------------------------------------------------- writing


def save(value: object, fd: int, about: dict[str, Any], few: int = MOST) -> int:
    """Write a value into an empty file, and what the file is ``about``; return its length. Call it off the loop.

    So ``few`` members of containers may be written one by one. Raises ``NotPortable``, ``OSError`` as the disk says,
    and what the value's library raises.
    """
    draft = _Draft(fd, few)
    form = pack(value, draft)
    header = orjson.dumps({**about, "needs": _needs(), "uses": sorted(draft.libraries), "value": form})
    at = draft.align()
    draft.write(header)
    draft.write(_TAIL.pack(at, len(header), _MAGIC))
    return draft.length


def seal(fd: int, size: int, array: Any, start: int, about: dict[str, Any]) -> int:
    """Make the file of a value of one whose ``size`` first bytes hold an array that begins at ``start``.

    Return the file's length. Raises ``NotPortable``, and ``OSError`` as the disk says.
    """
    from .arrays import strided_form

    form = ["strided", [start, strided_form(array)]]
    header = orjson.dumps({**about, "needs": _needs(), "uses": ["numpy"], "value": form})
    at = size + -size % _BOUNDARY
    rest, to = header + _TAIL.pack(at, len(header), _MAGIC), at
    while rest:
        written = os.pwrite(fd, rest, to)
        rest, to = rest[written:], to + written
    os.ftruncate(fd, to)
    return to


def _needs() -> dict[str, str]:
    """Return the versions on which the meaning of what is written depends, of libraries that are here."""
    found = {}
    for name in ("numpy", "pandas", "polars", "pyarrow"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


class _Draft:
    """A sink that writes a file."""

    def __init__(self, fd: int, few: int) -> None:
        self._fd = fd
        self.length = 0
        self.depth = 0
        self.few = few
        self.libraries: set[str] = set()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if view.nbytes and (view.format != "B" or view.ndim != 1):
            view = view.cast("B")
        rest, size = view, view.nbytes
        while rest:
            rest = rest[os.write(self._fd, rest[: 1 << 30]) :]
        self.length += size
        return size

    def align(self) -> int:
        gap = -self.length % _BOUNDARY
        if gap:
            self.write(bytes(gap))
        return self.length

    def raw(self, data: Any) -> Form:
        at = self.align()
        return [at, self.write(data)]

    def array(self, array: Any) -> Form:
        from .arrays import array_form

        form = array_form(array)
        at = self.align()
        if array.nbytes:
            self._memory(array.T if form[2] == "F" else array)
        return [at, form]

    def _memory(self, array: Any) -> None:
        numpy: Any = sys.modules["numpy"]
        if array.flags.c_contiguous:
            self.write(array.reshape(-1).view(numpy.uint8))
            return
        # Laid together piece by piece, so that it isn't in memory twice.
        rows = max(1, _PIECE // max(1, array.nbytes // array.shape[0]))
        for start in range(0, array.shape[0], rows):
            self.write(numpy.ascontiguousarray(array[start : start + rows]).reshape(-1).view(numpy.uint8))

    def arrow(self, size: int, write: Callable[[Any], None]) -> Form:
        if "polars" not in self.libraries:
            # That writes and reads its streams by itself.
            self.libraries.add("pyarrow")
        at = self.align()
        write(_File(self))
        return [at, self.length - at]


class _File:
    """What Arrow writes a stream into."""

    closed = False

    def __init__(self, draft: _Draft) -> None:
        self._draft = draft
        self._begin = draft.length

    def write(self, data: Any) -> int:
        return self._draft.write(data)

    def tell(self) -> int:
        return self._draft.length - self._begin

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


# ---------------------------------------------------------------------- reading


def load(fd: int, about: dict[str, Any]) -> Any:
    """Return the value of a file, which is to be ``about`` that. The file may be closed and removed afterwards.

    Raises ``LocalProtocolError`` for a file that is something else, or that this process can't read for want of a
    library; what the value's library raises. Call it off the loop.
    """
    length = os.fstat(fd).st_size
    if length < _TAIL.size:
        raise LocalProtocolError("the file of a var value is cut off")
    # Of an array that lies in it the mapping is the memory: it goes with the last of them.
    memory = mmap.mmap(fd, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    at, size, magic = _TAIL.unpack_from(memory, length - _TAIL.size)
    if magic != _MAGIC or at + size + _TAIL.size != length:
        raise LocalProtocolError("the file of a var value is cut off, or another sort of file")
    header = orjson.loads(memory[at : at + size])
    if {name: header.get(name) for name in about} != about:
        raise LocalProtocolError("the file of a var value holds another value than its reference says")
    needs = header.get("needs") or {}
    for name in header.get("uses") or ():
        _check_library(name, needs.get(name))
    try:
        return unpack(header["value"], _Mapped(memory, at))
    except ImportError as error:
        raise LocalProtocolError(
            f"a var value that another process made needs {error.name}, which isn't here"
        ) from error
    except Exception:
        _compare(needs)
        raise


def _check_library(name: str, version: str | None) -> None:
    """Refuse what another host has made of a library that isn't here, or means something else here."""
    try:
        here = getattr(importlib.import_module(name), "__version__", None)
    except ImportError as error:
        of = f"{name} {version}" if version else name
        raise LocalProtocolError(
            f"the var value isn't portable to this process: it needs {of}, which isn't installed here"
        ) from error
    if name in _BY_MAJOR and version and here and version.partition(".")[0] != here.partition(".")[0]:
        raise LocalProtocolError(
            f"the var value isn't portable to this process: it was written with {name} {version}, and {here} is "
            "installed here; let both have the same major version"
        )


_BY_MAJOR: Final = frozenset({"pandas"})
"""Libraries whose major versions mean other things by the same form. Numpy's blocks and Arrow's stream don't change."""


def _compare(needs: dict[str, str]) -> None:
    """Say which library differs, where something can't be put together."""
    for name, version in needs.items():
        here = getattr(sys.modules.get(name), "__version__", None)
        if here is not None and here != version:
            raise LocalProtocolError(f"a var value was written with {name} {version} and can't be read with {here}")


class _Mapped:
    """The blocks of a mapped file."""

    def __init__(self, memory: mmap.mmap, end: int) -> None:
        self._memory = memory
        self._view = memoryview(memory)
        self._end = end

    def array(self, form: Form) -> Any:
        from .arrays import array_of

        at, shape = form
        return array_of(shape, self._view[: self._end], at)

    def strided(self, form: Form) -> Any:
        from .arrays import strided_of

        at, shape = form
        return strided_of(shape, self._view[: self._end], at)

    def raw(self, form: Form) -> memoryview:
        at, size = form
        if not 0 <= at <= at + size <= self._end:
            raise LocalProtocolError("the file of a var value is cut off")
        return self._view[at : at + size]
