"""The gateway: links and their connections. It greets, reads, checks sequence numbers, and hands records to sessions.

Two kinds of wrong: what can't be *read* ends the link with a stop code, and its jobs end with that reason; what can be
read but not *applied* is journaled, acknowledged and refused, so that nothing is sent for ever.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from functools import partial
from typing import Any

import orjson

from ..errors import AsyncBlockError, Closed, ConnectionLost, Rejected, RemoteProtocolError, Unavailable
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
    Discard,
    Fetch,
    Fetched,
    Gone,
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
from ..wire.records import flat_outputs
from ..wire.states import Role, State, advance
from ..wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW
from .access import Principal, hash_token
from .api import METHODS, ONCE
from .blocks import JOB_METHODS, attempt_of
from .housekeeping import QUESTIONS, Question
from .jobs import JobState
from .journal import BodyKey, BodyRow, LinkRow, RequestRow
from .links import Connection, ExecutorInfo, LinkState
from .readers import BodyReader, PageReader
from .sessions import Sessions
from .turn import Turn

__all__ = ["Gateway"]

logger = logging.getLogger("asyncblock.server")

_GREETING_TIMEOUT = 10.0
"""Seconds that a new connection has for its Hello."""

_UNREAD_BYTES = 8 << 20
"""Answers that wait for a connection's socket before more is read from it: whoever asks has to listen."""

_MAX_LINE = 2 << 20
"""Bytes of a line of records: with what the journal puts around it, it has to fit into a message of a reader."""

_MAX_RECORDS = 10_000
"""Records in a batch; senders stop at 512. This and the next one are the protocol's: every sender knows them."""

_MAX_BODY = 256 << 20
"""Bytes of a body. Senders refuse larger values at the call."""

_MAX_BODIES = 100_000
"""Bodies of a link that no record has named yet: a Welcome tells of each."""

_MAX_DEPTH = 200
"""Levels of nesting in what comes in; senders refuse more at the call. The encoder takes 254."""

_MAX_WORDS = 1000
"""Characters of texts that come from outside and are said again: reasons, ids, names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What may name a link: its bodies are kept in a directory of that name."""


_UNWRITTEN = 1 << 20
"""Bytes of a connection's chunks that may wait for the disk before its reader waits too; what follows a body waits for
as much."""

_TURN_BYTES = 32 << 10
"""Bytes of batches after which others have a turn: less than 1 ms of work."""

