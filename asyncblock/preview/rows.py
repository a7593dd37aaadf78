"""The rows of a table beside its preview, in pages, for a viewer that scrolls and sorts.

They are made on a worker thread, some rows at a time and as long as they are few enough bytes: what is left out of a
table costs nothing. A page is a line of a body's JSON, and JSON by itself; the index says where in the body it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..offload import Abandoned
from ..values import dumps
from .cells import DOTS, cell
from .limits import Limits
from .turns import let_go

__all__ = ["Block", "Pages", "Rows", "beside", "cells_of", "taken_apart", "widened"]

_KEY: Final = "the rows beside a table"
"""The member of a payload that is ``Rows``, until it is sent."""

_PAGES: Final = 256
"""Pages of a table at most, about."""

_MOST_ROWS: Final = 4096
"""Rows that are read at once."""

_SLICE: Final = 0.0005
"""Seconds that rows are read for before other threads run."""

_SHARE: Final = 10
"""The part of ``Limits.seconds`` that making the pages may take."""

Block = Callable[[int, int], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table: how many there are, and what returns some of them, ready for JSON.

    They are asked for from the first one on, without gaps.
    """

    count: int
    block: Block


def beside(rows: Rows | None, limits: Limits) -> dict[str, Any]:
    """Return the member of a payload that brings its table's rows along; none for a table that is shown whole."""
    return {} if rows is None or rows.count <= limits.whole else {_KEY: rows}


def taken_apart(payload: dict[str, Any]) -> tuple[dict[str, Any], Rows | None]:
    """Return a payload without its table's rows, and these."""
    rows = payload.get(_KEY)
    if not isinstance(rows, Rows):
        return payload, None
    return {name: each for name, each in payload.items() if name != _KEY}, rows


def widened(block: Block, width: int, limits: Limits) -> Block:
    """Return what returns rows as they are shown of a table of so many columns: with dots for those left out."""
    if width <= limits.columns:
        return block
    return lambda start, stop: [[*row, DOTS] for row in block(start, stop)]


class Pages:
    """The pages of a table. ``index`` and ``note`` are there when all pieces are made."""

    def __init__(self, rows: Rows, limits: Limits) -> None:
        self._rows = rows
        self._limits = limits
        self._page = max(1024, limits.table_bytes // _PAGES)
        self.count = 0
        """Rows that are in the pages."""
        self.index: list[list[int]] = []
        """Of each page its first row, and the offset and the size of its JSON in the body."""
        self.note: str | None = None
        """What was cut, and why."""
        self._why = ""

    def pieces(self, guard: Callable[[bytes], bytes] = bytes) -> Iterator[bytes]:
        """Make the body's JSON, an array of pages. ``guard`` is what may change the text of one."""
        lead, offset = b"[\n", 0
        for count, rows in self._pages():
            page = guard(rows)
            if offset + len(lead) + len(page) + 2 > self._limits.table_bytes:
                self._why = ""
                break
            self.index.append([self.count, offset + len(lead), len(page)])
            self.count += count
            offset += len(lead) + len(page)
            yield lead + page
            lead = b"\n,"
        yield b"\n]" if self.index else b"[]"
        if self.count < self._rows.count:
            self.note = f"the first {self.count:,} of {self._rows.count:,} rows{self._why}"

    def to_json(self) -> dict[str, Any]:
        """Return what is said of the pages beside their body."""
        said: dict[str, Any] = {"rows": self.count, "index": self.index}
        return said if self.note is None else {**said, "note": self.note}

    def _pages(self) -> Iterator[tuple[int, bytes]]:
        """Put rows together until they are about a page; yield how many they are, and their JSON."""
        parts: list[bytes] = []
        count = size = 0
        for rows, text in self._texts():
            if parts and size + len(text) > 2 * self._page:
                yield count, b"[%b]" % b",".join(parts)
                parts, count, size = [], 0, 0
            parts.append(text)
            count += rows
            size += len(text)
            if size >= self._page:
                yield count, b"[%b]" % b",".join(parts)
                parts, count, size = [], 0, 0
        if parts:
            yield count, b"[%b]" % b",".join(parts)

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Read the rows, as many at once as take about as long as others may wait."""
        start, step, spent = 0, 1, 0.0
        while start < self._rows.count:
            stop = min(start + step, self._rows.count)
            began = time.perf_counter()
            try:
                texts = list(self._split(self._rows.block(start, stop)))
            except Abandoned:
                raise
            except BaseException as problem:
                # Whatever a cell's own methods raise: the job must not be ended by it.
                self._why = f"; what follows raises {type(problem).__name__}"
                return
            took = time.perf_counter() - began
            yield from texts
            let_go()
            spent += took
            if spent > self._limits.seconds / _SHARE:
                self._why = f", which took {spent:.1f} s"
                return
            start = stop
            step = min(2 * step, _MOST_ROWS) if took < _SLICE else max(1, step // 2) if took > 2 * _SLICE else step

    def _split(self, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[int, bytes]]:
        text = dumps(rows)[1:-1]
        if len(text) > self._page and len(rows) > 1:
            half = len(rows) // 2
            yield from self._split(rows[:half])
            yield from self._split(rows[half:])
        elif rows:
            yield len(rows), text


def cells_of(values: list[Any], limits: Limits) -> list[Any]:
    """Return what stands in a table for the values of a column: all at once where they are plain and alike."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if len(kinds) <= 1:
        kind = next(iter(kinds), bool)
        found = values if kind is bool else [value for value in values if value is not None]
        if kind is bool or (kind in _ARE_PLAIN and _ARE_PLAIN[kind](found, limits)):
            return values
    made = []
    until = time.perf_counter() + _SLICE
    for value in values:
        made.append(cell(value, limits))
        if time.perf_counter() > until:
            let_go()
            until = time.perf_counter() + _SLICE
    return made


def _are_texts(texts: list[str], limits: Limits) -> bool:
    return max(map(len, texts)) <= limits.cell and all(map(str.isascii, texts))


_ARE_PLAIN: Final[dict[type, Callable[[list[Any], Limits], bool]]] = {
    int: lambda numbers, _: min(numbers) >= -(2**63) and max(numbers) < 2**64,
    float: lambda numbers, _: all(map(math.isfinite, numbers)),
    str: _are_texts,
}
"""What says of some values of a type that each stands for itself in a table."""
