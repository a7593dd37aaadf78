"""MQTT: one connection to a broker, which comes back by itself. The door of paho-mqtt.

Its network thread only hands things over: what it hears is told on the loop that has entered the ``Broker``, and what
is published goes in the order of the calls, a bounded number at a time, again after a lost connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .errors import Unauthorized, Unavailable

if TYPE_CHECKING:
    from paho.mqtt.client import Client

__all__ = ["MAX_PAYLOAD", "Broker", "need_paho"]

logger = logging.getLogger("asyncblock.mqtt")

MAX_PAYLOAD = (256 << 20) - (1 << 16)
"""Bytes of a message: the format has no more than 256 MiB for one with its topic."""

_CONNECT_TIMEOUT = 4.0
"""Seconds that a broker has to take a first connection. The engine gives an executor 5."""

_AT_ONCE = 1000
"""Messages that the client has and that the broker hasn't acknowledged. Their numbers have 16 bits."""

_RETRY = (1, 2)
"""Seconds between two tries to connect again: the first pause and the longest."""

_KEEPALIVE = 60

_REFUSED_LOGIN = frozenset({"Bad user name or password", "Not authorized", "Banned"})


def need_paho() -> None:
    """Raise ``Unavailable`` that names the extra when paho-mqtt isn't installed."""
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError:
        raise Unavailable("this needs paho-mqtt: pip install 'asyncblock[oocana]'") from None


