"""What comes in over one connection: batches of records in order, chunks of bodies, and everything about jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from ...errors import ConnectionLost, RemoteProtocolError
from ...wire import frames
from ...wire.frames import Batch
from ...wire.messages import (
    Ack,
    Announce,
    Bye,
    Discard,
    Fetch,
    Gone,
    Message,
    Ping,
    Read,
    Refused,
    Request,
    Stalled,
    Unread,
    Whole,
    decode,
    encode,
)
from ...wire.states import ConnectionState, Role, advance
from .. import greeting
from ..committing.transaction import Transaction
from ..jobstate.jobs import JobOwner, LinkState
from ..journal import BodyRow
from ..peers.access import barred
from ..peers.announcement import ExecutorInfo
from ..peers.connection import Connection, Dismissed
from ..peers.lines import ChannelRecords, read_line
from ..serverlimits import MAX_HELD, MAX_LINE, MAX_LINES, MAX_RECORDS, MAX_WORDS
from .answers import Answers
from .linkservices import LinkServices
from .uploads import Uploads

__all__ = ["Incoming", "Lines"]

Lines = tuple[dict[str, Any], list[bytes]]
"""A control line, and the data lines that belong to it."""

_FOR_THE_DISK = frozenset({"batch", "stalled"})
"""What is written without being answered."""

_REFUSALS = 16
"""Refused records of a batch that are told one by one; from then on each channel's are told at once."""

_REFUSAL_COST = 200
"""Bytes that a refusal has about."""

_STALLS = 0.1
"""Seconds between two stalls of a job that are journaled: a watchdog sees none that are shorter."""

_TURN_BYTES = 32 << 10
"""Bytes of batches after which others have a turn: less than 1 ms of work."""

_RECORD_COST = 64
"""Bytes that a record counts for besides, or a line without any: ten thousand take 100 ms, and may be 20 kB."""

_MESSAGE_COST = 4 << 10
"""What a control line costs besides the data that follows it, in bytes."""


_LINES_A_TURN = 500
"""Lines of a batch that are read in one step of the loop: some 10 ms."""


