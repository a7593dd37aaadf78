"""The mainframe that our executor processes see: it takes their records, and acknowledges what its host has let go.

It speaks as much of the wire as executors need: greeting, batches, bodies both ways, requests, reads. It keeps nothing
on a disk; a link that comes back goes on where its process and this one are.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import orjson

from ..errors import ConnectionLost, Rejected, RemoteProtocolError
from ..transport import Transport
from ..wire import frames, records
from ..wire.bodies import CHUNK_SIZE, decode_chunk, encode_chunk
from ..wire.messages import (
    VERSION,
    Ack,
    Announce,
    Bye,
    Close,
    Discard,
    Dispatch,
    Fetch,
    Fetched,
    Hello,
    Kept,
    Message,
    Page,
    Ping,
    Read,
    Refused,
    Reply,
    Request,
    Stalled,
    Unread,
    Welcome,
    Whole,
    decode,
    encode,
)
from ..wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW

__all__ = ["BRIDGE", "TakenBatch", "ExecutorLink", "ExecutorHost", "Links"]

logger = logging.getLogger("asyncblock.bridge")

BRIDGE: Final = "bridge"
"""The link that bodies come from which jobs are given."""

_HEARTBEAT = 5.0
_GREETING_TIMEOUT = 10.0
_ANSWERS = 1000
"""Answers to requests that are kept: the same request gets the same one after a lost connection."""


class TakenBatch:
    """A batch that came, until all that became of it is let go."""

    __slots__ = ("open", "seq")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.open = 1
        """What is still to be waited for; one is the reading of the batch itself."""


class ExecutorHost(Protocol):
    """Whose executors these are."""

    def record(self, link: ExecutorLink, channel: int, record: dict[str, Any], batch: TakenBatch) -> str | None:
        """Take a record of an open job; say why it can't be applied, or None. Each further wait opens the batch."""
        ...

    def ready(self, link: ExecutorLink) -> None:
        """Take note that a link can be given jobs, or other ones than before."""
        ...

    def counts_as_open(self, link: ExecutorLink, channel: int) -> bool:
        """Tell whether a link's job isn't over."""
        ...

    def stalled(self, link: ExecutorLink, channel: int, seconds: float, where: str) -> None:
        """Take note that a block keeps its event loop from running."""
        ...

    async def answer(self, link: ExecutorLink, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Answer a request of a job. Raises ``Rejected``."""
        ...

    async def rows(self, offset: int) -> list[tuple[int, bytes]]:
        """Wait until there are rows from an offset on, and return them."""
        ...

    def body(self, n: int) -> bytes | None:
        """Return a body that this bridge has named."""
        ...


class ExecutorLink:
    """One executor process: what is kept of it between its connections."""

    def __init__(self, link_id: str, host: ExecutorHost, secret: str | None) -> None:
        self.link_id = link_id
        self.token = secret or secrets.token_hex(16)
        self.packages: frozenset[str] | None = None
        """The hashes that it has announced; None while it takes no jobs."""
        self.bodies: dict[int, bytearray] = {}
        self._host = host
        self._received = 0
        self._acked = 0
        self._batches: deque[TakenBatch] = deque()
        self._next_channel = 1
        self._counts: dict[int, int] = {}
        """Records that came, by channel."""
        self._answers: OrderedDict[str, asyncio.Task[None]] = OrderedDict()
        self._said: dict[str, bytes] = {}
        self._reads: dict[int, asyncio.Task[None]] = {}
        self._out: asyncio.Queue[bytes] | None = None
        self._transport: Transport | None = None

    @property
    def takes_jobs(self) -> bool:
        """Whether it is here and wants them."""
        return self._out is not None and self.packages is not None

    def dispatch(self, make: Callable[[int], Dispatch]) -> int:
        """Give it a job; return the channel."""
        channel = self._next_channel
        self._next_channel += 1
        self._send(make(channel))
        return channel

    def send(self, message: Message) -> None:
        """Say something, if it is here: it hears it again after its next Hello if that matters."""
        self._send(message)

    def let_go(self, batch: TakenBatch) -> None:
        """Take note that one thing more of a batch needs no more waiting for; acknowledge what is whole."""
        batch.open -= 1
        before = self._acked
        while self._batches and self._batches[0].open == 0:
            self._acked = self._batches.popleft().seq
        if self._acked != before:
            self._send(Ack(self._acked))

    def forget(self, channel: int) -> None:
        """Forget a job that is over."""
        self._counts.pop(channel, None)

    def drop_bodies(self, numbers: list[int]) -> None:
        """Forget bodies after their record has come."""
        for n in numbers:
            self.bodies.pop(n, None)

    def _send(self, message: Message) -> None:
        if self._out is not None:
            self._out.put_nowait(encode(message))

    # ------------------------------------------------------------------ one connection

    async def serve(self, transport: Transport, hello: Hello) -> None:
        """Serve a connection until it ends."""
        if self._transport is not None:
            self._transport.abort()
        resumed = hello.token in (None, self.token)
        self._transport, out = transport, asyncio.Queue[bytes]()
        self._out = out
        self._next_channel = max(self._next_channel, hello.next_channel, *(each[0] + 1 for each in hello.channels), 1)
        self._announced(hello.executor)
        self._send(self._welcome(resumed))
        for channel, job_id, attempt in hello.channels:
            if not self._host.counts_as_open(self, channel):
                self._send(Close(channel, job_id, attempt, "the bridge doesn't count it as open"))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_write(transport, out))
                tasks.create_task(self._pulse())
                self._host.ready(self)
                while True:
                    self._take(await transport.receive(), tasks)
        finally:
            if self._out is out:
                self._out = self._transport = None
                self._reads.clear()

    def _welcome(self, resumed: bool) -> Welcome:
        return Welcome(
            version=VERSION,
            epoch=BRIDGE,
            token=self.token,
            resumed=resumed,
            stored=self._acked,
            bodies={str(n): len(content) for n, content in self.bodies.items()},
            windows={"data": DATA_WINDOW, "telemetry": TELEMETRY_WINDOW, "link": LINK_WINDOW},
            limits={},
            heartbeat=_HEARTBEAT,
            understands=[Whole.op, Discard.op],
        )

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            self._send(Ping(stored=self._acked))

    def _announced(self, said: dict[str, Any] | None) -> None:
        self.packages = None if said is None else frozenset(said.get("packages", ()))

    def _take(self, message: bytes, tasks: asyncio.TaskGroup) -> None:
        if not frames.is_text(message):
            self._chunk(message)
            return
        for header, lines in frames.split(message):
            if header["op"] == "batch":
                self._batch(frames.take_batch(header, lines))
                continue
            match decode(header):
                case Request() as request:
                    self._request(request, tasks)
                case Read() as read:
                    if read.id not in self._reads:
                        self._reads[read.id] = tasks.create_task(self._read(read))
                case Unread(id=id):
                    if (reading := self._reads.pop(id, None)) is not None:
                        reading.cancel()
                case Fetch() as fetch:
                    self._fetch(fetch)
                case Whole() as whole:
                    tasks.create_task(self._keep(whole))
                case Discard(bodies=numbers):
                    self.drop_bodies(numbers)
                case Announce(executor=said):
                    self._announced(said)
                    self._host.ready(self)
                case Stalled(channel=channel, seconds=seconds, where=where):
                    self._host.stalled(self, channel, seconds, where)
                case Bye():
                    raise ConnectionLost("it said goodbye")
                case _:
                    pass

    # ------------------------------------------------------------------ records and bodies

    def _batch(self, came: frames.Batch) -> None:
        if came.seq <= self._received:
            return
        self._received = came.seq
        batch = TakenBatch(came.seq)
        self._batches.append(batch)
        for channel, line in came.runs:
            for record in orjson.loads(line):
                index = self._counts.get(channel, 0)
                self._counts[channel] = index + 1
                wrong = records.check(record)
                if wrong is None and self._host.counts_as_open(self, channel):
                    wrong = self._host.record(self, channel, record, batch)
                if wrong is not None:
                    self._send(Refused(channel, index, wrong))
        self.let_go(batch)

    def _chunk(self, message: bytes) -> None:
        n, offset, piece = decode_chunk(message)
        content = self.bodies.setdefault(n, bytearray())
        if offset > len(content):
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; {len(content)} bytes are here")
        content += piece[len(content) - offset :]

    async def _keep(self, whole: Whole) -> None:
        content = self.bodies.setdefault(whole.n, bytearray())
        # A copy: bytes may be added while the thread reads.
        digest = await asyncio.to_thread(_sum_of, bytes(content))
        if len(content) != whole.length or digest != whole.sha256:
            raise RemoteProtocolError(f"body {whole.n} doesn't have the checksum or the length that was announced")
        self._send(Kept(whole.n))

    def _fetch(self, fetch: Fetch) -> None:
        assert self._out is not None
        content = self._host.body(fetch.n) if fetch.link == BRIDGE else None
        if content is None:
            self._send(Fetched(fetch.id, f"body {fetch.link}-{fetch.n} isn't here any more"))
            return
        part = memoryview(content)[fetch.offset : fetch.offset + fetch.size]
        for start in range(0, len(part), CHUNK_SIZE):
            chunk = encode_chunk(fetch.id, fetch.offset + start, bytes(part[start : start + CHUNK_SIZE]))
            self._out.put_nowait(chunk)
        self._send(Fetched(fetch.id))

    # ------------------------------------------------------------------ questions

    def _request(self, request: Request, tasks: asyncio.TaskGroup) -> None:
        if (said := self._said.get(request.id)) is not None:
            if self._out is not None:
                self._out.put_nowait(said)
        elif request.id not in self._answers or self._answers[request.id].done():
            self._answers[request.id] = tasks.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            reply = Reply(request.id, result=await self._host.answer(self, request.method, request.params))
        except Rejected as error:
            reply = Reply(request.id, error={"code": error.code, "message": str(error)})
        self._said[request.id] = encode(reply)
        self._answers.pop(request.id, None)
        while len(self._said) > _ANSWERS:
            del self._said[next(iter(self._said))]
        self._send(reply)

    async def _read(self, read: Read) -> None:
        found = await self._host.rows(read.offset)
        self._reads.pop(read.id, None)
        header = encode(Page(read.id, found[-1][0] + 1, len(found), [[offset, 1] for offset, _ in found], end=False))
        if self._out is not None:
            self._out.put_nowait(frames.join_page(header, [line for _, line in found]))


class Links:
    """The executor processes that are here. Give ``serve`` to the websocket's server."""

    def __init__(self, token: str, host: ExecutorHost) -> None:
        self._token = token
        self._host = host
        self.links: dict[str, ExecutorLink] = {}

    async def serve(self, transport: Transport, _: object) -> None:
        """Serve a connection until it ends."""
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                message = await transport.receive()
            header, _lines = next(frames.split(message))
            hello = decode(header)
            if not isinstance(hello, Hello):
                raise RemoteProtocolError("the first message must be a Hello")
            link = self.links.get(hello.link)
            if link is None or hello.token not in (None, link.token):
                link = self.links[hello.link] = ExecutorLink(hello.link, self._host, hello.secret)
            await link.serve(transport, hello)
        except* (ConnectionLost, TimeoutError):
            pass
        except* RemoteProtocolError as group:
            reason = str(group.exceptions[0])
            logger.error("an executor process broke the protocol: %s", reason)
            with suppress(ConnectionLost):
                await transport.send(encode(Bye("unreadable", reason[:1000], stop=True)))
        finally:
            await transport.close()

    def gone(self, link_id: str) -> ExecutorLink | None:
        """Forget a link after its process has ended."""
        return self.links.pop(link_id, None)


async def _write(transport: Transport, out: asyncio.Queue[bytes]) -> None:
    while True:
        await transport.send(await out.get())


def _sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
