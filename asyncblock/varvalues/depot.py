"""The depot: files through which the processes of one user on one host hand var values to each other.

There are two directories that only this user may enter: one in memory (``/dev/shm``), and one among the scratch files
for what has no room there. Each holds a random token that only its user can read: processes that know the same tokens
can open the same files, and that, not a name, makes them *of one host*. Processes in other environments of Python count
as of other hosts, for a value is read with the libraries that wrote it.

Each command that starts executors, and each executor that was started by hand, owns a directory in them, with a lock
that it and its children hold. The directory goes when its owner ends; if the owner was killed, the next process that
opens a depot removes it. So the file of a value outlives the process that wrote it.

What is on the disk stays there when its command ends: it may still be asked for. The directory is marked, and goes
when its last file has gone, or after a week. Containers may share a disk and not their memory; so the disk has a token
and a proof of its own.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ..errors import LocalProtocolError, Unavailable
from ..runtime import scratch
from .arrival import Arrival
from .filed import Filed
from .hosttoken import proof_of
from .valuedirectory import SPARE, ValueDirectory
from .valueid import OWNER_NAME, REFERENCE, ValueId, session_part

__all__ = ["MEMORY", "Depot"]

logger = logging.getLogger("asyncblock.depot")


MEMORY: Final = "ASYNCBLOCK_MEMORY_DIR"
"""A directory in memory; ``/dev/shm`` by default."""
_MANY: Final = 100_000
"""Members that are written one by one of a value that is lost otherwise; read again, they take a loop's time."""


