"""The websocket transport, both ends, over the ``websockets`` library: the one door through which it enters.

Compression is off (it costs 50 KiB a connection and time on the I/O thread; batches are small already), liveness is
the protocol's own (``ping_interval=None``), and the write buffer is small, so that the scheduler decides what goes
next and not the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from weakref import WeakSet

import websockets.asyncio.client
import websockets.asyncio.server
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProxyError,
    WebSocketException,
)
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event, State
from websockets.typing import Subprotocol

from ..errors import ConnectionLost, LocalProtocolError, RemoteProtocolError, Unavailable
from ..runtime import forks
from . import Transport
from .addresses import check_headers, shown_url, split_address
from .upgrades import NO_UPGRADE, Answer, mark, redirect_of, refusal

__all__ = ["SUBPROTOCOL", "HttpAnswer", "connect_websocket", "is_loopback", "serve_websocket"]

SUBPROTOCOL = "asyncblock.v1"
"""The websocket subprotocol: the wire's name and major version."""

_logger = logging.getLogger("asyncblock.transport.websocket")
# The library logs handshakes at DEBUG, with the bearer token in them: never, whatever the root logger's level is.
_logger.setLevel(logging.WARNING)

_WRITE_LIMIT = 64 << 10
"""Bytes of the write buffer at which a sender waits: one batch."""

_SOCKET_BUFFER = 256 << 10
"""Bytes of the kernel's buffers, each way. Left alone they grow to several MB as soon as one side is slower than the
other, and a cancel waits behind all of it: 30 ms on this side of a loopback, seconds on a thin line (control). 256 KiB
are 20 MB/s at a round trip of 12 ms."""

_UNSENT = 128 << 10
"""Bytes in the kernel that aren't sent yet at which the socket takes no more."""

_AT_ONCE = 16 << 10
"""Bytes of a message that is written without waiting when nothing waits in front of it: well below the write limit."""

_MAX_QUEUE = 4
"""Messages that are read ahead of their receiver; what is read can't be passed by."""

_CHUNK = b"\x01"
"""The first byte of a binary message."""

_CLOSE_TIMEOUT = 2.0
"""Seconds for all of a close; after that the connection is aborted (a peer may be gone for good, or read nothing)."""

_HANDSHAKE_TIMEOUT = 10.0
"""Seconds for TCP, TLS and the HTTP upgrade together."""


class _Hearing(Connection):
    """Notes when bytes come: on a thin line, a message may take longer than silence may last."""

    heard_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opcodes: deque[Opcode] = deque()
        """Those of the messages that wait for their receiver, as their first frames have them."""

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.opcodes.append(event.opcode)
        super().process_event(event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard_at = self.loop.time()
        # A forked child that kept it would keep the connection open when this process is gone.
        forks.claim(transport.get_extra_info("socket").fileno())
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)


class _Dialled(_Hearing, ClientConnection):
    pass


class _Accepted(_Hearing, ServerConnection):
    _over = False
    _when_over: Callable[[], None] | None = None

    def when_over(self, act: Callable[[], None]) -> None:
        """Do something once the connection has ended."""
        if self._over:
            act()
        else:
            self._when_over = act

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        try:
            super().connection_lost(exc)
        finally:
            if self._when_over is not None:
                self._when_over()


class _Connect(websockets.asyncio.client.connect):
    """Follows redirects on the same host only: what is sent there, token and headers, is for that host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        if not isinstance(exc, InvalidStatus):
            return exc
        target = redirect_of(self.uri, _answer(exc))
        return exc if target is None else target


def _answer(error: InvalidStatus) -> Answer:
    response = error.response
    return Answer(response.status_code, response.headers, bytes(response.body or b""))


class WebsocketTransport:
    """A Transport over one websocket connection."""

    def __init__(self, connection: _Hearing) -> None:
        self._connection = connection
        host = connection.remote_address
        self.peer = f"{host[0]}:{host[1]}" if isinstance(host, tuple) else str(host or "a lost peer")

    @property
    def heard_at(self) -> float:
        return self._connection.heard_at

    async def send(self, message: bytes) -> None:
        text = message[:1] == b"{"
        if len(message) <= _AT_ONCE and self._is_idle:
            self._write(message, text)
            return
        try:
            await self._connection.send(message, text=text)
        except ConnectionClosed as error:
            raise _lost(error) from error

    @property
    def _is_idle(self) -> bool:
        transport = self._connection.transport
        return (
            self._connection.state is State.OPEN
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    def _write(self, message: bytes, text: bool) -> None:
        """Write a small message to a socket that takes it: the library's own way takes twice as long (latency)."""
        protocol = self._connection.protocol
        if text:
            protocol.send_text(message)
        else:
            protocol.send_binary(message)
        for data in protocol.data_to_send():
            self._connection.transport.write(data)

    async def receive(self) -> bytes:
        try:
            message = await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            raise _lost(error) from error
        opcode = self._connection.opcodes.popleft()
        # The bytes tell the two apart for whoever reads them; that they came as what they are is checked here.
        if (opcode is Opcode.BINARY) != (message[:1] == _CHUNK):
            words = "a binary message is a chunk, and begins with 0x01" if opcode is Opcode.BINARY else "text is JSON"
            raise RemoteProtocolError(f"a {opcode.name.lower()} message that begins with {message[:8]!r} came; {words}")
        return message

    async def close(self) -> None:
        # The library bounds its wait for the peer's answer, and not that for a socket that takes nothing more.
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._connection.close()
        except TimeoutError:
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        self._connection.transport.abort()


