"""Connections: one after the other to the same mainframe, made again for ever, so that a link outlives each of them.

It knows when to try again, when a silent peer is gone, and what a goodbye asks for. What is said and heard beyond the
greeting is ``link``'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import NoReturn, Protocol

from ..errors import AsyncBlockError, ConnectionLost, Rejected, RemoteProtocolError, Unauthorized
from ..runtime import crashpoints
from ..runtime.iothread import IOThread
from ..transport import Connector, Transport
from ..transport.upgrades import StandsBy
from ..wire import frames
from ..wire.bodies import decode_chunk
from ..wire.messages import Bye, Hello, Message, Ping, Welcome, decode, encode
from ..wire.states import ConnectionState, Role, advance
from .downloads import Downloads
from .sender import LinkSender

__all__ = ["Connections"]

logger = logging.getLogger("asyncblock.link")

_BACKOFF = (0.1, 20.0)
"""Seconds of the first and the longest pause between attempts; full jitter (Brooker, 2015) spreads the returning."""

_STANDBY = 0.5
"""Seconds of the longest pause while mainframes answer that stand by: one of them takes over within seconds."""

_LONGEST_RETRY = 600.0
"""Seconds that a mainframe may ask to stay away: a slip in its configuration mustn't end a service."""

_GREETING_TIMEOUT = 10.0
"""Seconds that the other side has for its first message."""


class Speaker(Protocol):
    """What a link says and hears. All of it on the I/O thread."""

    def hello(self, generation: int) -> Hello:
        """Say what the link is, to begin with."""
        ...

    def heard(self, message: Message, lines: list[bytes]) -> None:
        """Take a message in."""
        ...

    def ping(self) -> Ping:
        """Return a sign of life."""
        ...

    def all_sent(self) -> None:
        """Take note that there is nothing to send."""
        ...


