"""One of the depot's two directories: the files of one owner, and the locks by which it is known which owners live.

Only this file knows descriptors of directories. Everything in it waits for the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..runtime.forks import claim
from .hosttoken import token_in
from .valueid import FILE_NAME, OWNER_NAME

__all__ = ["SPARE", "ValueDirectory"]

_STAYS: Final = 0o1700
"""The mode of an owner's directory whose files are to stay: the bit means nothing where only one user may enter."""
_LONGEST_STAY: Final = 7 * 86400.0
"""Seconds after which such files go: the process that would have heard of the end of their session was away."""
SPARE: Final = 16 << 20
"""Bytes of memory that are left to other processes."""
_HEADER: Final = 64 << 10
"""Bytes reserved beyond an array's own, for its description; what isn't needed is given back."""


class ValueDirectory:
    """One of the two directories, opened for one owner: ``m`` is in memory, ``d`` on the disk."""

    def __init__(self, letter: str, path: Path, owner: str) -> None:
        """Raises ``OSError`` where there can be none."""
        self.letter = letter
        self.path = path
        self._fds: list[int] = []
        self._marked = False
        try:
            self._base = self._opened(_open_private(path))
            self.token = token_in(self._base)
            self._own = self._owned(owner)
        except BaseException:
            # Whatever it is: the descriptors hold locks, and without this object nothing could close them.
            self.close()
            raise

    def _opened(self, fd: int) -> int:
        claim(fd)
        self._fds.append(fd)
        return fd

    def _owned(self, owner: str) -> int:
        """Open the owner's directory, and keep it from being swept."""
        while True:
            with suppress(FileExistsError):
                os.mkdir(owner, 0o700, dir_fd=self._base)
            fd = _open_directory(owner, self._base)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                with suppress(FileNotFoundError):
                    if os.stat(owner, dir_fd=self._base, follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
                        return self._opened(fd)
            except BaseException:
                # Whatever it is: the descriptor holds the lock, and only this frame knows it.
                os.close(fd)
                raise
            # Another process swept the directory between its creation and its lock: make it again.
            os.close(fd)

    def free(self) -> int:
        """Return how many bytes there is room for."""
        room = os.fstatvfs(self._own)
        return room.f_bavail * room.f_frsize

    def spare(self) -> int:
        """Return how many bytes of a disk are left to others: a journal may be on it, and needs some, too."""
        room = os.fstatvfs(self._own)
        return min(room.f_blocks * room.f_frsize // 20, 1 << 30)

    def write(self, name: str, fill: Callable[[int], int]) -> int:
        """Make a file that is there whole or not at all; return its length. On a disk it stays when its owner ends."""
        if self.letter == "d" and not self._marked:
            os.fchmod(self._own, _STAYS)
            self._marked = True
        draft = f"{name}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        try:
            try:
                length = fill(fd)
            finally:
                os.close(fd)
            os.rename(draft, name, src_dir_fd=self._own, dst_dir_fd=self._own)
        except BaseException:
            # Whatever it is, Ctrl-C too: half a file would take memory until its owner ends.
            self.unlink(draft)
            raise
        return length

    def draft(self, name: str, size: int) -> tuple[str, int]:
        """Begin a file that comes in parts; return its name for now and its descriptor. ``size`` bytes are reserved."""
        # Its name begins as the file's does: if this process is killed, it goes with the files of the session.
        draft = f"{name}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        try:
            os.posix_fallocate(fd, 0, size)
        except BaseException:
            # Whatever it is: only this frame knows the file and its descriptor.
            os.close(fd)
            self.unlink(draft)
            raise
        return draft, fd

    def rename(self, draft: str, name: str) -> None:
        """Let what was begun be a file."""
        os.rename(draft, name, src_dir_fd=self._own, dst_dir_fd=self._own)

    def reserve(self, size: int) -> int:
        """Open a file without a name whose bytes are allocated: writing to a mapping of it never raises SIGBUS."""
        if self.free() < size + SPARE:
            raise OSError(errno.ENOSPC, f"{self.path.parent} has room for {self.free()} bytes")
        fd = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        try:
            os.posix_fallocate(fd, 0, size + _HEADER)
        except BaseException:
            # Whatever it is: only this frame knows the descriptor.
            os.close(fd)
            raise
        return fd

    def adopt(self, fd: int, name: str) -> None:
        """Give such a file a name."""
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._own, follow_symlinks=True)

    def open(self, owner: str, name: str) -> int:
        """Open a file of any owner's. Raises ``OSError``."""
        directory = _open_directory(owner, self._base)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        finally:
            os.close(directory)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(fd)
            raise FileNotFoundError(f"{name} is no file of this user's")
        return fd

    def size(self, name: str) -> int | None:
        """Return the size of a file of the owner's, if it is there."""
        try:
            return os.stat(name, dir_fd=self._own, follow_symlinks=False).st_size
        except OSError:
            return None

    def unlink(self, name: str) -> None:
        """Remove a file of the owner's, if it is there."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._own)

    def names(self) -> list[str]:
        """Return the files of the owner's."""
        return _listed(self._own)

    def bytes(self) -> int:
        """Return how many bytes the files of the owner's take, and those that owners before have left."""
        sizes = 0
        for directory in self._directories():
            for name in _listed(directory):
                with suppress(OSError):
                    sizes += os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
        return sizes

    def unlink_all(self, concerns: Callable[[str], bool]) -> None:
        """Remove the files of the owner's, and of those that owners before have left, whose names are concerned."""
        for directory in self._directories():
            for name in _listed(directory):
                if concerns(name):
                    with suppress(OSError):
                        os.unlink(name, dir_fd=directory)

    def _directories(self) -> Iterator[int]:
        """Open the owner's directory, and those that owners before have left."""
        yield self._own
        for name in _listed(self._base):
            if OWNER_NAME.fullmatch(name) is None:
                continue
            with suppress(OSError):
                fd = _open_directory(name, self._base)
                try:
                    if _is_left(fd):
                        yield fd
                finally:
                    os.close(fd)

    def sweep(self) -> None:
        """Remove what owners have left that are gone, but for what is to stay."""
        for name in os.listdir(self._base):
            if OWNER_NAME.fullmatch(name) is None:
                continue
            with suppress(OSError):
                fd = _open_directory(name, self._base)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not _is_left(fd):
                        shutil.rmtree(name, dir_fd=self._base)
                finally:
                    os.close(fd)

    def leave(self, owner: str) -> None:
        """Remove the owner's directory, unless it has files that are to stay."""
        with suppress(OSError):
            if not _is_left(self._own):
                shutil.rmtree(owner, dir_fd=self._base)

    def close(self) -> None:
        """Let go of the directories."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)


def _listed(directory: int) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_left(directory: int) -> bool:
    """Tell whether the files in an owner's directory are to stay; it goes when there are none any more."""
    status = os.fstat(directory)
    if stat.S_IMODE(status.st_mode) != _STAYS or time.time() - status.st_mtime > _LONGEST_STAY:
        return False
    return any(map(FILE_NAME.fullmatch, _listed(directory)))


def _open_directory(name: str, base: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)


def _open_private(path: Path) -> int:
    """Open a directory that only this user may enter, made if need be. Raises ``OSError`` for another user's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(f"{path} belongs to another user")
    if status.st_mode & 0o077:
        os.fchmod(fd, 0o700)
    return fd
