"""Checkpoints: what the write-ahead log holds is copied into the database without holding up commits.

SQLite starts its log over only when all of it is copied, and while commits go on it never is. So the copying is done
in passes on a thread of its own while commits go on, and the writer itself copies the rest, of at most ``LAST_BYTES``,
between two commits. When the disk can't keep up, commits other than urgent ones wait at ``MAX_BYTES`` of log. After a
prune the files are made shorter, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from .database import DatabaseConnection
from .diskerrors import logger

__all__ = ["LAST_BYTES", "MAX_BYTES", "START_BYTES", "Checkpointer", "checkpoint", "give_back"]

START_BYTES = 16 << 20
"""Log at which copying begins. A log of this size is read in about 50 ms after a crash."""

LAST_BYTES = 1 << 20
"""What the writer copies itself: 5 to 20 ms, most of it for the two syncs."""

MAX_BYTES = 64 << 20
"""Log at which commits wait for the copying."""


def checkpoint(connection: DatabaseConnection) -> bool:
    """Copy what can be copied without waiting for a reader; tell whether that is all."""
    busy, log, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return not busy and log == copied


def give_back(connection: DatabaseConnection) -> bool:
    """Copy the rest and make both files as short as what they hold; False where a reader is in the way just now.

    The log keeps its length otherwise, which is written over: 16 MiB and more that a prune was to give back.
    """
    [patience] = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0").fetchall()
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}").fetchall()
    return not busy


class Checkpointer:
    """The thread that copies. The writer asks for a pass, and is told when it is over."""

    def __init__(self, connection: DatabaseConnection, done: Callable[[], None]) -> None:
        self._connection = connection
        self._done = done
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="asyncblock-checkpoint", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Start a pass. Never waits."""
        self._orders.put(True)

    def stop(self) -> None:
        """End the thread after the pass under way, and wait for it."""
        self._orders.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._orders.get():
            try:
                checkpoint(self._connection)
            except Exception as error:
                # Nothing is lost: the log holds it. If the disk is full the commits will say so.
                logger.warning("the journal's log can't be copied into the database: %s", error)
            self._done()
