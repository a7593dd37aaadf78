"""What the event loop must know of the journal to refuse a wrong write where it is made: numbers, ids and offsets.

A write that the database can't take would be tried again for ever and hold up all others, so none gets that far. Of
sessions that are over only the numbers are known, as ranges: their memory comes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import LocalProtocolError
from ...wire.ranges import Ranges
from .contract import MAX_OFFSET, Row, SessionRow, Write
from .statements import row_statements

__all__ = ["WriteChecks"]

_MAX_INT = (1 << 63) - 1
_MAX_SESSION_NO = (1 << 31) - 1
"""An entry's key has it above the 32 bits of the offset, and SQLite's integers have 64 bits and a sign."""


class WriteChecks:
    """The sessions with their next offsets, and the numbers in use. Counts what is queued as done."""

    def __init__(
        self, sessions: Iterable[tuple[int, str, int]], over: Ranges, last_session_no: int, last_link_no: int
    ) -> None:
        self._over = over
        """Sessions to which nothing will be written any more."""
        self._next: dict[int, int] = {}
        self._ids: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        for session_no, session_id, rows in sessions:
            self._add(session_no, session_id, rows)
        self._last_session_no = last_session_no
        self._last_link_no = last_link_no
        self._used = last_session_no
        """Sessions up to this number were made before this opening."""
        self._pruned = Ranges()

    def new_session_no(self) -> int:
        """Return the next number for a session."""
        self._last_session_no += 1
        return self._last_session_no

    def new_link_no(self) -> int:
        """Return the next number for a link."""
        self._last_link_no += 1
        return self._last_link_no

    def next_offset(self, session_no: int) -> int:
        """Return the offset of the session's next entry."""
        try:
            return self._next[session_no]
        except KeyError:
            what = "nothing is written any more to" if session_no in self._over else "there is no"
            raise LocalProtocolError(f"{what} session number {session_no} in the journal") from None

    def enter(self, write: Write) -> None:
        """Take a write in. Raises ``LocalProtocolError`` and takes nothing in if the journal couldn't store it."""
        new: list[SessionRow] = []
        taken = 0
        try:
            for row in write.rows:
                self._check(row)
                if isinstance(row, SessionRow) and self._enter_session(row):
                    new.append(row)
            for link_no, seq in write.marks:
                if not (0 < link_no <= _MAX_INT and 0 <= seq <= _MAX_INT):
                    raise LocalProtocolError(f"link number {link_no} can't have the mark {seq}")
            for session_no, offset, payload in write.entries:
                if offset != self._next.get(session_no) or offset > MAX_OFFSET or not isinstance(payload, bytes):
                    raise self._wrong_entry(session_no, offset, payload)
                self._next[session_no] = offset + 1
                taken += 1
        except LocalProtocolError:
            for session_no, offset, _ in reversed(write.entries[:taken]):
                self._next[session_no] = offset
            for row in new:
                self._remove(row.session_no)
            raise

    def prune(self, session_no: int) -> None:
        """Forget a session. Raises ``LocalProtocolError`` when it isn't there."""
        self.retire(session_no)
        self._over.discard(session_no)
        self._pruned.add(session_no)

    def retire(self, session_no: int) -> None:
        """Note that nothing will be written to a session any more.

        Raises ``LocalProtocolError`` when it isn't there.
        """
        if session_no not in self._over:
            self.next_offset(session_no)
            self._remove(session_no)
            self._over.add(session_no)

    def _enter_session(self, row: SessionRow) -> bool:
        """Check a session's row; return whether it is a new one."""
        known = self._ids.get(row.session_no)
        if known is not None and known == row.session_id:
            return False
        if known is not None or row.session_id in self._numbers or not self._is_new(row.session_no):
            raise LocalProtocolError(
                f"session {row.session_id!r} can't have the number {row.session_no}: a number belongs to one session, "
                "a session to one number, and new_session_no gives the next"
            )
        self._add(row.session_no, row.session_id, 0)
        self._last_session_no = max(self._last_session_no, row.session_no)
        return True

    def _is_new(self, session_no: int) -> bool:
        if session_no in self._pruned or session_no in self._over:
            return False
        return self._used < session_no <= _MAX_SESSION_NO

    def _add(self, session_no: int, session_id: str, rows: int) -> None:
        self._next[session_no] = rows
        self._ids[session_no] = session_id
        self._numbers[session_id] = session_no

    def _remove(self, session_no: int) -> None:
        del self._next[session_no]
        del self._numbers[self._ids.pop(session_no)]

    def _check(self, row: Row) -> None:
        for _, values in row_statements(row):
            for value in values:
                if isinstance(value, int) and not -_MAX_INT <= value <= _MAX_INT:
                    raise LocalProtocolError(f"{value} in {type(row).__name__} has more than 64 bits")
                if isinstance(value, str) and not _encodable(value):
                    raise LocalProtocolError(f"{value!r} in {type(row).__name__} has no UTF-8 form")

    def _wrong_entry(self, session_no: int, offset: int, payload: object) -> LocalProtocolError:
        if not isinstance(payload, bytes):
            return LocalProtocolError(f"the payload of an entry is bytes, not {type(payload).__name__}")
        return LocalProtocolError(
            f"the next entry of session number {session_no} has offset {self.next_offset(session_no)}, not {offset}; "
            f"the last that a session can have is {MAX_OFFSET}"
        )


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