class Connections:
    """Those of one link. On the I/O thread, but for what says that it may be asked from any."""

    def __init__(
        self,
        io: IOThread,
        connector: Connector,
        address: str,
        speaker: Speaker,
        link_sender: LinkSender,
        downloads: Downloads,
        sendable: asyncio.Event,
    ) -> None:
        self._io = io
        self._connector = connector
        self._address = address
        self._speaker = speaker
        self._link_sender = link_sender
        self._downloads = downloads
        self._sendable = sendable
        """Set when there may be something to send."""
        self.welcomed: asyncio.Future[Welcome] = io.loop.create_future()
        """The first Welcome."""
        self.generation = 0
        """How many connections there were."""
        self.loss: ConnectionLost | None = None
        """Why there is none, or why there was none last."""
        self._away_since: float | None = None
        self._away_told = False
        self.closing = False
        """No further one will be made."""
        self._transport: Transport | None = None
        self._state = ConnectionState.CLOSED
        self._heartbeat = 5.0

    @property
    def is_open(self) -> bool:
        """Tell whether there is one, beyond its greeting. From any thread; it may be over before the answer is read."""
        return self._state is ConnectionState.OPEN

    def welcome(self, welcome: Welcome) -> None:
        """Take note that the mainframe has taken the link in."""
        self._heartbeat = welcome.heartbeat
        self._tell_return()
        if not self.welcomed.done():
            self.welcomed.set_result(welcome)

    async def close(self) -> None:
        """Say goodbye, and make no further one. **Cancellation** is safe: ``stay`` ends all the same."""
        self.closing = True
        if self._transport is not None and self.is_open:
            await self._say_goodbye(self._transport)

    async def stay(self, deadline: float | None) -> None:
        """Connect, and again whenever the connection is lost, until ``close``. The first one has until ``deadline``.

        **Cancellation** ends the connection. Raises what can't be mended by another attempt.
        """
        pause = _BACKOFF[0]
        while not self.closing:
            welcomes = self.generation
            retry_after: float | None = None
            try:
                await self._connect_and_serve(None if self.welcomed.done() else deadline)
            except _Goodbye as bye:
                retry_after = bye.retry_after
            except ConnectionLost as error:
                self.loss = error
                self._give_up_at(deadline, error)
                if isinstance(error, StandsBy):
                    pause = min(pause, _STANDBY)
            self._tell_loss()
            if self.generation > welcomes:
                pause = _BACKOFF[0]
            # Random from 0 on: the links of a mainframe that was restarted don't come back in step.
            wait = random.uniform(0, pause) + (retry_after or 0.0)
            if deadline is not None and not self.welcomed.done():
                # The caller's timeout for the first connection holds, even if the mainframe asks to come back later.
                wait = min(wait, max(deadline - self._io.loop.time(), 0.0))
            pause = min(pause * 2, _BACKOFF[1] if self.welcomed.done() else 1.0)
            if not self.closing:
                await asyncio.sleep(wait)

    def _tell_loss(self) -> None:
        """Say once for each outage why there is no connection: blocks only wait, and can't tell why.

        A cut that the next attempt mends is no outage.
        """
        if not self.welcomed.done() or self.closing:
            return
        if self._away_since is None:
            self._away_since = self._io.loop.time()
        elif not self._away_told:
            self._away_told = True
            logger.warning("the connection to %s is lost, trying again until it is back: %s", self._address, self.loss)

    def _tell_return(self) -> None:
        if self._away_told and self._away_since is not None:
            away = self._io.loop.time() - self._away_since
            logger.warning("the connection to %s is back after %.1f s", self._address, away)
        self._away_since, self._away_told = None, False

    def _give_up_at(self, deadline: float | None, error: ConnectionLost) -> None:
        # Less than a pause is left: another attempt would be cut short, and its error would say less than this one.
        if not self.welcomed.done() and deadline is not None and self._io.loop.time() >= deadline - _BACKOFF[0]:
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
            # A lost connection mostly fails two of the three: ``stay`` decides by one error, the most telling.
            raise _most_telling(group) from None
        finally:
            transport.abort()
            self._transport = None
            self._state = ConnectionState.CLOSED
            self._link_sender.outbox.disconnect()
            self._downloads.disconnected()

    async def _connect(self, deadline: float | None) -> Transport:
        if deadline is not None and self.loss is not None and self._io.loop.time() >= deadline:
            raise self.loss
        try:
            async with asyncio.timeout_at(deadline):
                return await self._connector()
        except TimeoutError:
            # An attempt that the deadline cut short says less than the one before it.
            raise self.loss or ConnectionLost(f"the mainframe at {self._address} didn't answer in time") from None
        except Unauthorized:
            raise
        except (RemoteProtocolError, Rejected) as error:
            if not self.welcomed.done():
                raise
            # A mainframe was here: what answers now (half a handshake, a gateway's page) stands in its way for a time.
            raise ConnectionLost(str(error)) from error

    async def _greet(self, transport: Transport) -> None:
        self._state = ConnectionState.GREETING
        self.generation += 1
        await transport.send(encode(self._speaker.hello(self.generation)))
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                answer = await self._answer_to_hello(transport)
        except TimeoutError:
            raise ConnectionLost(f"{self._address} accepted the connection and said nothing") from None
        self._receive(answer)

    async def _answer_to_hello(self, transport: Transport) -> bytes:
        """Receive the answer to a Hello: a mainframe's, unless something in its place takes websockets itself."""
        try:
            answer = await transport.receive()
            if frames.is_text(answer):
                for header, _ in frames.split(answer):
                    if header["op"] in (Welcome.op, Bye.op):
                        return answer
                    break
            words = f"{self._address} answered, but not as a mainframe does: {answer[:80]!r}"
            raise RemoteProtocolError(words)
        except RemoteProtocolError as error:
            if not self.welcomed.done():
                raise
            raise ConnectionLost(str(error)) from error

    async def _reader(self, transport: Transport) -> None:
        while True:
            self._receive(await transport.receive())

    async def _writer(self, transport: Transport) -> None:
        while True:
            message = self._link_sender.next_message()
            if message is None:
                self._speaker.all_sent()
                await self._sendable.wait()
            else:
                crashpoints.recording(message, "before")
                await transport.send(message)
                crashpoints.recording(message, "after")
                self._link_sender.sent()

    async def _pulse(self, transport: Transport) -> None:
        """Send a sign of life each heartbeat; three without a byte from the other side end the connection."""
        loop = self._io.loop
        ping_at = loop.time() + self._heartbeat
        while True:
            silent_at = transport.heard_at + 3 * self._heartbeat
            if silent_at <= loop.time():
                transport.abort()
                raise ConnectionLost(f"nothing came from {self._address} for {loop.time() - transport.heard_at:.0f} s")
            await asyncio.sleep(max(min(ping_at, silent_at) - loop.time(), 0.001))
            if loop.time() < ping_at:
                continue
            ping_at = loop.time() + self._heartbeat
            if self.is_open:
                self._link_sender.outbox.control(encode(self._speaker.ping()))
                self._sendable.set()

    # ------------------------------------------------------------------ what comes in

    def _receive(self, data: bytes) -> None:
        try:
            self._take(data)
        except (AsyncBlockError, _Goodbye):
            raise
        except Exception as error:
            # An error that wasn't foreseen ends this link alone, and its callers hear of it.
            words = f"can't take in what came from {self._address}: {type(error).__name__}: {error}"
            logger.exception("%s", words)
            raise RemoteProtocolError(words[:1000]) from error

    def _take(self, data: bytes) -> None:
        if not frames.is_text(data):
            self._state = advance(Role.LOWER, self._state, "chunk")
            self._downloads.chunk(*decode_chunk(data))
            return
        for header, lines in frames.split(data):
            self._state = advance(Role.LOWER, self._state, str(header["op"]))
            message = decode(header)
            if isinstance(message, Bye):
                self._on_bye(message)
            self._speaker.heard(message, lines)

    def _on_bye(self, bye: Bye) -> NoReturn:
        if not bye.stop:
            goodbye = _Goodbye(bye.retry_after)
            when = "later" if goodbye.retry_after is None else f"in {goodbye.retry_after:g} s"
            self.loss = ConnectionLost(f"the mainframe at {self._address} asked to come back {when}: {bye.reason}")
            raise goodbye
        if bye.code == "unauthorized":
            raise Unauthorized(bye.reason)
        if bye.code in ("unreadable", "version"):
            raise RemoteProtocolError(f"the mainframe at {self._address} ended the link: {bye.reason}")
        raise Rejected(f"the mainframe at {self._address} ended the link: {bye.reason}", code=bye.code)

    async def _say_goodbye(self, transport: Transport) -> None:
        try:
            async with asyncio.timeout(2):
                await transport.send(encode(Bye("closed", "the process is done", stop=True)))
                await transport.close()
        except (ConnectionLost, RemoteProtocolError, TimeoutError):
            transport.abort()


class _Goodbye(Exception):
    """The mainframe asked to come back later."""

    def __init__(self, retry_after: float | None) -> None:
        self.retry_after = None if retry_after is None else min(max(retry_after, 0.0), _LONGEST_RETRY)


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
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
