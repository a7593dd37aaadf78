"""Bodies that come in over one connection: chunk by chunk to the disk, checked when they are whole, then named."""

from __future__ import annotations

import asyncio
from typing import Any

from ...errors import RemoteProtocolError, Unavailable
from ...wire.bodies import CHUNK_SIZE, BodyRef, decode_chunk
from ...wire.messages import Bye, Discard, Kept, Whole
from ..jobstate.jobs import Attempt, LinkState
from ..journal import BodyKey, BodyRow
from ..livesessions.sessions import Sessions
from ..peers.connection import Connection, Dismissed
from ..serverlimits import MAX_BODIES, MAX_BODY

__all__ = ["Uploads"]

_MAX_NUMBER = (1 << 53) - 1
"""The last number of a body: what every peer's numbers hold exactly."""

_UNWRITTEN = 1 << 20
"""Bytes of a connection's chunks that may wait for the disk before its reader waits too; what follows a body waits for
as much."""

_CHUNK_COST = 1 << 10
"""Bytes that a chunk costs besides its own while it waits."""

_DISK_PATIENCE = 0.1
"""Seconds that a reader waits for the disk before it looks at the next message."""


class Uploads:
    """The bodies of one connection, from their first chunk until a record names them."""

    def __init__(self, sessions: Sessions, link: LinkState, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        self._sessions = sessions
        self._link = link
        self._connection = connection
        self._tasks = tasks
        self._unwritten = 0
        """Bytes of chunks that wait for the disk."""
        self._last_write: asyncio.Future[int]
        self._keeping: dict[int, asyncio.Task[None]] = {}
        """Bodies that are being checked and put on disk."""

    async def chunk(self, message: bytes) -> int:
        """Take in a chunk; return how many bytes of it are news.

        Waits, for a bounded time, while much waits for the disk.
        """
        n, offset, piece = decode_chunk(message)
        if not 0 < n <= _MAX_NUMBER or len(piece) > CHUNK_SIZE:
            words = (
                f"a chunk of {len(piece)} bytes for body {n} came: {CHUNK_SIZE} may be, for bodies 1 to {_MAX_NUMBER}"
            )
            raise RemoteProtocolError(words)
        have = self._link.bodies.get(n, 0)
        if offset > have:
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; {have} bytes are here")
        if offset + len(piece) <= have:
            return 0
        if n in self._link.whole or n in self._keeping:
            raise RemoteProtocolError(f"a chunk of body {n} for offset {offset} came; it was said to be whole before")
        # Of a var value that it was asked for, one at a time: who wasn't asked has no more room than any other.
        carried = self._sessions.settings.carried_bytes if self._link.carries else 0
        if offset + len(piece) > max(MAX_BODY, carried):
            raise RemoteProtocolError(f"body {n} has more than {max(MAX_BODY, carried)} bytes")
        if len(self._link.bodies) >= MAX_BODIES and n not in self._link.bodies:
            raise RemoteProtocolError(f"{MAX_BODIES} bodies came that no record names")
        self._link.unnamed += offset + len(piece) - have
        if self._link.unnamed > self._sessions.settings.unnamed_bytes + carried:
            raise RemoteProtocolError(f"bodies of {self._link.unnamed} bytes came that no record names")
        try:
            write = self._sessions.journal.bodies.write(BodyKey(self._link.link_id, n), offset, piece)
        except Unavailable as error:
            raise Dismissed(Bye("overload", str(error), stop=False, retry_after=2.0)) from None
        self._link.bodies[n] = offset + len(piece)
        self._hold_back(write, len(piece))
        if self._unwritten > _UNWRITTEN:
            # The sender is slowed down to what the disk takes, but a cancel among the chunks waits a bounded time.
            await asyncio.wait([self._last_write], timeout=_DISK_PATIENCE)
        return len(piece)

    def _hold_back(self, write: asyncio.Future[int], size: int) -> None:
        # Many small ones are held back too: each is an order to the disk.
        size += _CHUNK_COST
        self._unwritten += size
        self._last_write = write

        def written(_: asyncio.Future[int]) -> None:
            self._unwritten -= size

        write.add_done_callback(written)

    async def _finish(self, n: int, length: int, sha256: str) -> None:
        try:
            await self._sessions.journal.bodies.finish(BodyKey(self._link.link_id, n), length, sha256)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"body {n}: {error}") from error

    def whole(self, message: Whole) -> None:
        """Check a body and put it on disk, while other messages pass."""
        n, have = message.n, self._link.bodies.get(message.n, 0)
        if not 0 < n <= _MAX_NUMBER:
            raise RemoteProtocolError(f"{n} can't be the number of a body: 1 to {_MAX_NUMBER}")
        if have != message.length:
            raise RemoteProtocolError(f"body {n} came with {have} bytes, and {message.length} were announced")
        if n in self._keeping:
            return
        if len(self._link.whole) + len(self._keeping) >= MAX_BODIES:
            raise RemoteProtocolError(f"{MAX_BODIES} bodies came that no record names")
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

    def discard(self, message: Discard) -> None:
        """Delete bodies that no record will name."""
        if len(message.bodies) > MAX_BODIES:
            raise RemoteProtocolError(f"{len(message.bodies)} bodies are to be deleted; {MAX_BODIES} may be")
        for n in message.bodies:
            if type(n) is not int or not 0 <= n < 1 << 62:
                raise RemoteProtocolError(f"{n!r:.100} can't be the number of a body")
            received, whole = self._link.bodies.pop(n, None), self._link.whole.pop(n, None)
            if received is not None or whole is not None:
                self._link.unnamed -= received or 0
                self._sessions.discard_soon(BodyKey(self._link.link_id, n))

    async def named(self, attempt: Attempt, records: list[Any]) -> list[BodyRow]:
        """Wait until the bodies that records name are whole on disk; a wrong sum makes the batch unreadable."""
        number, rows = attempt.job.session.number, []
        for ref in (ref for record in records for ref in _body_refs(record)):
            if (keeping := self._keeping.get(ref.n)) is not None:
                await asyncio.wait([keeping])
            if self._link.whole.pop(ref.n, None) != (ref.length, ref.sha256):
                await self._finish(ref.n, ref.length, ref.sha256)
            self._link.unnamed -= self._link.bodies.pop(ref.n, 0)
            rows.append(
                BodyRow(
                    session_no=number,
                    link_id=self._link.link_id,
                    n=ref.n,
                    length=ref.length,
                    sha256=ref.sha256,
                )
            )
        return rows


def _body_refs(record: object) -> list[BodyRef]:
    """Return the well-formed body references of a record; malformed ones are refused later."""
    if not isinstance(record, dict):
        return []
    bodies = record.get("bodies")
    candidates = [record.get("body"), *(bodies.values() if isinstance(bodies, dict) else ())]
    return [ref for ref in map(BodyRef.from_json, candidates) if ref is not None]
