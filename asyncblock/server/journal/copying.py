"""Copying a journal, in use or not: the database by SQLite's own backup, and the bodies that the copy names.

A copy has no epoch file: so its opening begins a new epoch, for it may not continue what links remember.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ...errors import Unavailable
from ...runtime.stagingdirs import StagingDir
from .bodyfiles import body_path
from .contract import BodyKey
from .database import connect, open_reader
from .files import sync_directory

__all__ = ["Copied", "copy_journal"]

_FILES = ("token", "run")
"""Small files that belong to the data."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy has."""

    sessions: int
    bodies: int
    bytes: int
    missing: int
    """Bodies that the journal names and that weren't there any more: their session was pruned meanwhile."""


def copy_journal(source: Path, target: Path) -> Copied:
    """Copy a data directory to one that isn't there yet, or is empty. What is copied is one moment of the journal.

    Whoever writes the journal isn't held up. The target appears when it is whole and on disk. Blocks for as long as the
    disks take. Raises ``Unavailable`` saying what to do.
    """
    if not (source / "journal.db").is_file():
        raise Unavailable(f"there is no journal in {source}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Unavailable(f"{target} is there already, and it isn't empty; name another directory, or move it away")
    try:
        with StagingDir(target) as fresh:
            copied = _copy(source, fresh)
            if target.exists():
                target.rmdir()
            fresh.replace(target)
        sync_directory(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"{source} couldn't be copied to {target}: {error}") from error
    return copied


def _copy(source: Path, fresh: Path) -> Copied:
    database = fresh / "journal.db"
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(open_reader(connect, source / "journal.db")) as reading, closing(sqlite3.connect(database)) as made:
        assert isinstance(reading, sqlite3.Connection)
        # In one step: a reader of its own moment, beside which the writer goes on.
        reading.backup(made)
        [(words,)] = made.execute("PRAGMA quick_check(1)").fetchall()
        if words != "ok":
            raise Unavailable(f"the journal in {source} is damaged: {words}")
        [(sessions,)] = made.execute("SELECT count(*) FROM sessions WHERE pruning = 0").fetchall()
        bodies = made.execute("SELECT link_id, n, length FROM bodies").fetchall()
    (fresh / "bodies").mkdir(mode=0o700)
    total, missing = database.stat().st_size, 0
    for link_id, n, length in bodies:
        key = BodyKey(link_id, n)
        place = body_path(fresh / "bodies", key)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            shutil.copyfile(body_path(source / "bodies", key), place)
        except FileNotFoundError:
            missing += 1
            continue
        total += length
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, fresh / name)
            (fresh / name).chmod(0o600)
    for path in (*fresh.rglob("*"), fresh):
        _sync(path)
    return Copied(int(sessions), len(bodies) - missing, total, missing)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
