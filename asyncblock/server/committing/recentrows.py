"""The newest rows of the journal in memory, so that readers who keep up needn't ask the database.

A row is remembered only for sessions that somebody reads. What isn't here any more is in the journal.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Row", "RecentRows"]

_BUDGET = 2 << 20
"""Bytes of rows kept in memory: a few pages for each of a few readers who keep up."""

Row = tuple[int, bytes, int]
"""Offset, payload, how many lines it has."""


class RecentRows:
    """The newest rows of the sessions that are read."""

    def __init__(self) -> None:
        self._rows: dict[int, deque[Row]] = {}
        self._order: deque[int] = deque()
        """Whose row comes next in age."""
        self._size = 0

    def follow(self, session_no: int) -> None:
        """Remember a session's rows from here on."""
        self._rows.setdefault(session_no, deque())

    def forget(self, session_no: int) -> None:
        """Let go of a session."""
        rows = self._rows.pop(session_no, None)
        if rows:
            self._size -= sum(len(payload) for _, payload, _ in rows)
            self._order = deque(each for each in self._order if each != session_no)

    def add(self, session_no: int, row: Row) -> None:
        """Take a new row in, if its session is read; the oldest ones make room for it."""
        rows = self._rows.get(session_no)
        if rows is None:
            return
        rows.append(row)
        self._order.append(session_no)
        self._size += len(row[1])
        while self._size > _BUDGET:
            self._size -= len(self._rows[self._order.popleft()].popleft()[1])

    def page(self, session_no: int, offset: int, end: int, max_bytes: int) -> list[Row]:
        """Return rows from ``offset`` on and below ``end``, one at least; none when the first isn't here."""
        rows = self._rows.get(session_no)
        if not rows or not rows[0][0] <= offset < end:
            return []
        found: list[Row] = []
        size = 0
        for index in range(offset - rows[0][0], min(len(rows), end - rows[0][0])):
            row = rows[index]
            size += len(row[1])
            if found and size > max_bytes:
                break
            found.append(row)
        return found
