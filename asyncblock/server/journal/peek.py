"""Looking into a journal that isn't open here: read only, no lock, nothing is changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .contract import SessionRow
from .database import connect, open_reader
from .reader import sessions

__all__ = ["peek_sessions"]


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
