"""The rows of pandas' and polars' frames, column by column and some at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..values.brought import brought
from .cells import cell
from .floats import is_narrow, narrow_list, short_of
from .limits import Limits
from .polarsrows import is_polars, polars_columns
from .rows import Block, TableRows, cells_of, widened

__all__ = ["frame_rows", "index_rows", "snapshot"]

_COPIED_CELLS = 100_000
"""Cells of a frame that are copied at the call where pandas doesn't copy on write: a millisecond for objects."""

Read = Callable[[int, int], list[Any]]


def snapshot(frame: Any) -> Any:
    """Return a frame that stays as it is when the author goes on to change his; None for one of another make.

    A large one of an older pandas is the author's own: it is to be left alone until it is shown.
    """
    if is_polars(frame):
        return frame.clone()
    pandas = brought("pandas", "DataFrame")
    if pandas is None or not isinstance(frame, pandas.DataFrame):
        return None
    return frame.copy(deep=False) if _copies_on_write(pandas) else frame.copy() if _is_short(frame) else frame


def _is_short(frame: Any) -> bool:
    rows, columns = frame.shape
    return bool(rows * columns <= _COPIED_CELLS)


def _copies_on_write(pandas: Any) -> bool:
    major = str(pandas.__version__).partition(".")[0]
    return major.isdecimal() and int(major) >= 3


def frame_rows(frame: Any, index: Any, width: int, limits: Limits) -> TableRows:
    """Return the rows of a snapshot of a frame of so many columns, behind those of an index if there is one."""
    read = _polars(frame, limits) if is_polars(frame) else _Pandas(frame, index, limits).block
    return TableRows(len(frame), widened(read, width, limits))


def _polars(frame: Any, limits: Limits) -> Callable[[int, int], list[Any]]:
    def block(start: int, stop: int) -> list[Any]:
        columns = [cells_of(values, limits) for values in polars_columns(frame.slice(start, stop - start))]
        return list(zip(*columns, strict=True)) if columns else [()] * (stop - start)

    return block


class _Pandas:
    """Reads a frame; its columns are looked up when the first rows are asked for."""

    def __init__(self, frame: Any, index: Any, limits: Limits) -> None:
        self._frame = frame
        self._index = index
        self._limits = limits
        self._columns: list[Read] | None = None

    def block(self, start: int, stop: int) -> list[Any]:
        """Return some rows."""
        if self._columns is None:
            self._columns = [_column(self._frame.iloc[:, number]) for number in range(self._frame.shape[1])]
        columns = [cells_of(read(start, stop), self._limits) for read in self._columns]
        rows: list[Any] = list(zip(*columns, strict=True)) if columns else [()] * (stop - start)
        if self._index is None:
            return rows
        levels = index_rows(self._index, self._limits)(start, stop)
        return [(*level, *row) for level, row in zip(levels, rows, strict=True)]


def index_rows(index: Any, limits: Limits) -> Block:
    """Return what returns the rows of an index, with a cell for each of its levels."""

    def block(start: int, stop: int) -> list[Any]:
        entries = index[start:stop]
        # One of a single level has tuples all the same.
        if hasattr(index, "levels"):
            return [[cell(each, limits) for each in entry] for entry in entries]
        return [(each,) for each in cells_of(entries.tolist(), limits)]

    return block


def _column(series: Any) -> Read:
    values, dtype = series.array, series.dtype
    if is_narrow(dtype) and hasattr(dtype, "na_value"):
        return lambda start, stop: short_of(values[start:stop].tolist(), dtype)
    if hasattr(series.dtype, "na_value") or series.dtype.kind not in "biufOM":
        return lambda start, stop: values[start:stop].tolist()
    # Numpy's own, past pandas: a slice takes as long as some hundred numbers.
    array = series.to_numpy()
    if is_narrow(dtype):
        return lambda start, stop: narrow_list(array[start:stop])
    if series.dtype.kind == "M":
        return lambda start, stop: _moments(array[start:stop]) or values[start:stop].tolist()
    return lambda start, stop: array[start:stop].tolist()


_YEARS = ("0001-01-01", "9999-12-31")


def _moments(array: Any) -> list[str | None] | None:
    """Return the texts of whole seconds, which numpy writes much faster than pandas; None where there are others."""
    numpy = sys.modules["numpy"]
    seconds = array.astype("M8[s]")
    missing = numpy.isnat(array)
    first, last = (numpy.datetime64(day, "s") for day in _YEARS)
    if not bool((((seconds == array) & (seconds >= first) & (seconds <= last)) | missing).all()):
        return None
    texts = numpy.datetime_as_string(seconds).astype(object)
    texts[missing] = None
    found: list[str | None] = texts.tolist()
    return found
