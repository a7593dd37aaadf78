"""Results on disk: a file for each key, whole or not there. Any number of processes may read and write at once.

A file is a sequence of frames: a line of JSON that says what follows and how long its parts are, then the parts. The
last frame has a digest of all before it. Values that were never JSON are pickles, which only a directory may hold that
nobody else can write.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from ...errors import Unavailable

__all__ = ["Frame", "PrunedResults", "Results", "UnfinishedResult", "limit_here", "read_frames"]

MAX_RESULT: Final = 1 << 30
"""Bytes of the largest result that is kept."""

_LIMIT: Final = 2 << 30
"""Bytes of all results together; the longest unused go first."""

_STALE_DRAFT: Final = 86400.0
"""Seconds after which what a killed process was writing is removed."""

_SWEEP: Final = 64 << 20
"""Bytes that a process writes before it looks again at what there is altogether."""

_BLOCK: Final = 1 << 20


def limit_here() -> int:
    """Return the bytes that results may take: ``ASYNCBLOCK_CACHE_BYTES``, or 2 GiB."""
    given = os.environ.get("ASYNCBLOCK_CACHE_BYTES", "")
    return int(given) if given.isdecimal() else _LIMIT


@dataclass(frozen=True, slots=True)
class Frame:
    """A header and its parts."""

    head: dict[str, Any]
    parts: list[bytes]


@dataclass(frozen=True, slots=True)
class PrunedResults:
    """What was removed, and what is left."""

    results: int
    bytes: int
    left: int


class UnfinishedResult:
    """A result that is being written. Keep it or drop it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f".{secrets.token_hex(8)}.draft"
        self.size = 0
        self._file: BinaryIO | None = open(  # noqa: SIM115  # closed by keep and drop
            os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
        )
        self._digest = hashlib.sha256()

    def add(self, head: Mapping[str, Any], parts: list[bytes]) -> None:
        """Write a frame."""
        assert self._file is not None
        line = orjson.dumps({**head, "sizes": [len(part) for part in parts]}) + b"\n"
        for each in (line, *parts):
            self._digest.update(each)
            self._file.write(each)
            self.size += len(each)

    def end(self) -> None:
        """Write the last frame."""
        assert self._file is not None
        self._file.write(orjson.dumps({"end": self._digest.hexdigest(), "sizes": []}) + b"\n")
        self._file.close()
        self._file = None

    def drop(self) -> None:
        """Remove it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)


class Results:
    """The directory of results. Its methods read and write files: call them off the loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._written = _SWEEP

    def check(self) -> None:
        """Raise ``Unavailable`` where others could have written what would be unpickled."""
        status = self.directory.stat()
        if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unavailable(
                f"the cache {self.directory} belongs to another user, or others may write into it; give another "
                "directory by ASYNCBLOCK_CACHE_DIR, or: chmod go-w"
            )

    def open(self, name: str) -> BinaryIO | None:
        """Open a result, if it is there and whole; it counts as used now."""
        path = self.directory / name
        try:
            file = open(path, "rb")  # noqa: SIM115  # whoever asked closes it
        except OSError:
            return None
        if not _is_whole(file):
            file.close()
            path.unlink(missing_ok=True)
            return None
        os.utime(file.fileno())
        file.seek(0)
        return file

    def draft(self) -> UnfinishedResult:
        """Begin a result."""
        return UnfinishedResult(self.directory)

    def keep(self, draft: UnfinishedResult, name: str) -> None:
        """Put a draft in the place of a result; remove old ones where there are too many."""
        draft.end()
        os.replace(draft.path, self.directory / name)
        self._written += draft.size
        if self._written >= min(_SWEEP, limit_here() // 16):
            self._written = 0
            self.prune(limit=limit_here())

    def forget(self, name: str) -> None:
        """Remove a result."""
        (self.directory / name).unlink(missing_ok=True)

    def last(self, place: str) -> dict[str, Any] | None:
        """Return the key's parts of a node's last time."""
        try:
            found = orjson.loads((self.directory / f"{place}.last").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return found if isinstance(found, dict) else None

    def note(self, place: str, parts: Mapping[str, Any]) -> None:
        """Remember a node's last time."""
        fresh = self.directory / f".{secrets.token_hex(8)}.draft"
        try:
            fresh.write_bytes(orjson.dumps(dict(parts)))
            os.replace(fresh, self.directory / f"{place}.last")
        finally:
            fresh.unlink(missing_ok=True)

    def usage(self) -> tuple[int, int]:
        """Return how many results there are, and the bytes of everything."""
        found = list(self._files())
        return sum("." not in name for name, _, _ in found), sum(size for _, _, size in found)

    def prune(self, *, limit: int | None = None, older: float | None = None) -> PrunedResults:
        """Remove what wasn't used for ``older`` seconds, and of the rest what was used longest ago above the limit."""
        now = time.time()
        found = sorted(self._files(), key=lambda each: each[1])
        left = sum(size for _, _, size in found)
        removed = freed = 0
        for name, used, size in found:
            stale = name.endswith(".draft") and now - used > _STALE_DRAFT
            old = older is not None and now - used >= older and not name.endswith(".draft")
            above = limit is not None and left > limit and not name.endswith(".draft")
            if stale or old or above:
                (self.directory / name).unlink(missing_ok=True)
                left -= size
                freed += size
                removed += "." not in name
        return PrunedResults(removed, freed, left)

    def _files(self) -> Iterator[tuple[str, float, int]]:
        with os.scandir(self.directory) as listing:
            for each in listing:
                try:
                    status = each.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield each.name, status.st_mtime, status.st_size


def read_frames(file: BinaryIO) -> Iterator[Frame]:
    """Read the frames of a result that is whole, without the last."""
    while line := file.readline():
        head = orjson.loads(line)
        if "end" in head:
            return
        yield Frame(head, [file.read(size) for size in head["sizes"]])


def _is_whole(file: BinaryIO) -> bool:
    digest = hashlib.sha256()
    try:
        while line := file.readline():
            head = orjson.loads(line)
            if "end" in head:
                return bool(head["end"] == digest.hexdigest()) and not file.read(1)
            digest.update(line)
            left = sum(head["sizes"])
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    return False
                digest.update(block)
                left -= len(block)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return False
