"""Opening a journal: connections, epoch, and what was left undone. On a thread that may wait for the disk."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...errors import Unavailable
from . import reader
from .bodyfiles import body_path, scan
from .contract import BodyKey, Opening
from .database import Connect, DatabaseConnection, Synchronous, open_reader, open_writer
from .datadir import DataDir
from .epochfile import EpochFile
from .ground import Ground
from .statements import prepare
from .writechecks import WriteChecks

__all__ = ["Parts", "open_parts"]

READERS = 2
"""Reading threads: while one waits for a cold disk the other serves."""

_HALF_PRUNED = "SELECT session_no FROM sessions WHERE pruning = 1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an opening has found and opened."""

    place: DataDir
    synchronous: Synchronous
    writing: DatabaseConnection
    copying: DatabaseConnection
    reading: list[DatabaseConnection]
    ground: Ground
    epoch_file: EpochFile
    opening: Opening
    write_checks: WriteChecks
    unreferenced: dict[str, dict[int, int]]
    half_pruned: list[int]

    def close(self) -> None:
        """Close without a trace in the journal's state: as if the process had died."""
        for connection in (*self.reading, self.copying, self.writing):
            connection.close()


def open_parts(place: DataDir, synchronous: Synchronous, connect: Connect) -> Parts:
    """Open everything. Blocks for as long as the disk takes; raises ``Unavailable`` saying what to do."""
    with ExitStack() as stack:
        try:
            parts = _open_in(place, synchronous, connect, stack)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"the journal in {place.path} can't be opened: {error}; make room or mend the disk, put back a backup "
                "of the whole directory, or choose another one with --data-dir or ASYNCBLOCK_DATA_DIR"
            ) from error
        stack.pop_all()
    return parts


def _open_in(place: DataDir, synchronous: Synchronous, connect: Connect, stack: ExitStack) -> Parts:
    def opened(connection: DatabaseConnection) -> DatabaseConnection:
        stack.callback(connection.close)
        return connection

    writing = opened(open_writer(connect, place.journal_path))
    created = prepare(writing, place.journal_path)
    epoch_file = EpochFile(place.path, writing)
    before, changed = epoch_file.begin(synchronous)
    if synchronous == "full" and before.synchronous == "normal":
        # The bodies that this journal names may not be on disk yet.
        os.sync()
    writing.execute(f"PRAGMA synchronous = {synchronous.upper()}")
    copying = opened(open_writer(connect, place.journal_path))
    reading = [opened(open_reader(connect, place.journal_path)) for _ in range(READERS)]
    referenced = {
        (row[0], row[1]): row[2] for row in writing.execute("SELECT link_id, n, length FROM bodies").fetchall()
    }
    return Parts(
        place=place,
        synchronous=synchronous,
        writing=writing,
        copying=copying,
        reading=reading,
        ground=Ground(
            (place.journal_path, place.journal_path.with_name(place.journal_path.name + "-wal")),
            epoch_file.path if synchronous == "full" else None,
        ),
        epoch_file=epoch_file,
        opening=Opening(
            epoch=epoch_file.epoch,
            created=created,
            clean=before.clean,
            changed=changed,
            lost_bodies=_lost(place.bodies_path, referenced) if changed is not None else (),
        ),
        write_checks=reader.write_checks(writing),
        unreferenced=scan(place.bodies_path, set(referenced)),
        half_pruned=[row[0] for row in writing.execute(_HALF_PRUNED).fetchall()],
    )


def _lost(root: Path, referenced: dict[tuple[str, int], int]) -> tuple[BodyKey, ...]:
    def there(link_id: str, n: int) -> int:
        try:
            return body_path(root, BodyKey(link_id, n)).stat().st_size
        except OSError:
            return -1

    return tuple(BodyKey(link_id, n) for (link_id, n), length in referenced.items() if there(link_id, n) < length)
