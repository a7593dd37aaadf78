"""Questions: requests and reads that are asked again after every Welcome until they are answered.

A mainframe takes so many of a connection at once, and says how many; the rest waits here. Questions go in order. Of
the reads each has a turn: whoever waits for the end of a long session must not keep others from reading a short one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..errors import AsyncBlockError, LocalProtocolError, PayloadTooLarge, Rejected, RemoteProtocolError, Unauthorized
from ..wire.frames import MAX_MESSAGE
from ..wire.messages import Page, Read, Reply, Request, Unread, encode
from ..wire.methods import result_misfit
from .gate import Gate

__all__ = ["MAX_QUESTIONS", "MAX_READS", "Questions", "Rows"]

MAX_QUESTIONS: Final = 64
"""Questions that a mainframe takes at once which doesn't say how many, for it is of an earlier version."""

MAX_READS: Final = 4096
"""The same of reads, and of fetches."""

_MOST: Final = 1 << 31
"""Of anything: no number of a mainframe's is too large to be counted with."""

_ANSWERED_LATER: Final = frozenset({"executors", "info", "prune", "session", "sessions"})
"""Methods for which the mainframe asks its disk. The others are carried out as they come, and a cancel waits for
nothing."""

_TURN: Final = 0.25
"""Seconds after which reads that the mainframe has no answer for make room for others that wait here."""

_TURN_SHARE: Final = 16
"""Which part of the reads does so at once: 256 of 4096, which costs both sides some 2,000 short lines a second."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of a session's journal: ``(offset, lines)`` in order, where to read on, and whether that was all."""

    rows: list[tuple[int, list[bytes]]]
    next: int
    end: bool


@dataclass(slots=True, eq=False)
class _Pending:
    line: bytes
    answer: asyncio.Future[Any]
    offset: int = -1
    """Where a read begins; -1 where its answer says it."""
    again: bool = False
    """It was withdrawn and asked once more: the first answer may be on its way, and another one be made."""
    method: str = ""
    """That of a request."""