class Broker:
    """A connection to the broker at ``[mqtt://][USER:PASSWORD@]HOST:PORT``. Use it with ``async with``.

    ``heard`` is called with topic and payload of each message that comes, ``back`` after each further connection.
    Entering it raises ``Unavailable`` when no broker answers, ``Unauthorized`` when it wants another login.
    """

    def __init__(
        self,
        address: str,
        client_id: str,
        *,
        heard: Callable[[str, bytes], None] = lambda topic, payload: None,
        back: Callable[[], None] = lambda: None,
    ) -> None:
        need_paho()
        self._host, self._port, self._login = _parts_of(address)
        self._client_id = client_id
        self._heard = heard
        self._back = back
        self._client: Client
        self._loop: asyncio.AbstractEventLoop
        self._first: asyncio.Future[None]
        self._connected = False
        self._waiting: deque[tuple[str, bytes, asyncio.Future[None]]] = deque()
        self._sent: dict[int, asyncio.Future[None]] = {}
        """What was published and isn't acknowledged, by the client's number."""
        self._topics: dict[str, asyncio.Future[None]] = {}
        """What is subscribed to, and what is done when that is granted."""
        self._asked: dict[int, list[str]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def name(self) -> str:
        """The broker's address, without a login."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Broker:
        self._loop = asyncio.get_running_loop()
        self._first = self._loop.create_future()
        client = self._client = self._new_client()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                # For its words: the client only says that it couldn't.
                _, writer = await asyncio.open_connection(self._host, self._port)
                writer.close()
                client.connect_async(self._host, self._port, keepalive=_KEEPALIVE)
                client.loop_start()
                await self._first
        except OSError as error:
            await self._stop()
            why = "it doesn't answer" if isinstance(error, TimeoutError) else _in_words(error)
            raise Unavailable(f"no MQTT broker can be reached at {self.name}: {why}") from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connected = False
        self._client.disconnect()
        await self._stop()

    async def _stop(self) -> None:
        # It joins a thread, which may stand in a connect.
        await asyncio.shield(asyncio.to_thread(self._client.loop_stop))
        for _, _, done in self._waiting:
            done.cancel()
        for done in (*self._sent.values(), *self._topics.values()):
            done.cancel()

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, clean_session=True, protocol=MQTTv311)
        if self._login is not None:
            client.username_pw_set(*self._login)
        client.max_inflight_messages_set(_AT_ONCE)
        client.reconnect_delay_set(*_RETRY)
        post = self._post
        client.on_socket_open = _without_delay
        client.on_connect = lambda client, data, flags, code, properties: post(
            self._on_connect, str(code), bool(code.is_failure)
        )
        client.on_disconnect = lambda client, data, flags, code, properties: post(self._on_disconnect, str(code))
        client.on_message = lambda client, data, message: post(self._heard, message.topic, message.payload)
        client.on_publish = self._came(self._on_publish)
        client.on_subscribe = self._came(self._on_subscribe)
        return client

    def _came(self, call: Callable[[int], None]) -> Callable[..., None]:
        """Return what takes the broker's word for a message of this client's. On the client's thread."""

        def take(client: Client, data: object, mid: int, *more: object) -> None:
            # A broker that waits with small messages (Nagle's) has its next one, a job's inputs say, behind this word:
            # with the kernel's usual 40 ms before it acknowledges, each job would take as much longer.
            _acknowledge(client.socket())
            self._post(call, mid)

        return take

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        """Do something on the loop. On the client's thread."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            # The loop has ended first.
            logger.debug("a message came after the end")

    # ------------------------------------------------------------------ what callers do, on the loop

    def publish(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Publish; what is returned is done when the broker has it, which may take as long as it is away."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._empty.clear()
        self._waiting.append((topic, payload, done))
        self._hand_over()
        return done

    def send(self, topic: str, payload: bytes) -> None:
        """Publish a message without waiting for it."""
        self.publish(topic, payload).add_done_callback(_known)

    async def subscribe(self, *topics: str) -> None:
        """Subscribe, also on each later connection. **Cancellation** leaves the topics subscribed to."""
        new = [topic for topic in topics if topic not in self._topics]
        for topic in new:
            self._topics[topic] = self._loop.create_future()
        if self._connected and new:
            self._ask_for(new)
        for topic in topics:
            await asyncio.shield(self._topics[topic])

    def unsubscribe(self, topic: str) -> None:
        """Take no more messages of a topic."""
        granted = self._topics.pop(topic, None)
        if granted is not None and self._connected:
            self._client.unsubscribe(topic)

    async def flush(self, timeout: float) -> bool:
        """Wait until the broker has all that was published, ``timeout`` seconds at most; tell whether it has.

        **Cancellation** is safe.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    # ------------------------------------------------------------------ what the client tells, on the loop

    def _hand_over(self) -> None:
        while self._waiting and len(self._sent) < _AT_ONCE:
            topic, payload, done = self._waiting.popleft()
            self._sent[self._client.publish(topic, payload, qos=1).mid] = done

    def _ask_for(self, topics: Iterable[str]) -> None:
        wanted = list(topics)
        code, mid = self._client.subscribe([(topic, 1) for topic in wanted])
        if mid is not None and not code:
            self._asked[mid] = wanted

    def _on_connect(self, code: str, failed: bool) -> None:
        if failed:
            self._refused(code)
            return
        again, self._connected = self._first.done(), True
        if not again:
            self._first.set_result(None)
        else:
            logger.warning("the broker at %s is back", self.name)
        self._asked.clear()
        if self._topics:
            self._ask_for(self._topics)
        if again:
            self._back()

    def _refused(self, code: str) -> None:
        if code in _REFUSED_LOGIN:
            login = "another login" if self._login is not None else "a login: USER:PASSWORD@HOST:PORT"
            words = f"the MQTT broker at {self.name} wants {login} ({code})"
        else:
            words = f"the MQTT broker at {self.name} takes no connection: {code}"
        if self._first.done():
            logger.error("%s", words)
        else:
            self._first.set_exception(Unauthorized(words) if code in _REFUSED_LOGIN else Unavailable(words))

    def _on_disconnect(self, code: str) -> None:
        if self._connected:
            self._connected = False
            logger.warning("the connection to the broker at %s is lost (%s); trying again", self.name, code)

    def _on_publish(self, mid: int) -> None:
        done = self._sent.pop(mid, None)
        if done is not None and not done.done():
            done.set_result(None)
        self._hand_over()
        if not self._sent and not self._waiting:
            self._empty.set()

    def _on_subscribe(self, mid: int) -> None:
        for topic in self._asked.pop(mid, ()):
            granted = self._topics.get(topic)
            if granted is not None and not granted.done():
                granted.set_result(None)


def _in_words(error: OSError) -> str:
    # asyncio puts its own words around the system's.
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)


def _known(done: asyncio.Future[None]) -> None:
    """Nobody asks for it."""


def _without_delay(client: object, data: object, sock: Any) -> None:
    """Send each message at once: answers wait for small ones. On the client's thread."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge(sock: object) -> None:
    """Let the kernel acknowledge at once what has come."""
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None and isinstance(sock, socket.socket):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)


def _parts_of(address: str) -> tuple[str, int, tuple[str, str | None] | None]:
    given = address if "://" in address else f"mqtt://{address}"
    parts = urlsplit(given)
    try:
        port = parts.port or 1883
    except ValueError:
        port = 0
    if parts.scheme != "mqtt" or not parts.hostname or not port or parts.path.strip("/"):
        shown = given.rpartition("@")[2]
        raise Unavailable(f"{shown!r} isn't the address of an MQTT broker: mqtt://HOST:PORT, or HOST:PORT")
    login = None
    if parts.username is not None:
        login = (unquote(parts.username), None if parts.password is None else unquote(parts.password))
    return parts.hostname, port, login