class Incoming:
    """Reads one connection and acts on what comes."""

    def __init__(
        self,
        services: LinkServices,
        link: LinkState,
        connection: Connection,
        roles: frozenset[str],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._services = services
        self._sessions = services.sessions
        self._link = link
        self._connection = connection
        self._roles = roles
        self._barred = barred(roles)
        self._state = ConnectionState.OPEN
        self._uploads = Uploads(services.sessions, link, connection, tasks)
        self._answers = Answers(services, link, connection, roles, tasks)
        self._since_turn = 0
        """What was taken in since others had a turn."""

    async def run(self, behind: Iterator[Lines]) -> None:
        """Read until the connection ends; raises ``ConnectionLost`` or ``RemoteProtocolError``.

        First comes what stood ``behind`` the Hello in its message.
        """
        loop, link, transport = self._sessions.loop, self._link, self._connection.transport
        try:
            await self._text(behind)
            while True:
                message = await transport.receive()
                self._check_fence()
                link.last_heard = loop.time()
                link.suspects = None
                if frames.is_text(message):
                    await self._text(frames.split(message, MAX_LINES))
                else:
                    self._advance("chunk")
                    self._services.bytes_received += await self._uploads.chunk(message)
        finally:
            self._answers.end()

    async def _text(self, message: Iterator[Lines]) -> None:
        """Act on the lines of a message."""
        for header, lines in message:
            await self._control(header, lines)
            await self._connection.listening()
            if header["op"] in _FOR_THE_DISK:
                # Cancels don't wait for the records of others.
                await self._services.room(self._connection)
            await self._give_turn(sum(map(len, lines)))

    async def _control(self, header: dict[str, Any], lines: list[bytes]) -> None:
        """Do what a control line says."""
        if header["op"] == "hello" and (number := frames.link_of(header)):
            # A further link, not a second Hello of this one.
            self._refuse_link(number)
            return
        self._advance(str(header["op"]))
        if header["op"] == "batch":
            await self._batch(frames.take_batch(header, lines))
        elif frames.WRONG in header:
            self._answers.unread_request(header)
        else:
            self._handle(decode(header))
            await self._answers.room()

    def _refuse_link(self, number: int) -> None:
        """Say that a further link isn't taken on this connection; the first goes on."""
        reason = "this mainframe takes one link a connection (limits.links); open another connection"
        bye = encode(Bye("links", reason, stop=False))
        self._connection.send_line(frames.on_link(number, bye))

    def _advance(self, op: str) -> None:
        self._state = advance(Role.UPPER, self._state, op)
        if op in self._barred:
            raise Dismissed(
                Bye("unauthorized", f"{op!r} is for links that run blocks, which this token may not", stop=True)
            )

    async def _give_turn(self, size: int) -> None:
        """Let others go on, after a large batch or several small ones.

        What is received already comes without a turn of the loop: acknowledgements and other links would wait for all
        of it. After each small one it would hold up the commit of just that one (latency).
        """
        self._since_turn += size + _MESSAGE_COST
        if self._since_turn > _TURN_BYTES:
            self._since_turn = 0
            await asyncio.sleep(0)

    def _handle(self, message: Message) -> None:
        match message:
            case Ping():
                self._held(message)
            case Stalled():
                self._stalled(message)
            case Request():
                self._answers.request(message)
            case Read():
                self._answers.read(message)
            case Unread():
                self._answers.unread(message)
            case Fetch():
                self._answers.fetch(message)
            case Whole():
                self._uploads.whole(message)
            case Discard():
                self._uploads.discard(message)
            case Announce():
                self._announce(message)
            case Gone():
                self._gone(message)
            case Bye():
                if message.code == "closed":
                    self._sessions.dispatch.gone(self._link, "its process has ended")
                    self._services.forget(self._link)
                raise ConnectionLost("the other side said goodbye")

    def _held(self, message: Ping) -> None:
        """Take in what an executor says of its var values; the metrics have the sum of all."""
        if "executor" in self._roles:
            said = (message.held, message.may_hold, message.on_disk, message.may_take)
            self._link.held, self._link.may_hold, self._link.on_disk, self._link.may_take = (
                min(max(count, 0), MAX_HELD) for count in said
            )

    def _gone(self, message: Gone) -> None:
        """Take in that a process has ended, from who was asked to start it or has its secret."""
        dispatch = self._sessions.dispatch
        link = dispatch.links.get(message.link)
        asked = dispatch.spawning.hosts(self._link, message.link)
        if not asked and link is not None and greeting.proof(link, message.secret) is None:
            words = f"the end of link {link.link_id} is reported without its secret"
            raise Dismissed(Bye("unauthorized", words, stop=True))
        if asked or link is not None:
            dispatch.process_ended(message.link, message.reason[:MAX_WORDS])

    # ------------------------------------------------------------------ records

    async def _batch(self, batch: Batch) -> None:
        link = self._link
        if batch.seq <= link.received:
            self._acknowledge()
            return
        if batch.seq != link.received + 1:
            raise RemoteProtocolError(f"batch {batch.seq} came after {link.received}; some are missing")
        link.suspects = frozenset(channel for channel, _ in batch.runs)
        runs: list[ChannelRecords] = []
        count = size = 0
        for number, (channel, raw) in enumerate(batch.runs, 1):
            if number % _LINES_A_TURN == 0:
                await asyncio.sleep(0)
            if len(raw) > MAX_LINE:
                raise RemoteProtocolError(f"a line of {len(raw)} bytes came on channel {channel}; {MAX_LINE} may be")
            run = await read_line(channel, raw)
            if run.records:
                runs.append(run)
            # A line without a record says nothing, and counts as one: to read it costs as much.
            count += len(run.records) or 1
            size += len(raw)
        self._since_turn += count * _RECORD_COST
        if count > MAX_RECORDS:
            raise RemoteProtocolError(f"batch {batch.seq} has {count} records; the limit is {MAX_RECORDS}")
        named: list[tuple[JobOwner, BodyRow]] = []
        for run in runs:
            if run.flat is None and b'"sha256"' in run.raw:
                attempt = self._link.attempts.get(run.channel)
                if attempt is not None:
                    rows = await self._uploads.named(attempt, run.records)
                    named += [(attempt.job.session, row) for row in rows]
        # Bodies and many lines take time: a newer connection may be here and have sent the batch again.
        self._check_fence()
        lingered, transaction = self._sessions.lingers, self._sessions.next_transaction()
        for owner, row in named:
            # Counted here and not where they are checked: a batch that is sent again is checked again.
            owner.bytes += row.length
            transaction.write.body(row)
        link.received = batch.seq
        broken: list[tuple[JobOwner, Exception]] = []
        found: list[tuple[int, list[tuple[int, str]]]] = []
        for run in runs:
            try:
                refused = self._take(transaction, run)
            except Exception as error:
                # A defect of ours, which the same record would meet again: the session ends of it, not the link.
                broken.append((link.attempts[run.channel].job.session, error))
                continue
            if refused:
                found.append((run.channel, refused))
        if found:
            refusals = _refusals(found)
            self._connection.owe(cost := _REFUSAL_COST * len(refusals))
            transaction.after(partial(self._tell_refused, refusals, cost))
        transaction.write.mark(link.number, batch.seq)
        transaction.after(partial(self._stored, batch.seq, link.last_heard))
        self._services.bytes_received += size
        # A second one of those doesn't wait: executors hold small batches back while several aren't stored.
        if not lingered and all(_only_starts(run.records) for run in runs):
            self._sessions.linger(transaction)
        else:
            transaction.commit()
        for session, defect in broken:
            self._sessions.settle()
            self._sessions.supervisor.broken("taking records in", defect, session)

    def _check_fence(self) -> None:
        """End here when a newer connection of the link is open: what this one still holds comes again on that."""
        if self._link.connection is not self._connection:
            raise ConnectionLost("a newer connection of this link is open")

    def _take(self, transaction: Transaction, run: ChannelRecords) -> list[tuple[int, str]]:
        attempt = self._link.attempts.get(run.channel)
        if attempt is None:
            reason = f"no job has channel {run.channel}"
            return [(index, reason) for index in range(len(run.records))]
        return attempt.job.session.take(transaction, attempt, run)

    def _tell_refused(self, refusals: list[Refused], cost: int) -> None:
        self._connection.pay(cost)
        for each in refusals:
            self._link.send(each)

    def _stored(self, seq: int, came: float) -> None:
        self._link.stored = max(self._link.stored, seq)
        self._sessions.timings.ack.observe(self._sessions.loop.time() - came)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is stored, once for everything that this turn of the loop brings."""
        link = self._link
        if not link.ack_due:
            link.ack_due = True
            self._sessions.supervisor.soon(self._send_ack, what="an acknowledgement")

    def _send_ack(self) -> None:
        self._link.ack_due = False
        self._link.send(Ack(self._link.stored))
        self._services.acks += 1

    def _stalled(self, message: Stalled) -> None:
        attempt = self._link.attempts.get(message.channel)
        now = self._sessions.loop.time()
        self._link.stall = (now, message.seconds, message.where[:MAX_WORDS])
        if attempt is not None and not attempt.fenced and now - attempt.stalled_at > _STALLS:
            attempt.stalled_at = now
            with self._sessions.new_transaction() as transaction:
                attempt.job.session.stalled(transaction, attempt, message.seconds, message.where[:MAX_WORDS])

    def _announce(self, message: Announce) -> None:
        if message.executor is not None and "executor" not in self._roles:
            raise Dismissed(Bye("unauthorized", "this token may not run blocks", stop=True))
        self._link.announced(ExecutorInfo.from_json(message.executor))
        with self._sessions.new_transaction() as transaction:
            self._sessions.dispatch.came(transaction, self._link)


def _only_starts(records: list[Any]) -> bool:
    """Tell whether nothing but the start of a job is said."""
    return len(records) == 1 and isinstance(records[0], dict) and records[0].get("type") == "JobStarted"


def _refusals(found: list[tuple[int, list[tuple[int, str]]]]) -> list[Refused]:
    """Say what was refused of each channel: one by one while it is little, the rest of a channel's at once."""
    told: list[Refused] = []
    rest: dict[int, Refused] = {}
    for channel, refused in found:
        for index, reason in refused:
            if len(told) < _REFUSALS:
                told.append(Refused(channel, index, reason[:MAX_WORDS]))
            elif channel in rest:
                rest[channel].count += 1
            else:
                rest[channel] = Refused(channel, index, reason[:MAX_WORDS])
    return [*told, *rest.values()]
