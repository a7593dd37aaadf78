"""A journal in memory: no files, no threads, nothing that depends on the machine. For simulations and quick tests.

What is stored lives in a ``MemoryStorage`` and outlives the journal object, as a disk outlives a process: ``abandon``
is the death of the process, ``MemoryStorage.refuse`` a disk that takes nothing. Commits happen on the event loop, a
group at a time, ``delay()`` seconds after the first write of the group.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from ...errors import AsyncBlockError, RemoteProtocolError, Unavailable
from ...wire.ranges import Ranges
from .accepting import AcceptingJournal
from .bodyfiles import check_key
from .contract import (
    RUNNING,
    BeginPrune,
    BodyKey,
    BodyRow,
    DropLink,
    DropRequests,
    LinkRow,
    Opening,
    RequestRow,
    Row,
    SessionRow,
    Snapshot,
    Stats,
    Write,
)
from .lanes import Lanes
from .ledger import Ledger
from .posting import settle
from .trouble import Trouble, back_off, explain

__all__ = ["MemoryJournal", "MemoryStorage"]

logger = logging.getLogger("asyncblock.server.journal")


@dataclass(slots=True, eq=False)
class MemoryStorage:
    """What a journal has stored. Hand it to the next journal to open it again."""

    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    clean: bool = False
    opened: bool = False
    refuse: OSError | None = None
    """While this is set, every commit fails with it."""
    sessions: dict[int, SessionRow] = field(default_factory=dict)
    entries: dict[int, list[bytes]] = field(default_factory=dict)
    links: dict[int, LinkRow] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    requests: dict[str, RequestRow] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    body_rows: dict[BodyKey, BodyRow] = field(default_factory=dict)
    bodies: dict[BodyKey, bytearray] = field(default_factory=dict)
    last_session_no: int = 0
    last_link_no: int = 0

    def apply(self, write: Write) -> None:
        """Store a write."""
        for row in write.rows:
            self._apply_row(row)
        for session_no, _, payload in write.entries:
            self.entries.setdefault(session_no, []).append(payload)
        for link_no, seq in write.marks:
            self.marks[link_no] = max(seq, self.marks.get(link_no, 0))

    def _apply_row(self, row: Row) -> None:
        match row:
            case SessionRow():
                self.sessions[row.session_no] = row
                self.last_session_no = max(self.last_session_no, row.session_no)
            case LinkRow():
                for number in [n for n, each in self.links.items() if each.link_id == row.link_id]:
                    if number != row.link_no:
                        self._drop_link(number)
                self.links[row.link_no] = row
                self.last_link_no = max(self.last_link_no, row.link_no)
            case RequestRow():
                self.requests.setdefault(row.request_id, row)
            case BodyRow():
                self.body_rows.setdefault(BodyKey(row.link_id, row.n), row)
            case Snapshot():
                present = self.snapshots.get(row.session_no)
                if present is None or present.offset <= row.offset:
                    self.snapshots[row.session_no] = row
            case DropLink():
                self._drop_link(row.link_no)
            case DropRequests():
                self.requests = {id: each for id, each in self.requests.items() if each.at >= row.before}
            case BeginPrune():
                self._prune(row.session_no)

    def _drop_link(self, link_no: int) -> None:
        self.links.pop(link_no, None)
        self.marks.pop(link_no, None)

    def _prune(self, session_no: int) -> None:
        del self.sessions[session_no]
        self.entries.pop(session_no, None)
        self.snapshots.pop(session_no, None)
        self.requests = {id: each for id, each in self.requests.items() if each.session_no != session_no}
        for key in [key for key, row in self.body_rows.items() if row.session_no == session_no]:
            del self.body_rows[key]
            self.bodies.pop(key, None)

    def rows(self) -> list[SessionRow]:
        """Return the sessions by their numbers."""
        return [row for _, row in sorted(self.sessions.items())]

    def described(self, row: SessionRow) -> SessionRow:
        """Return a session with its figures."""
        entries = self.entries.get(row.session_no, [])
        bodies = [each.length for each in self.body_rows.values() if each.session_no == row.session_no]
        return replace(row, rows=len(entries), bytes=sum(map(len, entries)) + sum(bodies))


class MemoryJournal(AcceptingJournal):
    """A journal on a ``MemoryStorage``. The ``Journal`` Protocol is its contract, ``full`` its durability."""

    def __init__(
        self,
        storage: MemoryStorage,
        *,
        on_trouble: Callable[[AsyncBlockError], None] | None = None,
        on_recovered: Callable[[], None] | None = None,
        delay: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(
            Opening(epoch=storage.epoch, created=not storage.opened, clean=storage.clean),
            _ledger_of(storage),
            Trouble(on_trouble, on_recovered),
            asyncio.get_running_loop(),
        )
        storage.opened, storage.clean = True, False
        self._storage = storage
        self._delay = delay
        self._lanes = Lanes()
        self._group: list[Write] = []
        self._pauses = back_off()
        self._timer: asyncio.TimerHandle | None = None
        self._commits = 0
        self.bodies = MemoryBodies(self, storage)
        """The bodies beside it."""

    def abandon(self) -> None:
        """Die: what isn't stored is gone, no callback runs any more, the storage can be opened again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    # ------------------------------------------------------------------ writing

    async def prune(self, session_no: int) -> int:
        """Delete a session; see ``Journal.prune``."""
        self.check_open()
        self._ledger.prune(session_no)
        await self.flush()
        freed = self._storage.described(self._storage.sessions[session_no]).bytes
        pruned = self.promise()
        write = Write(lambda: settle(pruned, freed))
        write.rows.append(BeginPrune(session_no))
        self._put(write)
        return int(await asyncio.shield(pruned))

    def _put(self, write: Write, *, urgent: bool = False) -> None:
        write.urgent = urgent
        self._queued_bytes += write.size
        self._lanes.add(write)
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay(), self._commit)

    def _commit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._group = self._group or self._lanes.take()
        error = self._storage.refuse
        if error is not None:
            if self._trouble.error is None:
                self._pauses = back_off()
            self._trouble.enter("journal", explain(error, "the journal"))
            self._timer = self._loop.call_later(next(self._pauses), self._commit)
            return
        self._trouble.leave("journal")
        group, self._group = self._group, []
        for write in group:
            self._storage.apply(write)
        self._commits += 1
        if self._lanes:
            self._timer = self._loop.call_later(self._delay(), self._commit)
        for write in group:
            self._queued_bytes -= write.size
            if write.stored is not None:
                try:
                    write.stored()
                except Exception:
                    # The others' must run all the same: their writes are stored.
                    logger.exception("what was to follow a commit failed")

    async def close(self) -> None:
        """Store what is queued; see ``Journal.close``."""
        if self._closed:
            return
        if self._storage.refuse is None:
            while self._group or self._lanes:
                self._commit()
        left = [*self._group, *self._lanes.drain()]
        self.abandon()
        self._storage.clean = not left
        self._end_promises()
        if left:
            size = sum(write.size for write in left)
            raise Unavailable(
                f"the journal was closed without storing {len(left)} writes ({size} bytes): {self._storage.refuse}"
            )

    # ------------------------------------------------------------------ reading

    async def page(self, session_no: int, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
        """Read entries in order from an offset; see ``Journal.page``."""
        self.check_open()
        rows: list[tuple[int, bytes]] = []
        for place, payload in enumerate(self._storage.entries.get(session_no, [])[offset:], offset):
            max_bytes -= len(payload)
            if rows and max_bytes < 0:
                break
            rows.append((place, payload))
        return rows

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry; see ``Journal.entry``."""
        self.check_open()
        entries = self._storage.entries.get(session_no, [])
        if not 0 <= offset < len(entries):
            raise Unavailable(f"session number {session_no} has no entry {offset} in the journal")
        return entries[offset]

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a session's snapshot."""
        self.check_open()
        return self._storage.snapshots.get(session_no)

    async def sessions(self, state: str | None = None) -> list[SessionRow]:
        """Read the sessions; those in one state if it is given."""
        self.check_open()
        return [self._storage.described(row) for row in self._storage.rows() if state in (None, row.state)]

    async def session(self, session_id: str) -> SessionRow | None:
        """Read one session."""
        return next((row for row in await self.sessions() if row.session_id == session_id), None)

    async def newest_sessions(
        self, *, state: str | None = None, prefix: str = "", before: tuple[int, str] | None = None, limit: int
    ) -> list[SessionRow]:
        """Read sessions, the newest first; see ``Journal.newest_sessions``."""
        found = [row for row in await self.sessions(state) if row.session_id.startswith(prefix)]
        found = [row for row in found if before is None or (row.created_at, row.session_id) < before]
        return sorted(found, key=lambda row: (row.created_at, row.session_id), reverse=True)[:limit]

    async def prunable(
        self, *, until: int | None, keep: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int, str, str]]:
        """Read which sessions may be pruned; see ``Journal.prunable``."""
        ended = sorted(
            (row for row in await self.sessions() if row.state != RUNNING),
            key=lambda row: (row.created_at, row.session_no),
        )
        old = [row for row in ended[: max(len(ended) - keep, 0)] if (row.created_at, row.session_no) > after]
        old = [row for row in old if until is None or (row.finished_at or row.created_at) <= until]
        return [(row.created_at, row.session_no, row.session_id, row.state) for row in old[:limit]]

    async def totals(self) -> dict[str, tuple[int, int]]:
        """Count the sessions that aren't running."""
        found: dict[str, tuple[int, int]] = {}
        for row in await self.sessions():
            if row.state != RUNNING:
                count, size = found.get(row.state, (0, 0))
                found[row.state] = (count + 1, size + row.bytes)
        return found

    async def links(self) -> list[LinkRow]:
        """Read the links with their marks."""
        self.check_open()
        marks = self._storage.marks
        return [replace(row, stored_seq=marks.get(n, 0)) for n, row in sorted(self._storage.links.items())]

    async def request(self, request_id: str) -> RequestRow | None:
        """Read the answer to a request."""
        self.check_open()
        return self._storage.requests.get(request_id)

    async def body_rows(self, session_no: int) -> list[BodyRow]:
        """Read what the session's entries name in bodies."""
        self.check_open()
        return [row for _, row in sorted(self._storage.body_rows.items()) if row.session_no == session_no]

    async def stats(self) -> Stats:
        """Read the figures; those of a disk are zero."""
        self.check_open()
        trouble = self._trouble.error
        return Stats(
            epoch=self.epoch,
            schema=0,
            synchronous="full",
            database_bytes=0,
            wal_bytes=0,
            free_bytes=0,
            queued_bytes=self._queued_bytes,
            commits=self._commits,
            trouble=None if trouble is None else str(trouble),
        )


