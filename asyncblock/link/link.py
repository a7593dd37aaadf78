"""Link: the connection to one mainframe, made again for ever, and what travels over it."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from typing import Any, Final, Protocol

from .. import crashpoints
from .._version import installed_version
from ..errors import (
    AsyncBlockError,
    Closed,
    ConnectionLost,
    LeaseLost,
    LocalProtocolError,
    Rejected,
    RemoteProtocolError,
    Unauthorized,
)
from ..iothread import IOThread
from ..transport import Connector, Transport
from ..wire import frames
from ..wire.bodies import decode_chunk
from ..wire.messages import (
    VERSION,
    Ack,
    Announce,
    Bye,
    Cancel,
    Close,
    Dispatch,
    Export,
    Fetched,
    Gone,
    Hello,
    Kept,
    Live,
    Message,
    Page,
    Ping,
    Refused,
    Release,
    Reply,
    ServiceMessage,
    SessionEnded,
    Spawn,
    Stalled,
    Unspawn,
    Welcome,
    decode,
    encode,
)
from ..wire.states import ConnectionState, Role, advance
from ..wire.windows import Window
from .desk import Desk, Outlet
from .downloads import Downloads
from .questions import Questions, Rows

__all__ = ["BOOT", "FIRST_TIMEOUT", "Host", "Link"]

logger = logging.getLogger("asyncblock.link")

BOOT: Final = secrets.token_hex(8)
"""Names this process. A mainframe that sees a new one knows that the old process is gone."""

FIRST_TIMEOUT = 30.0
"""Seconds that the first connection may take before ``ConnectionLost``; after a Welcome there is no limit."""

_BACKOFF = (0.1, 20.0)
"""Seconds of the first and the longest pause between attempts; full jitter (Brooker, 2015) spreads the returning."""

_LONGEST_RETRY = 600.0
"""Seconds that a mainframe may ask to stay away: a slip in its configuration mustn't end a service."""

_HELLO_IDS = 1 << 20
"""Characters of job ids in a Hello."""

_LARGEST: Final = (1 << 53) - 1
"""One past the highest channel: JSON's numbers are whole up to there."""

_NUMBER: Final = re.compile("[0-9]{1,16}")

_GREETING_TIMEOUT = 10.0
"""Seconds that the other side has for its first message."""