_BATCH_COST = 4 << 10
"""What a batch costs besides its bytes, in bytes."""

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
        self._has_room = asyncio.Event()
        sessions.on_stored = self.make_room
        self.answers: dict[str, bytes] = {}
        """Answers that must stay the same, by link and request id, since the journal was last cleaned."""
        self.bytes_received = 0
        """Bytes of records and bodies so far."""
        self.acks = 0
        """Acknowledgements so far."""
        self.trouble: str | None = None
        """Why nothing is accepted at the moment; None when all is well."""

    def recover(self, rows: list[LinkRow]) -> None:
        """Take over the links that the journal knows."""
        for row in rows:
            link = LinkState(row.link_id, row.link_no, row.token_hash, row.boot, row.generation)
            link.received = link.stored = row.stored_seq
            link.seen = self._sessions.loop.time()
            link.bodies = dict(self._sessions.journal.bodies.under_way(row.link_id))
            link.unnamed = sum(link.bodies.values())
            self._links[row.link_id] = link

    # ------------------------------------------------------------------ room

    async def room(self, connection: Connection) -> None:
        """Wait while too much waits for the disk. Cancels come on other links and pass."""
        while self._sessions.journal.queued_bytes > self._sessions.settings.queue_bytes:
            connection.held = True
            self._has_room.clear()
            await self._has_room.wait()
        connection.held = False

    def make_room(self) -> None:
        """Let those go on who wait for the disk, if it has caught up."""
        if not self._has_room.is_set() and self._sessions.journal.queued_bytes <= self._sessions.settings.queue_bytes:
            self._has_room.set()

    # ------------------------------------------------------------------ links that are over

    def forget(self, link: LinkState) -> None:
        """Forget a link that won't come back: its row, its mark, and bodies that no record has named."""
        if link.attempts and any(not attempt.fenced for attempt in link.attempts.values()):
            return
        if self._links.get(link.link_id) is link:
            del self._links[link.link_id]
        if link.number:
            turn = self._sessions.turn()
            turn.write.drop_link(link.number)
            if self._sessions.journal.bodies.under_way(link.link_id):
                turn.after(lambda: self._sessions.spawn(self._drop_bodies(link.link_id)))
            turn.commit()

    async def drop_body(self, key: BodyKey) -> None:
        """Delete a body that no record will name."""
        try:
            await self._sessions.journal.bodies.discard(key)
        except AsyncBlockError as error:
            # The next Welcome tells of it, and its sender says it again.
            logger.debug("a body that nobody wants stays for now: %s", error)

    async def _drop_bodies(self, link_id: str) -> None:
        try:
            await self._sessions.journal.bodies.delete_unreferenced(link_id)
        except AsyncBlockError as error:
            # The next opening finds them again.
            logger.debug("bodies of a link that is over stay for now: %s", error)

    def drop_answers(self) -> None:
        """Forget the answers that were given so long ago that nobody asks again."""
        self.answers.clear()
        turn = self._sessions.turn()
        turn.write.drop_requests(int((time.time() - self._sessions.settings.link_expiry) * 1000))
        turn.commit()

    def expire(self) -> None:
        """Forget the links that have been away for too long and hold no jobs."""
        limit = self._sessions.loop.time() - self._sessions.settings.link_expiry
        for link in list(self._links.values()):
            if link.connection is None and not link.load and max(link.seen, link.last_heard) < limit:
                self.forget(link)

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
        assert isinstance(principal, Principal)
        connection = Connection(transport)
        self._connections.add(connection)
        link: LinkState | None = None
        try:
            hello = await self._await_hello(transport)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.write())
                link = await self._greet(hello, connection, principal.roles)
                tasks.create_task(self._pulse(link, connection, principal))
                await _Reader(self, link, connection, principal.roles, tasks).run()
        except* ConnectionLost:
            pass
        except* _Dismissed as group:
            await self._say_goodbye(transport, group)
        except* RemoteProtocolError as group:
            await self._unreadable(link, transport, str(group.exceptions[0]))
        except* (Unavailable, Closed) as group:
            # The disk's doing, not the sender's: what isn't acknowledged will come again.
            await self._say(transport, Bye("trouble", str(group.exceptions[0])[:_MAX_WORDS], False, retry_after=2.0))
        except* Exception as group:
            # A defect of ours that this sender can reach: the same again would do the same, so the link is over.
            logger.error("what %s sent couldn't be taken in", transport.peer, exc_info=group.exceptions[0])
            await self._unreadable(link, transport, "the mainframe failed at it; its log says why")
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
        if hello.epoch not in (None, self._epoch):
            # What was acknowledged to it stands in another journal, whatever this one knows of the link.
            resumed = False
        if hello.token is not None and not resumed:
            words = "a link that this journal doesn't know has come back (%s, journal %s, %d open jobs); it is told so"
            logger.warning(words, hello.link, hello.epoch, len(hello.channels))
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
        _check_hello(hello)
        if hello.version != VERSION:
            self._turn_away(
                Bye("version", f"this mainframe speaks version {VERSION}, not {hello.version}; update one", stop=True),
            )
        if hello.executor is not None and "executor" not in roles:
            self._turn_away(Bye("unauthorized", "this token may not run blocks", stop=True))
        if self.trouble is not None:
            self._turn_away(Bye("trouble", self.trouble, stop=False, retry_after=2.0))
        limit = self._sessions.settings.max_links
        if len(self._connections) > limit:
            self._turn_away(Bye("overload", f"{limit} links are open", stop=False, retry_after=5.0))

    def _turn_away(self, bye: Bye) -> None:
        raise _Dismissed(bye)

    async def _say_goodbye(self, transport: Transport, group: BaseExceptionGroup[_Dismissed]) -> None:
        """Tell a connection why it was turned away: its writer has ended with the others."""
        [dismissed] = group.exceptions
        assert isinstance(dismissed, _Dismissed)
        await self._say(transport, dismissed.bye)

    async def _say(self, transport: Transport, bye: Bye) -> None:
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                await transport.send(encode(bye))
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
        # Before anything is handed out. Records of channels that were closed may still come, and those of sessions that
        # were over before this mainframe began aren't in its memory: a number given twice would mix two jobs up.
        link.next_channel = max(link.next_channel, hello.next_channel, *(entry[0] + 1 for entry in hello.channels), 1)
        link.executor = ExecutorInfo.from_json(hello.executor)
        link.last_heard = link.seen = self._sessions.loop.time()
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
            limits={
                "message": frames.MAX_MESSAGE,
                "line": _MAX_LINE,
                "records": _MAX_RECORDS,
                "value": _MAX_BODY,
            },
            heartbeat=self._heartbeat,
            understands=[Whole.op, Discard.op],
        )

    def _reconcile(self, link: LinkState, hello: Hello) -> None:
        """Derive the commands again from what the executor has and what it should have."""
        claimed = {entry[0]: entry for entry in hello.channels}
        for channel, (_, job_id, number) in claimed.items():
            attempt = link.attempts.get(channel)
            if attempt is None or attempt.fenced:
                link.send(Close(channel, job_id, number, "the mainframe doesn't count it as open"))
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

    async def _pulse(self, link: LinkState, connection: Connection, principal: Principal) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            if (change := principal.change) is not None:
                # Its jobs are nobody's: whoever took the token away means that.
                self._sessions.dispatch.gone(link, change)
                connection.bye(Bye("unauthorized", change, stop=True))
                return
            if connection.held:
                link.last_heard = self._sessions.loop.time()
            heard_at = max(link.last_heard, connection.transport.heard_at)
            if self._sessions.loop.time() - heard_at > 3 * self._heartbeat:
                connection.transport.abort()
                raise ConnectionLost("no heartbeat came")
            connection.send(Ping(stored=link.stored))

    async def _unreadable(self, link: LinkState | None, transport: Transport, words: str) -> None:
        reason = words[:_MAX_WORDS]
        logger.warning("the link of %s is over: %s", transport.peer, reason)
        await self._say(transport, Bye("unreadable", reason, stop=True))
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
        self._gateway = gateway
        self._sessions = gateway._sessions
        self._settings = gateway._sessions.settings
        self._tasks = tasks
        self._link = link
        self._connection = connection
        self._roles = roles
        self._state = State.OPEN
        self._reads: dict[int, PageReader] = {}
        self._unwritten = 0
        """Bytes of chunks that wait for the disk."""
        self._last_write: asyncio.Future[int]
        self._questions = 0
        self._keeping: dict[int, asyncio.Task[None]] = {}
        """Bodies that are being checked and put on disk."""
        self._since_turn = 0
        """What was taken in since others had a turn."""

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
                            await self._gateway.room(self._connection)
                            await self._give_turn(len(message))
                        else:
                            self._handle(decode(header))
                            await self._connection.listening(_UNREAD_BYTES)
                else:
                    await self._chunk(message)
        finally:
            for reader in self._reads.values():
                reader.end()

    async def _give_turn(self, size: int) -> None:
        """Let others go on, after a large batch or several small ones.

        What is received already comes without a turn of the loop: acknowledgements and other links would wait for all
        of it. After each small one it would hold up the commit of just that one (latency).
        """
        self._since_turn += size + _BATCH_COST
        if self._since_turn > _TURN_BYTES:
            self._since_turn = 0
            await asyncio.sleep(0)

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
                self._fetch(message)
            case Whole():
                self._whole(message)
            case Discard():
                self._discard(message)
            case Announce():
                self._announce(message)
            case Gone():
                if self._sessions.dispatch.spawning.hosts(self._link, message.link):
                    self._sessions.dispatch.process_ended(message.link, message.reason)
            case Bye():
                if message.code == "closed":
                    self._sessions.dispatch.gone(self._link, "its process has ended")
                    self._gateway.forget(self._link)
                raise ConnectionLost("the other side said goodbye")

    # ------------------------------------------------------------------ records

    async def _batch(self, batch: Batch) -> None:
        link = self._link
        if batch.seq <= link.received:
            self._acknowledge()
            return
        if batch.seq != link.received + 1:
            raise RemoteProtocolError(f"batch {batch.seq} came after {link.received}; some are missing")
        for channel, raw in batch.runs:
            if len(raw) > _MAX_LINE:
                raise RemoteProtocolError(f"a line of {len(raw)} bytes came on channel {channel}; {_MAX_LINE} may be")
        runs = [(channel, raw, *_records(raw)) for channel, raw in batch.runs]
        count = sum(len(records) for _, _, records, _ in runs)
        if count > _MAX_RECORDS:
            raise RemoteProtocolError(f"batch {batch.seq} has {count} records; the limit is {_MAX_RECORDS}")
        rows: list[BodyRow] = []
        for channel, raw, records, flat in runs:
            if flat is None and b'"sha256"' in raw:
                rows += await self._bodies_stored(channel, records)
        # Bodies take time: a newer connection may be here and have sent the batch again.
        self._check_fence()
        lingered, turn = self._sessions.lingers, self._sessions.next_turn()
        for row in rows:
            turn.write.body(row)
        link.received = batch.seq
        for channel, raw, records, flat in runs:
            for index, reason in self._take(turn, channel, raw, records, flat):
                turn.after(partial(link.send, Refused(channel, index, reason[:_MAX_WORDS])))
        turn.write.mark(link.number, batch.seq)
        turn.after(lambda: self._stored(batch.seq))
        self._gateway.bytes_received += sum(len(raw) for _, raw in batch.runs)
        # A second one of those doesn't wait: executors hold small batches back while several aren't stored.
        if not lingered and all(_only_starts(records) for _, _, records, _ in runs):
            self._sessions.linger(turn)
        else:
            turn.commit()

    def _check_fence(self) -> None:
        """End here when a newer connection of the link is open: what this one still holds comes again on that."""
        if self._link.connection is not self._connection:
            raise ConnectionLost("a newer connection of this link is open")

    def _take(
        self, turn: Turn, channel: int, raw: bytes, records: list[Any], flat: set[str] | None
    ) -> list[tuple[int, str]]:
        attempt = self._link.attempts.get(channel)
        if attempt is None:
            return [(index, f"no job has channel {channel}") for index in range(len(records))]
        return attempt.job.session.take(turn, attempt, raw, records, flat)

    async def _bodies_stored(self, channel: int, records: list[Any]) -> list[BodyRow]:
        """Wait until the bodies that records name are whole on disk; a wrong sum makes the batch unreadable."""
        attempt = self._link.attempts.get(channel)
        if attempt is None:
            return []
        session, rows = attempt.job.session, []
        for ref in (ref for record in records for ref in _body_refs(record)):
            if (keeping := self._keeping.get(ref.n)) is not None:
                await asyncio.wait([keeping])
            if self._link.whole.pop(ref.n, None) != (ref.length, ref.sha256):
                await self._finish(ref.n, ref.length, ref.sha256)
            self._link.unnamed -= self._link.bodies.pop(ref.n, 0)
            session.bytes += ref.length
            rows.append(
                BodyRow(
                    session_no=session.number,
                    link_id=self._link.link_id,
                    n=ref.n,
                    length=ref.length,
                    sha256=ref.sha256,
                )
            )
        return rows

    async def _finish(self, n: int, length: int, sha256: str) -> None:
        try:
            await self._sessions.journal.bodies.finish(BodyKey(self._link.link_id, n), length, sha256)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"body {n}: {error}") from error

    def _whole(self, message: Whole) -> None:
        """Check a body and put it on disk, while other messages pass."""
        n, have = message.n, self._link.bodies.get(message.n, 0)
        if have != message.length:
            raise RemoteProtocolError(f"body {n} came with {have} bytes; it is said to have {message.length}")
        if n in self._keeping:
            return
        if len(self._link.whole) + len(self._keeping) >= _MAX_BODIES:
            raise RemoteProtocolError(f"{_MAX_BODIES} bodies came that no record names")
        if self._link.whole.get(n) == (message.length, message.sha256):
            self._connection.send(Kept(n))
            return
        self._keeping[n] = self._tasks.create_task(self._keep(message))

    async def _keep(self, message: Whole) -> None:
        n = message.n
        try:
            await self._finish(n, message.length, message.sha256)
        finally:
            del self._keeping[n]
        if n in self._link.bodies or not message.length:
            self._link.whole[n] = (message.length, message.sha256)
            self._connection.send(Kept(n))

    def _discard(self, message: Discard) -> None:
        for n in message.bodies:
            if type(n) is not int or not 0 <= n < 1 << 62:
                raise RemoteProtocolError(f"{n!r:.100} can't be the number of a body")
            received, whole = self._link.bodies.pop(n, None), self._link.whole.pop(n, None)
            if received is not None or whole is not None:
                self._link.unnamed -= received or 0
                self._sessions.spawn(self._gateway.drop_body(BodyKey(self._link.link_id, n)))

    async def _chunk(self, message: bytes) -> None:
        self._state = advance(Role.UPPER, self._state, "chunk")
        n, offset, piece = decode_chunk(message)
        have = self._link.bodies.get(n, 0)
        if offset > have:
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; {have} bytes are here")
        if offset + len(piece) <= have:
            return
        if n in self._link.whole or n in self._keeping:
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; it was said to be whole before")
        if offset + len(piece) > _MAX_BODY:
            raise RemoteProtocolError(f"body {n} has more than {_MAX_BODY} bytes")
        if len(self._link.bodies) >= _MAX_BODIES and n not in self._link.bodies:
            raise RemoteProtocolError(f"{_MAX_BODIES} bodies came that no record names")
        self._link.unnamed += offset + len(piece) - have
        if self._link.unnamed > self._settings.session_bytes:
            raise RemoteProtocolError(f"bodies of {self._link.unnamed} bytes came that no record names")
        self._gateway.bytes_received += len(piece)
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
        self._gateway.acks += 1

    # ------------------------------------------------------------------ questions

    def _request(self, message: Request) -> None:
        if len(message.id) > _MAX_WORDS:
            raise RemoteProtocolError(f"the id of a request has {len(message.id)} characters, {_MAX_WORDS} may")
        if _is_deep(message.params):
            self._refuse(message, Rejected(f"it is nested more than {_MAX_DEPTH} levels deep", code="params"))
            return
        if message.method in QUESTIONS:
            roles, question = QUESTIONS[message.method]
            if self._questions >= self._settings.max_questions:
                self._refuse(message, Rejected(f"{self._questions} questions wait on this link", code="overload"))
                return
            self._questions += 1
            self._tasks.create_task(self._answer(message, roles, question))
            return
        if message.method in ONCE:
            self._questions += 1
            self._tasks.create_task(self._order_once(message))
        else:
            self._carry_out(message)

    async def _order_once(self, message: Request) -> None:
        """Carry out an order unless it was: its answer is kept, for a second time would have another."""
        gateway, key = self._gateway, f"{self._link.link_id}:{message.id}"
        try:
            kept = await self._sessions.journal.request(key) if key not in gateway.answers else None
        finally:
            self._questions -= 1
        answer = gateway.answers.get(key, kept.answer if kept is not None else None)
        if answer is None:
            self._carry_out(message, key)
        else:
            self._connection.send_line(answer)

    def _carry_out(self, message: Request, key: str | None = None) -> None:
        turn = self._sessions.turn()
        connection = self._connection
        try:
            reply = Reply(message.id, self._order(turn, message))
        except Rejected as error:
            reply = _refusal(message, error)
        line = _encoded(reply)
        if key is not None:
            self._gateway.answers[key] = line
            turn.write.request(RequestRow(request_id=key, answer=line, at=int(time.time() * 1000)))
        turn.after(lambda: connection.send_line(line))
        turn.commit()

    def _refuse(self, message: Request, error: Rejected) -> None:
        self._connection.send(_refusal(message, error))

    async def _answer(self, message: Request, roles: frozenset[str], question: Question) -> None:
        """Answer what takes a while; if the connection ends before, it is asked again on the next."""
        try:
            if not roles & self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            reply = Reply(message.id, await question(self._sessions, message.params, self._roles))
        except Rejected as error:
            reply = _refusal(message, error)
        finally:
            self._questions -= 1
        self._connection.send_line(_encoded(reply))

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
        limit = self._settings.max_reads
        if len(self._reads) >= limit:
            self._connection.send(_failed_page(message.id, f"{limit} reads wait already on this link"))
            return
        reader = self._reads[message.id] = PageReader(self._sessions, self._connection, message)
        reader.begin()

    def _fetch(self, message: Fetch) -> None:
        wrong = None
        if not (0 <= message.offset < 1 << 62 and 0 <= message.id < 1 << 62):
            wrong = "there is nothing at that offset"
        elif self._connection.sources >= self._settings.max_reads:
            wrong = f"{self._settings.max_reads} reads wait already on this link"
        if wrong is not None:
            self._connection.send(Fetched(message.id, wrong))
        else:
            self._connection.feed(BodyReader(self._sessions.journal, self._connection, message).produce)

    def _stalled(self, message: Stalled) -> None:
        attempt = self._link.attempts.get(message.channel)
        if attempt is not None and not attempt.fenced:
            turn = self._sessions.turn()
            attempt.job.session.stalled(turn, attempt, message.seconds, message.where[:_MAX_WORDS])
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


