"""The depot: files through which the processes of one user on one host hand var values to each other.

There are two directories that nobody else may enter: one in memory (``/dev/shm``), and one among the scratch files for
what has no room there. In each stands a random token that only its user can read: whoever knows the same tokens can
open the same files, and that, not a name, makes two processes *of one host*. Processes in other environments of Python
count as of other hosts, for a value is read with the libraries that wrote it.

Each command that starts executors, and each executor that nobody has started, owns a directory in them, with a lock
that it and its children hold; it goes when its owner ends, and where that was killed, whoever opens a depot next
removes it. So the file of a value outlives the process that wrote it.

What is on the disk stays there when its command ends: it may still be asked for. The directory is marked, and goes
when its last file has gone, or after a week. Whoever opens the same disk can read it, in another container, too, whose
memory is another one; so the disk has a token and a proof of its own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import LocalProtocolError, Unavailable
from ..runtime import scratch
from ..runtime.forks import claim

__all__ = ["MEMORY", "Arrival", "Depot", "Filed", "ValueId", "loaded"]

logger = logging.getLogger("asyncblock.depot")

MEMORY: Final = "ASYNCBLOCK_MEMORY_DIR"
"""A directory in memory; ``/dev/shm`` by default."""

_TOKEN: Final = "host"
_OWNER: Final = re.compile(r"v-[0-9]+-[0-9a-f]{8}")
_FILE: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_NAME: Final = re.compile(rf"([md])\.({_OWNER.pattern})\.({_FILE.pattern})")
_STAYS: Final = 0o1700
"""The mode of an owner's directory whose files are to stay: the bit means nothing where only one user may enter."""
_LONGEST_STAY: Final = 7 * 86400.0
"""Seconds after which such files go: who would have heard of the end of their session was away."""
_SPARE: Final = 16 << 20
"""Bytes that stay free in memory for whoever else is there."""


_MANY: Final = 100_000
"""Members that are written one by one of a value that is lost otherwise; read again, they take a loop's time."""

_HEADER: Final = 64 << 10
"""Bytes beyond an array's own for what is said of it; what isn't needed is given back."""


class ValueId(NamedTuple):
    """Which value a file has."""

    session_id: str
    job_id: str
    attempt: int
    place: int

    def about(self) -> dict[str, Any]:
        """Return what stands in its file."""
        return {"of": [*self]}

    def file(self) -> str:
        """Return the name of its file, without the place where that is."""
        return f"{_session(self.session_id)}-{_digest(self.job_id, str(self.attempt), str(self.place))}"


def _session(session_id: str) -> str:
    return _digest(session_id)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


class _Place:
    """One of the two directories, opened."""

    def __init__(self, letter: str, path: Path, owner: str) -> None:
        """Raises ``OSError`` where there can be none."""
        self.letter = letter
        self.path = path
        self._fds: list[int] = []
        self._marked = False
        try:
            self._base = self._opened(_private(path))
            self.token = _token_in(self._base)
            self._own = self._owned(owner)
        except BaseException:
            # Whatever it is: the descriptors hold locks, and nobody gets this object to close it.
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
            fd = _directory(owner, self._base)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                with suppress(FileNotFoundError):
                    if os.stat(owner, dir_fd=self._base, follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
                        return self._opened(fd)
            except BaseException:
                # Whatever it is: the descriptor holds the lock, and nobody else knows of it.
                os.close(fd)
                raise
            # Somebody has swept it before it had its lock.
            os.close(fd)

    def free(self) -> int:
        """Return how many bytes there is room for."""
        room = os.fstatvfs(self._own)
        return room.f_bavail * room.f_frsize

    def spare(self) -> int:
        """Return how many bytes of a disk are left to others: whose journal is on it needs some, too."""
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
        # It begins as the file's does: where its process is killed it goes with the files of the session.
        draft = f"{name}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        try:
            os.posix_fallocate(fd, 0, size)
        except BaseException:
            # Whatever it is: nobody else knows of it.
            os.close(fd)
            self.unlink(draft)
            raise
        return draft, fd

    def rename(self, draft: str, name: str) -> None:
        """Let what was begun be a file."""
        os.rename(draft, name, src_dir_fd=self._own, dst_dir_fd=self._own)

    def reserve(self, size: int) -> int:
        """Open a file without a name, whose bytes there is room for: who writes to them never gets a signal."""
        if self.free() < size + _SPARE:
            raise OSError(errno.ENOSPC, f"{self.path.parent} has room for {self.free()} bytes")
        fd = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        try:
            os.posix_fallocate(fd, 0, size + _HEADER)
        except BaseException:
            # Whatever it is: nobody else knows the descriptor.
            os.close(fd)
            raise
        return fd

    def adopt(self, fd: int, name: str) -> None:
        """Give such a file a name."""
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._own, follow_symlinks=True)

    def open(self, owner: str, name: str) -> int:
        """Open a file of any owner's. Raises ``OSError``."""
        directory = _directory(owner, self._base)
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
            if _OWNER.fullmatch(name) is None:
                continue
            with suppress(OSError):
                fd = _directory(name, self._base)
                try:
                    if _is_left(fd):
                        yield fd
                finally:
                    os.close(fd)

    def sweep(self) -> None:
        """Remove what owners have left that are gone, but for what is to stay."""
        for name in os.listdir(self._base):
            if _OWNER.fullmatch(name) is None:
                continue
            with suppress(OSError):
                fd = _directory(name, self._base)
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


