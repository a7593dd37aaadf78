"""The ground that a journal stands on: its files, by device and inode, as they were when it was opened.

A file that was deleted or replaced while it is open takes everything that is written to it, and nobody finds that
again. So the writers look here after a commit and before they say that something is stored: two calls of ``stat``, 2 us
each, beside a commit of 50 us and more.

Nor may a sync be believed at once that says nothing: on an ext4 that meets an error while one is under way, the sync
can return as if all were well, and what it was for isn't there after the next mount (seen with Linux 6.18, twice in 16
tries with the error coming while commits are synced without a pause). It is the end of the file system's own journal
that lets it return, and from then on every change of a file's allocation is refused. So where commits are synced such a
change, of nothing, is asked for after each: 7 us. To open a file for writing is refused some milliseconds later only.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["Ground", "GroundLost", "check_file"]


class GroundLost(OSError):
    """A file of the journal isn't where it was any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(errno.ESTALE, f"{path} was deleted, moved or replaced while it was in use")

    def __str__(self) -> str:
        return str(self.args[1])


class Ground:
    """Which files some paths mean. Used by one thread."""

    def __init__(self, paths: Iterable[Path], writable: Path | None = None) -> None:
        self._known = {path: _identity(path) for path in paths}
        self._writable = writable

    def check(self) -> None:
        """Raise ``GroundLost`` unless each path still means its file, and ``OSError`` when nothing can be written."""
        if self._writable is not None:
            _check_writable(self._writable)
        for path, known in self._known.items():
            found = _identity(path)
            if known is None:
                # It hadn't been made yet.
                self._known[path] = found
            elif found != known:
                raise GroundLost(path)


def check_file(fd: int, path: Path) -> None:
    """Raise ``GroundLost`` unless a path means an open file."""
    status = os.fstat(fd)
    if _identity(path) != (status.st_dev, status.st_ino):
        raise GroundLost(path)


def _check_writable(path: Path) -> None:
    """Raise ``OSError`` if the file system takes no changes any more."""
    # Not of the database itself: to close any of its descriptors lets go of the locks that this process has on it.
    with suppress(FileNotFoundError):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if sys.platform == "linux":
                os.posix_fallocate(fd, 0, 1)
        except OSError as error:
            # Not every file system knows of it.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                raise
        finally:
            os.close(fd)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
