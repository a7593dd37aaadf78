"""The gateway: links and their connections. It greets, reads, checks sequence numbers, and hands records to sessions.

Two kinds of wrong: what can't be *read* ends the link with a stop code, and its jobs end with that reason; what can be
read but not *applied* is journaled, acknowledged and refused, so that nothing is sent for ever.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import Any

import orjson

from ..errors import AsyncBlockError, ConnectionLost, Rejected, RemoteProtocolError, Unavailable
from ..transport import Transport
from ..wire import frames
from ..wire.bodies import BodyRef, decode_chunk
from ..wire.frames import Batch
from ..wire.messages import (
    VERSION,
    Ack,
    Announce,
    Bye,
    Cancel,
    Close,
    Fetch,
    Gone,
    Hello,
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
    decode,
    encode,
)
from ..wire.states import Role, State, advance
from ..wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW
from .access import hash_token
from .api import METHODS
from .blocks import JOB_METHODS, attempt_of
from .housekeeping import QUESTIONS, Question
from .jobs import JobState
from .journal import BodyKey, BodyRow, LinkRow
from .links import Connection, ExecutorInfo, LinkState
from .readers import BodyReader, PageReader
from .sessions import Sessions
from .turn import Turn

__all__ = ["Gateway"]

logger = logging.getLogger("asyncblock.server")

_GREETING_TIMEOUT = 10.0
"""Seconds that a new connection has for its Hello."""

MAX_LINKS = 10_000
"""Links that a mainframe accepts at once; each connection costs about 50 kB."""

MAX_READS = 4096
"""Reads that a connection may have waiting at once: an executor has one for each session whose jobs run blocks."""


_UNWRITTEN = 1 << 20
"""Bytes of a connection's chunks that may wait for the disk before its reader waits too; what follows a body waits for
as much."""

_DISK_PATIENCE = 0.1
"""Seconds that a reader waits for the disk before it looks at the next message."""


class Gateway:
    """Accepts connections and keeps the links."""

    def __init__(self, sessions: Sessions, epoch: str, heartbeat: float = 5.0) -> None:
        self._sessions = sessions
        self._links = sessions.dispatch.links
        self._epoch = epoch
        self._heartbeat = heartbeat
        self._connections: set[Connection] = set()
        self.trouble: str | None = None
        """Why nothing is accepted at the moment; None when all is well."""

    def recover(self, rows: list[LinkRow]) -> None:
        """Take over the links that the journal knows."""
        for row in rows:
            link = LinkState(row.link_id, row.link_no, row.token_hash, row.boot, row.generation)
            link.received = link.stored = row.stored_seq
            link.bodies = dict(self._sessions.journal.bodies.under_way(row.link_id))
            self._links[row.link_id] = link

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def dismiss(self, code: str, reason: str, retry_after: float | None) -> None:
        """Say goodbye to everybody; they come back after ``retry_after`` seconds."""
        for connection in list(self._connections):
            connection.bye(Bye(code, reason, stop=False, retry_after=retry_after))

    # ------------------------------------------------------------------ one connection

    async def serve(self, transport: Transport, principal: object) -> None:
        """Serve a connection until it ends."""
        roles = principal if isinstance(principal, frozenset) else frozenset()
        connection = Connection(transport)
        self._connections.add(connection)
        link: LinkState | None = None
        try:
            hello = await self._await_hello(transport)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.write())
                link = await self._greet(hello, connection, roles)
                tasks.create_task(self._pulse(link, connection))
                await _Reader(self, link, connection, roles, tasks).run()
        except* ConnectionLost:
            pass
        except* _Dismissed as group:
            await self._say_goodbye(transport, group)
        except* RemoteProtocolError as group:
            await self._unreadable(link, transport, group)
        finally:
            self._connections.discard(connection)
            if link is not None and link.connection is connection:
                link.connection = None
                self._sessions.dispatch.lost(link)
            await transport.close()

    async def _await_hello(self, transport: Transport) -> Hello:
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                message = await transport.receive()
        except TimeoutError:
            raise ConnectionLost("no Hello came in time") from None
        if not frames.is_text(message):
            raise RemoteProtocolError("the first message must be a Hello")
        for header, _ in frames.split(message):
            advance(Role.UPPER, State.GREETING, str(header["op"]))
            hello = decode(header)
            if isinstance(hello, Hello):
                return hello
        raise ConnectionLost("the other side said goodbye")

    async def _greet(self, hello: Hello, connection: Connection, roles: frozenset[str]) -> LinkState:
        self._admit(hello, roles)
        link = self._links.get(hello.link)
        resumed = link is not None and link.number > 0 and hello.token is not None
        if resumed and link is not None:
            if hash_token(hello.token or "") != link.token_hash:
                self._turn_away(Bye("unauthorized", "that link belongs to somebody else", stop=True))
            if hello.generation <= link.generation:
                self._turn_away(Bye("replaced", "a newer connection of this link is open", stop=False))
        token = hello.token if resumed and hello.token else secrets.token_hex(16)
        link = await self._take_link(hello, token, resumed)
        self._replace_connection(link, connection, hello)
        connection.send(self._welcome(link, token, resumed or hello.token is None))
        self._reconcile(link, hello)
        return link

    def _admit(self, hello: Hello, roles: frozenset[str]) -> None:
        if hello.version != VERSION:
            self._turn_away(
                Bye("version", f"this mainframe speaks version {VERSION}, not {hello.version}; update one", stop=True),
            )
        if hello.executor is not None and "executor" not in roles:
            self._turn_away(Bye("unauthorized", "this token may not run blocks", stop=True))
        if self.trouble is not None:
            self._turn_away(Bye("trouble", self.trouble, stop=False, retry_after=2.0))
        if len(self._connections) > MAX_LINKS:
            self._turn_away(Bye("overload", f"{MAX_LINKS} links are open", stop=False, retry_after=5.0))

    def _turn_away(self, bye: Bye) -> None:
        raise _Dismissed(bye)

    async def _say_goodbye(self, transport: Transport, group: BaseExceptionGroup[_Dismissed]) -> None:
        """Tell a connection why it was turned away: its writer has ended with the others."""
        [dismissed] = group.exceptions
        assert isinstance(dismissed, _Dismissed)
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                await transport.send(encode(dismissed.bye))
        except (AsyncBlockError, TimeoutError):
            pass

    async def _take_link(self, hello: Hello, token: str, resumed: bool) -> LinkState:
        """Make or renew the link in the journal; the Welcome follows the commit."""
        if resumed:
            link = self._links[hello.link]
            link.boot, link.generation = hello.boot, hello.generation
        else:
            number = self._sessions.journal.new_link_no()
            link = LinkState(hello.link, number, hash_token(token), hello.boot, hello.generation)
            known = self._links.get(hello.link)
            if known is not None:
                self._sessions.dispatch.gone(known, "its process began anew")
            self._links[hello.link] = link
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn = self._sessions.turn()
        turn.write.link(
            LinkRow(
                link_no=link.number,
                link_id=link.link_id,
                token_hash=link.token_hash,
                generation=link.generation,
                boot=link.boot,
            )
        )
        turn.after(partial(committed.set_result, None))
        turn.commit()
        await asyncio.shield(committed)
        return link

    def _replace_connection(self, link: LinkState, connection: Connection, hello: Hello) -> None:
        older, link.connection = link.connection, connection
        if older is not None:
            older.transport.abort()
        link.executor = ExecutorInfo.from_json(hello.executor)
        link.last_heard = self._sessions.loop.time()
        self._sessions.dispatch.back(link)
        if hello.replaces is not None:
            gone = self._links.get(str(hello.replaces.get("link")))
            if gone is not None:
                self._sessions.dispatch.gone(gone, str(hello.replaces.get("reason", "its process has ended")))

    def _welcome(self, link: LinkState, token: str, resumed: bool) -> Welcome:
        return Welcome(
            version=VERSION,
            epoch=self._epoch,
            token=token,
            resumed=resumed,
            stored=link.stored,
            bodies={str(n): size for n, size in link.bodies.items()},
            windows={"data": DATA_WINDOW, "telemetry": TELEMETRY_WINDOW, "link": LINK_WINDOW},
            limits={"message": frames.MAX_MESSAGE},
            heartbeat=self._heartbeat,
        )

    def _reconcile(self, link: LinkState, hello: Hello) -> None:
        """Derive the commands again from what the executor has and what it should have."""
        claimed = {entry[0]: entry for entry in hello.channels if isinstance(entry, list) and len(entry) == 3}
        for channel, (_, job_id, number) in claimed.items():
            attempt = link.attempts.get(channel)
            if attempt is None or attempt.fenced:
                link.send(Close(channel, str(job_id), int(number), "the mainframe doesn't count it as open"))
        for attempt in list(link.attempts.values()):
            if attempt.fenced:
                continue
            if attempt.channel not in claimed and attempt.job.state is JobState.ASSIGNED:
                self._sessions.dispatch.send(attempt)
            if attempt.job.cancelling is not None:
                link.send(Cancel(attempt.job.job_id, attempt.number, attempt.job.cancelling))
        self._sessions.dispatch.spawning.ask_again(link)
        if link.executor is not None:
            turn = self._sessions.turn()
            self._sessions.dispatch.came(turn, link)
            turn.commit()

    async def _pulse(self, link: LinkState, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            if self._sessions.loop.time() - link.last_heard > 3 * self._heartbeat:
                connection.transport.abort()
                raise ConnectionLost("no heartbeat came")
            connection.send(Ping(stored=link.stored))

    async def _unreadable(
        self, link: LinkState | None, transport: Transport, group: BaseExceptionGroup[RemoteProtocolError]
    ) -> None:
        reason = str(group.exceptions[0])
        logger.warning("the link of %s is over: %s", transport.peer, reason)
        try:
            await transport.send(encode(Bye("unreadable", reason, stop=True)))
        except AsyncBlockError:
            pass
        if link is not None:
            self._sessions.dispatch.gone(link, f"its link broke the protocol: {reason}")


class _Dismissed(Exception):
    """The connection is turned away with this goodbye."""

    def __init__(self, bye: Bye) -> None:
        self.bye = bye


class _Reader:
    """Reads one connection and acts on what comes."""

    def __init__(
        self,
        gateway: Gateway,
        link: LinkState,
        connection: Connection,
        roles: frozenset[str],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._sessions = gateway._sessions
        self._tasks = tasks
        self._link = link
        self._connection = connection
        self._roles = roles
        self._state = State.OPEN
        self._reads: dict[int, PageReader] = {}
        self._unwritten = 0
        """Bytes of chunks that wait for the disk."""
        self._last_write: asyncio.Future[int]

    async def run(self) -> None:
        """Read until the connection ends; raises ``ConnectionLost`` or ``RemoteProtocolError``."""
        loop, link, transport = self._sessions.loop, self._link, self._connection.transport
        try:
            while True:
                message = await transport.receive()
                self._check_fence()
                link.last_heard = loop.time()
                if frames.is_text(message):
                    for header, lines in frames.split(message):
                        self._state = advance(Role.UPPER, self._state, str(header["op"]))
                        if header["op"] == "batch":
                            await self._batch(frames.take_batch(header, lines))
                            # What is received already comes without a turn of the loop: acknowledgements and other
                            # links would wait for all of it.
                            await asyncio.sleep(0)
                        else:
                            self._handle(decode(header))
                else:
                    await self._chunk(message)
        finally:
            for reader in self._reads.values():
                reader.end()

    def _handle(self, message: Message) -> None:
        match message:
            case Ping():
                pass
            case Stalled():
                self._stalled(message)
            case Request():
                self._request(message)
            case Read():
                self._read(message)
            case Unread():
                reader = self._reads.pop(message.id, None)
                if reader is not None:
                    reader.end()
            case Fetch():
                self._connection.feed(BodyReader(self._sessions.journal, self._connection, message).produce)
            case Announce():
                self._announce(message)
            case Gone():
                if self._sessions.dispatch.spawning.hosts(self._link, message.link):
                    self._sessions.dispatch.process_ended(message.link, message.reason)
            case Bye():
                if self._link.load and message.code == "closed":
                    self._sessions.dispatch.gone(self._link, "its process has ended")
                raise ConnectionLost("the other side said goodbye")

    # ------------------------------------------------------------------ records

    async def _batch(self, batch: Batch) -> None:
        link = self._link
        if batch.seq <= link.received:
            self._acknowledge()
            return
        if batch.seq != link.received + 1:
            raise RemoteProtocolError(f"batch {batch.seq} came after {link.received}; some are missing")
        runs = [(channel, raw, _records(raw)) for channel, raw in batch.runs]
        turn = self._sessions.turn()
        for channel, raw, records in runs:
            if b'"sha256"' in raw:
                await self._bodies_stored(turn, channel, records)
        # Bodies take time: a newer connection may be here and have sent the batch again.
        self._check_fence()
        link.received = batch.seq
        for channel, raw, records in runs:
            for index, reason in self._take(turn, channel, raw, records):
                turn.after(partial(link.send, Refused(channel, index, reason)))
        turn.write.mark(link.number, batch.seq)
        turn.after(lambda: self._stored(batch.seq))
        turn.commit()

    def _check_fence(self) -> None:
        """End here when a newer connection of the link is open: what this one still holds comes again on that."""
        if self._link.connection is not self._connection:
            raise ConnectionLost("a newer connection of this link is open")

    def _take(self, turn: Turn, channel: int, raw: bytes, records: list[Any]) -> list[tuple[int, str]]:
        attempt = self._link.attempts.get(channel)
        if attempt is None:
            return [(index, f"no job has channel {channel}") for index in range(len(records))]
        return attempt.job.session.take(turn, attempt, raw, records)

    async def _bodies_stored(self, turn: Turn, channel: int, records: list[Any]) -> None:
        """Wait until the bodies that records name are whole on disk; a wrong sum makes the batch unreadable."""
        attempt = self._link.attempts.get(channel)
        if attempt is None:
            return
        session = attempt.job.session
        for ref in (ref for record in records for ref in _body_refs(record)):
            try:
                key = BodyKey(self._link.link_id, ref.n)
                await self._sessions.journal.bodies.finish(key, ref.length, ref.sha256)
            except AsyncBlockError as error:
                raise RemoteProtocolError(f"body {ref.n}: {error}") from error
            self._link.bodies.pop(ref.n, None)
            session.bytes += ref.length
            turn.write.body(
                BodyRow(
                    session_no=session.number,
                    link_id=self._link.link_id,
                    n=ref.n,
                    length=ref.length,
                    sha256=ref.sha256,
                )
            )

    async def _chunk(self, message: bytes) -> None:
        self._state = advance(Role.UPPER, self._state, "chunk")
        n, offset, piece = decode_chunk(message)
        have = self._link.bodies.get(n, 0)
        if offset > have:
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; {have} bytes are here")
        if offset + len(piece) <= have:
            return
        try:
            write = self._sessions.journal.bodies.write(BodyKey(self._link.link_id, n), offset, piece)
        except Unavailable as error:
            raise _Dismissed(Bye("overload", str(error), stop=False, retry_after=2.0)) from None
        self._link.bodies[n] = offset + len(piece)
        self._hold_back(write, len(piece))
        if self._unwritten > _UNWRITTEN:
            # The sender is slowed down to what the disk takes, but a cancel among the chunks waits a bounded time.
            await asyncio.wait([self._last_write], timeout=_DISK_PATIENCE)

    def _hold_back(self, write: asyncio.Future[int], size: int) -> None:
        self._unwritten += size
        self._last_write = write

        def written(_: asyncio.Future[int]) -> None:
            self._unwritten -= size

        write.add_done_callback(written)

    def _stored(self, seq: int) -> None:
        self._link.stored = max(self._link.stored, seq)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is stored, once for everything that this turn of the loop brings."""
        link = self._link
        if not link.ack_due:
            link.ack_due = True
            self._sessions.loop.call_soon(self._send_ack)

    def _send_ack(self) -> None:
        self._link.ack_due = False
        self._link.send(Ack(self._link.stored))

    # ------------------------------------------------------------------ questions

    def _request(self, message: Request) -> None:
        if message.method in QUESTIONS:
            roles, question = QUESTIONS[message.method]
            self._tasks.create_task(self._answer(message, roles, question))
            return
        turn = self._sessions.turn()
        connection = self._connection
        try:
            reply = Reply(message.id, self._order(turn, message))
        except Rejected as error:
            reply = Reply(message.id, error={"code": error.code, "message": str(error)})
        turn.after(lambda: connection.send(reply))
        turn.commit()

    async def _answer(self, message: Request, roles: frozenset[str], question: Question) -> None:
        """Answer what takes a while; if the connection ends before, it is asked again on the next."""
        try:
            if not roles & self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            reply = Reply(message.id, await question(self._sessions, message.params, self._roles))
        except Rejected as error:
            reply = Reply(message.id, error={"code": error.code, "message": str(error)})
        self._connection.send(reply)

    def _order(self, turn: Turn, message: Request) -> dict[str, Any]:
        asked_by_job = JOB_METHODS.get(message.method)
        if asked_by_job is not None:
            return asked_by_job(turn, attempt_of(self._sessions.running, self._link, message.params), message.params)
        entry = METHODS.get(message.method)
        if entry is None:
            raise Rejected(f"unknown method {message.method!r}", code="method")
        roles, method = entry
        if not roles & self._roles:
            raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
        return method(self._sessions, turn, message.params)

    def _may_read(self, session_id: str) -> bool:
        """Clients read everything; an executor reads the sessions whose jobs it has."""
        if self._roles & {"client", "observer"}:
            return True
        return any(attempt.job.session.session_id == session_id for attempt in self._link.attempts.values())

    def _read(self, message: Read) -> None:
        if not self._may_read(message.session_id):
            error = "this token may not read sessions"
            self._connection.send(_failed_page(message.id, error))
            return
        for id in [id for id, reader in self._reads.items() if reader.done]:
            del self._reads[id]
        if len(self._reads) >= MAX_READS:
            self._connection.send(_failed_page(message.id, f"{MAX_READS} reads wait already on this link"))
            return
        reader = self._reads[message.id] = PageReader(self._sessions, self._connection, message)
        reader.begin()

    def _stalled(self, message: Stalled) -> None:
        attempt = self._link.attempts.get(message.channel)
        if attempt is not None and not attempt.fenced:
            turn = self._sessions.turn()
            attempt.job.session.stalled(turn, attempt, message.seconds, message.where)
            turn.commit()

    def _announce(self, message: Announce) -> None:
        if message.executor is not None and "executor" not in self._roles:
            self._connection.bye(Bye("unauthorized", "this token may not run blocks", stop=True))
            return
        self._link.executor = ExecutorInfo.from_json(message.executor)
        turn = self._sessions.turn()
        self._sessions.dispatch.came(turn, self._link)
        turn.commit()


def _failed_page(id: int, error: str) -> Message:
    return Page(id, 0, 0, [], False, error)


def _records(raw: bytes) -> list[Any]:
    try:
        records = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RemoteProtocolError(f"a line of records isn't JSON: {error}") from None
    if not isinstance(records, list):
        raise RemoteProtocolError("a line of records isn't an array")
    return records


def _body_refs(record: object) -> list[BodyRef]:
    """Return the well-formed body references of a record; malformed ones are refused later."""
    if not isinstance(record, dict):
        return []
    bodies = record.get("bodies")
    candidates = [record.get("body"), *(bodies.values() if isinstance(bodies, dict) else ())]
    return [ref for ref in map(BodyRef.from_json, candidates) if ref is not None]
