"""A network in memory that harms connections: delays, cuts, halves of messages, refusals, and what comes late.

Each connection is a pair of transports in one event loop. Within a connection order is kept, as TCP keeps it; across
connections nothing is: with ``late`` the far end goes on receiving over the old connection what was under way when the
near end has long dialled anew and sent it again, so that things come twice and out of order.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConnectionLost
from ..transport import Transport

__all__ = ["Faults", "MemoryNetwork"]

_BUFFER = 64 << 10
"""Bytes on the way in one direction at which a sender waits, like the websocket's write buffer."""


@dataclass(slots=True)
class Faults:
    """How a network harms; change it at any time. Chances are for each message, times in seconds."""

    delay: tuple[float, float] = (0.0, 0.0)
    """The shortest and the longest time that a message is under way."""
    cut: float = 0.0
    """The chance that the connection ends instead of taking a message; what is under way is lost."""
    truncate: float = 0.0
    """The chance that a message is taken and the connection ends in its middle: the far end never has it."""
    late: float = 0.0
    """The chance that a cut is seen by one end only, and the far one still receives what was under way."""


class _Direction:
    """Messages on their way from one end to the other."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[bytes] = deque()
        self._under_way: deque[tuple[asyncio.TimerHandle, bytes]] = deque()
        self._due = 0.0
        self._size = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.closed_for_sender = False
        self._ended = False
        self.heard_at = self._loop.time()

    async def put(self, message: bytes) -> None:
        while self._size >= _BUFFER and not self.closed_for_sender:
            self._writable.clear()
            await self._writable.wait()
        if self.closed_for_sender:
            raise ConnectionLost("the connection is cut")
        self._size += len(message)
        low, high = self._network.faults.delay
        self._due = max(self._due, self._loop.time() + self._network.chance.uniform(low, high))
        self._under_way.append((self._loop.call_at(self._due, self._deliver), message))

    def _deliver(self) -> None:
        _, message = self._under_way.popleft()
        self._arrived.append(message)
        self.heard_at = self._loop.time()
        self._readable.set()

    async def get(self) -> bytes:
        while not self._arrived and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        if not self._arrived:
            raise ConnectionLost("the connection is cut")
        message = self._arrived.popleft()
        self._size -= len(message)
        self._writable.set()
        return message

    def close(self) -> None:
        """End it after what is under way."""
        self.closed_for_sender = True
        self._writable.set()
        if self._under_way:
            self._loop.call_at(self._due, self._end)
        else:
            self._end()

    def break_(self) -> None:
        """End it at once: what is under way, and what nobody has taken yet, is lost."""
        self.closed_for_sender = True
        for timer, _ in self._under_way:
            timer.cancel()
        self._under_way.clear()
        self._arrived.clear()
        self._writable.set()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._readable.set()


class _Line:
    """One connection, both directions."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.up = _Direction(network)
        self.down = _Direction(network)

    def cut(self, *, late: bool) -> None:
        self.network.lines.discard(self)
        self.network.cuts += 1
        self.down.break_()
        if late:
            self.up.close()
        else:
            self.up.break_()


class _End:
    """One end of a connection: a ``Transport``."""

    def __init__(self, line: _Line, outgoing: _Direction, incoming: _Direction, peer: str) -> None:
        self._line = line
        self._outgoing = outgoing
        self._incoming = incoming
        self.peer = peer

    @property
    def heard_at(self) -> float:
        return self._incoming.heard_at

    async def send(self, message: bytes) -> None:
        chance, faults = self._line.network.chance, self._line.network.faults
        if not self._outgoing.closed_for_sender:
            if faults.cut and chance.random() < faults.cut:
                self._line.cut(late=chance.random() < faults.late)
            elif faults.truncate and chance.random() < faults.truncate:
                self._line.cut(late=chance.random() < faults.late)
                return
        await self._outgoing.put(message)

    async def receive(self) -> bytes:
        return await self._incoming.get()

    async def close(self) -> None:
        self._line.network.lines.discard(self._line)
        self._outgoing.close()
        self._incoming.break_()

    def abort(self) -> None:
        self._line.network.lines.discard(self._line)
        self._outgoing.break_()
        self._incoming.break_()


class MemoryNetwork:
    """Connects whoever dials to whoever accepts, in one event loop, with faults drawn from ``chance``.

    ::

        network = MemoryNetwork(mainframe.accept_soon, Faults(delay=(0, 0.2), cut=0.01), random.Random(seed))
        link = Link(io, network.dial, "the mainframe")
    """

    def __init__(
        self, accept: Callable[[Transport], None], faults: Faults | None = None, chance: random.Random | None = None
    ) -> None:
        self._accept = accept
        self.faults = faults or Faults()
        self.chance = chance or random.Random(0)
        self.refusing = False
        """While this is set nobody gets through."""
        self.lines: set[_Line] = set()
        """Connections that are open."""
        self.cuts = 0
        """Connections that were ended by a fault."""

    async def dial(self) -> Transport:
        """Open a connection. Raises ``ConnectionLost`` while ``refusing``."""
        if self.refusing:
            raise ConnectionLost("nobody answers")
        line = _Line(self)
        self.lines.add(line)
        self._accept(_End(line, line.down, line.up, "memory:dialled"))
        return _End(line, line.up, line.down, "memory:accepted")

    def cut(self, *, late: bool = False) -> None:
        """End all connections; with ``late`` the accepting end still receives what was under way."""
        for line in sorted(self.lines, key=id):
            line.cut(late=late)