def _only_starts(records: list[Any]) -> bool:
    """Tell whether nothing but the start of a job is said."""
    return len(records) == 1 and isinstance(records[0], dict) and records[0].get("type") == "JobStarted"


def _records(raw: bytes) -> tuple[list[Any], set[str] | None]:
    """Parse a line of records; return what ``flat_outputs`` says of them, too."""
    try:
        records = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RemoteProtocolError(f"a line of records isn't JSON: {error}") from None
    if not isinstance(records, list):
        raise RemoteProtocolError("a line of records isn't an array")
    flat = flat_outputs(records)
    # Counting costs little; what can't be deep isn't looked at.
    if flat is None and raw.count(b"[") + raw.count(b"{") - len(records) > _MAX_DEPTH and _is_deep(records):
        raise RemoteProtocolError(f"a record is nested more than {_MAX_DEPTH} levels deep")
    return records, flat


def _is_deep(value: object) -> bool:
    """Tell whether something is nested so deep that, with what is put around it, it couldn't be encoded again."""
    for _ in range(254 - _MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def _encoded(reply: Reply) -> bytes:
    line = encode(reply)
    if len(line) <= frames.MAX_MESSAGE:
        return line
    words = f"the answer has {len(line)} bytes, a message {frames.MAX_MESSAGE} at most; ask for less"
    return encode(_refusal(reply, Rejected(words, code="too_large")))


def _refusal(message: Request | Reply, error: Rejected) -> Reply:
    return Reply(message.id, error={"code": error.code, "message": str(error)[:_MAX_WORDS]})


def _check_hello(hello: Hello) -> None:
    """Check what will name rows and files, or be written as numbers, before anything is made of it."""
    if not _NAME.fullmatch(hello.link):
        raise RemoteProtocolError(f"{hello.link[:100]!r} can't name a link: 1 to 100 letters, digits, '-' and '_'")
    if len(hello.boot) > _MAX_WORDS or not 0 <= hello.generation < 1 << 53:
        raise RemoteProtocolError("'hello': boot or generation is out of bounds")
    if not 1 <= hello.next_channel < 1 << 53:
        raise RemoteProtocolError("'hello': next_channel is out of bounds")
    for entry in hello.channels:
        kinds = [type(each) for each in entry] if isinstance(entry, list) else []
        if kinds != [int, str, int]:
            raise RemoteProtocolError("'hello': a channel is [number, job id, attempt]")


def _body_refs(record: object) -> list[BodyRef]:
    """Return the well-formed body references of a record; malformed ones are refused later."""
    if not isinstance(record, dict):
        return []
    bodies = record.get("bodies")
    candidates = [record.get("body"), *(bodies.values() if isinstance(bodies, dict) else ())]
    return [ref for ref in map(BodyRef.from_json, candidates) if ref is not None]
