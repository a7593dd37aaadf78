"""The rows of a table beside its preview, in pages, for a viewer that scrolls and sorts.

They are made on a worker thread, some rows at a time and as long as they are few enough bytes: what is left out of a
table costs nothing. A page is a line of a body's JSON, and JSON by itself; the index says where in the body it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..runtime.offload import Abandoned
from ..values import dumps
from .cells import DOTS, cell
from .limits import Limits
from .yieldgil import yield_gil

__all__ = ["Block", "Paged", "Pages", "TableRows", "beside", "cells_of", "taken_apart", "widened"]

_KEY: Final = "the rows beside a table"
"""The member of a payload that is ``TableRows``, until it is sent."""

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
class TableRows:
    """The rows of a table: how many there are, and what returns some of them, ready for JSON.

    They are asked for from the first one on, without gaps.
    """

    count: int
    block: Block


def beside(rows: TableRows | None, limits: Limits) -> dict[str, Any]:
    """Return the member of a payload that brings its table's rows along; none for a table that is shown whole."""
    return {} if rows is None or rows.count <= limits.whole else {_KEY: rows}


def taken_apart(payload: dict[str, Any]) -> tuple[dict[str, Any], list[Paged]]:
    """Return a payload without the rows of its tables, and these: of a group those of the things in it."""
    found: list[Paged] = []
    return _taken_apart(payload, (), found), found


def _taken_apart(payload: dict[str, Any], at: tuple[int, ...], found: list[Paged]) -> dict[str, Any]:
    rows = payload.get(_KEY)
    if isinstance(rows, TableRows):
        found.append(Paged(at, rows))
        payload = {name: each for name, each in payload.items() if name != _KEY}
    if payload.get("type") != "group" or not isinstance(payload.get("data"), list):
        return payload
    inner = [_taken_apart(each, (*at, number), found) for number, each in enumerate(payload["data"])]
    return {**payload, "data": inner}


def widened(block: Block, width: int, limits: Limits) -> Block:
    """Return what returns rows as they are shown of a table of so many columns: with dots for those left out."""
    if width <= limits.columns:
        return block
    return lambda start, stop: [[*row, DOTS] for row in block(start, stop)]


@dataclass(slots=True)
class Paged:
    """The rows of one table on their way into pages. What is said of these is there when all pieces are made."""

    at: tuple[int, ...]
    """Which thing of a group it is, and of groups in it; empty for the payload itself."""
    rows: TableRows
    count: int = 0
    """Rows that are in the pages."""
    index: list[list[int]] = field(default_factory=list)
    """Of each page its first row, and the offset and the size of its JSON in the body."""
    note: str | None = None
    """What was cut, and why."""

    def to_json(self) -> dict[str, Any]:
        """Return what is said of them."""
        said: dict[str, Any] = {"rows": self.count, "index": self.index}
        return said if self.note is None else {**said, "note": self.note}


class Pages:
    """The pages of a preview's tables, in one body."""

    def __init__(self, tables: Sequence[Paged], limits: Limits) -> None:
        self.tables = tables
        self._limits = limits
        self._page = max(1024, limits.table_bytes // _PAGES)
        self._why = ""

    def pieces(self, guard: Callable[[bytes], bytes] = bytes) -> Iterator[bytes]:
        """Make the body's JSON, an array of pages. ``guard`` is what may change the text of one."""
        lead, offset = b"[\n", 0
        seconds = self._limits.seconds / _SHARE
        for number, table in enumerate(self.tables):
            # What one leaves is for the others.
            left = len(self.tables) - number
            until = offset + (self._limits.table_bytes - offset) // left
            began = time.perf_counter()
            for count, rows in self._pages(table.rows, seconds / left):
                page = guard(rows)
                if offset + len(lead) + len(page) + 2 > until:
                    self._why = ""
                    break
                table.index.append([table.count, offset + len(lead), len(page)])
                table.count += count
                offset += len(lead) + len(page)
                yield lead + page
                lead = b"\n,"
            if table.count < table.rows.count:
                table.note = f"the first {table.count:,} of {table.rows.count:,} rows{self._why}"
            seconds -= min(time.perf_counter() - began, seconds / left)
        yield b"\n]" if offset else b"[]"

    def to_json(self) -> dict[str, Any]:
        """Return what is said of the pages beside their body."""
        own = [table for table in self.tables if not table.at]
        if own:
            return own[0].to_json()
        return {"rows": 0, "index": [], "tables": [{"at": table.at, **table.to_json()} for table in self.tables]}

    def _pages(self, rows: TableRows, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Put rows together until they are about a page; yield how many they are, and their JSON."""
        parts: list[bytes] = []
        count = size = 0
        for some, text in self._texts(rows, seconds):
            if parts and size + len(text) > 2 * self._page:
                yield count, b"[%b]" % b",".join(parts)
                parts, count, size = [], 0, 0
            parts.append(text)
            count += some
            size += len(text)
            if size >= self._page:
                yield count, b"[%b]" % b",".join(parts)
                parts, count, size = [], 0, 0
        if parts:
            yield count, b"[%b]" % b",".join(parts)

    def _texts(self, rows: TableRows, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Read rows, as many at once as take about as long as others may wait."""
        start, step, spent = 0, 1, 0.0
        self._why = ""
        while start < rows.count:
            stop = min(start + step, rows.count)
            began = time.perf_counter()
            try:
                texts = list(self._split(rows.block(start, stop)))
            except Abandoned:
                raise
            except BaseException as problem:
                # Whatever a cell's own methods raise: the job must not be ended by it.
                self._why = f"; what follows raises {type(problem).__name__}"
                return
            took = time.perf_counter() - began
            yield from texts
            yield_gil()
            spent += took
            if spent > seconds:
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
            yield_gil()
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
