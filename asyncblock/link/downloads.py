"""Downloads: bodies that this process fetches from the mainframe, in parts, across reconnects."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import AsyncBlockError, ConnectionLost, Rejected, RemoteProtocolError
from ..wire.bodies import BodyRef
from ..wire.messages import Fetch, Fetched, Message

__all__ = ["Downloads"]

_PART = 1 << 20
"""Bytes asked for at once: what the mainframe may have under way for one download."""


@dataclass(slots=True, eq=False)
class _Part:
    buffer: bytearray
    start: int
    done: asyncio.Future[None]


class Downloads:
    """The downloads under way on one link. Lives on the I/O thread."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._ids = itertools.count(1)
        self._parts: dict[int, _Part] = {}
        self._connected = asyncio.Event()
        self._over: AsyncBlockError | None = None

    async def fetch(self, ref: BodyRef) -> bytes:
        """Fetch a whole body and check its sum.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't have it, ``RemoteProtocolError`` when
        what came isn't what the reference says.
        """
        buffer = bytearray()
        while len(buffer) < ref.length:
            await self._connected.wait()
            if self._over is not None:
                raise self._over
            try:
                await self._part(ref, buffer)
            except ConnectionLost:
                continue
        data = bytes(buffer)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if digest != ref.sha256:
            raise RemoteProtocolError(f"body {ref.link}-{ref.n} arrived with another sum than its record says")
        return data

    async def _part(self, ref: BodyRef, buffer: bytearray) -> None:
        id = next(self._ids)
        part = _Part(buffer, len(buffer), asyncio.get_running_loop().create_future())
        self._parts[id] = part
        size = min(_PART, ref.length - len(buffer))
        try:
            self._send(Fetch(id, ref.link or "", ref.n, len(buffer), size))
            await part.done
        finally:
            del self._parts[id]

    def chunk(self, id: int, offset: int, piece: memoryview) -> None:
        """Take in a chunk; one for a download that was given up is dropped."""
        part = self._parts.get(id)
        if part is None:
            return
        if offset != len(part.buffer):
            raise RemoteProtocolError(f"a chunk for offset {len(part.buffer)} came with offset {offset}")
        part.buffer += piece

    def fetched(self, message: Fetched) -> None:
        """Take in the end of a part."""
        part = self._parts.get(message.id)
        if part is None or part.done.done():
            return
        if message.error is not None:
            part.done.set_exception(Rejected(message.error, code="body"))
        elif len(part.buffer) == part.start:
            part.done.set_exception(RemoteProtocolError("a download ended before its bytes came"))
        else:
            part.done.set_result(None)

    def connected(self) -> None:
        """Go on with downloads after a Welcome."""
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
        self.disconnected()
        self._connected.set()
