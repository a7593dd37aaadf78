"""File uploads: files that are sent to the mainframe as bodies, which a request names rather than a job's record."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..errors import ConnectionLost, Rejected
from ..wire.bodies import CHUNK_SIZE, BodyRef, OutgoingBody
from ..wire.channel import Channel
from .sender import LinkSender

__all__ = ["FileUploads"]

T = TypeVar("T")

_READ: Final = 1 << 20
"""Bytes that are summed at a time."""

_TRIES: Final = 5
"""Requests that may be too early: with each a mainframe has begun anew, which has yet to check what it has."""


class FileUploads:
    """Sends one file at a time: the mainframe bounds what it has of a link that nobody has named. On the I/O thread."""

    def __init__(self, sender: LinkSender) -> None:
        self._sender = sender
        self._turn = asyncio.Lock()

    async def send(self, opened: Callable[[], int], name: Callable[[BodyRef], Awaitable[T]]) -> T:
        """Send the file that ``opened`` gives a descriptor of, have ``name`` say whose it is, and return its answer.

        **Durability**: as ``name`` says. **Cancellation** is safe: what was sent is discarded. Raises ``OSError``, what
        ``opened`` and ``name`` raise, ``ConnectionLost`` when the link is over or begins anew.
        """
        async with self._turn:
            file, body = _File(opened), self._body()
            try:
                await asyncio.to_thread(file.open)
                # The thread that sums has a descriptor of its own: a cancel here closes this one under it.
                await asyncio.to_thread(self._fill, body, file, opened)
                self._go_on()
                for left in reversed(range(_TRIES)):
                    await self._until_kept(body)
                    try:
                        return await name(body.ref)
                    except Rejected as error:
                        if error.code != "unkept" or not left:
                            raise
                raise AssertionError("the last try returns or raises")
            finally:
                self._sender.when_kept.pop(body.n, None)
                self._sender.forget([body])
                file.close()

    def _body(self) -> OutgoingBody:
        """Begin a body on a channel of which the mainframe never hears."""
        sender = self._sender
        if sender.own is None:
            sender.own = Channel(0, "", 0, sender.ports[0] if sender.ports else sender.new_port())
        body = OutgoingBody(sender.next_body(), "raw", sender.own)
        sender.outbox.keep(body)
        return body

    def _go_on(self) -> None:
        if self._sender.own is not None:
            self._sender.enlist(self._sender.own)

    async def _until_kept(self, body: OutgoingBody) -> None:
        sender = self._sender
        while not body.kept:
            if body.dropped or body.n not in sender.outbox.bodies:
                raise ConnectionLost(
                    "the link was begun anew, and nothing waits for what was being sent on the old one"
                )
            await asyncio.shield(sender.when_kept.setdefault(body.n, sender.io.loop.create_future()))

    def _fill(self, body: OutgoingBody, file: _File, opened: Callable[[], int]) -> None:
        """Add all of a file to a body, and sum it. On a worker thread."""
        digest, at, io, own = hashlib.sha256(), 0, self._sender.io, opened()
        try:
            while not body.dropped and (piece := os.pread(own, _READ, at)):
                digest.update(piece)
                for start in range(at, at + len(piece), CHUNK_SIZE):
                    size = min(CHUNK_SIZE, at + len(piece) - start)
                    body.add(_Stretch(file, start), size)
                at += len(piece)
                io.post(self._go_on)
        finally:
            os.close(own)
        body.seal(digest.hexdigest())


class _File:
    """A file that a worker thread opens, for a caller that may not wait for it any more."""

    def __init__(self, opened: Callable[[], int]) -> None:
        self._opened = opened
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._closed = False

    def open(self) -> None:
        """Open it. Raises what opening raises."""
        fd = self._opened()
        with self._mutex:
            if not self._closed:
                self._fd = fd
                return
        os.close(fd)

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start``. On the thread that closes it."""
        assert self._fd is not None
        return os.pread(self._fd, size, start)

    def close(self) -> None:
        """Close it, or let it be closed as soon as it is open."""
        with self._mutex:
            self._closed = True
            fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class _Stretch:
    """A block of a file, read when its turn comes."""

    __slots__ = ("_file", "_start")

    def __init__(self, file: _File, start: int) -> None:
        self._file = file
        self._start = start

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start`` in the block."""
        return self._file.read(self._start + start, size)
