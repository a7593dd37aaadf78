"""Var values as they were: what is put out is detached from what its author changes later, what is handed in, too.

DataFrames of pandas are shallow copies under its copy on write, and real ones where that is off; those of polars share
what can't change. Arrays and bytearrays are copied. Arrow's tables, and arrays that nobody can write, are what they
are. Anything else is the very object: whoever changes it changes it for all. Nothing is imported here: whoever has made
a value has imported its library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

__all__ = ["detached", "is_quick", "size_of"]

_QUICK: Final = 1 << 20
"""Bytes that are copied on an event loop: 0.1 ms at 10 GB/s."""


def detached(value: object) -> Any:
    """Return a value that later changes of this one don't reach. Raises what its library raises, or ``MemoryError``."""
    way = _way_of(value)
    return value if way is None else way(value)


def is_quick(value: object) -> bool:
    """Tell whether that may be done on an event loop."""
    way = _way_of(value)
    if way is None or way is _clone:
        return True
    if way is _of_pandas:
        return _copies_on_write() or _pandas_size(value) <= _QUICK
    return way is not _of_filed and _bytes_of(value) <= _QUICK


def size_of(value: object) -> int:
    """Return about how many bytes a value takes, as its library tells them; 0 where none does."""
    size = _own_size(value)
    if size is not None:
        return size
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(_own_size(each) or 0 for each in islice(items, _ITEMS))


def _own_size(value: object) -> int | None:
    try:
        if _way_of(value) is _of_pandas:
            return _pandas_size(value)
        if isinstance(value, (bytes, bytearray)):
            return len(value)
        for name in ("nbytes", "estimated_size"):
            size = getattr(value, name, None)
            size = size() if callable(size) else size
            if isinstance(size, int):
                return size
    except Exception:  # whatever the author's library raises
        return None
    return None


def _way_of(value: object) -> Callable[[Any], Any] | None:
    for base in type(value).__mro__:
        way = _WAYS.get((base.__module__.partition(".")[0], base.__name__))
        if way is not None:
            return way
    return None


# ---------------------------------------------------------------------- pandas and polars


def _of_pandas(value: Any) -> Any:
    return value.copy(deep=not _copies_on_write())


def _copies_on_write() -> bool:
    """Tell whether a shallow copy is as good as a real one: from pandas 3 on always, before by an option."""
    pandas: Any = sys.modules["pandas"]
    if int(pandas.__version__.partition(".")[0]) >= 3:
        return True
    return pandas.get_option("mode.copy_on_write") is True


def _pandas_size(value: Any) -> int:
    """Return the bytes that a real copy moves, without looking into objects."""
    used = value.memory_usage()
    return int(used if isinstance(used, int) else used.sum())


def _clone(value: Any) -> Any:
    return value.clone()


# ---------------------------------------------------------------------- arrays and bytes


def _of_numpy(value: Any) -> Any:
    return value if _is_fixed(value) else value.copy(order="K")


def _is_fixed(array: Any) -> bool:
    """Tell whether an array can't be written, or copying it would read a file or spread out what is one item."""
    if any(base.__name__ == "memmap" for base in type(array).__mro__):
        return True
    if any(stride == 0 and length > 1 for stride, length in zip(array.strides, array.shape, strict=True)):
        return not array.flags.writeable
    while not array.flags.writeable:
        base = array.base
        if base is None or type(base) is bytes:
            return True
        if not hasattr(base, "flags"):
            # A read-only view of what others may write.
            return type(base) is memoryview and type(base.obj) is bytes
        array = base
    return False


def _of_filed(value: Any) -> Any:
    return value.load()


def _of_bytes(value: bytearray) -> bytearray:
    return value[:]


def _of_view(value: memoryview) -> memoryview:
    if value.readonly and type(value.obj) is bytes:
        return value
    if value.format not in _NATIVE:
        # ``cast`` knows the native formats only.
        return value
    copy: Any = memoryview(bytearray(value.tobytes()))
    return copy.cast(value.format, value.shape)  # type: ignore[no-any-return]  # of any format


def _bytes_of(value: Any) -> int:
    size = getattr(value, "nbytes", None)
    return size if isinstance(size, int) else len(value) * getattr(value, "itemsize", 1)


_ITEMS: Final = 1000
"""Items of a container that are asked for their size."""

_NATIVE: Final = frozenset("cbB?hHiIlLqQnNfdP")

_WAYS: Final[dict[tuple[str, str], Callable[[Any], Any]]] = {
    ("pandas", "DataFrame"): _of_pandas,
    ("pandas", "Series"): _of_pandas,
    ("pandas", "Index"): _of_pandas,
    ("polars", "DataFrame"): _clone,
    ("polars", "Series"): _clone,
    ("polars", "LazyFrame"): _clone,
    ("numpy", "ndarray"): _of_numpy,
    ("builtins", "bytearray"): _of_bytes,
    ("builtins", "memoryview"): _of_view,
    ("array", "array"): _of_bytes,
    ("asyncblock", "Filed"): _of_filed,
}
"""How values are detached, by the library and the name of a class, or of one that it is derived from."""
