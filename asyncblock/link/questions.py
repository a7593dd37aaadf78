"""Questions: requests and reads that are asked again after every Welcome until they are answered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import AsyncBlockError, LocalProtocolError, PayloadTooLarge, Rejected, Unauthorized
from ..wire.frames import MAX_MESSAGE
from ..wire.messages import Page, Read, Reply, Request, Unread, encode

__all__ = ["Questions", "Rows"]


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


class Questions:
    """What this side has asked and not been told. On the I/O thread."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._requests: dict[str, _Pending] = {}
        self._reads: dict[int, _Pending] = {}
        self._ids = itertools.count(1)
        self._over: AsyncBlockError | None = None

    def lines(self) -> Iterator[bytes]:
        """Return the lines of everything that is still unanswered."""
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
        pending = self._requests[id] = self._ask(line)
        try:
            answer: dict[str, Any] = await pending.answer
            return answer
        finally:
            del self._requests[id]

    async def read(self, session_id: str, offset: int, max_bytes: int) -> Rows:
        """Ask for a page of a session's journal, and wait for it."""
        id = next(self._ids)
        pending = self._reads[id] = self._ask(encode(Read(id, session_id, offset, max_bytes)))
        try:
            rows: Rows = await pending.answer
            return rows
        except asyncio.CancelledError:
            self._send(encode(Unread(id)))
            raise
        finally:
            del self._reads[id]

    def _ask(self, line: bytes) -> _Pending:
        if self._over is not None:
            raise self._over
        self._send(line)
        return _Pending(line, asyncio.get_running_loop().create_future())

    def replied(self, message: Reply) -> None:
        """Take in the answer to a request; one that nobody waits for is dropped."""
        pending = self._requests.get(message.id)
        if pending is None or pending.answer.done():
            return
        if message.error is None:
            pending.answer.set_result(message.result or {})
            return
        code = str(message.error.get("code", "rejected"))
        kind = Unauthorized if code == "unauthorized" else Rejected
        pending.answer.set_exception(kind(str(message.error.get("message", "")), code=code))

    def paged(self, message: Page, lines: list[bytes]) -> None:
        """Take in a page; one that nobody waits for is dropped."""
        pending = self._reads.get(message.id)
        if pending is None or pending.answer.done():
            return
        if message.error is not None:
            pending.answer.set_exception(Rejected(message.error, code="read"))
            return
        rows: list[tuple[int, list[bytes]]] = []
        start = 0
        for offset, count in message.rows:
            rows.append((offset, lines[start : start + count]))
            start += count
        pending.answer.set_result(Rows(rows, message.next, message.end))

    def end_reads(self, error: AsyncBlockError) -> None:
        """End the reads under way: their offsets mean nothing any more."""
        _settle(self._reads.values(), error)

    def end(self, error: AsyncBlockError) -> None:
        """Nothing will be answered any more."""
        self._over = error
        _settle((*self._requests.values(), *self._reads.values()), error)


def _settle(waiting: Iterable[_Pending], error: AsyncBlockError) -> None:
    for pending in waiting:
        if not pending.answer.done():
            pending.answer.set_exception(error)
            # Whoever asked may have stopped waiting; the error was for them only.
            pending.answer.exception()