class MemoryBodies:
    """The bodies of a ``MemoryJournal``. The ``Bodies`` Protocol is their contract."""

    def __init__(self, journal: MemoryJournal, storage: MemoryStorage) -> None:
        self._journal = journal
        self._storage = storage

    @property
    def queued_bytes(self) -> int:
        """Nothing waits."""
        return 0

    @property
    def max_queued_bytes(self) -> int:
        """As much as fits into memory."""
        return 1 << 62

    def write(self, key: BodyKey, offset: int, chunk: bytes | memoryview) -> asyncio.Future[int]:
        """Store a chunk; see ``Bodies.write``."""
        self._journal.check_open()
        check_key(key)
        future = self._journal.promise()
        body = self._storage.bodies.setdefault(key, bytearray())
        if offset > len(body):
            error = RemoteProtocolError(
                f"a chunk of body {key.link_id}-{key.n} begins at {offset}; only {len(body)} bytes came before it"
            )
            future.set_exception(error)
        else:
            body += chunk[len(body) - offset :]
            future.set_result(len(body))
        return future

    async def finish(self, key: BodyKey, length: int, sha256: str) -> None:
        """Check that a body is whole; see ``Bodies.finish``."""
        self._journal.check_open()
        body = self._storage.bodies.get(key, bytearray() if length == 0 else None)
        if body is None or len(body) != length or hashlib.sha256(body).hexdigest() != sha256:
            if key not in self._storage.body_rows:
                self._storage.bodies.pop(key, None)
            raise RemoteProtocolError(f"body {key.link_id}-{key.n} isn't what its record says")
        self._storage.bodies[key] = body

    async def read(self, key: BodyKey, offset: int, n: int) -> bytes:
        """Read a part of a body; see ``Bodies.read``."""
        self._journal.check_open()
        body = self._storage.bodies.get(key)
        if body is None:
            raise Unavailable(f"there is no body {key.link_id}-{key.n}")
        return bytes(body[offset : offset + n])

    async def session_of(self, key: BodyKey) -> int | None:
        """Return the session whose entries name a body; see ``Bodies.session_of``."""
        self._journal.check_open()
        check_key(key)
        row = self._storage.body_rows.get(key)
        return None if row is None else row.session_no

    async def names_any(self, link_id: str) -> bool:
        """Tell whether entries name a body of a link; see ``Bodies.names_any``."""
        self._journal.check_open()
        return any(key.link_id == link_id for key in self._storage.body_rows)

    def under_way(self, link_id: str) -> dict[int, int]:
        """Return the stored lengths of bodies that nothing names yet."""
        return {key.n: len(self._storage.bodies[key]) for key in self._unreferenced(link_id)}

    async def discard(self, key: BodyKey) -> int:
        """Delete one that nothing will name; see ``Bodies.discard``."""
        self._journal.check_open()
        check_key(key)
        return 0 if key in self._storage.body_rows else len(self._storage.bodies.pop(key, b""))

    async def delete_unreferenced(self, link_id: str) -> int:
        """Delete what nothing names; see ``Bodies.delete_unreferenced``."""
        self._journal.check_open()
        return sum(len(self._storage.bodies.pop(key)) for key in self._unreferenced(link_id))

    def keep_only(self, link_ids: Collection[str]) -> None:
        """Delete what nothing names and is of no such link; see ``Bodies.keep_only``."""
        self._journal.check_open()
        for key in [*self._storage.bodies]:
            if key.link_id not in link_ids and key not in self._storage.body_rows:
                del self._storage.bodies[key]

    def _unreferenced(self, link_id: str) -> list[BodyKey]:
        bodies, rows = self._storage.bodies, self._storage.body_rows
        return [key for key in bodies if key.link_id == link_id and key not in rows]


def _ledger_of(storage: MemoryStorage) -> Ledger:
    return Ledger(
        (
            (row.session_no, row.session_id, len(storage.entries.get(row.session_no, [])))
            for row in storage.rows()
            if row.state == RUNNING
        ),
        Ranges(row.session_no for row in storage.rows() if row.state != RUNNING),
        storage.last_session_no,
        storage.last_link_no,
    )
