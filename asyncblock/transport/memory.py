"""A connected pair of transports in one event loop. What one end sends, the other receives."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import ConnectionLost
from . import Transport

__all__ = ["memory_pair"]

_BUFFER = 64 << 10
"""Bytes that a sender may be ahead of the receiver, like the websocket's write buffer."""


class _Pipe:
    """One direction: a bounded queue of messages."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._closed = False
        self._broken = False
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()

    async def put(self, message: bytes) -> None:
        while self._size >= _BUFFER and not self._closed:
            self._writable.clear()
            await self._writable.wait()
        if self._closed:
            raise ConnectionLost("the in-memory connection is closed")
        self._messages.append(message)
        self._size += len(message)
        self.heard_at = self._loop.time()
        self._readable.set()

    async def get(self) -> bytes:
        while not self._messages and not self._closed:
            self._readable.clear()
            await self._readable.wait()
        if not self._messages or self._broken:
            raise ConnectionLost("the in-memory connection is closed")
        message = self._messages.popleft()
        self._size -= len(message)
        self._writable.set()
        return message

    def end(self, *, broken: bool) -> None:
        self._closed = True
        self._broken = self._broken or broken
        self._readable.set()
        self._writable.set()


class _End:
    def __init__(self, incoming: _Pipe, outgoing: _Pipe, peer: str) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self.peer = peer

    @property
    def heard_at(self) -> float:
        return self._incoming.heard_at

    async def send(self, message: bytes) -> None:
        await self._outgoing.put(message)

    async def receive(self) -> bytes:
        return await self._incoming.get()

    async def close(self) -> None:
        self._outgoing.end(broken=False)
        self._incoming.end(broken=False)

    def abort(self) -> None:
        self._outgoing.end(broken=True)
        self._incoming.end(broken=True)


def memory_pair() -> tuple[Transport, Transport]:
    """Return two connected transports of the running loop."""
    there, back = _Pipe(), _Pipe()
    return _End(back, there, "memory:mainframe"), _End(there, back, "memory:link")
