"""The files of bodies: ``bodies/<link_id>/<n>``. A file is the body's bytes and nothing else, so its length says where
the sender goes on, also after a crash. What is here waits for the disk and raises what the disk says.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import RemoteProtocolError, Unavailable
from .contract import BodyKey
from .files import sync_directory
from .ground import check_file

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["BodyFiles", "body_path", "check_key", "read_body", "scan"]

_OPEN_FILES = 64
"""Files held open; a body that gets a chunk later is opened again."""

_READ_SIZE = 1 << 20

_SYNC_BYTES = 8 << 20
"""Bytes after which a body is synced while it comes, so that its end doesn't keep the chunks of others waiting."""

_LINK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What may name a directory. Link ids come from outside."""


def check_key(key: BodyKey) -> None:
    """Raise ``RemoteProtocolError`` for a key that can't become a path here."""
    if not _LINK_ID.fullmatch(key.link_id) or not 0 <= key.n < 1 << 63:
        raise RemoteProtocolError(f"{key.link_id!r} and {key.n} can't name a body")


def body_path(root: Path, key: BodyKey) -> Path:
    """Return where a body is."""
    return root / key.link_id / str(key.n)


class _File:
    """A body's file while it is written to. ``digest`` is None when the file had content before this process."""

    __slots__ = ("digest", "fd", "length", "sync_failed", "unsynced")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.length = os.fstat(fd).st_size
        self.digest: _Hash | None = hashlib.sha256() if self.length == 0 else None
        self.sync_failed = False
        self.unsynced = 0
        """Bytes appended since the last sync."""

    def append(self, data: memoryview) -> None:
        # The disk may take a part and refuse the rest: what it took counts, and isn't written again.
        while data:
            written = os.pwrite(self.fd, data, self.length)
            if self.digest is not None:
                self.digest.update(data[:written])
            self.length += written
            self.unsynced += written
            data = data[written:]

    def sha256(self) -> str:
        if self.digest is None:
            self.digest = hashlib.sha256()
            for _, piece in self._pieces():
                self.digest.update(piece)
        return self.digest.hexdigest()

    def sync(self) -> None:
        if self.sync_failed:
            # After a failure the kernel takes the pages for clean; a second sync would succeed and do nothing.
            for offset, piece in self._pieces():
                os.pwrite(self.fd, piece, offset)
        self.sync_failed = True
        os.fsync(self.fd)
        self.sync_failed = False
        self.unsynced = 0

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while piece := os.pread(self.fd, _READ_SIZE, offset):
            yield offset, piece
            offset += len(piece)


class BodyFiles:
    """The files, used by one thread. It waits for the disk and raises what the disk says."""

    def __init__(self, root: Path, sync: bool) -> None:
        self._root = root
        self._sync = sync
        self._open: OrderedDict[BodyKey, _File] = OrderedDict()
        self._digests: dict[BodyKey, _Hash | None] = {}

    def write(self, key: BodyKey, offset: int, data: bytes | memoryview) -> int:
        """Append what isn't there yet; return the length. Raises ``RemoteProtocolError`` for a gap."""
        file = self._file(key)
        if offset > file.length:
            raise RemoteProtocolError(
                f"a chunk of body {key.link_id}-{key.n} begins at {offset}; only {file.length} bytes came before it"
            )
        if offset + len(data) > file.length:
            file.append(memoryview(data)[file.length - offset :])
        if self._sync and file.unsynced >= _SYNC_BYTES:
            file.sync()
        return file.length

    def finish(self, key: BodyKey, length: int, sha256: str, keep: bool) -> int:
        """Check and, if asked to, sync a body; return its length."""
        if key not in self._open and not body_path(self._root, key).exists():
            raise RemoteProtocolError(f"no chunk of body {key.link_id}-{key.n} came before its record")
        file = self._file(key)
        if file.length != length or file.sha256() != sha256:
            stored = file.length
            if not keep:
                self.delete(key)
            raise RemoteProtocolError(
                f"body {key.link_id}-{key.n} came with {stored} bytes; its record says {length}, or has another sha256"
            )
        if self._sync:
            file.sync()
            sync_directory(body_path(self._root, key).parent)
        check_file(file.fd, body_path(self._root, key))
        self._shut(key, forget=True)
        return length

    def delete(self, key: BodyKey) -> int:
        """Delete a body, if it is there; return its length."""
        self._shut(key, forget=True)
        path = body_path(self._root, key)
        try:
            length = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        # It isn't empty while the link has other bodies, and one of those may be made at this moment.
        with suppress(OSError):
            path.parent.rmdir()
        return length

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._shut(next(iter(self._open)), forget=True)

    def _file(self, key: BodyKey) -> _File:
        file = self._open.get(key)
        if file is not None:
            self._open.move_to_end(key)
            return file
        if len(self._open) >= _OPEN_FILES:
            self._shut(next(iter(self._open)), forget=False)
        file = _File(self._open_file(body_path(self._root, key)))
        file.digest = self._digests.pop(key, file.digest)
        self._open[key] = file
        return file

    def _open_file(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        while True:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                # Not the directory of all: one that was deleted mustn't come back empty. That of the link may go again
                # at once, with the last body of a session that is pruned.
                path.parent.mkdir(mode=0o700)
                if self._sync:
                    sync_directory(self._root)

    def _shut(self, key: BodyKey, *, forget: bool) -> None:
        file = self._open.pop(key, None)
        if file is not None:
            os.close(file.fd)
            self._digests[key] = file.digest
        if forget:
            self._digests.pop(key, None)


def scan(root: Path, referenced: set[tuple[str, int]]) -> dict[str, dict[int, int]]:
    """Return the lengths of the bodies under a directory that nothing names, by link and number; remove empty links."""
    found: dict[str, dict[int, int]] = {}
    for directory in os.scandir(root):
        for file in os.scandir(directory):
            if file.name.isdecimal() and (directory.name, int(file.name)) not in referenced:
                found.setdefault(directory.name, {})[int(file.name)] = file.stat().st_size
        # Only an empty one goes; the bodies of a link that is still known stay.
        with suppress(OSError):
            os.rmdir(directory)
    return found


def read_body(path: Path, offset: int, n: int) -> bytes:
    """Read a part of a body. Raises ``Unavailable`` when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable(f"there is no body {path.parent.name}-{path.name}") from None
    try:
        return os.pread(fd, n, offset)
    finally:
        os.close(fd)
