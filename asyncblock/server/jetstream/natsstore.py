"""The door to NATS: appends to a stream, reads it, and says what an answer means. No other file knows nats-py.

If there is neither an acknowledgement nor a refusal, the outcome is unknown: the message may be stored now, later or
never.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import orjson

from ...errors import Unavailable
from ...transport.addresses import shown_url

__all__ = [
    "LONGEST_PAUSE",
    "MAX_BATCH",
    "NatsRefused",
    "NatsStore",
    "NatsUnsure",
    "StoreMessage",
    "StoredMessage",
    "headers_size",
]

MAX_BATCH: Final = 900
"""Messages in an atomic batch; the server takes 1000."""

_WRONG_LAST: Final = frozenset({10071, 10164})
"""The last number of the stream or the subject isn't the expected one, or another message of it is in flight."""

_NO_MESSAGE: Final = 10037
_FULL: Final = frozenset({10023, 10047, 10077})
"""No room in the account, on the disk, or by the stream's ``max_bytes``."""

_PULL: Final = 256
_PULL_BYTES: Final = 4 << 20
_PULL_SECONDS: Final = 2.0


class NatsUnsure(Exception):
    """It isn't known whether it was done: the answer is missing."""


class NatsRefused(Exception):
    """The server said no, and nothing was done."""

    def __init__(self, code: int, words: str) -> None:
        self.code = code
        self.words = words
        super().__init__(f"{words} ({code})")

    @property
    def overtaken(self) -> bool:
        """Tell whether another message was stored at the expected place."""
        return self.code in _WRONG_LAST

    @property
    def full(self) -> bool:
        """Tell whether there is no room."""
        return self.code in _FULL


@dataclass(frozen=True, slots=True)
class StoreMessage:
    """A message to append."""

    subject: str
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a stream. ``data`` is empty where only the headers were asked for."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes


def headers_size(headers: dict[str, str]) -> int:
    """Return the bytes that headers take in a message, which count towards ``max_payload``."""
    return len("NATS/1.0\r\n\r\n") + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


LONGEST_PAUSE: Final = 1.0
"""Seconds of the longest pause between two tries while the servers don't answer: they may elect a leader at any moment,
and a try costs them little."""

_AGAIN: Final = 0.1
"""Seconds between two tries to connect."""

_CONNECT: Final = 2.0
"""Seconds that one server has to accept the connection: while it hangs, another one may be up."""

_PING: Final = 2
"""Seconds between NATS's own pings: the connection to a server that hangs ends after two of them. By default that takes
four minutes, in which nothing would be stored though the other servers are well."""


class _Callbacks:
    """What nats-py calls when a connection fails or ends."""

    def __init__(self, nats: Any) -> None:
        self._nats = nats
        self._errors: list[Exception] = []
        """The most telling error so far; empty as long as there was none."""
        self.waits: set[asyncio.Timeout] = set()
        """The timeouts of requests that the current connection has carried."""

    async def on_disconnect(self) -> None:
        """End all waits: the next connection doesn't bring the answers to requests of this one."""
        now = asyncio.get_running_loop().time()
        for wait in self.waits:
            wait.reschedule(now)
        self.waits.clear()

    async def on_error(self, error: Exception) -> None:
        """Keep the error instead of printing it, as nats-py would: each request raises its own.

        Only a refused connection is explained here alone. The server that refuses hangs up afterwards; that second
        error says less, so it doesn't replace the first one.
        """
        hung_up = isinstance(error, (OSError, self._nats.errors.StaleConnectionError))
        if not (hung_up and self._errors and isinstance(self._errors[0], self._nats.errors.Error)):
            self._errors[:] = [error]

    def why(self, error: BaseException) -> str:
        """Return why no connection came about: what was raised, or else what a server said before."""
        return str(error) or next((str(each) or type(each).__name__ for each in self._errors), type(error).__name__)


async def _connect(servers: Sequence[str], settings: dict[str, Any]) -> Any:
    """Return a connection of nats-py, which tries for ever."""
    client = import_module("nats.aio.client").Client
    while True:
        connection = client()
        try:
            await connection.connect(list(servers), **settings)
            return connection
        except ConnectionResetError:
            # A server that refuses us says why and hangs up. If it hangs up while we are still writing, its reason is
            # lost: try again, so that it can be read.
            await connection.close()
        except BaseException:
            # Cancelled, or refused for good: nothing else has a reference by which to close the connection.
            await connection.close()
            raise
        await asyncio.sleep(_AGAIN)


