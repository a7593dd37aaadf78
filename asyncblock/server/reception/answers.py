"""What one connection asks: orders, which are journaled and answered once; questions; pages of journals; bodies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from functools import partial
from typing import Any

import orjson

from ...errors import Rejected, RemoteProtocolError
from ...wire import frames
from ...wire.messages import Fetch, Fetched, Message, Page, Read, Reply, Request, Unread, decode, encode
from ...wire.methods import misfit
from ..committing.transaction import Transaction
from ..dispatching.exports import LINK_METHODS
from ..dispatching.freeslots import SLOT_METHODS
from ..jobstate.jobs import LinkState
from ..journal import BodyKey, RequestRow
from ..peers.connection import Connection
from ..rpc.api import METHODS, NAMING, ONCE
from ..rpc.blocks import JOB_METHODS, attempt_of
from ..rpc.operations import QUESTIONS, Question
from ..serverlimits import MAX_DEPTH, MAX_NAME, MAX_WORDS, is_deep
from ..supervision import in_words
from .linkservices import LinkServices
from .readers import NOT_ALLOWED, BodyReader, PageReader

__all__ = ["Answers"]

logger = logging.getLogger("asyncblock.server")


_ORDER_COST = 1000
"""Bytes that an order costs besides its answer while it waits for the journal, and a question while it waits."""


class Answers:
    """Answers what one connection asks, within what its token may."""

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
        self._settings = services.sessions.settings
        self._link = link
        self._connection = connection
        self._roles = roles
        self._tasks = tasks
        self._reads: dict[int, PageReader] = {}
        self._questions = 0
        self._waiting: deque[tuple[Request, int]] = deque()
        """Questions beyond those that are answered at once, and what they owe."""
        self._fetches = 0
        self._orders = 0
        self._done = asyncio.Event()

    async def room(self) -> None:
        """Wait while many orders wait for the disk."""
        while self._orders >= self._settings.max_questions:
            self._done.clear()
            await self._done.wait()

    def end(self) -> None:
        """Read nothing more: the connection has ended."""
        for reader in self._reads.values():
            reader.end()

    def request(self, message: Request) -> None:
        """Answer a question, or carry an order out."""
        if len(message.id) > MAX_WORDS:
            raise RemoteProtocolError(f"the id of a request has {len(message.id)} characters, {MAX_WORDS} may")
        if is_deep(message.params):
            self._refuse(message, Rejected(f"it is nested more than {MAX_DEPTH} levels deep", code="params"))
            return
        if message.method in QUESTIONS:
            self._ask(message)
            return
        if message.method in ONCE and METHODS[message.method][0] & self._roles:
            self._orders += 1
            self._tasks.create_task(self._order_once(message))
        elif message.method in NAMING and self._sessions.row(str(message.params.get("session_id"))) is None:
            self._orders += 1
            self._tasks.create_task(self._order_of_session(message))
        else:
            self._carry_out(message)

    def _ask(self, message: Request) -> None:
        """Answer a question, beside a bounded number of others; what waits counts among what isn't read yet."""
        if self._questions < self._settings.max_questions:
            self._begin(message)
            return
        cost = _ORDER_COST + len(orjson.dumps(message.params))
        self._connection.owe(cost)
        self._waiting.append((message, cost))

    def _begin(self, message: Request) -> None:
        self._questions += 1
        self._tasks.create_task(self._answer(message, *QUESTIONS[message.method]))

    def unread_request(self, header: dict[str, Any]) -> None:
        """Refuse a request with JSON that can't be taken."""
        message = decode(header)
        assert isinstance(message, Request)
        why = f"its JSON can't be taken: {header[frames.WRONG]}"
        if len(message.id) <= MAX_WORDS:
            self._refuse(message, Rejected(why, code="params"))

    async def _order_once(self, message: Request) -> None:
        """Carry out an order unless it was: its answer is kept, for a second time would have another.

        That of one that was refused isn't: nothing was done, and who is refused mustn't fill the journal.
        """
        services, key = self._services, f"{self._link.link_id}:{message.id}"
        try:
            kept = await self._sessions.journal.request(key) if key not in services.answers else None
        except Exception as error:
            # Not carried out, so it may be asked again.
            self._connection.send_line(_failure(message, error))
            return
        finally:
            self._orders -= 1
            self._done.set()
        answer = services.answers.get(key, kept.answer if kept is not None else None)
        if answer is None:
            self._carry_out(message, key)
        else:
            self._connection.send_line(answer)

    async def _order_of_session(self, message: Request) -> None:
        """Carry out an order about a session that may have ended, which the journal knows."""
        try:
            await self._sessions.find(str(message.params.get("session_id")))
        except Exception as error:
            self._connection.send_line(_failure(message, error))
            return
        finally:
            self._orders -= 1
            self._done.set()
        self._carry_out(message)

    def _carry_out(self, message: Request, key: str | None = None) -> None:
        transaction = self._sessions.new_transaction()
        connection = self._connection
        try:
            reply = Reply(message.id, self._order(transaction, message))
        except Rejected as error:
            reply = _refusal(message, error)
        except Exception as error:
            # A defect. What is folded is to be in the journal; the session that it was about may be in any state.
            transaction.commit()
            self._sessions.supervisor.broken(
                f"the order {message.method!r}",
                error,
                self._sessions.running.get(str(message.params.get("session_id"))),
            )
            connection.send_line(_failure(message, error))
            return
        line = _encoded(reply)
        self._connection.owe(len(line) + _ORDER_COST)
        if key is not None and reply.error is None:
            self._services.answers[key] = line
            transaction.after(partial(self._services.answers.pop, key, None))
            transaction.write.request(RequestRow(request_id=key, answer=line, at=int(time.time() * 1000)))
        transaction.after(partial(_pay, connection, line))
        transaction.commit()

    def _refuse(self, message: Request, error: Rejected) -> None:
        self._connection.send(_refusal(message, error))

    async def _answer(self, message: Request, roles: frozenset[str], question: Question) -> None:
        """Answer what takes a while; if the connection ends before, it is asked again on the next."""
        try:
            if not roles & self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            _check(message)
            line = _encoded(Reply(message.id, await question(self._sessions, message.params, self._roles)))
        except Rejected as error:
            line = _encoded(_refusal(message, error))
        except Exception as error:
            line = _failure(message, error)
        self._connection.send_line(line)
        self._questions -= 1
        if self._waiting:
            next_message, cost = self._waiting.popleft()
            self._connection.pay(cost)
            self._begin(next_message)

    def _order(self, transaction: Transaction, message: Request) -> dict[str, Any]:
        asked_by_job = JOB_METHODS.get(message.method)
        if asked_by_job is not None:
            if "executor" not in self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            attempt = attempt_of(self._sessions.running, self._link, message.params)
            _check(message)
            return asked_by_job(transaction, attempt, message.params)
        said_by_link = LINK_METHODS.get(message.method)
        if said_by_link is not None:
            if "executor" not in self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            _check(message)
            sessions = self._sessions
            return said_by_link(sessions.exports, sessions.running, transaction, self._link, message.params)
        said_of_slots = SLOT_METHODS.get(message.method)
        if said_of_slots is not None:
            if "executor" not in self._roles:
                raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
            _check(message)
            return said_of_slots(self._sessions.dispatch.pump_all, transaction, self._link, message.params)
        entry = METHODS.get(message.method)
        if entry is None:
            raise Rejected(f"unknown method {message.method!r}", code="method")
        roles, method = entry
        if not roles & self._roles:
            raise Rejected(f"this token may not {message.method!r}", code="unauthorized")
        _check(message)
        return method(self._sessions, transaction, message.params)

    def _may_read(self, session_id: str) -> bool:
        """Clients read everything; an executor reads the sessions of its jobs."""
        if self._roles & {"client", "observer"}:
            return True
        attempts = self._link.attempts.values()
        return any(not each.fenced and each.job.session.session_id == session_id for each in attempts)

    async def _may_fetch(self, key: BodyKey) -> bool:
        """Clients fetch everything; an executor fetches what the sessions of its jobs name."""
        if self._roles & {"client", "observer"}:
            return True
        number = await self._sessions.journal.bodies.session_of(key)
        return any(not each.fenced and each.job.session.number == number for each in self._link.attempts.values())

    def read(self, message: Read) -> None:
        """Send pages of a session's journal, as they come to be."""
        wrong = None
        if not self._may_read(message.session_id):
            wrong = NOT_ALLOWED
        elif len(message.session_id) > MAX_NAME:
            wrong = f"no session {message.session_id[:MAX_NAME]!r}... here"
        if wrong is not None:
            self._connection.send(_failed_page(message.id, wrong))
            return
        # One that has the same number is withdrawn: two answers couldn't be told apart.
        self.unread(Unread(message.id))
        limit = self._settings.max_reads
        if len(self._reads) >= limit:
            self._reads = {id: reader for id, reader in self._reads.items() if not reader.done}
        if len(self._reads) >= limit:
            self._connection.send(_failed_page(message.id, f"{limit} reads wait already on this link"))
            return
        reader = self._reads[message.id] = PageReader(self._sessions, self._connection, message, self._may_read)
        reader.begin()

    def unread(self, message: Unread) -> None:
        """Send no more pages for a read."""
        reader = self._reads.pop(message.id, None)
        if reader is not None:
            reader.end()

    def fetch(self, message: Fetch) -> None:
        """Send a body from an offset on."""
        wrong = None
        if not (0 <= message.offset < 1 << 62 and 0 <= message.id < 1 << 62):
            wrong = "there is nothing at that offset"
        elif len(message.link) > MAX_NAME:
            wrong = f"there is no body of a link {message.link[:MAX_NAME]!r}..."
        elif self._fetches >= self._settings.max_reads:
            wrong = f"{self._settings.max_reads} fetches wait already on this link"
        if wrong is not None:
            self._connection.send(Fetched(message.id, wrong))
        else:
            self._fetches += 1
            reader = BodyReader(self._sessions.journal, self._connection, message, self._may_fetch)
            self._connection.feed(partial(self._fetch_on, reader))

    async def _fetch_on(self, reader: BodyReader) -> bytes | None:
        chunk = await reader.produce()
        if chunk is None:
            self._fetches -= 1
        return chunk