class Depot:
    """The files of values, for one process. Its methods wait for the disk; any thread may call them.

    ``owner`` is the name of the directory that the command which started this process owns; without one it has its own.
    """

    def __init__(self, owner: str | None = None) -> None:
        self._ours = owner is None
        self.owner = owner if owner is not None else f"v-{os.getpid()}-{secrets.token_hex(4)}"
        self._mutex = threading.Lock()
        self._users = 0
        self._closed = False
        self._directories: list[ValueDirectory] = []
        self.host: str | None = None
        """What the processes that can open the same files have in common; None where there are none."""
        self.disk: str | None = None
        """What those have in common that can open the same files on the disk; None where there are none."""

    def open(self) -> None:
        """Open the directories, as far as there can be any, and remove what dead owners have left."""
        if OWNER_NAME.fullmatch(self.owner) is None:
            raise LocalProtocolError(f"{self.owner!r} is no name of a directory of var values")
        memory = os.environ.get(MEMORY) or "/dev/shm"
        user = f"asyncblock-values-{os.geteuid()}"
        for letter in "md":
            try:
                base = Path(memory) if letter == "m" else scratch.root()
                self._directories.append(ValueDirectory(letter, base / user, self.owner))
            except (OSError, Unavailable) as error:
                logger.debug("there is no directory %s for var values: %s", letter, error)
        for directory in self._directories:
            with suppress(OSError):
                directory.sweep()
        if self._directories:
            parts = [f"{directory.letter}{directory.token}" for directory in self._directories]
            self.host = proof_of(parts)
            self.disk = next((proof_of(["disk", part]) for part in parts if part[0] == "d"), None)

    @contextmanager
    def used(self) -> Iterator[list[ValueDirectory]]:
        """Keep the directories open while a thread works in them: their descriptors may be others' once closed."""
        with self._mutex:
            if self._closed:
                raise Unavailable("the directories of var values are closed: their executor is leaving")
            self._users += 1
        try:
            yield self._directories
        finally:
            with self._mutex:
                self._users -= 1
                last = self._closed and not self._users
            if last:
                self._let_go()

    def save(self, value: object, id: ValueId, size: int, may_take: int) -> tuple[str, int, str | None]:
        """Write a value of about ``size`` bytes into a file, unless it is there; return name and length.

        In memory, where it has room and isn't larger than it ``may_take`` there; else on the disk, and the third thing
        returned are words about that. Raises ``Unavailable`` when there is no room at all, and what the value's library
        raises.
        """
        with self.used() as directories:
            return self._saved(directories, value, id, size, may_take)

    def _saved(
        self, directories: list[ValueDirectory], value: object, id: ValueId, size: int, may_take: int
    ) -> tuple[str, int, str | None]:
        from ..values import portable

        name = id.file()
        found = self._found(directories, id)
        if found is not None:
            return found.name, found.length, None
        why: list[str] = []
        for directory in directories:
            if directory.letter == "m" and (size > may_take or directory.free() < size + SPARE):
                why.append(f"{directory.path.parent} has no room for {size} bytes")
                continue
            try:
                length = directory.write(name, lambda fd: portable.save(value, fd, id.about()))
            except OSError as error:
                why.append(f"{directory.path.parent}: {error.strerror or error}")
                continue
            return f"{directory.letter}.{self.owner}.{name}", length, "; ".join(why) or None
        raise Unavailable(f"a var value of {size} bytes can't be put into a file for another process: {'; '.join(why)}")

    def spill(self, value: object, id: ValueId, size: int) -> Filed:
        """Write a value of about ``size`` bytes to the disk, unless it is in a file; return what stands for it.

        Raises ``OSError`` as the disk says, where little of it would be left, too; what the value's library raises.
        """
        with self.used() as directories:
            found = self._found(directories, id)
            return found if found is not None else self._spilled(directories, value, id, size)

    def hand_down(self, value: object, id: ValueId, left: int) -> Filed:
        """Let a value be in a file on the disk that stays when its owner ends, of ``left`` bytes at most; return that.

        Raises ``NotPortable``; ``OSError`` as the disk says, and for one that takes more; what its library raises.
        """
        with self.used() as directories:
            disk = [directory for directory in directories if directory.letter == "d"]
            found = self._found(disk, id)
            if found is not None:
                return found
            filed = self._spilled(disk, value, id, 0, few=_MANY)
            if filed.length > left:
                disk[0].unlink(id.file())
                raise OSError(errno.EDQUOT, f"it takes {filed.length} bytes, and there is room for {max(left, 0)}")
            return filed

    def disk_bytes(self) -> int:
        """Return how many bytes of the disk files of values take: the owner's, and those that others have left."""
        with self.used() as directories:
            return sum(directory.bytes() for directory in directories if directory.letter == "d")

    def _found(self, directories: list[ValueDirectory], id: ValueId) -> Filed | None:
        for directory in directories:
            length = directory.size(id.file())
            if length is not None:
                return Filed(self, id, f"{directory.letter}.{self.owner}.{id.file()}", length)
        return None

    def _spilled(
        self, directories: list[ValueDirectory], value: object, id: ValueId, size: int, few: int | None = None
    ) -> Filed:
        from ..values import portable

        directory = next((each for each in directories if each.letter == "d"), None)
        if directory is None:
            raise OSError(errno.EROFS, "there is no directory for them that can be written to")
        if directory.free() < size + directory.spare():
            raise OSError(errno.ENOSPC, f"{directory.path.parent} has too little room left")
        length = directory.write(id.file(), lambda fd: portable.save(value, fd, id.about(), few or portable.MOST))
        return Filed(self, id, f"d.{self.owner}.{id.file()}", length)

    def reserve(self, size: int) -> int:
        """Open a file in memory that has no name yet, with room for so many bytes; it goes with its descriptor.

        Raises ``OSError`` where there is no room, and ``Unavailable``.
        """
        with self.used() as directories:
            directory = next((each for each in directories if each.letter == "m"), None)
            if directory is None:
                raise Unavailable("there is no directory in memory that is this user's alone")
            return directory.reserve(size)

    def adopt(self, fd: int, id: ValueId) -> str:
        """Let such a file be a value's, and return its name. Raises ``OSError`` and ``Unavailable``."""
        with self.used() as directories:
            directory = next(each for each in directories if each.letter == "m")
            directory.adopt(fd, id.file())
            return f"{directory.letter}.{self.owner}.{id.file()}"

    def arrival(self, id: ValueId, size: int, may_take: int) -> Arrival:
        """Return what takes the file of a value in that comes in parts, of so many bytes; where it is, as for
        ``save``."""
        return Arrival(self, id, lambda: self._drafted(id, size, may_take))

    def _drafted(self, id: ValueId, size: int, may_take: int) -> tuple[ValueDirectory, str, int]:
        """Begin such a file; return where it is, its name for now, and its descriptor. Raises ``Unavailable``."""
        why: list[str] = []
        with self.used() as directories:
            for directory in directories:
                if directory.letter == "m" and (size > may_take or directory.free() < size + SPARE):
                    why.append(f"{directory.path.parent} has no room for {size} bytes")
                    continue
                if directory.letter == "d" and directory.free() < size + directory.spare():
                    why.append(f"{directory.path.parent} has too little room left")
                    continue
                try:
                    return directory, *directory.draft(id.file(), size)
                except OSError as error:
                    why.append(f"{directory.path.parent}: {error.strerror or error}")
        raise Unavailable(f"a var value of {size} bytes that another host has can't be kept here: {'; '.join(why)}")

    def opened(self, name: str) -> int:
        """Open a value's file, of any owner's. Raises ``LocalProtocolError`` where there is none."""
        with self.used() as directories:
            return self._open(directories, name, "a var value")

    def load(self, name: str, id: ValueId) -> Any:
        """Return the value of a file that another process of this host has written.

        Raises ``LocalProtocolError`` for a name that no file of this host can have, a file that isn't there or has
        another value; what the value's library raises.
        """
        with self.used() as directories:
            return self._loaded(directories, name, id)

    @classmethod
    def _loaded(cls, directories: list[ValueDirectory], name: str, id: ValueId) -> Any:
        from ..values import portable

        fd = cls._open(directories, name, f"a var value of job {id.job_id}")
        try:
            return portable.load(fd, id.about())
        finally:
            os.close(fd)

    @staticmethod
    def _open(directories: list[ValueDirectory], name: str, what: str) -> int:
        match = REFERENCE.fullmatch(name)
        directory = next((each for each in directories if match is not None and each.letter == match[1]), None)
        if match is None or directory is None:
            raise LocalProtocolError(f"{name!r:.100} is no name of a var value's file on this host")
        try:
            return _opened(directories, directory, match[2], match[3])
        except OSError as error:
            raise LocalProtocolError(f"the file {name} of {what} isn't there: {error.strerror or error}") from error

    def remove(self, ids: Iterable[ValueId], letters: str = "md") -> None:
        """Remove the files of values that aren't wanted any more: those in memory, those on the disk, or both."""
        with suppress(Unavailable), self.used() as directories:
            for id in ids:
                for directory in directories:
                    if directory.letter in letters:
                        directory.unlink(id.file())

    def remove_left(self, ids: Iterable[ValueId]) -> None:
        """Remove the files of values that aren't wanted any more and that other owners have left."""
        names = {id.file() for id in ids}
        with suppress(Unavailable), self.used() as directories:
            for directory in directories:
                if directory.letter == "d":
                    directory.unlink_all(names.__contains__)

    def end_sessions(self, session_ids: Iterable[str]) -> None:
        """Remove all files of sessions."""
        ended = {session_part(session_id) for session_id in session_ids}
        with suppress(Unavailable), self.used() as directories:
            for directory in directories:
                directory.unlink_all(lambda name: name.partition("-")[0] in ended)

    def close(self) -> None:
        """Let go of the directories, and remove what is ours; when no thread works in them any more."""
        with self._mutex:
            last, self._closed = not self._closed and not self._users, True
        if last:
            self._let_go()

    def _let_go(self) -> None:
        directories, self._directories = self._directories, []
        for directory in directories:
            if self._ours:
                directory.leave(self.owner)
            directory.close()


def _opened(directories: list[ValueDirectory], directory: ValueDirectory, owner: str, name: str) -> int:
    """Open a file where its reference says, or on the disk if its owner has left it there. Raises ``OSError``."""
    try:
        return directory.open(owner, name)
    except FileNotFoundError:
        disk = next((each for each in directories if each.letter == "d"), None)
        if disk is None or disk is directory:
            raise
        return disk.open(owner, name)
