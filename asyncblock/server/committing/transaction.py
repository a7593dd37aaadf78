"""A transaction: everything that one event changes, committed at once, and what is said to others after the commit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import orjson

from ..histograms import Histogram
from ..journal import Journal, Snapshot, Write
from .recentrows import RecentRows

__all__ = ["Journaled", "Transaction", "now_ms"]

JOBS = 10
"""Jobs that a transaction creates at most, for each takes 90 µs: what follows is decided in further ones. A question
waits for some five of them on its way through the loop (stall)."""

ROW_BYTES = 1 << 20
"""Bytes of a row at which the next line begins another one, in the same transaction: a page is at least a row, and has
to fit into a message."""


def now_ms() -> int:
    """Return the ms since the epoch: the ``t`` of lines that the mainframe itself writes."""
    return time.time_ns() // 1_000_000


class Journaled(Protocol):
    """Whose rows these are: a ``session.RunningSession``, of which a transaction asks no more than this."""

    number: int
    next_offset: int
    bytes: int

    def release_values(self, transaction: Transaction) -> None:
        """Let go of var values that nothing holds any more, once it is in the journal why."""
        ...

    def snapshot_if_due(self) -> Snapshot | None:
        """Return the state between two rows, when enough of the journal has been written since the last time."""
        ...

    def row_stored(self) -> None:
        """A row has committed: let readers look."""
        ...


class _Row:
    """The lines of one session that aren't sealed yet."""

    __slots__ = ("lines", "size")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0


class Transaction:
    """Collects rows, marks and consequences. Made for each event, committed once.

    As a context manager it commits on leaving, after an error too: what is folded is to be in the journal, and the
    transaction may hold what concerns other sessions.
    """

    def __init__(
        self,
        journal: Journal,
        recent_rows: RecentRows,
        stored: Callable[[], object],
        broken: Callable[[str, Exception], None],
        times: Histogram,
    ) -> None:
        self._journal = journal
        self._recent_rows = recent_rows
        self._when_stored = stored
        self._broken = broken
        self._times = times
        self._began = 0.0
        """When it was handed to the journal."""
        self._rows: dict[Journaled, _Row] = {}
        self._after: list[Callable[[], object]] = []
        self.jobs = JOBS
        """How many more jobs it may create."""
        self.urgent = False
        """It must not wait behind the data of others."""
        self.write = Write(self._stored)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, *exc: object) -> None:
        self.commit()

    def line(self, session: Journaled, line: bytes) -> int:
        """Add a line to the session's row; return its index in the row at ``session.next_offset``."""
        row = self._rows.get(session)
        if row is None:
            row = self._rows[session] = _Row()
        elif row.size + len(line) > ROW_BYTES:
            self._seal(session, row)
        row.lines.append(line)
        row.size += len(line) + 1
        return len(row.lines) - 1

    def say(self, session: Journaled, type_: str, **fields: object) -> None:
        """Add a line of the mainframe's own to the session's row."""
        self.line(session, orjson.dumps({"type": type_, **fields}))

    def after(self, act: Callable[[], object]) -> None:
        """Do something once the transaction has committed, in the order of the calls."""
        self._after.append(act)

    def commit(self) -> None:
        """Hand everything to the journal. Never waits."""
        for session, row in self._rows.items():
            self._seal(session, row)
            session.release_values(self)
            snapshot = session.snapshot_if_due()
            if snapshot is not None:
                self.write.snapshot(snapshot)
        self._began = time.monotonic()
        write = self.write
        # The write knows its transaction, for what follows: in a circle both would stay until the collector comes.
        del self.write
        self._journal.write(write, urgent=self.urgent)

    def _seal(self, session: Journaled, row: _Row) -> None:
        """Make a row of the session's lines so far."""
        lines, row.lines, row.size = row.lines, [], 0
        payload = b"\n".join(lines)
        offset = session.next_offset
        session.next_offset += 1
        session.bytes += len(payload)
        self.write.entry(session.number, offset, payload)
        self._recent_rows.add(session.number, (offset, payload, len(lines)))
        self._after.append(session.row_stored)

    def _stored(self) -> None:
        self._times.observe(time.monotonic() - self._began)
        self._when_stored()
        for act in self._after:
            try:
                act()
            except Exception as error:
                # The others must happen all the same: what they tell of is in the journal.
                self._broken("what was to follow a commit", error)
