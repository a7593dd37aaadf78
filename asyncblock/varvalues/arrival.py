"""The file of a value that comes in parts, from an executor of another host."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from ..errors import Unavailable
from .filed import Filed, ValueFiles
from .valuedirectory import ValueDirectory
from .valueid import ValueId

__all__ = ["Arrival"]


class Arrival:
    """The file of a value that comes in parts. Any thread may give it up while another one begins or writes.

    For the task that waits for such a thread may be cancelled, and the thread goes on.
    """

    def __init__(self, depot: ValueFiles, id: ValueId, begun: Callable[[], tuple[ValueDirectory, str, int]]) -> None:
        self._depot = depot
        self._id = id
        self._begun = begun
        self._directory: ValueDirectory | None = None
        self._draft = ""
        self._fd: int | None = None
        self._over = False
        self._length = 0
        self._mutex = threading.Lock()

    def begin(self) -> None:
        """Take the room. Raises ``Unavailable`` when there is none at all, or when it was given up."""
        with self._mutex:
            if self._over:
                raise _unwanted()
            self._directory, self._draft, self._fd = self._begun()

    def append(self, part: bytes) -> None:
        """Write the next part. Raises ``OSError`` as the disk says, and ``Unavailable`` when it was given up."""
        with self._mutex:
            if self._fd is None:
                raise _unwanted()
            rest = memoryview(part)
            while rest:
                written = os.pwrite(self._fd, rest, self._length)
                self._length += written
                rest = rest[written:]

    def finish(self) -> Filed:
        """Let it be the value's file, which is whole. Raises ``OSError`` and ``Unavailable``."""
        name = self._id.file()
        with self._mutex, self._depot.used():
            if self._fd is None or self._directory is None:
                raise _unwanted()
            os.ftruncate(self._fd, self._length)
            self._directory.rename(self._draft, name)
            self._close()
        return Filed(self._depot, self._id, f"{self._directory.letter}.{self._depot.owner}.{name}", self._length)

    def give_up(self) -> None:
        """Remove what came of it, unless it is whole."""
        with suppress(Unavailable), self._mutex:
            self._over = True
            if self._fd is not None and self._directory is not None:
                self._close()
                with self._depot.used():
                    self._directory.unlink(self._draft)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _unwanted() -> Unavailable:
    return Unavailable("the value that was being fetched isn't wanted any more")