class Depot:
    """The files of values, for one process. Its methods wait for the disk; any thread may call them.

    ``owner`` is the name of the directory that whoever has started this process owns; without one it has its own.
    """

    def __init__(self, owner: str | None = None) -> None:
        self._ours = owner is None
        self.owner = owner if owner is not None else f"v-{os.getpid()}-{secrets.token_hex(4)}"
        self._mutex = threading.Lock()
        self._users = 0
        self._closed = False
        self._places: list[_Place] = []
        self.host: str | None = None
        """What the processes that can open the same files have in common; None where there are none."""
        self.disk: str | None = None
        """What those have in common that can open the same files on the disk; None where there are none."""

    def open(self) -> None:
        """Open the directories, as far as there can be any, and remove what dead owners have left."""
        if _OWNER.fullmatch(self.owner) is None:
            raise LocalProtocolError(f"{self.owner!r} is no name of a directory of var values")
        memory = os.environ.get(MEMORY) or "/dev/shm"
        user = f"asyncblock-values-{os.geteuid()}"
        for letter in "md":
            try:
                base = Path(memory) if letter == "m" else scratch.root()
                self._places.append(_Place(letter, base / user, self.owner))
            except (OSError, Unavailable) as error:
                logger.debug("there is no directory %s for var values: %s", letter, error)
        for place in self._places:
            with suppress(OSError):
                place.sweep()
        if self._places:
            parts = [f"{place.letter}{place.token}" for place in self._places]
            self.host = _proof(parts)
            self.disk = next((_proof(["disk", part]) for part in parts if part[0] == "d"), None)

    @contextmanager
    def used(self) -> Iterator[list[_Place]]:
        """Keep the directories open while a thread works in them: their descriptors may be others' once closed."""
        with self._mutex:
            if self._closed:
                raise Unavailable("the directories of var values are closed: their executor is leaving")
            self._users += 1
        try:
            yield self._places
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
        with self.used() as places:
            return self._saved(places, value, id, size, may_take)

    def _saved(
        self, places: list[_Place], value: object, id: ValueId, size: int, may_take: int
    ) -> tuple[str, int, str | None]:
        from ..values import portable

        name = id.file()
        found = self._found(places, id)
        if found is not None:
            return found.name, found.length, None
        why: list[str] = []
        for place in places:
            if place.letter == "m" and (size > may_take or place.free() < size + _SPARE):
                why.append(f"{place.path.parent} has no room for {size} bytes")
                continue
            try:
                length = place.write(name, lambda fd: portable.save(value, fd, id.about()))
            except OSError as error:
                why.append(f"{place.path.parent}: {error.strerror or error}")
                continue
            return f"{place.letter}.{self.owner}.{name}", length, "; ".join(why) or None
        raise Unavailable(f"a var value of {size} bytes can't be put into a file for another process: {'; '.join(why)}")

    def spill(self, value: object, id: ValueId, size: int) -> Filed:
        """Write a value of about ``size`` bytes to the disk, unless it is in a file; return what stands for it.

        Raises ``OSError`` as the disk says, where little of it would be left, too; what the value's library raises.
        """
        with self.used() as places:
            found = self._found(places, id)
            return found if found is not None else self._spilled(places, value, id, size)

    def hand_down(self, value: object, id: ValueId, left: int) -> Filed:
        """Let a value be in a file on the disk that stays when its owner ends, of ``left`` bytes at most; return that.

        Raises ``NotPortable``; ``OSError`` as the disk says, and for one that takes more; what its library raises.
        """
        with self.used() as places:
            disk = [place for place in places if place.letter == "d"]
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
        with self.used() as places:
            return sum(place.bytes() for place in places if place.letter == "d")

    def _found(self, places: list[_Place], id: ValueId) -> Filed | None:
        for place in places:
            length = place.size(id.file())
            if length is not None:
                return Filed(self, id, f"{place.letter}.{self.owner}.{id.file()}", length)
        return None

    def _spilled(self, places: list[_Place], value: object, id: ValueId, size: int, few: int | None = None) -> Filed:
        from ..values import portable

        place = next((each for each in places if each.letter == "d"), None)
        if place is None:
            raise OSError(errno.EROFS, "there is no directory for them that can be written to")
        if place.free() < size + place.spare():
            raise OSError(errno.ENOSPC, f"{place.path.parent} has too little room left")
        length = place.write(id.file(), lambda fd: portable.save(value, fd, id.about(), few or portable.MOST))
        return Filed(self, id, f"d.{self.owner}.{id.file()}", length)

    def reserve(self, size: int) -> int:
        """Open a file in memory that has no name yet, with room for so many bytes; it goes with its descriptor.

        Raises ``OSError`` where there is no room, and ``Unavailable``.
        """
        with self.used() as places:
            place = next((each for each in places if each.letter == "m"), None)
            if place is None:
                raise Unavailable("there is no directory in memory that is this user's alone")
            return place.reserve(size)

    def adopt(self, fd: int, id: ValueId) -> str:
        """Let such a file be a value's, and return its name. Raises ``OSError`` and ``Unavailable``."""
        with self.used() as places:
            place = next(each for each in places if each.letter == "m")
            place.adopt(fd, id.file())
            return f"{place.letter}.{self.owner}.{id.file()}"

    def arrival(self, id: ValueId, size: int, may_take: int) -> Arrival:
        """Return what takes the file of a value in that comes in parts, of so many bytes; where it is, as for
        ``save``."""
        return Arrival(self, id, lambda: self._drafted(id, size, may_take))

    def _drafted(self, id: ValueId, size: int, may_take: int) -> tuple[_Place, str, int]:
        """Begin such a file; return where it is, its name for now, and its descriptor. Raises ``Unavailable``."""
        why: list[str] = []
        with self.used() as places:
            for place in places:
                if place.letter == "m" and (size > may_take or place.free() < size + _SPARE):
                    why.append(f"{place.path.parent} has no room for {size} bytes")
                    continue
                if place.letter == "d" and place.free() < size + place.spare():
                    why.append(f"{place.path.parent} has too little room left")
                    continue
                try:
                    return place, *place.draft(id.file(), size)
                except OSError as error:
                    why.append(f"{place.path.parent}: {error.strerror or error}")
        raise Unavailable(f"a var value of {size} bytes that another host has can't be kept here: {'; '.join(why)}")

    def opened(self, name: str) -> int:
        """Open a value's file, whoever has written it. Raises ``LocalProtocolError`` where there is none."""
        with self.used() as places:
            return self._open(places, name, "a var value")

    def load(self, name: str, id: ValueId) -> Any:
        """Return the value of a file that another process of this host has written.

        Raises ``LocalProtocolError`` for a name that no file of this host can have, a file that isn't there or has
        another value; what the value's library raises.
        """
        with self.used() as places:
            return self._loaded(places, name, id)

    @classmethod
    def _loaded(cls, places: list[_Place], name: str, id: ValueId) -> Any:
        from ..values import portable

        fd = cls._open(places, name, f"a var value of job {id.job_id}")
        try:
            return portable.load(fd, id.about())
        finally:
            os.close(fd)

    @staticmethod
    def _open(places: list[_Place], name: str, what: str) -> int:
        match = _NAME.fullmatch(name)
        place = next((each for each in places if match is not None and each.letter == match[1]), None)
        if match is None or place is None:
            raise LocalProtocolError(f"{name!r:.100} is no name of a var value's file on this host")
        try:
            return _opened(places, place, match[2], match[3])
        except OSError as error:
            raise LocalProtocolError(f"the file {name} of {what} isn't there: {error.strerror or error}") from error

    def remove(self, ids: Iterable[ValueId], letters: str = "md") -> None:
        """Remove the files of values that nobody asks for any more: those in memory, those on the disk, or both."""
        with suppress(Unavailable), self.used() as places:
            for id in ids:
                for place in places:
                    if place.letter in letters:
                        place.unlink(id.file())

    def remove_left(self, ids: Iterable[ValueId]) -> None:
        """Remove the files of values that nobody asks for any more and that other owners have left."""
        names = {id.file() for id in ids}
        with suppress(Unavailable), self.used() as places:
            for place in places:
                if place.letter == "d":
                    place.unlink_all(names.__contains__)

    def end_sessions(self, session_ids: Iterable[str]) -> None:
        """Remove all files of sessions."""
        ended = {_session(session_id) for session_id in session_ids}
        with suppress(Unavailable), self.used() as places:
            for place in places:
                place.unlink_all(lambda name: name.partition("-")[0] in ended)

    def close(self) -> None:
        """Let go of the directories, and remove what is ours; when nobody works in them any more."""
        with self._mutex:
            last, self._closed = not self._closed and not self._users, True
        if last:
            self._let_go()

    def _let_go(self) -> None:
        places, self._places = self._places, []
        for place in places:
            if self._ours:
                place.leave(self.owner)
            place.close()


