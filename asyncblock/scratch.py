"""Scratch files: where large values are that needn't or mustn't be in memory. Nothing is made before it is needed.

They go with the process: a named file stands in a directory that the process holds a lock on, and whoever makes such a
directory next removes those whose process is gone, however it ended.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["Scratch", "root"]

_LOCK = ".lock"
"""Ends the name of the file whose lock says that the directory beside it is in use."""


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


class Scratch:
    """The named scratch files of a process. Its methods wait for the disk; any thread may call them."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._directory: Path | None = None
        self._numbers = itertools.count(1)

    def new_path(self) -> Path:
        """Return a path at which no file is yet. Raises ``OSError`` as the disk says."""
        with self._mutex:
            if self._directory is None:
                self._directory = self._make(root())
            return self._directory / str(next(self._numbers))

    def close(self) -> None:
        """Remove everything."""
        with self._mutex:
            if self._directory is not None:
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
        # Nobody else has the descriptor.
        os.close(fd)
        raise
    os.close(fd)
    return None