def _check(message: Request) -> None:
    """Refuse parameters of other types than the method's. Raises ``Rejected``."""
    wrong = misfit(message.method, message.params)
    if wrong is not None:
        raise Rejected(f"parameter {wrong.path!r:.200} must be {wrong.wanted}", code="params")


def _pay(connection: Connection, line: bytes) -> None:
    connection.pay(len(line) + _ORDER_COST)
    connection.send_line(line)


def _failed_page(id: int, error: str) -> Message:
    return Page(id, 0, 0, [], False, error)


def _encoded(reply: Reply) -> bytes:
    line = encode(reply)
    if len(line) <= frames.MAX_MESSAGE:
        return line
    words = f"the answer has {len(line)} bytes, a message {frames.MAX_MESSAGE} at most; ask for less"
    return encode(_refusal(reply, Rejected(words, code="too_large")))


def _failure(message: Request, error: Exception) -> bytes:
    """Log what went wrong with a request and return the answer that says so: not the asker's fault."""
    logger.error("the request %r failed", message.method, exc_info=error)
    words = f"the mainframe failed at {message.method!r}: {in_words(error)}"
    return encode(Reply(message.id, error={"code": "failed", "message": words[:MAX_WORDS]}))


def _refusal(message: Request | Reply, error: Rejected) -> Reply:
    return Reply(message.id, error={"code": error.code, "message": str(error)[:MAX_WORDS]})
