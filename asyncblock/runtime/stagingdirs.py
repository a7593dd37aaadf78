"""Directories in which something is made that is to appear whole, beside the place where it will be.

They go at the end of whoever made them. A process that is killed leaves its own: its lock is free then, and whoever
makes the next one for the same place removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from .forks import claim

__all__ = ["StagingDir"]

_ENDING: Final = ".draft"


class StagingDir:
    """An empty directory beside ``target``, which may be moved there. Its methods wait for the disk."""

    def __init__(self, target: Path, mode: int = 0o700) -> None:
        self._target = target
        self._mode = mode
        self._lock: int | None = None
        self.path = target

    def open(self) -> None:
        """Make the directory. Raises ``OSError`` as the disk says."""
        _sweep(self._target)
        while True:
            self.path = self._target.with_name(f".{self._target.name}.{secrets.token_hex(4)}{_ENDING}")
            self.path.mkdir(self._mode, parents=True)
            with suppress(FileNotFoundError):
                lock = _opened(self.path)
                # A child that is forked meanwhile mustn't hold the lock longer than we do.
                claim(lock)
                # Some file systems have no locks: then nothing is swept there either.
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_SH)
                if self.path.exists():
                    self._lock = lock
                    return
                # Another process swept it between its creation and its lock.
                os.close(lock)

    def close(self) -> None:
        """Remove what is left of it. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)

    def __enter__(self) -> Path:
        self.open()
        return self.path

    def __exit__(self, *exc: object) -> None:
        self.close()


def _sweep(target: Path) -> None:
    """Remove what processes left that were killed while they made the same."""
    try:
        siblings = [each.path for each in os.scandir(target.parent)]
    except OSError:
        return
    begin = f".{target.name}."
    for path in map(Path, siblings):
        token = path.name.removeprefix(begin).removesuffix(_ENDING)
        if path.name == f"{begin}{token}{_ENDING}" and len(token) == 8:
            with suppress(OSError):
                lock = _opened(path)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
