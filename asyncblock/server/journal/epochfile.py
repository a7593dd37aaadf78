"""The epoch: whether the journal continues what was acknowledged under it, judged at each opening.

A file ``lineage`` stands beside the database. The database records which file that is (inode and generation) and a
count; the file holds a count too. Every opening makes the file anew, and both counts go up while the journal is used:
first the database's, then the file's. So a database that was copied, or put back from a backup, knows another file or
is behind it. The inode survives a move of the directory, a reboot, ``chown`` and ``chmod``; device numbers, times and
paths don't, so they aren't looked at.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from .database import DatabaseConnection, transaction
from .files import sync_directory

__all__ = ["FoundJournal", "EpochFile", "Recorded", "boot_id", "break_reason", "identity"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FS_IOC_GETVERSION = 0x8008_7601
"""Linux's request for an inode's generation: a file put in another one's place may get its number, but not this."""
_WIDTH = 20
"""Digits of the count in the file: it is overwritten in place."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database says of its last opening."""

    boot: str
    synchronous: str
    clean: bool
    count: int
    files: tuple[str, ...]
    """The file's identity; two while an opening was replacing it."""


@dataclass(frozen=True, slots=True)
class FoundJournal:
    """What is there now. Empty strings for what can't be known."""

    boot: str
    file: str
    count: int


def break_reason(recorded: Recorded, found: FoundJournal) -> str | None:
    """Say why the journal may not be a continuation; None when it is one."""
    if not found.file:
        return "the file 'lineage' beside the journal is missing: the journal was copied or restored"
    if found.file not in recorded.files:
        return "the journal was copied or restored"
    if recorded.count < found.count:
        return "an older journal was put in the place of a newer one"
    if recorded.clean or recorded.synchronous == "full":
        return None
    if not recorded.boot or not found.boot:
        return "the journal wasn't closed, and whether the machine went down meanwhile can't be known here"
    if recorded.boot != found.boot:
        return "the machine went down while the journal was in use with synchronous=normal"
    return None


def boot_id() -> str:
    """Return the kernel's id of this boot; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def identity(path: Path) -> str:
    """Name a file for its lifetime: inode, and generation where the file system reuses inodes. Empty if not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        try:
            # The inode alone doesn't tell a file from one that was copied in its place: file systems give freed inodes
            # out again. The generation differs then.
            generation = struct.unpack("=I4x", fcntl.ioctl(fd, _FS_IOC_GETVERSION, bytes(8)))[0]
        except OSError:
            # Some file systems have none (tmpfs, NFS). The inode, and the count in the file, are what is left then.
            generation = 0
        return f"{os.fstat(fd).st_ino}:{generation}"
    finally:
        os.close(fd)


class EpochFile:
    """The epoch of one journal, and the marks that tell at the next opening whether it continues."""

    def __init__(self, directory: Path, connection: DatabaseConnection) -> None:
        self.path = directory / "lineage"
        self._connection = connection
        self._count = 0
        self.epoch = ""

    def begin(self, synchronous: str) -> tuple[Recorded, str | None]:
        """Judge, and record this opening; return what was recorded before, and why the epoch changed if it did.

        The connection must sync its commits, so that this record precedes on disk whatever is written later.
        """
        meta = dict(self._connection.execute("SELECT key, value FROM meta").fetchall())
        recorded = _recorded(meta)
        found = self._found()
        changed = break_reason(recorded, found) if "epoch" in meta else None
        self.epoch = meta.get("epoch", "")
        if changed is not None or not self.epoch:
            self.epoch = secrets.token_hex(8)
        self._count = max(recorded.count, found.count) + 1
        fresh = self._fresh_file()
        # Dying between these steps leaves a file that the database knows, with a count not above its own.
        self._record(
            epoch=self.epoch,
            boot=boot_id(),
            synchronous=synchronous,
            clean="0",
            count=str(self._count),
            file=f"{found.file} {identity(fresh)}",
        )
        fresh.replace(self.path)
        sync_directory(self.path.parent)
        self._record(file=identity(self.path))
        return recorded, changed

    def advance(self) -> None:
        """Raise both counts, so that a copy made before can be told from this journal."""
        self._count += 1
        self._record(count=str(self._count))
        self._write_count(self.path)

    def end(self) -> None:
        """Record that everything was closed. The connection must sync its commits."""
        self._count += 1
        self._record(count=str(self._count), clean="1")
        self._write_count(self.path)

    def _found(self) -> FoundJournal:
        try:
            count = int(self.path.read_text())
        except (OSError, ValueError):
            count = 0
        return FoundJournal(boot_id(), identity(self.path), count)

    def _fresh_file(self) -> Path:
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._write_count(fresh)
        return fresh

    def _write_count(self, path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, f"{self._count:0{_WIDTH}}".encode(), 0)
        finally:
            os.close(fd)

    def _record(self, **values: str) -> None:
        with transaction(self._connection):
            for item in values.items():
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", item)


def _recorded(meta: dict[str, str]) -> Recorded:
    return Recorded(
        boot=meta.get("boot", ""),
        synchronous=meta.get("synchronous", ""),
        clean=meta.get("clean") == "1",
        count=int(meta.get("count", "0")),
        files=tuple(meta.get("file", "").split()),
    )
