"""The data directory: found, made, locked for one mainframe, and the small files in it that others read.

``journal.db`` and ``bodies/`` are the journal's; ``token`` lets local clients in; ``address`` tells them where the
mainframe listens; ``lock`` says who uses the directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from ...errors import DataDirInUse, Unavailable
from ...runtime.forks import claim

__all__ = ["DataDir", "default_data_dir", "holder", "read_address", "read_token"]

_OTHER = "choose another directory with --data-dir or ASYNCBLOCK_DATA_DIR"


def default_data_dir() -> Path:
    """Return ``ASYNCBLOCK_DATA_DIR``, or ``asyncblock`` where this user's programs keep their state."""
    if chosen := os.environ.get("ASYNCBLOCK_DATA_DIR"):
        return Path(chosen)
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification tells to ignore relative paths.
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "asyncblock"


def read_token(path: Path) -> str | None:
    """Return the token of a data directory; None when it has none, or this user may not read it."""
    try:
        return (path / "token").read_text().strip() or None
    except OSError:
        return None


def read_address(path: Path) -> dict[str, Any] | None:
    """Return what the mainframe that serves a data directory wrote; None when none serves.

    One that was killed leaves its address behind: whoever connects finds out.
    """
    try:
        address = orjson.loads((path / "address").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return address if isinstance(address, dict) else None


def holder(path: Path) -> int | None:
    """Return the process that uses a data directory; None when none does."""
    try:
        pid = int((path / "lock").read_text())
    except (OSError, ValueError):
        return None
    try:
        # One that was killed has left its number.
        os.kill(pid, 0)
    except PermissionError:
        # Another user's process: it is there, and that is all that was asked.
        pass
    except OSError:
        return None
    return pid


class DataDir:
    """A data directory that this process has locked. Get one with ``DataDir.open``; close it after the journal."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> DataDir:
        """Make the directory if need be, and lock it.

        Raises ``Unavailable`` when another process uses it or it can't be written to.
        """
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = cls(path, _lock(path))
        except OSError as error:
            raise Unavailable(f"the data directory {path} can't be used: {error.strerror}; {_OTHER}") from error
        try:
            place._make_files()
        except OSError as error:
            place.close()
            raise Unavailable(f"the data directory {path} can't be written to: {error.strerror}; {_OTHER}") from error
        return place

    @property
    def journal_path(self) -> Path:
        """The database."""
        return self.path / "journal.db"

    @property
    def bodies_path(self) -> Path:
        """The directory of the bodies."""
        return self.path / "bodies"

    def token(self) -> str:
        """Return the directory's token; the first call makes it, readable by this user only."""
        token = read_token(self.path)
        if token is None:
            token = secrets.token_urlsafe(32)
            _write(self.path / "token", token.encode() + b"\n")
        return token

    def take_token(self, token: str) -> None:
        """Take a token that others have, too."""
        if read_token(self.path) != token:
            _write(self.path / "token", token.encode() + b"\n")

    def write_address(self, address: Mapping[str, Any]) -> None:
        """Tell local clients where the mainframe listens; ``close`` takes it back."""
        _write(self.path / "address", orjson.dumps(dict(address)))

    def close(self) -> None:
        """Remove the address and unlock. Idempotent."""
        lock, self._lock = self._lock, -1
        if lock < 0:
            return
        try:
            # On a disk that fails both stay, and the next opening makes them anew.
            with suppress(OSError):
                (self.path / "address").unlink(missing_ok=True)
                # The file stays: removing it would let two processes lock two files of that name.
                os.ftruncate(lock, 0)
        finally:
            os.close(lock)

    def __enter__(self) -> DataDir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_files(self) -> None:
        # SQLite gives its other files the mode of the database; in a directory that others may enter it counts.
        os.close(os.open(self.journal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.bodies_path.mkdir(mode=0o700, exist_ok=True)
        # What a mainframe that was killed has left.
        (self.path / "address").unlink(missing_ok=True)


def _lock(path: Path) -> int:
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A forked child that kept it would keep the lock.
        claim(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except OSError as error:
        holder = os.pread(fd, 20, 0).decode(errors="replace") or "unknown"
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            words = f"the data directory {path} is in use by the process {holder}; connect to it, stop it, or {_OTHER}"
            raise DataDirInUse(words, path=str(path), holder=holder) from None
        raise
    return fd


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole, so that no half of it is ever read, readable by this user only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
