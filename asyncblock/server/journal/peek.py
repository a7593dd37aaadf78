"""Looking into a journal that isn't open here: read only, no lock, nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import Unavailable
from .bodyfiles import body_path, check_key
from .contract import BodyKey, BodyRow, SessionRow, Snapshot
from .database import DatabaseConnection, connect, open_reader
from .reader import bodies, entry, page, sessions, snapshot

__all__ = ["PeekedJournal", "PeekedSession", "peek_journal", "peek_session", "peek_sessions"]

_PAGE = 1 << 20
"""Bytes of rows that are read at once."""


def peek_sessions(data_dir: Path) -> list[SessionRow]:
    """Return the sessions of a data directory, in use or not; none if there is no journal that can be read."""
    try:
        connection = open_reader(connect, data_dir / "journal.db")
    except sqlite3.Error:
        return []
    try:
        return sessions(connection)
    except sqlite3.Error:
        return []
    finally:
        connection.close()


class PeekedSession:
    """A session as its journal had it when it was opened. Get one with ``peek_session``; for one thread at a time."""

    def __init__(self, connection: DatabaseConnection, data_dir: Path, row: SessionRow) -> None:
        self._connection = connection
        self._bodies = data_dir / "bodies"
        self.row = row

    def rows(self, offset: int) -> list[tuple[int, list[bytes]]]:
        """Return some rows from an offset, each as its lines; none at the end."""
        found = page(self._connection, self.row.session_no, offset, _PAGE)
        return [(place, payload.split(b"\n")) for place, payload in found if place < self.row.rows]

    def body(self, link_id: str, n: int) -> bytes:
        """Return a body. Raises ``Unavailable`` when it isn't there."""
        key = BodyKey(link_id, n)
        check_key(key)
        try:
            return body_path(self._bodies, key).read_bytes()
        except OSError as error:
            raise Unavailable(f"there is no body {link_id}-{n}: {error.strerror}") from error


@contextmanager
def peek_session(data_dir: Path, session_id: str) -> Iterator[PeekedSession]:
    """Look at a session for the duration of the block. Raises ``Unavailable`` when it can't be read."""
    try:
        connection = open_reader(connect, data_dir / "journal.db")
    except sqlite3.Error as error:
        raise Unavailable(f"the journal in {data_dir} can't be read: {error}") from error
    try:
        found = sessions(connection, session_id=session_id)
        if not found:
            raise Unavailable(f"the journal in {data_dir} has no session {session_id!r}")
        yield PeekedSession(connection, data_dir, found[0])
    except sqlite3.Error as error:
        raise Unavailable(f"the journal in {data_dir} can't be read: {error}") from error
    finally:
        connection.close()


class PeekedJournal:
    """What a journal has that may be open elsewhere; of its sessions' rows it is asked as the journal itself is."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self._connection = connection

    def sessions(self) -> list[SessionRow]:
        """Read the sessions, in order of their numbers."""
        return sessions(self._connection)

    def bodies(self, session_no: int) -> list[BodyRow]:
        """Read what a session's entries name in bodies."""
        return bodies(self._connection, session_no)

    async def page(self, session_no: int, offset: int, max_bytes: int = _PAGE) -> list[tuple[int, bytes]]:
        """Read entries as ``Journal.page``."""
        return page(self._connection, session_no, offset, max_bytes)

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry as ``Journal.entry``."""
        return entry(self._connection, session_no, offset)

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a snapshot as ``Journal.snapshot``."""
        return snapshot(self._connection, session_no)


@contextmanager
def peek_journal(data_dir: Path) -> Iterator[PeekedJournal]:
    """Look into a journal for the duration of the block. Raises ``Unavailable`` when it can't be read."""
    try:
        connection = open_reader(connect, data_dir / "journal.db")
        try:
            yield PeekedJournal(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Unavailable(f"the journal in {data_dir} can't be read: {error}") from error
