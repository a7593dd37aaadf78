"""A disk that forgets: records every write and sync of the journal, then makes the directory as a power loss leaves it.

What was written before the last sync of its file is there. Of what was written after, any part may be: nothing, all, a
torn subset. A body's file is as long as its data, as on file systems that write data before sizes.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw

from asyncblock.server.journal.database import DatabaseConnection

__all__ = ["Event", "Recorder", "image"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a file, or an acknowledgement."""

    kind: str
    """``write``, ``truncate``, ``sync`` or ``stored``."""
    path: str = ""
    offset: int = 0
    data: bytes = b""


class Recorder:
    """Sees what a journal does to its files, in order. ``events`` is complete when the journal is closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._pwrite, self._fsync = os.pwrite, os.fsync
        self._vfs = _Vfs(self)

    def note(self, event: Event) -> None:
        """Append an event, from any thread."""
        with self._lock:
            self.events.append(event)

    def connect(self, path: Path, read_only: bool) -> DatabaseConnection:
        """Open a connection whose files are watched."""
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        connection = apsw.Connection(str(path), flags=flags, vfs=self._vfs.name)
        connection.set_busy_timeout(1000)
        return cast("DatabaseConnection", connection)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Stand in for ``os.pwrite``, which bodies are written with."""
        written = self._pwrite(fd, data, offset)
        self.note(Event("write", _path(fd), offset, bytes(data[:written])))
        return written

    def fsync(self, fd: int) -> None:
        """Stand in for ``os.fsync``."""
        self._fsync(fd)
        self.note(Event("sync", _path(fd)))


_VFS: Any = apsw.VFS
_VFSFile: Any = apsw.VFSFile


class _Vfs(_VFS):  # type: ignore[misc]  # apsw may be there with its types or without
    def __init__(self, recorder: Recorder) -> None:
        self.name = f"recorder-{id(recorder)}"
        self._recorder = recorder
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: Any) -> Any:
        return _File(self._recorder, name, flags)


class _File(_VFSFile):  # type: ignore[misc]  # as above
    def __init__(self, recorder: Recorder, name: Any, flags: Any) -> None:
        super().__init__("", name, flags)
        self._note = recorder.note
        self._path = name if isinstance(name, str) else str(name.filename())

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._note(Event("write", self._path, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._note(Event("truncate", self._path, size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._note(Event("sync", self._path))


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def image(base: Path, recorder: Recorder, moment: int, chance: random.Random, target: Path) -> None:
    """Make a directory as it is found after a power loss at a moment, from a copy of how it was at the beginning."""
    shutil.copytree(base, target)
    files: dict[str, list[Event]] = {}
    synced: dict[str, int] = {}
    for event in recorder.events[:moment]:
        if event.kind == "sync":
            synced[event.path] = len(files.get(event.path, []))
        elif event.path:
            files.setdefault(event.path, []).append(event)
    for path, events in files.items():
        safe = synced.get(path, 0)
        kept = [*events[:safe], *_survivors(events[safe:], chance, in_order="/bodies/" in path)]
        file = target / Path(path).relative_to(recorder.directory)
        if safe or kept:
            file.parent.mkdir(exist_ok=True)
            _apply(file, kept)


def _survivors(events: list[Event], chance: random.Random, *, in_order: bool) -> list[Event]:
    match chance.choice(("nothing", "all", "beginning", "beginning" if in_order else "torn")):
        case "nothing":
            return []
        case "all":
            return events
        case "beginning":
            return events[: chance.randint(0, len(events))]
        case _:
            return [_torn(event, chance) for event in events if chance.random() < 0.7]


def _torn(event: Event, chance: random.Random) -> Event:
    """Cut a write at a sector, now and then."""
    if event.kind != "write" or chance.random() < 0.8:
        return event
    return Event("write", event.path, event.offset, event.data[: 512 * chance.randint(0, len(event.data) // 512)])


def _apply(file: Path, events: list[Event]) -> None:
    fd = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        for event in events:
            if event.kind == "write":
                os.pwrite(fd, event.data, event.offset)
            else:
                os.ftruncate(fd, event.offset)
    finally:
        os.close(fd)