class Host(Protocol):
    """What an executor is to its link. All methods are called on the I/O thread and return at once."""

    def announcement(self) -> dict[str, Any] | None:
        """Say what can be run here; None while nothing may be handed out."""
        ...

    def dispatch(self, message: Dispatch, outlet: Outlet) -> None:
        """Run a job whose records go to ``outlet``."""
        ...

    def cancel(self, message: Cancel) -> None:
        """Cancel a job."""
        ...

    def close(self, message: Close) -> None:
        """Stop a job that the mainframe no longer counts as open."""
        ...

    def spawn(self, message: Spawn) -> None:
        """Start a process for one job."""
        ...

    def unspawn(self, message: Unspawn) -> None:
        """End such a process."""
        ...

    def session_ended(self, session_id: str) -> None:
        """Let go of what belongs to a session."""
        ...

    def release(self, message: Release) -> None:
        """Let go of var values that nobody asks for any more."""
        ...

    def live(self, message: Live) -> None:
        """Let go of all that doesn't live."""
        ...

    def export(self, message: Export) -> None:
        """Write a var value into a file for another process."""
        ...

    def service_message(self, message: ServiceMessage) -> None:
        """Hand a message to a service."""
        ...

    def lag(self) -> float:
        """Say how late the blocks' event loop runs, in seconds."""
        ...

    def held(self) -> tuple[int, int, int, int]:
        """Say how many bytes of var values there are and may be, and how many of the disk they take and may."""
        ...

    def link_over(self, error: AsyncBlockError) -> None:
        """Stop every job of this link: what they sent can't be continued."""
        ...


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
    ) -> None:
        self.io = io
        self.address = address
        self._connector = connector
        self._link_id = link_id or secrets.token_hex(8)
        self._secret = secret or secrets.token_hex(16)
        self._generation = 0
        self._token: str | None = None
        self.epoch: str | None = None
        """The identity of the mainframe's journal, as the last Welcome named it."""
        self.understands: frozenset[str] = frozenset()
        """Messages and records that this mainframe takes and an older one would not, as the last Welcome named them."""
        self._replaces = replaces
        self._host: Host | None = None
        self._sendable = asyncio.Event()
        self._desk = Desk(io, self._sendable)
        self._questions = Questions(self._send_line)
        self.downloads = Downloads(self._send)
        self._welcomed: asyncio.Future[Welcome] = io.loop.create_future()
        self._idle_waiters: set[asyncio.Event] = set()
        self._over: AsyncBlockError | None = None
        self._loss: ConnectionLost | None = None
        self._away_since: float | None = None
        self._away_told = False
        self._closing = False
        self._transport: Transport | None = None
        self._state = ConnectionState.CLOSED
        self._heartbeat = 5.0
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what other threads call

    @property
    def over(self) -> bool:
        """Tell whether the link has ended for good."""
        return self._over is not None

    @property
    def away(self) -> bool:
        """Tell whether there is no connection at the moment. It may be back before the answer is read."""
        return self._state is not ConnectionState.OPEN

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection now, beyond its greeting."""
        return self._transport is not None and self._state is ConnectionState.OPEN

    def new_port(self) -> Window:
        """Return a share of the link's window for one producing thread (or threads under one lock)."""
        return self._desk.new_port()

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
        await asyncio.wait([self._welcomed], timeout=timeout)
        if self._welcomed.done():
            self._welcomed.result()
            return
        raise ConnectionLost(str(self._loss or f"nobody answered at {self.address} within {timeout:g} s"))

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

    async def attach(self, host: Host) -> None:
        """Make this link an executor's. Raises ``Closed`` when it has a host already or is over."""
        await self.io.run(self._attach(host))

    async def detach(self) -> None:
        """Take no more jobs on this link."""
        await self.io.run(self._detach())

    async def announce(self) -> None:
        """Tell the mainframe what the host can run now."""
        await self.io.run(self._announce())

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

    # ------------------------------------------------------------------ the connection

    async def _start(self, timeout: float | None) -> Welcome:
        self._task = self.io.spawn(self._live(timeout), f"asyncblock link to {self.address}")
        try:
            return await asyncio.shield(self._welcomed)
        except asyncio.CancelledError:
            await self._close()
            raise

    async def _live(self, timeout: float | None) -> None:
        deadline = None if timeout is None else self.io.loop.time() + timeout
        try:
            await self._stay_connected(deadline)
        except AsyncBlockError as error:
            self._end(error)
        except Exception as error:
            # A defect: whoever waits is told that it is none of theirs.
            self._end(LocalProtocolError(f"the link to {self.address} failed: {type(error).__name__}: {error}"))
            raise
        finally:
            self._end(Closed(f"the link to {self.address} is closed"))

    async def _stay_connected(self, deadline: float | None) -> None:
        pause = _BACKOFF[0]
        while not self._closing:
            welcomes = self._generation
            retry_after: float | None = None
            try:
                await self._connect_and_serve(None if self._welcomed.done() else deadline)
            except _Goodbye as bye:
                retry_after = bye.retry_after
            except ConnectionLost as error:
                self._loss = error
                self._give_up_at(deadline, error)
            self._tell_loss()
            if self._generation > welcomes:
                pause = _BACKOFF[0]
            wait = random.uniform(0, pause) + (retry_after or 0.0)
            if deadline is not None and not self._welcomed.done():
                # Whoever opens the link has said how long that may take, whatever a mainframe asks for.
                wait = min(wait, max(deadline - self.io.loop.time(), 0.0))
            pause = min(pause * 2, _BACKOFF[1] if self._welcomed.done() else 1.0)
            if not self._closing:
                await asyncio.sleep(wait)

    def _tell_loss(self) -> None:
        """Say once for each outage why there is no connection: blocks only wait, so nobody else would.

        A cut that the next attempt mends is no outage.
        """
        if not self._welcomed.done() or self._closing:
            return
        if self._away_since is None:
            self._away_since = self.io.loop.time()
        elif not self._away_told:
            self._away_told = True
            logger.warning("the connection to %s is lost, trying again until it is back: %s", self.address, self._loss)

    def _tell_return(self) -> None:
        if self._away_told and self._away_since is not None:
            away = self.io.loop.time() - self._away_since
            logger.warning("the connection to %s is back after %.1f s", self.address, away)
        self._away_since, self._away_told = None, False

    def _give_up_at(self, deadline: float | None, error: ConnectionLost) -> None:
        if not self._welcomed.done() and deadline is not None and self.io.loop.time() >= deadline - _BACKOFF[0]:
            raise error

    async def _connect_and_serve(self, deadline: float | None) -> None:
        transport = self._transport = await self._connect(deadline)
        try:
            await self._greet(transport)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reader(transport))
                tasks.create_task(self._writer(transport))
                tasks.create_task(self._pulse(transport))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            transport.abort()
            self._transport = None
            self._state = ConnectionState.CLOSED
            self._desk.outbox.disconnect()
            self.downloads.disconnected()

    async def _connect(self, deadline: float | None) -> Transport:
        if deadline is not None and self._loss is not None and self.io.loop.time() >= deadline:
            raise self._loss
        try:
            async with asyncio.timeout_at(deadline):
                return await self._connector()
        except TimeoutError:
            # An attempt that the deadline cut short says less than the one before it.
            raise self._loss or ConnectionLost(f"the mainframe at {self.address} didn't answer in time") from None
        except Unauthorized:
            raise
        except (RemoteProtocolError, Rejected) as error:
            if not self._welcomed.done():
                raise
            # A mainframe was here: whoever answers now, half a handshake or a gateway's page, is in its way for a time.
            raise ConnectionLost(str(error)) from error

    async def _greet(self, transport: Transport) -> None:
        self._state = ConnectionState.GREETING
        self._generation += 1
        await transport.send(encode(self._hello()))
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                answer = await self._first(transport)
        except TimeoutError:
            raise ConnectionLost(f"{self.address} accepted the connection and said nothing") from None
        self._receive(answer)

    async def _first(self, transport: Transport) -> bytes:
        """Receive the answer to a Hello: a mainframe's, unless something in its place takes websockets itself."""
        try:
            answer = await transport.receive()
            if frames.is_text(answer):
                for header, _ in frames.split(answer):
                    if header["op"] in (Welcome.op, Bye.op):
                        return answer
                    break
            words = f"{self.address} answered with something else than a mainframe says: {answer[:80]!r}"
            raise RemoteProtocolError(words)
        except RemoteProtocolError as error:
            if not self._welcomed.done():
                raise
            raise ConnectionLost(str(error)) from error

    def _hello(self) -> Hello:
        return Hello(
            version=VERSION,
            link=self._link_id,
            boot=BOOT,
            generation=self._generation,
            token=self._token,
            agent=f"asyncblock/{installed_version()}",
            executor=self._host.announcement() if self._host is not None else None,
            channels=self._open_channels(),
            replaces=self._replaces,
            next_channel=self._desk.next_channel,
            epoch=self.epoch,
            secret=self._secret,
        )

    def _open_channels(self) -> list[list[Any]]:
        """Return the open jobs. Where the ids of very many don't fit into a message, the numbers say enough."""
        channels = list(self._desk.channels.values())
        many = sum(len(channel.job_id) for channel in channels) > _HELLO_IDS
        return [[each.number, "" if many else each.job_id, each.attempt] for each in channels]

    async def _reader(self, transport: Transport) -> None:
        while True:
            self._receive(await transport.receive())

    async def _writer(self, transport: Transport) -> None:
        while True:
            message = self._desk.next_message()
            if message is None:
                self._wake_drains()
                await self._sendable.wait()
            else:
                crashpoints.recording(message, "before")
                await transport.send(message)
                crashpoints.recording(message, "after")
                self._desk.sent()

    def _wake_drains(self) -> None:
        for waiter in self._idle_waiters:
            waiter.set()

    async def _pulse(self, transport: Transport) -> None:
        """Send a sign of life each heartbeat; three without a byte from the other side end the connection."""
        loop = self.io.loop
        ping_at = loop.time() + self._heartbeat
        while True:
            silent_at = transport.heard_at + 3 * self._heartbeat
            if silent_at <= loop.time():
                transport.abort()
                raise ConnectionLost(f"nothing came from {self.address} for {loop.time() - transport.heard_at:.0f} s")
            await asyncio.sleep(max(min(ping_at, silent_at) - loop.time(), 0.001))
            if loop.time() < ping_at:
                continue
            ping_at = loop.time() + self._heartbeat
            self._send(Ping() if self._host is None else Ping(self._host.lag() * 1000, 0, *self._host.held()))

    def _end(self, error: AsyncBlockError) -> None:
        """Settle everything that still waits; the first reason stays."""
        if self._over is not None:
            return
        self._over = error
        self._abandon(error)
        self._questions.end(error)
        self.downloads.end(error)
        self._wake_drains()
        if not self._welcomed.done():
            self._welcomed.set_exception(error)
            # Nobody may be waiting: ``open`` was cancelled, or the link was closed before.
            self._welcomed.exception()

    def _abandon(self, error: AsyncBlockError) -> None:
        self._desk.abandon(error)
        if self._host is not None:
            self._host.link_over(error)

    # ------------------------------------------------------------------ what comes in

    def _receive(self, data: bytes) -> None:
        try:
            self._take(data)
        except (AsyncBlockError, _Goodbye):
            raise
        except Exception as error:
            # Whatever nobody has thought of ends this link alone, and whoever waits for it is told.
            words = f"what came from {self.address} can't be taken in: {type(error).__name__}: {error}"
            logger.exception("%s", words)
            raise RemoteProtocolError(words[:1000]) from error

    def _take(self, data: bytes) -> None:
        if not frames.is_text(data):
            self._state = advance(Role.LOWER, self._state, "chunk")
            self.downloads.chunk(*decode_chunk(data))
            return
        for header, lines in frames.split(data):
            self._state = advance(Role.LOWER, self._state, str(header["op"]))
            self._handle(decode(header), lines)

    def _handle(self, message: Message, lines: list[bytes]) -> None:
        match message:
            case Ack():
                self._on_stored(message.seq)
            case Kept():
                self._desk.kept(message.n)
            case Ping():
                self._on_stored(message.stored)
            case Dispatch():
                self._on_dispatch(message)
            case Page():
                self._questions.paged(message, lines)
            case Reply():
                self._questions.replied(message)
            case Cancel() if self._host is not None:
                self._host.cancel(message)
            case Spawn() if self._host is not None:
                self._host.spawn(message)
            case Unspawn() if self._host is not None:
                self._host.unspawn(message)
            case Close():
                self._on_close(message)
            case Refused():
                words = f"the mainframe refused record {message.index} of the job: {message.reason}"
                self._desk.raise_at_next_call(message.channel, Rejected(words, code="record"))
            case SessionEnded() if self._host is not None:
                self._host.session_ended(message.session_id)
            case Release() if self._host is not None:
                self._host.release(message)
            case Live() if self._host is not None:
                self._host.live(message)
            case Export() if self._host is not None:
                self._host.export(message)
            case ServiceMessage() if self._host is not None:
                self._host.service_message(message)
            case Fetched():
                self.downloads.fetched(message)
            case Welcome():
                self._on_welcome(message)
            case Bye():
                self._on_bye(message)
            case _:
                logger.debug("ignored %r", message.op)

    def _on_stored(self, seq: int) -> None:
        self._desk.acknowledge(seq)
        self._wake_drains()

    def _on_welcome(self, welcome: Welcome) -> None:
        if welcome.heartbeat <= 0:
            raise _unreadable(welcome, "heartbeat", "more than 0 seconds")
        bodies = _offsets(welcome)
        self._check_continuity(welcome)
        self._token, self.epoch = welcome.token, welcome.epoch
        self.understands = frozenset(each for each in welcome.understands if isinstance(each, str))
        self._heartbeat = welcome.heartbeat
        self._desk.allow(welcome.windows)
        self._replaces = None
        self._desk.resume(welcome.stored, bodies, self.understands)
        self._questions.allow(welcome.limits)
        for line in self._questions.lines():
            self._desk.outbox.control(line)
        self.downloads.connected(self._questions.max_reads)
        self._sendable.set()
        self._tell_return()
        if not self._welcomed.done():
            self._welcomed.set_result(welcome)

    def _check_continuity(self, welcome: Welcome) -> None:
        """Give up what a mainframe that has another journal, or doesn't know this link any more, can't continue."""
        if self.epoch not in (None, welcome.epoch):
            error = ConnectionLost(
                f"the mainframe at {self.address} came back with another journal ({welcome.epoch} in place of "
                f"{self.epoch}: a restored copy, a new data directory, or the end of a power loss): what it had "
                "acknowledged may not be there. Jobs of this process can't be continued; read sessions from their start"
            )
            self._questions.end_reads(error)
        elif not welcome.resumed and (self._desk.outbox.seq or self._desk.channels):
            error = ConnectionLost(
                f"the mainframe at {self.address} doesn't know this link any more (journal {welcome.epoch}): "
                "what the jobs of this process have sent can't be continued"
            )
        else:
            return
        logger.error("%s", error)
        self._abandon(error)

    def _on_bye(self, bye: Bye) -> None:
        if not bye.stop:
            goodbye = _Goodbye(bye.retry_after)
            when = "later" if goodbye.retry_after is None else f"in {goodbye.retry_after:g} s"
            self._loss = ConnectionLost(f"the mainframe at {self.address} asked to come back {when}: {bye.reason}")
            raise goodbye
        if bye.code == "unauthorized":
            raise Unauthorized(bye.reason)
        if bye.code in ("unreadable", "version"):
            raise RemoteProtocolError(f"the mainframe at {self.address} ended the link: {bye.reason}")
        raise Rejected(f"the mainframe at {self.address} ended the link: {bye.reason}", code=bye.code)

    def _on_dispatch(self, message: Dispatch) -> None:
        # The next Hello says them again.
        if not 0 < message.channel < _LARGEST:
            raise _unreadable(message, "channel", f"from 1 to {_LARGEST - 1}")
        if message.attempt < 1:
            raise _unreadable(message, "attempt", "at least 1")
        # A dispatch that comes again changes nothing, whatever channel it names then.
        if self._host is not None and not self._desk.has(message.channel, message.job_id, message.attempt):
            self._host.dispatch(message, self._desk.open(message.channel, message.job_id, message.attempt))

    def _on_close(self, message: Close) -> None:
        words = f"job {message.job_id}, attempt {message.attempt}: {message.reason}"
        self._desk.close(message.channel, LeaseLost(words))
        if self._host is not None:
            self._host.close(message)

    # ------------------------------------------------------------------ what goes out

    def _send(self, message: Message) -> None:
        self._send_line(encode(message))

    def _send_line(self, line: bytes) -> None:
        # Without a connection it is dropped: what matters is said again after the Welcome.
        if self._state is ConnectionState.OPEN:
            self._desk.outbox.control(line)
            self._sendable.set()

    async def _attach(self, host: Host) -> None:
        if self._over is not None:
            raise self._over
        if self._host is not None:
            raise Closed("this process has an executor on this link already")
        self._host = host
        await self._announce()

    async def _detach(self) -> None:
        self._host = None
        await self._announce()

    async def _announce(self) -> None:
        self._send(Announce(self._host.announcement() if self._host is not None else None))

    async def _drain(self, timeout: float | None) -> int:
        quiet = asyncio.Event()
        self._idle_waiters.add(quiet)
        try:
            async with asyncio.timeout(timeout):
                while self._over is None and (self._desk.outbox.unacknowledged or not self._desk.idle):
                    quiet.clear()
                    await quiet.wait()
        except TimeoutError:
            pass
        finally:
            self._idle_waiters.discard(quiet)
        return 0 if self._over is not None else self._desk.unacknowledged

    async def _close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._transport is not None and self._state is ConnectionState.OPEN:
                await self._say_goodbye(self._transport)
            if self._task is not None:
                self._task.cancel()
            self._end(Closed(f"the link to {self.address} is closed"))
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _say_goodbye(self, transport: Transport) -> None:
        try:
            async with asyncio.timeout(2):
                await transport.send(encode(Bye("closed", "the process is done", stop=True)))
                await transport.close()
        except (ConnectionLost, RemoteProtocolError, TimeoutError):
            transport.abort()


def _unreadable(message: Message, field: str, wanted: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{message.op!r}: field {field!r} must be {wanted}")


def _offsets(welcome: Welcome) -> dict[int, int]:
    """Return what a Welcome says of bodies: stored bytes by number."""
    for n, size in welcome.bodies.items():
        if not _NUMBER.fullmatch(n) or size < 0:
            raise _unreadable(welcome, "bodies", "sizes by the numbers of bodies")
    return {int(n): size for n, size in welcome.bodies.items()}


class _Goodbye(Exception):
    """The mainframe asked to come back later."""

    def __init__(self, retry_after: float | None) -> None:
        self.retry_after = None if retry_after is None else min(max(retry_after, 0.0), _LONGEST_RETRY)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the most telling error of a connection's tasks: a stop or a goodbye before a mere loss."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            leaves.append(error)
    return min(leaves, key=lambda e: isinstance(e, ConnectionLost))
