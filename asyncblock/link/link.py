"""Link: the connection to one mainframe, made again for ever, and what travels over it."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any, Final

from .._version import installed_version
from ..errors import (
    AsyncBlockError,
    Closed,
    ConnectionLost,
    LocalProtocolError,
)
from ..runtime.iothread import IOThread
from ..transport import Connector
from ..wire.messages import (
    VERSION,
    Ack,
    Dispatch,
    Fetched,
    Gone,
    Hello,
    Kept,
    Message,
    Page,
    Ping,
    Reply,
    Stalled,
    Welcome,
    encode,
)
from ..wire.windows import Window
from .connections import Connections
from .downloads import Downloads
from .fileuploads import FileUploads
from .hosted import Host, Hosted, unreadable
from .questions import Questions, Rows
from .sender import LinkSender

__all__ = ["BOOT", "FIRST_TIMEOUT", "Host", "Link"]

logger = logging.getLogger("asyncblock.link")

BOOT: Final = secrets.token_hex(8)
"""Names this process. A mainframe that sees a new one knows that the old process is gone."""

FIRST_TIMEOUT = 30.0
"""Seconds that the first connection may take before ``ConnectionLost``; after a Welcome there is no limit."""

_HELLO_IDS = 1 << 20
"""Characters of job ids in a Hello."""

_NUMBER: Final = re.compile("[0-9]{1,16}")


class Link:
    """One process's link to one mainframe. Get one from ``client.connect`` or an executor; don't construct it."""

    def __init__(
        self,
        io: IOThread,
        connector: Connector,
        address: str,
        *,
        link_id: str | None = None,
        secret: str | None = None,
        replaces: dict[str, Any] | None = None,
        learn: Callable[[list[str]], None] | None = None,
    ) -> None:
        """``learn`` is told of the addresses that the mainframe names."""
        self.io = io
        self.address = address
        self._link_id = link_id or secrets.token_hex(8)
        self._secret = secret or secrets.token_hex(16)
        self._token: str | None = None
        self.epoch: str | None = None
        """The identity of the mainframe's journal, as the last Welcome named it."""
        self.understands: frozenset[str] = frozenset()
        """Messages and records that this mainframe takes and an older one would not, as the last Welcome named them."""
        self.partitions = 1
        """How many the mainframe's set has, as the last Welcome said; 1 for one that stands alone."""
        self._replaces = replaces
        self._learn = learn
        self._sendable = asyncio.Event()
        self._link_sender = LinkSender(io, self._sendable)
        self._questions = Questions(self._send_line)
        self.downloads = Downloads(self._send)
        self.file_uploads = FileUploads(self._link_sender)
        self._hosted = Hosted(self._link_sender, self._send)
        self._connections = Connections(io, connector, address, self, self._link_sender, self.downloads, self._sendable)
        self._idle_waiters: set[asyncio.Event] = set()
        self._over: AsyncBlockError | None = None
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what other threads call

    @property
    def over(self) -> bool:
        """Tell whether the link has ended for good."""
        return self._over is not None

    @property
    def away(self) -> bool:
        """Tell whether there is no connection at the moment, or one that hasn't been welcomed yet. From any thread.

        The connection may be back before the answer is read.
        """
        return not self._connections.is_open

    def new_port(self) -> Window:
        """Return a share of the link's window for one producing thread (or threads under one lock)."""
        return self._link_sender.new_port()

    async def open(self, timeout: float | None = FIRST_TIMEOUT) -> Welcome:
        """Connect and wait for the first Welcome.

        **Cancellation** closes the link. Raises ``ConnectionLost`` naming the address after ``timeout`` seconds,
        or at once what ``connect_websocket`` raises for an address, a token or a peer that can't work.
        """
        return await self.io.run(self._start(timeout))

    def begin(self) -> None:
        """Begin to connect, for as long as it takes. On the I/O thread; ``close`` ends it."""
        self._task = self.io.spawn(self._live(None), f"asyncblock link to {self.address}")

    async def welcomed(self, timeout: float | None) -> None:
        """Wait until the first Welcome has come. On the I/O thread, by as many as like.

        **Cancellation** leaves the link as it is, and so does the timeout. Raises as ``open`` does.
        """
        first = self._connections.welcomed
        await asyncio.wait([first], timeout=timeout)
        if first.done():
            first.result()
            return
        raise ConnectionLost(str(self._connections.loss or f"no answer from {self.address} within {timeout:g} s"))

    async def request(self, method: str, params: dict[str, Any], *, id: str | None = None) -> dict[str, Any]:
        """Ask the mainframe and wait for the answer, across reconnects; the same ``id`` gets the same answer.

        What would be more than the mainframe takes at once waits here.
        **Cancellation** leaves the order standing at the mainframe if it arrived.
        Raises ``Rejected`` with the mainframe's reason; ``ConnectionLost`` or ``Closed`` when the link is over.
        """
        return await self.io.run(self._questions.request(method, params, id or secrets.token_hex(8)))

    async def read(self, session_id: str, offset: int, max_bytes: int = 256 << 10) -> Rows:
        """Wait for rows of a session's journal from ``offset`` (-1: for the last one).

        Any number may wait; of more than the mainframe takes at once each has its turns.
        **Cancellation** is safe: nothing is consumed. Raises as ``request``.
        """
        return await self.io.run(self._questions.read(session_id, offset, max_bytes))

    def when_ending(self, told: Callable[[str, int], None]) -> None:
        """Call ``told``, on the I/O thread, with the id and attempt of each job whose finish is about to be sent."""
        self._link_sender.ending = told

    async def attach(self, host: Host) -> None:
        """Make this link an executor's. Raises ``Closed`` when it has a host already or is over."""
        await self.io.run(self._hosted.attach(host))

    async def detach(self) -> None:
        """Take no more jobs on this link."""
        await self.io.run(self._hosted.detach())

    async def announce(self) -> None:
        """Tell the mainframe what the host can run now."""
        await self.io.run(self._hosted.announce())

    def process_gone(self, link_id: str, secret: str, reason: str) -> None:
        """Tell the mainframe that a process which it had asked for has ended. From any thread; never waits.

        Without a connection it is lost, and the process's lease runs out instead.
        """
        self.io.post(self._send, Gone(link_id, reason, secret))

    def stalled(self, channel: int, seconds: float, where: str) -> None:
        """Tell the mainframe that a block keeps its loop from running. From any thread; never waits."""
        self.io.post(self._send, Stalled(channel, seconds, where))

    async def drain(self, timeout: float | None = None) -> int:
        """Wait until everything sent is acknowledged; return how many records are not after ``timeout`` seconds.

        **Cancellation** is safe.
        """
        return await self.io.run(self._drain(timeout))

    async def close(self) -> None:
        """Say goodbye and end the link; later calls raise ``Closed``. Idempotent.

        **Cancellation** only stops the waiting.
        """
        await self.io.finish(self._close())

    # ------------------------------------------------------------------ its life

    async def _start(self, timeout: float | None) -> Welcome:
        self._task = self.io.spawn(self._live(timeout), f"asyncblock link to {self.address}")
        try:
            # The future is the link's and shared by all who wait for the welcome; a cancel is this waiter's alone.
            return await asyncio.shield(self._connections.welcomed)
        except asyncio.CancelledError:
            await self._close()
            raise

    async def _live(self, timeout: float | None) -> None:
        deadline = None if timeout is None else self.io.loop.time() + timeout
        try:
            await self._connections.stay(deadline)
        except AsyncBlockError as error:
            self._end(error)
        except Exception as error:
            # A defect of this package: its callers hear that they did nothing wrong.
            self._end(LocalProtocolError(f"the link to {self.address} failed: {type(error).__name__}: {error}"))
            raise
        finally:
            self._end(Closed(f"the link to {self.address} is closed"))

    def _end(self, error: AsyncBlockError) -> None:
        """Settle everything that still waits; the first reason stays."""
        if self._over is not None:
            return
        self._over = error
        self._link_sender.abandon(error)
        self._hosted.end(error)
        self._questions.end(error)
        self.downloads.end(error)
        self.all_sent()
        first = self._connections.welcomed
        if not first.done():
            first.set_exception(error)
            # Read here, or asyncio logs it as never retrieved: ``open`` may have been cancelled, and nothing waits.
            first.exception()

    # ------------------------------------------------------------------ what its connections ask for

    def hello(self, generation: int) -> Hello:
        """Say what the link is, to begin a connection with."""
        return Hello(
            version=VERSION,
            link=self._link_id,
            boot=BOOT,
            generation=generation,
            token=self._token,
            agent=f"asyncblock/{installed_version()}",
            executor=self._hosted.greeting(),
            channels=self._open_channels(),
            replaces=self._replaces,
            next_channel=self._link_sender.next_channel,
            epoch=self.epoch,
            secret=self._secret,
        )

    def _open_channels(self) -> list[list[Any]]:
        """Return the open jobs. Where the ids of very many don't fit into a message, the numbers say enough."""
        channels = list(self._link_sender.channels.values())
        many = sum(len(channel.job_id) for channel in channels) > _HELLO_IDS
        return [[each.number, "" if many else each.job_id, each.attempt] for each in channels]

    def ping(self) -> Ping:
        """Return a sign of life."""
        return self._hosted.ping()

    def all_sent(self) -> None:
        """Wake the drains: everything may be acknowledged now."""
        for waiter in self._idle_waiters:
            waiter.set()

    def heard(self, message: Message, lines: list[bytes]) -> None:
        """Take a message in."""
        match message:
            case Ack():
                self._on_stored(message.seq)
            case Kept():
                self._link_sender.kept(message.n)
            case Ping():
                self._on_stored(message.stored)
                self._on_addresses(message.addresses)
            case Dispatch():
                self._hosted.dispatch(message)
            case Page():
                self._questions.paged(message, lines)
            case Reply():
                self._questions.replied(message)
            case Fetched():
                self.downloads.fetched(message)
            case Welcome():
                self._on_welcome(message)
            case _:
                self._hosted.take(message)

    def _on_stored(self, seq: int) -> None:
        self._link_sender.acknowledge(seq)
        self.all_sent()

    def _on_addresses(self, addresses: list[str]) -> None:
        if self._learn is not None and addresses:
            self._learn(addresses)

    def _on_welcome(self, welcome: Welcome) -> None:
        if welcome.heartbeat <= 0:
            raise unreadable(welcome, "heartbeat", "more than 0 seconds")
        bodies = _offsets(welcome)
        self._check_continuity(welcome)
        self._token, self.epoch, self.partitions = welcome.token, welcome.epoch, welcome.partitions
        self.understands = frozenset(each for each in welcome.understands if isinstance(each, str))
        self._link_sender.allow(welcome.windows)
        # The mainframe has recorded these dead links with this Welcome: a later Hello needn't name them again.
        self._replaces = None
        self._link_sender.resume(welcome.stored, bodies, self.understands)
        self._questions.allow(welcome.limits)
        for line in self._questions.lines():
            self._link_sender.outbox.control(line)
        self.downloads.connected(self._questions.max_reads)
        self._hosted.welcomed()
        self._sendable.set()
        self._connections.welcome(welcome)
        self._on_addresses(welcome.addresses)

    def _check_continuity(self, welcome: Welcome) -> None:
        """Give up what a mainframe that has another journal, or doesn't know this link any more, can't continue."""
        if self.epoch not in (None, welcome.epoch):
            error = ConnectionLost(
                f"the mainframe at {self.address} came back with another journal ({welcome.epoch} in place of "
                f"{self.epoch}: a restored copy, a new data directory, or the end of a power loss): what it had "
                "acknowledged may not be there. Jobs of this process can't be continued; read sessions from their start"
            )
            self._questions.end_reads(error)
        elif not welcome.resumed and (self._link_sender.outbox.seq or self._link_sender.channels):
            error = ConnectionLost(
                f"the mainframe at {self.address} doesn't know this link any more (journal {welcome.epoch}): "
                "what the jobs of this process have sent can't be continued"
            )
        else:
            return
        logger.error("%s", error)
        self._link_sender.abandon(error)
        self._hosted.abandon(error)

    # ------------------------------------------------------------------ what goes out

    def _send(self, message: Message) -> None:
        self._send_line(encode(message))

    def _send_line(self, line: bytes) -> None:
        # Without a connection it is dropped: what matters is said again after the Welcome.
        if self._connections.is_open:
            self._link_sender.outbox.control(line)
            self._sendable.set()

    async def _drain(self, timeout: float | None) -> int:
        quiet = asyncio.Event()
        self._idle_waiters.add(quiet)
        try:
            async with asyncio.timeout(timeout):
                while self._over is None and (self._link_sender.outbox.unacknowledged or not self._link_sender.idle):
                    quiet.clear()
                    await quiet.wait()
        except TimeoutError:
            pass
        finally:
            self._idle_waiters.discard(quiet)
        return 0 if self._over is not None else self._link_sender.unacknowledged

    async def _close(self) -> None:
        if not self._connections.closing:
            await self._connections.close()
            if self._task is not None:
                self._task.cancel()
            self._end(Closed(f"the link to {self.address} is closed"))
        if self._task is not None:
            await asyncio.wait([self._task])


def _offsets(welcome: Welcome) -> dict[int, int]:
    """Return what a Welcome says of bodies: stored bytes by number."""
    for n, size in welcome.bodies.items():
        if not _NUMBER.fullmatch(n) or size < 0:
            raise unreadable(welcome, "bodies", "sizes by the numbers of bodies")
    return {int(n): size for n, size in welcome.bodies.items()}