class Questions:
    """What this side has asked and not been told. On the I/O thread."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._requests: dict[str, _Pending] = {}
        self._questions = Gate(MAX_QUESTIONS)
        self._reads: dict[int, _Pending] = {}
        """Those that were asked, the oldest first."""
        self._held: dict[int, _Pending] = {}
        """Those that wait for their turn, likewise."""
        self.max_reads = MAX_READS
        """How many reads, and how many fetches, the mainframe takes at once."""
        self._turn: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._over: AsyncBlockError | None = None

    def allow(self, limits: Mapping[str, Any]) -> None:
        """Keep to what a Welcome names, on a connection on which nothing has been asked yet."""
        self._questions.allow(_limit(limits, "questions", MAX_QUESTIONS))
        self.max_reads = _limit(limits, "reads", MAX_READS)
        reads = {**self._reads, **self._held}
        self._reads = dict(itertools.islice(reads.items(), self.max_reads))
        self._held = dict(itertools.islice(reads.items(), self.max_reads, None))
        if self._held:
            self._take_turns()

    def lines(self) -> Iterator[bytes]:
        """Return the lines of everything that was asked and is still unanswered."""
        for pending in (*self._requests.values(), *self._reads.values()):
            yield pending.line

    async def request(self, method: str, params: dict[str, Any], id: str) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        try:
            line = encode(Request(id, method, params))
        except TypeError as error:
            # An address, a title, a reason: what is a value was encoded before.
            raise LocalProtocolError(f"the request {method!r} can't be sent: {error}") from None
        if len(line) > MAX_MESSAGE:
            raise PayloadTooLarge(f"the request {method!r}", size=len(line), limit=MAX_MESSAGE)
        if method not in _ANSWERED_LATER:
            return await self._request(id, method, line)
        self._check_open()
        async with self._questions:
            return await self._request(id, method, line)

    async def _request(self, id: str, method: str, line: bytes) -> dict[str, Any]:
        self._check_open()
        pending = self._requests[id] = _pending(line)
        pending.method = method
        self._send(line)
        try:
            answer: dict[str, Any] = await pending.answer
            return answer
        finally:
            del self._requests[id]
            # An answer that is an error has this frame in its traceback, and that, what its caller was called with.
            del pending

    async def read(self, session_id: str, offset: int, max_bytes: int) -> Rows:
        """Ask for a page of a session's journal, and wait for it."""
        self._check_open()
        id = next(self._ids)
        pending = _pending(encode(Read(id, session_id, offset, max_bytes)), offset)
        if len(self._reads) < self.max_reads and not self._held:
            self._ask(id, pending)
        else:
            self._held[id] = pending
            self._take_turns()
        cancelled = True
        try:
            rows: Rows = await pending.answer
            cancelled = False
            return rows
        finally:
            self._held.pop(id, None)
            if self._reads.pop(id, None) is not None:
                if cancelled or pending.again:
                    # Before its place is another's.
                    self._send(encode(Unread(id)))
                self._ask_held()
            del pending

    def _ask(self, id: int, pending: _Pending) -> None:
        self._reads[id] = pending
        self._send(pending.line)

    def _ask_held(self) -> None:
        """Ask what waits, as far as there are places."""
        while self._held and len(self._reads) < self.max_reads:
            id = next(iter(self._held))
            self._ask(id, self._held.pop(id))

    def _take_turns(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_later(_TURN, self._change_places)

    def _change_places(self) -> None:
        """Withdraw the oldest reads for others that wait here, at whose end they stand then: nothing is consumed."""
        self._turn = None
        count = min(max(self.max_reads // _TURN_SHARE, 1), len(self._held))
        for id in list(itertools.islice(self._reads, count)):
            pending = self._reads.pop(id)
            if pending.answer.done():
                continue
            # A page that is on its way answers it all the same.
            self._send(encode(Unread(id)))
            pending.again = True
            self._held[id] = pending
        self._ask_held()
        if self._held:
            self._take_turns()

    def _check_open(self) -> None:
        if self._over is not None:
            raise self._over

    def replied(self, message: Reply) -> None:
        """Take in the answer to a request; one that nobody waits for is dropped."""
        pending = self._requests.get(message.id)
        if pending is None or pending.answer.done():
            return
        if message.error is None:
            result = message.result or {}
            if (wrong := result_misfit(pending.method, result)) is None:
                pending.answer.set_result(result)
            else:
                words = f"the answer to {pending.method!r} can't be read: {wrong.path!r:.200} must be {wrong.wanted}"
                pending.answer.set_exception(RemoteProtocolError(words))
            return
        code = str(message.error.get("code", "rejected"))
        kind = Unauthorized if code == "unauthorized" else Rejected
        pending.answer.set_exception(kind(str(message.error.get("message", "")), code=code))

    def paged(self, message: Page, lines: list[bytes]) -> None:
        """Take in a page; one that nobody waits for is dropped."""
        pending = self._reads.get(message.id) or self._held.get(message.id)
        if pending is None or pending.answer.done():
            return
        if message.error is not None:
            pending.answer.set_exception(Rejected(message.error, code="read"))
            return
        if (wrong := _out_of_order(message, len(lines), pending.offset)) is not None:
            pending.answer.set_exception(RemoteProtocolError(f"a page of a session's journal can't be read: {wrong}"))
            return
        rows: list[tuple[int, list[bytes]]] = []
        start = 0
        for offset, count in message.rows:
            rows.append((offset, lines[start : start + count]))
            start += count
        pending.answer.set_result(Rows(rows, message.next, message.end))

    def end_reads(self, error: AsyncBlockError) -> None:
        """End the reads under way: their offsets mean nothing any more."""
        _settle((*self._reads.values(), *self._held.values()), error)

    def end(self, error: AsyncBlockError) -> None:
        """Nothing will be answered any more."""
        self._over = error
        self._questions.end(error)
        _settle((*self._requests.values(), *self._reads.values(), *self._held.values()), error)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


def _pending(line: bytes, offset: int = -1) -> _Pending:
    return _Pending(line, asyncio.get_running_loop().create_future(), offset)


def _out_of_order(page: Page, lines: int, least: int) -> str | None:
    """Say what is wrong with the rows of a page; a reader that goes on at its end must come forward."""
    if sum(count for _, count in page.rows) != lines or any(count < 0 for _, count in page.rows):
        return f"its rows don't share out its {lines} lines"
    for offset, _ in page.rows:
        if offset < least:
            return f"row {offset} came where row {least} or a later one comes next"
        least = offset + 1
    return None if page.next >= least else f"it says to go on at row {page.next}, before row {least}"


def _limit(limits: Mapping[str, Any], name: str, usual: int) -> int:
    given = limits.get(name)
    return min(given, _MOST) if type(given) is int and given > 0 else usual


def _settle(waiting: Iterable[_Pending], error: AsyncBlockError) -> None:
    for pending in waiting:
        if not pending.answer.done():
            pending.answer.set_exception(error)
            # The caller may have stopped waiting: read here, or asyncio logs the error as never retrieved.
            pending.answer.exception()
