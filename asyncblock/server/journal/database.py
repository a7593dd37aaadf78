"""Connections to the journal's database: how they are opened, and the little of ``sqlite3`` that the journal uses.

``Connect`` is the seam for tests that must see every write and sync (a VFS shim speaks through another binding).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from ...errors import LocalProtocolError

__all__ = [
    "Connect",
    "DatabaseConnection",
    "Synchronous",
    "check_synchronous",
    "connect",
    "open_reader",
    "open_writer",
    "transaction",
]

Synchronous = Literal["normal", "full"]
"""What a commit survives: stated in the package's docstring."""


class Cursor(Protocol):
    """The rows of a statement."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class DatabaseConnection(Protocol):
    """A database connection without implicit transactions."""

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


Connect = Callable[[Path, bool], DatabaseConnection]
"""Opens the database at a path, for reading only if the second argument says so."""


def connect(path: Path, read_only: bool) -> DatabaseConnection:
    """Open the database with the standard library."""
    # Each connection is used by one thread at a time, but opened and closed by another.
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=1.0,
        # A statement for each number of rows; the big ones hold 50 kB each.
        cached_statements=64,
    )


def open_writer(connect: Connect, path: Path) -> DatabaseConnection:
    """Open the connection that writes. Its commits are synced until it is told otherwise."""
    connection = connect(path, False)
    try:
        # Checkpoints are the Checkpointer's; memory for 2000 pages keeps the leaves of many sessions at hand.
        for setting in ("synchronous = FULL", "wal_autocheckpoint = 0", "cache_size = -16384", "secure_delete = OFF"):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        # Only this frame has the connection.
        connection.close()
        raise
    return connection


def open_reader(connect: Connect, path: Path) -> DatabaseConnection:
    """Open a connection that reads."""
    return connect(path, True)


def check_synchronous(name: str) -> None:
    """Raise ``LocalProtocolError`` for a mode that there isn't: SQLite would take it for another one silently."""
    if name not in get_args(Synchronous):
        raise LocalProtocolError(f"synchronous is {' or '.join(get_args(Synchronous))}, not {name!r}")


@contextmanager
def transaction(connection: DatabaseConnection) -> Iterator[None]:
    """Commit what the body does, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Whatever it was: a transaction left open would take in what comes next.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
