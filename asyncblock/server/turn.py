"""A turn: everything that one event changes, committed as one transaction, and what is said once it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from .journal import Journal, Write

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Turn"]


class Turn:
    """Collects rows, marks and consequences. Made for each event, committed once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lines: dict[Session, list[bytes]] = {}
        self._after: list[Callable[[], object]] = []
        self.urgent = False
        """It must not wait behind the data of others."""
        self.write = Write(self._stored)

    def line(self, session: Session, line: bytes) -> int:
        """Add a line to the session's row of this turn; return its index in the row."""
        lines = self._lines.setdefault(session, [])
        lines.append(line)
        return len(lines) - 1

    def say(self, session: Session, type_: str, **fields: object) -> None:
        """Add a line of the mainframe's own to the session's row."""
        self.line(session, orjson.dumps({"type": type_, **fields}))

    def after(self, act: Callable[[], object]) -> None:
        """Do something once the turn has committed, in the order of the calls."""
        self._after.append(act)

    def commit(self) -> None:
        """Hand everything to the journal. Never waits."""
        for session, lines in self._lines.items():
            payload = b"\n".join(lines)
            offset = session.next_offset
            session.next_offset += 1
            session.bytes += len(payload)
            self.write.entry(session.number, offset, payload)
            self._after.append(session.row_stored)
        self._journal.write(self.write, urgent=self.urgent)

    def _stored(self) -> None:
        for act in self._after:
            act()
