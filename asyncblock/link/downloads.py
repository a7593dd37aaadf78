"""Downloads: bodies that this process fetches from the mainframe, in parts, across reconnects."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AsyncBlockError, ConnectionLost, Rejected, RemoteProtocolError
from ..wire.bodies import BodyRef
from ..wire.messages import Fetch, Fetched, Message
from .gate import Gate

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Downloads"]

_PART = 1 << 20
"""Bytes asked for at once: what the mainframe may have under way for one download."""

_AT_ONCE = 64
"""Parts that are asked for at once, by all downloads together: 64 MiB on their way, which keeps any line busy."""


@dataclass(slots=True, eq=False)
class _Part:
    start: int
    size: int
    """Bytes that were asked for."""
    buffer: bytearray
    done: asyncio.Future[None]


class Downloads:
    """The downloads under way on one link. Lives on the I/O thread."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._ids = itertools.count(1)
        self._parts: dict[int, _Part] = {}
        self._connected = asyncio.Event()
        self._over: AsyncBlockError | None = None
        self._gate = Gate(_AT_ONCE)

    async def fetch(self, ref: BodyRef) -> list[bytes]:
        """Fetch a whole body and check its sum; return it in blocks, so that no call need copy all of it.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't have it, ``RemoteProtocolError`` when
        what came isn't what the reference says.
        """
        blocks = [block async for block in self._blocks_of(ref)]
        _check(ref, await asyncio.to_thread(_sum, blocks))
        return blocks

    async def part(self, ref: BodyRef, offset: int, size: int) -> bytes:
        """Fetch some bytes of a body; the sum is only of all of it.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't have it.
        """
        return b"".join([block async for block in self._blocks_of(ref, offset, offset + size)])

    async def save(self, ref: BodyRef, path: Path) -> None:
        """Fetch a whole body into a file that isn't there yet, and check its sum; a part of it is in memory at a time.

        **Cancellation** is safe and leaves a file; so does every error. Raises as ``fetch``, and ``OSError``.
        """
        await asyncio.to_thread(path.touch, 0o600, exist_ok=False)
        await self.pour(ref, partial(_append, path))

    async def pour(self, ref: BodyRef, take: Callable[[bytes], object]) -> None:
        """Fetch a whole body, hand each part to ``take`` on a worker thread, and check its sum at the end.

        **Cancellation** is safe: a part may still be under way. Raises as ``fetch``, and what ``take`` raises.
        """
        digest = hashlib.sha256()
        async for block in self._blocks_of(ref):
            await asyncio.to_thread(_taken, take, block, digest)
        _check(ref, digest.hexdigest())

    async def _blocks_of(self, ref: BodyRef, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = ref.length if stop is None else min(stop, ref.length)
        while start < stop:
            async with self._gate:
                await self._connected.wait()
                if self._over is not None:
                    raise self._over
                block = await self._part(ref, start, stop)
            if block:
                yield block
                start += len(block)

    async def _part(self, ref: BodyRef, start: int, stop: int) -> bytes:
        """Fetch the next part; what came of it before the connection was lost counts."""
        id = next(self._ids)
        part = _Part(start, min(_PART, stop - start), bytearray(), asyncio.get_running_loop().create_future())
        self._parts[id] = part
        try:
            self._send(Fetch(id, ref.link or "", ref.n, start, part.size))
            await part.done
        except ConnectionLost:
            pass
        finally:
            del self._parts[id]
        return bytes(part.buffer)

    def chunk(self, id: int, offset: int, piece: memoryview) -> None:
        """Take in a chunk; one for a download that was given up is dropped."""
        part = self._parts.get(id)
        if part is None or part.done.done():
            return
        if offset != part.start + len(part.buffer):
            wanted = part.start + len(part.buffer)
            raise RemoteProtocolError(f"a chunk for offset {wanted} came with offset {offset}")
        if len(part.buffer) + len(piece) > part.size:
            raise RemoteProtocolError(f"more than the {part.size} bytes came that a download asked for")
        part.buffer += piece

    def fetched(self, message: Fetched) -> None:
        """Take in the end of a part."""
        part = self._parts.get(message.id)
        if part is None or part.done.done():
            return
        if message.error is not None:
            part.done.set_exception(Rejected(message.error, code="body"))
        elif not part.buffer:
            part.done.set_exception(RemoteProtocolError("a download ended before its bytes came"))
        else:
            part.done.set_result(None)

    def connected(self, max_fetches: int = _AT_ONCE) -> None:
        """Go on with downloads after a Welcome that allows so many at once."""
        self._gate.allow(min(max_fetches, _AT_ONCE))
        self._connected.set()

    def disconnected(self) -> None:
        """Pause downloads until the next Welcome; what arrived is kept."""
        self._connected.clear()
        for part in self._parts.values():
            if not part.done.done():
                part.done.set_exception(ConnectionLost("the connection was lost during a download"))
                part.done.exception()

    def end(self, error: AsyncBlockError) -> None:
        """End all downloads with an error."""
        self._over = error
        self._gate.end(error)
        self.disconnected()
        # Those that wait for a connection have to see that none will come.
        self._connected.set()


def _check(ref: BodyRef, digest: str) -> None:
    if digest != ref.sha256:
        raise RemoteProtocolError(f"body {ref.link}-{ref.n} arrived with another sum than its record says")


def _taken(take: Callable[[bytes], object], block: bytes, digest: _Hash) -> None:
    take(block)
    digest.update(block)


def _append(path: Path, block: bytes) -> None:
    # Opened each time: no descriptor can be closed under a thread whose awaiter was cancelled.
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(block)


def _sum(blocks: list[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