class Filed:
    """What is kept of a value that is only in a file, which has no room in memory or was made there. Whoever wants the
    value maps it anew."""

    def __init__(self, depot: Depot, id: ValueId, name: str, length: int) -> None:
        self._depot = depot
        self._id = id
        self.name = name
        """The file's name."""
        self.length = length
        """The file's bytes."""

    @property
    def in_memory(self) -> bool:
        """Whether its file is in memory."""
        return self.name.startswith("m")

    def load(self) -> Any:
        """Return the value as it was put out; what is written into it is the caller's own. Opens a file."""
        return self._depot.load(self.name, self._id)

    def remove(self) -> None:
        """Remove the file: nobody was told of it."""
        self._depot.remove([self._id])


class Arrival:
    """The file of a value that comes in parts. Any thread may call, and give it up while another one begins or writes:
    who waits for that may be cancelled, and the thread goes on."""

    def __init__(self, depot: Depot, id: ValueId, begun: Callable[[], tuple[_Place, str, int]]) -> None:
        self._depot = depot
        self._id = id
        self._begun = begun
        self._place: _Place | None = None
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
            self._place, self._draft, self._fd = self._begun()

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
            if self._fd is None or self._place is None:
                raise _unwanted()
            os.ftruncate(self._fd, self._length)
            self._place.rename(self._draft, name)
            self._close()
        return Filed(self._depot, self._id, f"{self._place.letter}.{self._depot.owner}.{name}", self._length)

    def give_up(self) -> None:
        """Remove what came of it, unless it is whole."""
        with suppress(Unavailable), self._mutex:
            self._over = True
            if self._fd is not None and self._place is not None:
                self._close()
                with self._depot.used():
                    self._place.unlink(self._draft)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _unwanted() -> Unavailable:
    return Unavailable("the value that was being fetched isn't wanted any more")