async def _result_within(connecting: asyncio.Task[Any], seconds: float) -> Any:
    """Return the connection; raise ``TimeoutError`` if there is none in time. A cancel leaves nothing open."""
    try:
        await asyncio.wait({connecting}, timeout=seconds)
        await _ended(connecting)
        if connecting.cancelled():
            raise TimeoutError
        return connecting.result()
    except asyncio.CancelledError:
        await _ended(connecting)
        if not connecting.cancelled() and connecting.exception() is None:
            await connecting.result().close()
        raise


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it ends: nats-py loses a cancel that comes just as a server answers, and keeps trying."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN)


class NatsStore:
    """A connection to NATS, which reconnects by itself. Make one with ``open``, and end it with ``close``."""

    def __init__(self, connection: Any, nats: Any, patience: float, waits: set[asyncio.Timeout]) -> None:
        self._nats = nats
        self._connection = connection
        self._patience = patience
        self._waits = waits
        """The timeouts of requests under way: they expire when the connection ends."""

    @classmethod
    async def open(
        cls, servers: Sequence[str], *, patience: float = 5.0, name: str = "asyncblock", **options: Any
    ) -> NatsStore:
        """Connect. ``options`` are those of ``nats.connect``: user, token, tls ...

        **Durability**: none. **Cancellation** leaves nothing open.
        Raises ``Unavailable`` when there is no such server, or the extra is missing.
        """
        try:
            nats = import_module("nats")
        except ImportError as error:
            raise Unavailable("a journal on JetStream needs nats-py: pip install 'asyncblock[jetstream]'") from error

        callbacks = _Callbacks(nats)
        settings = {
            "name": name,
            # Without a buffer for the next connection: a message in it would be stored after its sender had given up.
            "pending_size": 0,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _AGAIN,
            "connect_timeout": min(patience, _CONNECT),
            "ping_interval": _PING,
            "error_cb": callbacks.on_error,
            "disconnected_cb": callbacks.on_disconnect,
            **options,
        }
        connecting = asyncio.ensure_future(_connect(servers, settings))
        try:
            connection = await _result_within(connecting, 2 * patience)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            where, why = ", ".join(map(shown_url, servers)), callbacks.why(error)
            raise Unavailable(f"no NATS server lets us in at {where}: {why}; start it, or name others") from error
        return cls(connection, nats, patience, callbacks.waits)

    @property
    def version(self) -> tuple[int, int]:
        """The version of the connected server: major and minor."""
        version = self._connection.connected_server_version
        return version.major, version.minor

    @property
    def max_payload(self) -> int:
        """The most bytes that the server takes in a message, headers counted."""
        return int(self._connection.max_payload)

    @property
    def auth_required(self) -> bool:
        """Tell whether the server asks who connects."""
        return bool(self._connection._server_info.get("auth_required"))

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection at the moment."""
        return bool(self._connection.is_connected)

    @property
    def closed(self) -> bool:
        """Tell whether it is over."""
        return bool(self._connection.is_closed)

    async def close(self) -> None:
        """End the connection. **Cancellation** ends it, too."""
        with suppress(self._nats.errors.Error, OSError, TimeoutError):
            await self._connection.close()

    # ------------------------------------------------------------------ talking, without JetStream

    async def tell(self, subject: str, data: bytes, reply: str = "", *, flush: bool = True) -> None:
        """Publish to those that listen now; nothing is kept. Raises ``NatsUnsure``.

        With ``flush`` the server has the message when this returns. **Cancellation** leaves open whether it was sent.
        """
        try:
            await self._connection.publish(subject, data, reply=reply)
            if flush:
                await self._connection.flush(timeout=self._patience)
        except (self._nats.errors.Error, OSError, TimeoutError, asyncio.InvalidStateError) as error:
            raise NatsUnsure(str(error) or type(error).__name__) from error

    async def listen(self, subject: str, hear: Callable[[bytes, str], Awaitable[None]]) -> None:
        """Call ``hear`` with each message of a subject, and the subject for an answer, until ``close``."""

        async def take(message: Any) -> None:
            await hear(bytes(message.data), str(message.reply))

        await self._connection.subscribe(subject, cb=take)

    async def answers(self, subject: str, data: bytes, seconds: float) -> list[bytes]:
        """Ask all that listen; return the answers that come within some seconds. Raises ``NatsUnsure``."""
        found: list[bytes] = []
        inbox = self._connection.new_inbox()

        async def take(answer: bytes, _: str) -> None:
            found.append(answer)

        await self.listen(inbox, take)
        await self.tell(subject, data, inbox)
        await asyncio.sleep(seconds)
        return found

    # ------------------------------------------------------------------ asking

    async def ask(self, what: str, question: object = None) -> dict[str, Any]:
        """Ask JetStream's API; raises ``NatsRefused`` or ``NatsUnsure``. **Cancellation** abandons the answer."""
        data = b"" if question is None else orjson.dumps(question)
        return _answer(await self._request(f"$JS.API.{what}", data, {}))

    async def _request(self, subject: str, data: bytes, headers: dict[str, str]) -> bytes:
        try:
            async with self._while_connected():
                answer = await self._connection.request(subject, data, timeout=self._patience, headers=headers or None)
        except (self._nats.errors.Error, OSError, TimeoutError, asyncio.InvalidStateError) as error:
            raise NatsUnsure(str(error) or type(error).__name__) from error
        return bytes(answer.data)

    @asynccontextmanager
    async def _while_connected(self) -> AsyncIterator[None]:
        """Wait for an answer of this connection. Raises ``NatsUnsure`` when it ends before."""
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._waits.add(wait)
                yield
        except TimeoutError as error:
            if wait.expired():
                raise NatsUnsure("the connection ended before the answer came") from error
            raise
        finally:
            self._waits.discard(wait)

    # ------------------------------------------------------------------ appending

    async def append(self, messages: Sequence[StoreMessage], expected: int) -> int:
        """Append up to ``MAX_BATCH`` messages behind number ``expected``, all or none; return the last one's number.

        **Cancellation** leaves the outcome unknown.
        """
        fence = {"Nats-Expected-Last-Sequence": str(expected)}
        if len(messages) == 1:
            return await self.put(messages[0], fence)
        batch = {"Nats-Batch-Id": secrets.token_hex(8)}
        for place, message in enumerate(messages[:-1], 1):
            headers = {**batch, "Nats-Batch-Sequence": str(place), **(fence if place == 1 else {}), **message.headers}
            await self._publish(StoreMessage(message.subject, message.data, headers))
        last = messages[-1]
        headers = {**batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1", **last.headers}
        answer = _answer(await self._request(last.subject, last.data, headers))
        if answer.get("count") != len(messages):
            raise NatsUnsure(f"a batch of {len(messages)} was acknowledged as {answer}")
        return int(answer["seq"])

    async def append_to_subject(self, message: StoreMessage, expected: int) -> int:
        """Append behind number ``expected`` of the message's subject; 0 for the first. Return the number."""
        return await self.put(message, {"Nats-Expected-Last-Subject-Sequence": str(expected)})

    async def put(self, message: StoreMessage, fence: dict[str, str] | None = None) -> int:
        """Append a message; return its number. **Cancellation** leaves the outcome unknown."""
        headers = {**(fence or {}), **message.headers}
        return int(_answer(await self._request(message.subject, message.data, headers))["seq"])

    async def _publish(self, message: StoreMessage) -> None:
        try:
            await self._connection.publish(message.subject, message.data, headers=message.headers)
        except (self._nats.errors.Error, OSError) as error:
            raise NatsUnsure(str(error) or type(error).__name__) from error

    # ------------------------------------------------------------------ reading

    async def last_seq(self, stream: str) -> int:
        """Return the stream's last number. It may be out of date; only an append can prove it."""
        return int((await self.ask(f"STREAM.INFO.{stream}"))["state"]["last_seq"])

    async def get(self, stream: str, **which: object) -> StoredMessage | None:
        """Read a message from the leader: at ``seq``, the ``next_by_subj`` from there, or the ``last_by_subj``."""
        try:
            message = (await self.ask(f"STREAM.MSG.GET.{stream}", which))["message"]
        except NatsRefused as refused:
            if refused.code == _NO_MESSAGE:
                return None
            raise
        headers = _headers(base64.b64decode(message.get("hdrs", "")))
        return StoredMessage(message["seq"], message["subject"], headers, base64.b64decode(message.get("data", "")))

    async def read(
        self, stream: str, subjects: Sequence[str], upto: int, *, headers_only: bool = False
    ) -> AsyncGenerator[StoredMessage, None]:
        """Read the messages of subjects in order, up to number ``upto``, which must be one of theirs.

        Servers that know less are waited for; so is a server that isn't there. Raises ``NatsRefused`` when the last one
        was deleted.
        """
        after = 0
        while after < upto:
            try:
                async for message in self._consume(stream, subjects, after, upto, headers_only):
                    yield message
                    after = message.seq
            except NatsUnsure:
                if self.closed:
                    raise
                await asyncio.sleep(0.2)

    async def _consume(
        self, stream: str, subjects: Sequence[str], after: int, upto: int, headers_only: bool
    ) -> AsyncIterator[StoredMessage]:
        config = {
            "deliver_policy": "by_start_sequence" if after else "all",
            **({"opt_start_seq": after + 1} if after else {}),
            "ack_policy": "none",
            "filter_subjects": list(subjects),
            "headers_only": headers_only,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 30_000_000_000,
        }
        made = await self.ask(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config})
        consumer = made["name"]
        inbox = self._connection.new_inbox()
        messages = await self._connection.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        try:
            expected = 1
            while True:
                pull = {
                    "batch": _PULL,
                    "max_bytes": _PULL_BYTES + self.max_payload,
                    "expires": int(_PULL_SECONDS * 1e9),
                }
                subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
                await self._connection.publish(subject, orjson.dumps(pull), reply=inbox)
                for _ in range(_PULL):
                    message = await self._next(messages)
                    status = (message.headers or {}).get("Status")
                    if status is not None:
                        if status not in ("404", "408", "409"):
                            raise NatsUnsure(f"reading {stream}: status {status}")
                        if await self._consumer_is_gone(stream, consumer):
                            raise NatsUnsure(f"the reader of {stream} is gone")
                        if await self._is_purged(stream, upto):
                            raise NatsRefused(_NO_MESSAGE, f"message {upto} of stream {stream} was deleted")
                        break
                    place = message.metadata.sequence
                    if place.consumer != expected:
                        raise NatsUnsure("a message was lost on the way")
                    expected += 1
                    yield StoredMessage(place.stream, message.subject, dict(message.headers or {}), message.data)
                    if place.stream >= upto:
                        return
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            raise NatsUnsure(str(error) or type(error).__name__) from error
        finally:
            with suppress(self._nats.errors.Error, OSError):
                await messages.unsubscribe()
            with suppress(NatsRefused, NatsUnsure):
                await self.ask(f"CONSUMER.DELETE.{stream}.{consumer}")

    async def _next(self, messages: Any) -> Any:
        seconds = self._patience + _PULL_SECONDS
        if messages.pending_msgs:
            return await messages.next_msg(timeout=seconds)
        async with self._while_connected():
            return await messages.next_msg(timeout=seconds)

    async def _consumer_is_gone(self, stream: str, consumer: str) -> bool:
        try:
            await self.ask(f"CONSUMER.INFO.{stream}.{consumer}")
        except NatsRefused:
            return True
        return False

    async def _is_purged(self, stream: str, seq: int) -> bool:
        # The leader knows later messages, so it has caught up: this one was deleted.
        return await self.last_seq(stream) >= seq and await self.get(stream, seq=seq) is None

    # ------------------------------------------------------------------ deleting

    async def purge(self, stream: str, subject: str, below: int = 0) -> None:
        """Delete the messages of a subject, all or those with numbers below one."""
        question = {"filter": subject, **({"seq": below} if below else {})}
        await self.ask(f"STREAM.PURGE.{stream}", question)


def _answer(data: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NatsUnsure(f"an answer that isn't JSON: {data[:100]!r}") from error
    if not isinstance(answer, dict):
        raise NatsUnsure(f"an answer that isn't an object: {data[:100]!r}")
    if "error" in answer:
        error_ = answer["error"]
        raise NatsRefused(int(error_.get("err_code", 0)), str(error_.get("description", error_)))
    return answer


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
