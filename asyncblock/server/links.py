"""Links as the mainframe sees them: what is stored of each, which jobs it holds, and its present connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .. import crashpoints
from ..errors import ConnectionLost
from ..resources import Resources
from ..transport import Transport
from ..wire.frames import fitted
from ..wire.messages import Bye, Message, encode
from ..wire.scheduler import BATCH_BYTES
from .announcement import ExecutorInfo
from .bounds import UNREAD_BYTES
from .jobs import Attempt

__all__ = ["Connection", "Dismissed", "LinkState"]

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
        """Wait while what is said on this connection isn't read: whoever asks has to listen."""
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


@dataclass(slots=True, eq=False)
class LinkState:
    """What the mainframe knows of a link; it outlives connections and, through the journal, the mainframe."""

    link_id: str
    number: int
    """The link's number in the journal."""
    token_hash: str
    boot: str
    generation: int = 0
    received: int = 0
    """The highest batch taken in; what comes again at or below it is dropped."""
    stored: int = 0
    """The highest batch in the journal."""
    connection: Connection | None = None
    executor: ExecutorInfo | None = None
    understands: frozenset[str] = frozenset()
    """As its executor has announced, which may take no jobs meanwhile."""
    host: str | None = None
    """As its executor has announced: whose files of var values it can open."""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    """Open and fenced attempts by channel."""
    next_channel: int = 1
    bodies: dict[int, int] = field(default_factory=dict)
    """Received bytes of bodies whose record hasn't come yet."""
    whole: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Length and sum of those that are checked and on disk already."""
    unnamed: int = 0
    """The sum of those."""
    seen: float = 0.0
    """The loop's time at which it was there last, or this mainframe began."""
    last_heard: float = 0.0
    """The loop's time at which the last byte came."""
    lease_timer: asyncio.TimerHandle | None = None
    spawned: set[str] = field(default_factory=set)
    """Link ids of the processes that it was asked to start and that haven't ended."""
    load: int = 0
    """How many open jobs it holds."""
    taken: dict[str, int] = field(default_factory=dict)
    """What open jobs have of what its executor offers: thousandths by name."""
    pool: str | None = None
    """As its executor has announced, which may take no jobs meanwhile."""
    sync_load: int = 0
    """How many of them run in threads."""
    defects: int = 0
    """Connections in a row that a defect of ours has ended while this was stored:"""
    defect_at: int = -1
    given: bool = False
    """It has had a job, or may have had one before the mainframe began."""
    suspects: frozenset[int] | None = None
    """The channels whose records are being read: if that ends the link, their attempts have begun. None when it is
    nobody's record in particular."""
    held: int = 0
    """Bytes of var values in its process, as it said last."""
    may_hold: int = 0
    """How many there may be."""
    ack_due: bool = False
    """An acknowledgement will be sent in this turn of the loop."""

    def announced(self, executor: ExecutorInfo | None) -> None:
        """Take in what its executor can run now."""
        self.executor = executor
        if executor is not None:
            self.understands = executor.understands
            self.host = executor.host
            self.pool = executor.pool

    @property
    def is_there(self) -> bool:
        """Tell whether its process lives, as far as is known, whether it takes jobs or not."""
        return self.executor is not None or self.connection is not None

    def take(self, resources: Resources, change: int) -> None:
        """Count what a job takes of what is offered here (1), or gives back (-1)."""
        for name, amount in resources.amounts:
            left = self.taken.get(name, 0) + change * amount
            if left:
                self.taken[name] = left
            else:
                self.taken.pop(name, None)

    def send(self, message: Message) -> None:
        """Send a control line if there is a connection; after a Welcome commands are derived again."""
        if self.connection is not None:
            self.connection.send(message)

    def send_line(self, line: bytes) -> None:
        """Send a control line that is encoded already."""
        if self.connection is not None:
            self.connection.send_line(line)