def loaded(value: object) -> Any:
    """Return a value that is kept itself, from its file if it is only there."""
    return value.load() if isinstance(value, Filed) else value


def _opened(places: list[_Place], place: _Place, owner: str, name: str) -> int:
    """Open a file where its reference says, or on the disk if its owner has left it there. Raises ``OSError``."""
    try:
        return place.open(owner, name)
    except FileNotFoundError:
        disk = next((each for each in places if each.letter == "d"), None)
        if disk is None or disk is place:
            raise
        return disk.open(owner, name)


def _proof(parts: list[str]) -> str:
    return hashlib.sha256("\0".join([*parts, sys.prefix, sys.version]).encode()).hexdigest()[:32]


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
    return any(map(_FILE.fullmatch, _listed(directory)))


def _directory(name: str, base: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)


def _private(path: Path) -> int:
    """Open a directory that nobody else may enter, made if need be. Raises ``OSError`` for one of somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(f"{path} belongs to somebody else")
    if status.st_mode & 0o077:
        os.fchmod(fd, 0o700)
    return fd


def _token_in(base: int) -> str:
    """Return the token of a directory, made if need be: linked into its place whole, so that all read the same."""
    with suppress(FileNotFoundError):
        return _read_token(base)
    draft = f"{_TOKEN}.{secrets.token_hex(8)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=base)
    try:
        try:
            os.write(fd, secrets.token_hex(32).encode())
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(draft, _TOKEN, src_dir_fd=base, dst_dir_fd=base)
    finally:
        os.unlink(draft, dir_fd=base)
    return _read_token(base)


def _read_token(base: int) -> str:
    fd = os.open(_TOKEN, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError("the token of the directory of var values isn't this user's alone")
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)
