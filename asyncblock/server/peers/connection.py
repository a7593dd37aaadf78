"""One connection of a link, seen from the mainframe: what waits to be sent on it, and in which order that goes.

``gateway`` lets it write, ``incoming`` reads what comes over it, and ``jobs.LinkState`` has the present one. It knows
neither links nor jobs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ...errors import ConnectionLost
from ...runtime import crashpoints
from ...transport import Transport
from ...wire.frames import fitted
from ...wire.messages import Bye, Message, encode
from ...wire.scheduler import BATCH_BYTES
from ..serverlimits import UNREAD_BYTES

__all__ = ["Connection", "Dismissed"]

Producer = Callable[[], Awaitable[bytes | None]]
"""Makes the next bulk message when the socket can take one; None when it has no more."""


CLOGGED_BYTES = 1 << 20
"""Control lines that wait for the socket before dispatches are made one by one, and messages to services are lost."""


class Dismissed(Exception):
    """The connection is turned away with this goodbye."""

    def __init__(self, bye: Bye) -> None:
        self.bye = bye


class Connection:
    """One connection of a link: control lines first, then bulk messages in turns, made when the socket takes them."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._control: deque[bytes] = deque()
        self._bulk: deque[Producer] = deque()
        self._sendable = asyncio.Event()
        self._closing = False
        self._queued = 0
        self._owed = 0
        self._drained = asyncio.Event()
        self.held = False
        """Nothing is read from it at the moment, for the disk has to catch up."""

    def send(self, message: Message) -> None:
        """Queue a control line."""
        self.send_line(encode(message))

    def send_line(self, line: bytes) -> None:
        """Queue a control line that is encoded already."""
        self._control.append(fitted(line))
        self._queued += len(line)
        self._sendable.set()

    def owe(self, size: int) -> None:
        """Count what will be said once something is in the journal; ``pay`` follows."""
        self._owed += size

    def pay(self, size: int) -> None:
        """What was owed is queued."""
        self._owed -= size
        self._drained.set()

    async def listening(self) -> None:
        """Wait while what is said on this connection isn't read: a peer that asks has to listen."""
        while self._queued + self._owed > UNREAD_BYTES:
            self._drained.clear()
            await self._drained.wait()

    @property
    def clogged(self) -> bool:
        """Much waits for the socket: what can be made later is."""
        return self._queued > CLOGGED_BYTES

    def feed(self, producer: Producer) -> None:
        """Queue a source of bulk messages."""
        self._bulk.append(producer)
        self._sendable.set()

    def withdraw(self, producer: Producer) -> None:
        """Remove a source that is no longer wanted."""
        if producer in self._bulk:
            self._bulk.remove(producer)

    def bye(self, message: Bye) -> None:
        """Say goodbye after what is queued, and end the connection."""
        self.send(message)
        self._closing = True

    async def write(self) -> None:
        """Send what is queued until the connection ends. Raises ``ConnectionLost``."""
        while True:
            if self._control:
                message = self._join()
                crashpoints.sending(message)
                await self.transport.send(message)
            elif self._closing:
                raise ConnectionLost("the mainframe said goodbye")
            elif self._bulk:
                producer = self._bulk.popleft()
                bulk = await producer()
                if bulk is not None:
                    self._bulk.append(producer)
                    await self.transport.send(bulk)
            else:
                self._sendable.clear()
                await self._sendable.wait()

    def _join(self) -> bytes:
        lines = [self._control.popleft()]
        size = len(lines[0])
        while self._control and size + len(self._control[0]) < BATCH_BYTES:
            lines.append(self._control.popleft())
            size += len(lines[-1])
        self._queued -= size
        self._drained.set()
        return b"\n".join(lines)
