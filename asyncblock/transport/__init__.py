"""Transports move opaque messages, whole and in order, until the connection ends. They know nothing of their meaning.

``websocket`` is the real one, ``memory`` a connected pair in one event loop. Both pass
``asyncblock.testing.check_transport``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["Connector", "Transport"]


class Transport(Protocol):
    """One connection. Used by one event loop; one task sends, one task receives."""

    @property
    def peer(self) -> str:
        """Say for people who is at the other end."""
        ...

    @property
    def heard_at(self) -> float:
        """Return the loop's time at which bytes came last, of a whole message or not; at first, when it was opened."""
        ...

    async def send(self, message: bytes) -> None:
        """Hand a message over; wait while the buffer towards the other side is full.

        **Durability** none: a message handed over may still be lost with the connection.
        **Cancellation** may leave the message sent or unsent; close the transport afterwards.
        Raises ``ConnectionLost`` when the connection has ended.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        **Cancellation** is safe: no message is lost.
        Raises ``ConnectionLost`` when the connection has ended and everything before was received;
        ``RemoteProtocolError`` when the other side broke the transport's own rules (a message over the limit).
        """
        ...

    async def close(self) -> None:
        """End the connection after what was sent; idempotent, takes a bounded time.

        **Cancellation** aborts the connection.
        """
        ...

    def abort(self) -> None:
        """End the connection now, without a word to the other side."""
        ...


Connector = Callable[[], Awaitable[Transport]]
"""Opens a new connection to a fixed address."""