def _lost(error: ConnectionClosed) -> ConnectionLost | RemoteProtocolError:
    sent = error.sent
    if sent is not None and sent.code == 1009 and not error.rcvd_then_sent:
        return RemoteProtocolError(f"the other side sent a message over the limit: {sent.reason}")
    return ConnectionLost(f"the connection has ended ({error})")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def connect_websocket(
    url: str,
    token: str | None,
    *,
    max_message: int,
    tls: ssl.SSLContext | None = None,
    agent: str = "asyncblock",
    headers: Mapping[str, str] | None = None,
) -> Transport:
    """Open a websocket to the mainframe at ``url`` (``ws://`` or ``wss://``), with further HTTP ``headers``.

    **Cancellation** is safe; nothing stays open.
    Raises ``LocalProtocolError`` for an address or a header that isn't one, ``ConnectionLost`` when nobody answers
    there, or a proxy says that it can't get through now, ``Unauthorized`` when the mainframe itself refuses the token,
    ``Rejected`` when it refuses otherwise, or somebody else answers, ``RemoteProtocolError`` for another protocol.
    """
    parts, shown = split_address(url), shown_url(url)
    check_headers(headers or {})
    own = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection = await _Connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={**own, **(headers or {})},
            user_agent_header=agent,
            compression=None,
            ping_interval=None,
            open_timeout=_HANDSHAKE_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=max_message,
            max_queue=_MAX_QUEUE,
            write_limit=_WRITE_LIMIT,
            proxy=None if is_loopback(parts.hostname or "") else True,
            ssl=(tls or True) if parts.scheme == "wss" else None,
            logger=_logger,
            create_connection=_Dialled,
        )
    except InvalidURI as error:
        raise LocalProtocolError(f"{shown!r} is no mainframe address: {error.msg}") from None
    except InvalidProxy as error:
        # Its own words have the whole address of it, a password included.
        words = f"the proxy {shown_url(error.proxy)!r}, which the environment names, is none: {error.msg}"
        raise LocalProtocolError(words) from None
    except InvalidStatus as error:
        raise refusal(url, _answer(error), SUBPROTOCOL) from error
    except ProxyError as error:
        raise ConnectionLost(f"the proxy on the way to {shown} let nothing through: {error}") from error
    except (InvalidHandshake, InvalidMessage) as error:
        if isinstance(error.__cause__, EOFError):
            more = "" if parts.scheme == "wss" else "; what is served with TLS has an address that begins with wss://"
            raise ConnectionLost(f"{shown} hung up during the handshake: {error}{more}") from error
        raise RemoteProtocolError(f"the server at {shown} is no asyncblock mainframe: {error}") from error
    except ssl.SSLError as error:
        raise RemoteProtocolError(f"TLS with {shown} failed: {error}") from error
    except WebSocketException as error:
        raise ConnectionLost(f"{shown} hung up during the handshake: {error}") from error
    except (OSError, TimeoutError) as error:
        refused = isinstance(error, ConnectionRefusedError)
        words = "connection refused" if refused else str(error) or type(error).__name__
        if parts.scheme == "wss" and isinstance(error, ConnectionResetError):
            words = f"{words} at the TLS handshake. What is served without TLS has an address that begins with ws://"
        raise ConnectionLost(f"no mainframe at {shown}: {words}; is 'asyncblock serve' running there?") from error
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise RemoteProtocolError(f"the server at {shown} doesn't speak {SUBPROTOCOL}; is it another version?")
    _limit_buffers(connection.transport.get_extra_info("socket"))
    assert isinstance(connection, _Dialled)
    return WebsocketTransport(connection)


