"""Scratch files: where large values are that needn't or mustn't be in memory. Nothing is made before it is needed.

They go with the process: a named file stands in a directory that the process holds a lock on, and whoever makes such a
directory next removes those whose process is gone, however it ended.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import LocalProtocolError

__all__ = ["FullDisk", "Scratch", "root"]

logger = logging.getLogger("asyncblock.scratch")

PATIENCE: Final = 300.0
"""Seconds that whoever needs a scratch file waits for a disk that is full: a mainframe that was away is back by then,
and takes what fills it, or somebody has made room. ``ASYNCBLOCK_DISK_PATIENCE`` sets another number."""

_PAUSES: Final = (0.1, 5.0)
"""Seconds before a full disk is asked again: the first pause, doubled each time, and the longest. Disks tell nobody
that they have room again."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_LOCK = ".lock"
"""Ends the name of the file that is locked while the directory beside it is in use."""


def root() -> Path:
    """Return the directory of all scratch files, made if need be.

    ``ASYNCBLOCK_BODIES_DIR``, or one under the user's cache directory: ``/tmp`` is memory on many machines. Where the
    user has none to write to, the system's directory for temporary files.
    """
    given = os.environ.get("ASYNCBLOCK_BODIES_DIR")
    if given:
        path = Path(given).absolute()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path
    cache = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification tells to ignore relative paths.
        path = (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "asyncblock" / "bodies"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):
        return Path(tempfile.gettempdir())
    return path if os.access(path, os.W_OK) else Path(tempfile.gettempdir())


class FullDisk:
    """Waiting for room on the disk of the scratch files: how long until the next attempt, and a word to people.

    Any thread may call it.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.since: float | None = None
        """Since when a caller waits in vain; None when none does."""
        self._told_at: float | None = None
        self._pause = _PAUSES[0]

    def pause(self, error: OSError) -> float:
        """Return the seconds until the next attempt. Raises the error itself when it is another one, or for too long.

        The first time it is said what is waited for.
        """
        if error.errno not in _FULL:
            raise error
        now, limit = time.monotonic(), patience()
        if now - (now if self.since is None else self.since) >= limit:
            raise error
        if self.since is None:
            self.since, self._pause = now, _PAUSES[0]
        if self._told_at is None:
            self._told_at = now
            words = "%s waits: there is no room on the disk of %s (%s). It goes on when there is, and fails after %g s"
            logger.warning(words, self._what, _root_or_its_name(), error.strerror, limit)
        pause, self._pause = self._pause, min(2 * self._pause, _PAUSES[1])
        return min(pause, max(self.since + limit - now, 0.01))

    def passed_by(self) -> None:
        """Note that no caller waits any more, though the disk is full."""
        self.since = None

    def over(self) -> None:
        """Take note that the disk has room."""
        self.since = None
        told_at, self._told_at = self._told_at, None
        if told_at is not None:
            logger.warning("%s goes on after %.1f s: the disk has room", self._what, time.monotonic() - told_at)


def patience() -> float:
    """Return how many seconds a full disk is waited for. Raises ``LocalProtocolError`` for a wrong setting."""
    given = os.environ.get("ASYNCBLOCK_DISK_PATIENCE", "")
    try:
        seconds = float(given) if given else PATIENCE
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise LocalProtocolError(f"ASYNCBLOCK_DISK_PATIENCE is {given!r}; it is a number of seconds")
    return seconds


def _root_or_its_name() -> str:
    try:
        return str(root())
    except OSError as error:
        return str(error.filename)


class Scratch:
    """A directory of named scratch files, in ``base`` if it isn't with all others. Its methods wait for the disk; any
    thread may call them."""

    def __init__(self, base: Path | None = None) -> None:
        self._base = base
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._directory: Path | None = None
        self._numbers = itertools.count(1)

    def directory(self) -> Path:
        """Return the directory, made if need be. Raises ``OSError`` as the disk says."""
        with self._mutex:
            if self._directory is None:
                self._directory = self._make(self._base or root())
            return self._directory

    def new_path(self) -> Path:
        """Return a path at which no file is yet. Raises ``OSError`` as the disk says."""
        return self.directory() / str(next(self._numbers))

    def close(self, *, keep: bool = False) -> None:
        """Remove everything; or ``keep`` it for good, as nobody's."""
        with self._mutex:
            if self._directory is not None:
                if not keep:
                    shutil.rmtree(self._directory, ignore_errors=True)
                self._directory.with_suffix(_LOCK).unlink(missing_ok=True)
                self._directory = None
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _make(self, base: Path) -> Path:
        _sweep(base)
        while True:
            directory = base / f"asyncblock-{os.getpid()}-{secrets.token_hex(4)}"
            fd = _locked(directory.with_suffix(_LOCK))
            if fd is not None:
                self._fd = fd
                directory.mkdir(mode=0o700)
                return directory


def _sweep(base: Path) -> None:
    """Remove what processes left that are gone."""
    for lock in base.glob(f"asyncblock-*{_LOCK}"):
        with suppress(OSError):
            fd = _locked(lock, os.O_RDWR)
            if fd is not None:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
                os.close(fd)


def _locked(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int | None:
    """Open a file and take its lock; None when somebody has it, or had it and has removed the file meanwhile."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        # Only this frame has the descriptor.
        os.close(fd)
        raise
    os.close(fd)
    return None
