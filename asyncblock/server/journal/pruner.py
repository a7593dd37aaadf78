"""Deleting sessions beside the writes: in pieces, each short enough that a commit may wait for it.

A session is hidden first. Then go the files of its bodies with their rows, its entries, and in the end its row, so that
an interruption at any point leaves what the next opening needs to go on.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .bodyfiles import body_path
from .contract import BodyKey
from .database import DatabaseConnection, transaction
from .statements import span

__all__ = ["Deletion", "Pruner"]

_PIECE_BYTES = 1 << 20
_PIECE_ROWS = 128
"""What is deleted at once: 2 to 8 ms of work."""


@dataclass(slots=True, eq=False)
class Deletion:
    """A session that is being deleted."""

    session_no: int
    freed: int = 0
    """Bytes so far, of bodies and entries."""
    total: int = 0
    """The sum of payloads up to the last entry that was deleted."""


class Pruner:
    """Deletes one session after the other. Used by the writer thread, on its connection."""

    def __init__(self, connection: DatabaseConnection, bodies: Path, sessions: list[int]) -> None:
        self._connection = connection
        self._bodies = bodies
        self._queue = deque(Deletion(session_no) for session_no in sessions)

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, session_no: int) -> None:
        """Queue a session that is hidden."""
        self._queue.append(Deletion(session_no))

    def drop(self) -> int:
        """Leave the present session to the next opening; return its number."""
        return self._queue.popleft().session_no

    def piece(self) -> Deletion | None:
        """Delete a piece; return the session if nothing of it is left."""
        prune = self._queue[0]
        if self._delete_bodies(prune) or self._delete_entries(prune):
            return None
        with transaction(self._connection):
            for table in ("requests", "snapshots", "sessions"):
                self._connection.execute(f"DELETE FROM {table} WHERE session_no = ?", (prune.session_no,))
        return self._queue.popleft()

    def _delete_bodies(self, prune: Deletion) -> bool:
        rows = self._connection.execute(
            "SELECT link_id, n, length FROM bodies WHERE session_no = ? LIMIT ?", (prune.session_no, _PIECE_ROWS)
        ).fetchall()
        if not rows:
            return False
        for link_id, n, length in rows:
            body_path(self._bodies, BodyKey(link_id, n)).unlink(missing_ok=True)
            prune.freed += length
        for link_id in {link_id for link_id, _, _ in rows}:
            # With the last of a link's bodies its directory goes.
            with suppress(OSError):
                (self._bodies / link_id).rmdir()
        with transaction(self._connection):
            for link_id, n, _ in rows:
                self._connection.execute("DELETE FROM bodies WHERE link_id = ? AND n = ?", (link_id, n))
        return True

    def _delete_entries(self, prune: Deletion) -> bool:
        rows = self._connection.execute(
            "SELECT id, total FROM entries WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (*span(prune.session_no), _PIECE_ROWS),
        ).fetchall()
        if not rows:
            return False
        limit = max(prune.total + _PIECE_BYTES, rows[0][1])
        last, total = next(row for row in reversed(rows) if row[1] <= limit)
        with transaction(self._connection):
            self._connection.execute("DELETE FROM entries WHERE id BETWEEN ? AND ?", (rows[0][0], last))
        prune.freed += total - prune.total
        prune.total = total
        return True
