"""The gateway: links and their connections. It greets them, keeps what a link is between them, and lets go of it.

Two kinds of wrong: what can't be *read* ends the link with a stop code, and its jobs end with that reason; what can be
read but not *applied* is journaled, acknowledged and refused, so that nothing is sent for ever (``incoming``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from ...errors import AsyncBlockError, Closed, ConnectionLost, RemoteProtocolError
from ...transport import Transport
from ...wire import frames
from ...wire.messages import (
    VERSION,
    Bye,
    Close,
    Discard,
    Hello,
    Ping,
    Welcome,
    Whole,
    decode,
    encode,
)
from ...wire.states import ConnectionState, Role, advance
from ...wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW
from .. import greeting
from ..jobstate.jobs import JobState, LinkState
from ..journal import LinkRow
from ..journal.diskerrors import DISK_EXCEPTIONS
from ..livesessions.sessions import Sessions
from ..peers.access import Principal, hash_token
from ..peers.announcement import ExecutorInfo
from ..peers.connection import Connection, Dismissed
from ..serverlimits import MAX_CHANNELS, MAX_LINES, MAX_WORDS, limits
from ..supervision import in_words
from .incoming import Incoming, Lines
from .linkservices import LinkServices

__all__ = ["Gateway"]

logger = logging.getLogger("asyncblock.server")

_GREETING_TIMEOUT = 10.0
"""Seconds that a new connection has for its Hello."""


RETRY_AFTER = 2.0
"""Seconds after which a connection comes back that ended by no fault of its peer."""

_CLOSES = 200
"""Closes that are said in one message."""

_MAX_DEFECTS = 3
"""Connections of a link that end by the same defect before the link does."""


class Gateway(LinkServices):
    """Accepts connections and keeps the links."""

    def __init__(self, sessions: Sessions, epoch: str, heartbeat: float = 5.0) -> None:
        super().__init__(sessions)
        self._epoch = epoch
        self._heartbeat = heartbeat
        self._connections: set[Connection] = set()
        self.trouble: str | None = None
        """Why nothing is accepted at the moment; None when all is well."""
        self.addresses: Callable[[], list[str]] = list
        """Where this mainframe is, and those that would take over from it."""

    def recover(self, rows: list[LinkRow]) -> None:
        """Take over the links that the journal knows, and drop what is under way of others.

        Such were forgotten just before a mainframe died; or it was the mainframe's own, which it makes again.
        """
        self.sessions.journal.bodies.keep_only({row.link_id for row in rows})
        for row in rows:
            link = LinkState(row.link_id, row.link_no, row.token_hash, row.boot, row.generation)
            link.received = link.stored = row.stored_seq
            link.seen = self.sessions.loop.time()
            link.given = link.expected = True
            link.bodies = dict(self.sessions.journal.bodies.under_way(row.link_id))
            link.unnamed = sum(link.bodies.values())
            # Before this mainframe began it may have been asked for a value, of which it sends the rest now.
            link.carries = True
            self.links[row.link_id] = link
        self.sessions.dispatch.returns.expect()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def dismiss(self, code: str, reason: str, retry_after: float | None) -> None:
        """Say goodbye to everybody; they come back after ``retry_after`` seconds."""
        for connection in list(self._connections):
            connection.bye(Bye(code, reason, stop=False, retry_after=retry_after))

    def cut(self) -> None:
        """End all connections at once, without a word."""
        for connection in list(self._connections):
            connection.transport.abort()

    # ------------------------------------------------------------------ one connection

    async def serve(self, transport: Transport, principal: object) -> None:
        """Serve a connection until it ends."""
        assert isinstance(principal, Principal)
        connection = Connection(transport)
        self._connections.add(connection)
        try:
            await self._serve(connection, principal)
        except Exception as error:
            # Met while it was ended for another reason, which was told.
            logger.error("ending the connection of %s failed", transport.peer, exc_info=error)
        finally:
            self._connections.discard(connection)
            await _close(transport)

    async def _serve(self, connection: Connection, principal: Principal) -> None:
        transport = connection.transport
        link: LinkState | None = None
        try:
            hello, behind = await self._await_hello(transport)
            executor = self._admit(hello, principal.roles)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.write())
                link = await self._greet(hello, connection, executor)
                tasks.create_task(self._pulse(link, connection, principal))
                await Incoming(self, link, connection, principal.roles, tasks).run(behind)
        except* ConnectionLost:
            pass
        except* Dismissed as group:
            await self._say_goodbye(transport, group)
        except* RemoteProtocolError as group:
            await self._unreadable(link, transport, str(group.exceptions[0]))
        except* (*DISK_EXCEPTIONS, Closed) as group:
            # The disk's doing, not the sender's: what isn't acknowledged will come again.
            logger.warning("the connection of %s is closed for now", transport.peer, exc_info=group.exceptions[0])
            words = in_words(group.exceptions[0])[:MAX_WORDS]
            await self._say(transport, Bye("trouble", words, False, retry_after=RETRY_AFTER))
        except* Exception as group:
            await self._failed_at(link, transport, group.exceptions[0])
        finally:
            if link is not None and link.connection is connection:
                link.connection = None
                self.sessions.dispatch.lost(link)
                self.left(link)

    async def _await_hello(self, transport: Transport) -> tuple[Hello, Iterator[Lines]]:
        """Wait for the Hello; return it, and what stands behind it in the same message."""
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT):
                message = await transport.receive()
        except TimeoutError:
            raise ConnectionLost("no Hello came in time") from None
        if not frames.is_text(message):
            raise RemoteProtocolError("the first message must be a Hello")
        if message.count(b"[") > 2 * MAX_CHANNELS:
            # Told before it is read: what would be thrown away costs the others 100 ms.
            raise RemoteProtocolError(f"'hello': {MAX_CHANNELS} channels may be named")
        behind = frames.split(message, MAX_LINES)
        for header, _ in behind:
            advance(Role.UPPER, ConnectionState.GREETING, str(header["op"]))
            hello = decode(header)
            if isinstance(hello, Hello):
                if frames.link_of(header):
                    raise RemoteProtocolError("the first link of a connection is its link 0")
                return hello, behind
        raise ConnectionLost("the other side said goodbye")

    def _admit(self, hello: Hello, roles: frozenset[str]) -> ExecutorInfo | None:
        """Check what can be checked of a Hello alone; return what it announces."""
        greeting.check_roles(hello, roles)
        greeting.check(hello)
        if self.trouble is not None:
            raise greeting.turn_away("trouble", self.trouble, stop=False, retry_after=RETRY_AFTER)
        limit = self.sessions.settings.max_links
        if len(self._connections) > limit:
            raise greeting.turn_away("overload", f"{limit} links are open", stop=False, retry_after=5.0)
        return ExecutorInfo.from_json(hello.executor)

    async def _greet(self, hello: Hello, connection: Connection, executor: ExecutorInfo | None) -> LinkState:
        if hello.link not in self.links and await self.sessions.journal.bodies.names_any(hello.link):
            words = f"link {hello.link} is over, and its values are still there. A link of your own has a new id"
            raise greeting.turn_away("unauthorized", words)
        asked = self.sessions.dispatch.spawning.secret_of(hello.link)
        known = greeting.claimed(hello, self.links.get(hello.link), asked)
        dead = greeting.dead_links(hello, self.links)
        # Another journal has what was acknowledged to it, whatever this one knows of the link.
        resumed = known is not None and _continues(hello, known) and hello.epoch in (None, self._epoch)
        if known is not None and hello.generation <= known.generation and (resumed or known.connection is not None):
            raise greeting.turn_away("replaced", "a newer connection of this link is open", stop=False)
        # All is checked; from here on things change.
        if hello.token is not None and not resumed:
            words = (
                "a link that this journal doesn't know has come back (%s, journal %s, %d open jobs); it is told that"
            )
            logger.warning(words, hello.link, f"{hello.epoch!r:.100}", len(hello.channels))
        token = greeting.proof(known, hello.token, hello.secret) if known is not None and resumed else None
        token = token or hello.secret or secrets.token_hex(16)
        # Recorded before this link's row: once the Welcome is sent, peers don't report the dead links again.
        for gone, reason in dead:
            self.sessions.dispatch.gone(gone, reason)
        link = await self._take_link(hello, token, resumed)
        self._replace_connection(link, connection, hello, executor)
        connection.send(self._welcome(link, token, resumed or hello.token is None))
        self._reconcile(link, hello)
        return link

    async def _say_goodbye(self, transport: Transport, group: BaseExceptionGroup[Dismissed]) -> None:
        """Tell a connection why it was turned away: its writer has ended with the others."""
        [dismissed] = group.exceptions
        assert isinstance(dismissed, Dismissed)
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
            link = self.links[hello.link]
            link.boot, link.generation = hello.boot, hello.generation
        else:
            number = self.sessions.journal.new_link_no()
            link = LinkState(hello.link, number, hash_token(token), hello.boot, hello.generation)
            known = self.links.get(hello.link)
            if known is not None:
                self.sessions.dispatch.gone(known, "its process began anew")
            self.links[hello.link] = link
        # Until the row is stored it has no connection. Whoever forgets links may look at them meanwhile: with seen at
        # zero, a link would be a day old from its first moment on a machine that has been up for a day.
        link.seen = self.sessions.loop.time()
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self.sessions.new_transaction() as transaction:
            transaction.write.link(
                LinkRow(
                    link_no=link.number,
                    link_id=link.link_id,
                    token_hash=link.token_hash,
                    generation=link.generation,
                    boot=link.boot,
                )
            )
            transaction.after(partial(committed.set_result, None))
        link.greetings += 1
        try:
            # Shielded: the transaction settles this future when it is committed, even if the peer has gone meanwhile.
            await asyncio.shield(committed)
        finally:
            link.greetings -= 1
        return link

    def _replace_connection(
        self, link: LinkState, connection: Connection, hello: Hello, executor: ExecutorInfo | None
    ) -> None:
        older, link.connection = link.connection, connection
        if older is not None:
            older.transport.abort()
        # Before anything is handed out. Records of channels that were closed may still come, and those of sessions that
        # were over before this mainframe began aren't in its memory: a number given twice would mix two jobs up.
        link.next_channel = max(link.next_channel, hello.next_channel, *(entry[0] + 1 for entry in hello.channels), 1)
        link.announced(executor)
        link.room.clear()
        link.last_heard = link.seen = self.sessions.loop.time()
        self.returned(link)
        self.sessions.dispatch.back(link)

    def _welcome(self, link: LinkState, token: str, resumed: bool) -> Welcome:
        return Welcome(
            version=VERSION,
            epoch=self._epoch,
            token=token,
            resumed=resumed,
            stored=link.stored,
            bodies={str(n): size for n, size in link.bodies.items()},
            windows={"data": DATA_WINDOW, "telemetry": TELEMETRY_WINDOW, "link": LINK_WINDOW},
            limits=limits(self.sessions.settings),
            heartbeat=self._heartbeat,
            understands=[Whole.op, Discard.op, "BlockCache"],
            addresses=self.addresses(),
            partitions=self.sessions.placement.partitions,
        )

    def _reconcile(self, link: LinkState, hello: Hello) -> None:
        """Derive the commands again from what the executor has and what it should have."""
        claimed = {entry[0]: entry for entry in hello.channels}
        self._close_unknown(link, claimed)
        for attempt in list(link.attempts.values()):
            if attempt.fenced:
                continue
            if attempt.channel not in claimed and attempt.job.state is JobState.ASSIGNED:
                self.sessions.dispatch.sender.send(attempt)
            attempt.job.session.say_cancel(attempt.job)
        self.sessions.dispatch.spawning.ask_again(link)
        self.sessions.releases.restate(link)
        self.sessions.exports.restate(link)
        if link.executor is not None:
            with self.sessions.new_transaction() as transaction:
                self.sessions.dispatch.came(transaction, link)

    def _close_unknown(self, link: LinkState, claimed: dict[int, list[Any]]) -> None:
        """Say of what isn't counted as open that it isn't: as the socket takes it, a Hello may name many."""
        attempts = link.attempts
        unknown = [entry for channel, entry in claimed.items() if channel not in attempts or attempts[channel].fenced]
        if not unknown or link.connection is None:
            return
        rest = iter(unknown)

        async def next_closes() -> bytes | None:
            words = "the mainframe doesn't count it as open"
            some = islice(rest, _CLOSES)
            lines = [encode(Close(channel, job_id, number, words)) for channel, job_id, number in some]
            return b"\n".join(lines) or None

        link.connection.feed(next_closes)

    async def _pulse(self, link: LinkState, connection: Connection, principal: Principal) -> None:
        loop = self.sessions.loop
        ping_at = loop.time() + self._heartbeat
        while True:
            if connection.held:
                link.last_heard = loop.time()
            silent_at = max(link.last_heard, connection.transport.heard_at) + 3 * self._heartbeat
            if silent_at <= loop.time():
                connection.transport.abort()
                raise ConnectionLost("no heartbeat came")
            # Three heartbeats of silence end before the fourth ping is due.
            await asyncio.sleep(max(min(ping_at, silent_at) - loop.time(), 0.001))
            if loop.time() < ping_at:
                continue
            ping_at = loop.time() + self._heartbeat
            if (change := principal.change) is not None:
                # Its jobs are given up: that is what taking the token away means.
                self.sessions.dispatch.gone(link, change)
                connection.bye(Bye("unauthorized", change, stop=True))
                return
            connection.send(Ping(stored=link.stored, addresses=self.addresses()))

    async def _failed_at(self, link: LinkState | None, transport: Transport, error: BaseException) -> None:
        """A defect of ours, not the sender's fault: it comes back and sends again what isn't stored.

        What it sends again may do the same again, so that ends: after ``_MAX_DEFECTS`` times without a batch stored
        between them the link is over.
        """
        logger.error("what %s sent couldn't be taken in", transport.peer, exc_info=error)
        if link is not None:
            link.defects = link.defects + 1 if link.defect_at == link.stored else 1
            link.defect_at = link.stored
        if link is None or link.defects < _MAX_DEFECTS:
            words = f"the mainframe failed at what came: {in_words(error)}"[:MAX_WORDS]
            await self._say(transport, Bye("trouble", words, stop=False, retry_after=RETRY_AFTER))
        else:
            await self._unreadable(link, transport, "the mainframe failed at it, time and again; its log says why")

    async def _unreadable(self, link: LinkState | None, transport: Transport, words: str) -> None:
        reason = words[:MAX_WORDS]
        logger.warning("the link of %s is over: %s", transport.peer, reason)
        if link is not None:
            blamed = link.attempts if link.suspects is None else link.suspects
            self.sessions.dispatch.gone(link, f"its link broke the protocol: {reason}", blamed)
        await self._say(transport, Bye("unreadable", reason, stop=True))


async def _close(transport: Transport) -> None:
    try:
        await transport.close()
    except Exception as error:
        # Without the abort a connection whose close fails would keep its descriptor until the process ends.
        logger.error("closing the connection of %s failed", transport.peer, exc_info=error)
        transport.abort()


def _continues(hello: Hello, link: LinkState) -> bool:
    """Tell whether a proved Hello goes on with a link: it was welcomed before, or its Welcome was lost."""
    return hello.token is not None or hello.boot == link.boot