def _limit_buffers(sock: socket.socket) -> None:
    """Keep the kernel from queueing what the scheduler should decide about."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
    # Not everywhere: bytes that wait in the kernel without being on their way.
    unsent = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if unsent is not None:
        sock.setsockopt(socket.IPPROTO_TCP, unsent, _UNSENT)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A plain HTTP answer to a request that is no websocket upgrade, or that is refused."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    more: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""
    sent: Callable[[], None] | None = None
    """Called when its connection has ended, however that was."""


Gatekeeper = Callable[[str, Mapping[str, str]], Awaitable[HttpAnswer | object]]
"""Decides about an HTTP request by its path and headers (lower-case names): an answer ends it, anything else is
handed to the handler as who the caller is."""

Handler = Callable[[Transport, object], Awaitable[None]]


@asynccontextmanager
async def serve_websocket(
    handler: Handler,
    gatekeeper: Gatekeeper,
    host: str,
    port: int,
    *,
    max_message: int,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Accept websockets on ``host:port`` (port 0: any free one) and yield the port.

    Leaving stops listening, ends all connections, those of peers that read nothing by force after ``_CLOSE_TIMEOUT``,
    and waits until all handlers have ended.
    Raises ``Unavailable`` when the port is taken or may not be bound.
    """
    made: WeakSet[_Accepted] = WeakSet()

    def abort_all() -> None:
        for connection in list(made):
            connection.transport.abort()

    server = await _listen(_Gate(handler, gatekeeper), _noted_in(made), host, port, max_message, tls)
    for listening in server.sockets:
        # Connections that are accepted inherit them.
        _limit_buffers(listening)
        forks.claim(listening.fileno())
    clock: asyncio.TimerHandle | None = None
    try:
        async with server:
            try:
                yield next(iter(server.sockets)).getsockname()[1]
            finally:
                clock = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT, abort_all)
    finally:
        if clock is not None:
            clock.cancel()


class _Gate:
    """Lets in whom the gatekeeper does, and hands their connections to the handler."""

    def __init__(self, handler: Handler, gatekeeper: Gatekeeper) -> None:
        self._handler = handler
        self._gatekeeper = gatekeeper
        self._admitted: dict[ServerConnection, object] = {}
        """Who is on the other side of those whose handshake isn't over."""

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        if "sec-websocket-key" in headers and "upgrade" not in headers:
            return _response(HttpAnswer(426, NO_UPGRADE.encode() + b"\n"))
        verdict = await self._gatekeeper(request.path, headers)
        if isinstance(verdict, HttpAnswer):
            if verdict.sent is not None:
                assert isinstance(connection, _Accepted)
                connection.when_over(verdict.sent)
            return _response(verdict)
        self._admitted[connection] = verdict
        return None

    async def handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, _Accepted)
        await self._handler(WebsocketTransport(connection), self._admitted.pop(connection))


def _noted_in(made: WeakSet[_Accepted]) -> type[_Accepted]:
    """Return a class of connections that are noted as soon as they have been accepted, before any handshake."""

    class Noted(_Accepted):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.add(self)
            super().connection_made(transport)

    return Noted


async def _listen(
    gate: _Gate, connections: type[_Accepted], host: str, port: int, max_message: int, tls: ssl.SSLContext | None
) -> Server:
    try:
        return await websockets.asyncio.server.serve(
            gate.handle,
            host,
            port,
            process_request=gate.admit,
            process_response=_sign,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            select_subprotocol=_select_subprotocol,
            compression=None,
            ping_interval=None,
            open_timeout=_HANDSHAKE_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=max_message,
            max_queue=_MAX_QUEUE,
            write_limit=_WRITE_LIMIT,
            ssl=tls,
            logger=_logger,
            server_header="asyncblock",
            create_connection=connections,
        )
    except OSError as error:
        # asyncio puts its own words around the system's.
        taken = error.errno == errno.EADDRINUSE
        why = "the address is in use; choose another port, or 0 for any free one" if taken else error.strerror or error
        raise Unavailable(f"can't listen on {host}:{port}: {why}") from error


def _sign(connection: ServerConnection, request: Request, response: Response) -> None:
    mark(response.headers, SUBPROTOCOL)


def _select_subprotocol(connection: ServerConnection, offered: list[Subprotocol] | object) -> Subprotocol | None:
    names = list(offered) if isinstance(offered, (list, tuple)) else []
    if SUBPROTOCOL not in names:
        raise NegotiationError(f"this mainframe speaks {SUBPROTOCOL}; the client offered {names or 'nothing'}")
    return Subprotocol(SUBPROTOCOL)


def _response(answer: HttpAnswer) -> Response:
    headers = Headers(
        {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.more,
        }
    )
    mark(headers, SUBPROTOCOL)
    return Response(answer.status, HTTPStatus(answer.status).phrase, headers, answer.body)
