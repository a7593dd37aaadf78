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
from dataclasses import dataclass, field

from ...errors import AsyncBlockError, RemoteProtocolError, Unavailable
from .accepting import AcceptingJournal
from .bodyfiles import check_key
from .catalogue import Catalogue, CatalogueReads
from .contract import BeginPrune, BodyKey, Opening, Snapshot, Stats, Write
from .diskerrors import DiskErrors, back_off, explain
from .posting import settle
from .writequeue import WriteQueue

__all__ = ["MemoryJournal", "MemoryStorage"]

logger = logging.getLogger("asyncblock.server.journal")


@dataclass(slots=True, eq=False)
class MemoryStorage(Catalogue):
    """What a journal has stored. Hand it to the next journal to open it again."""

    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    clean: bool = False
    opened: bool = False
    refuse: OSError | None = None
    """While this is set, every commit fails with it."""
    entries: dict[int, list[bytes]] = field(default_factory=dict)
    bodies: dict[BodyKey, bytearray] = field(default_factory=dict)

    def apply(self, write: Write) -> None:
        """Store a write."""
        for row in write.rows:
            if isinstance(row, BeginPrune):
                for each in self.bodies_of(row.session_no):
                    self.bodies.pop(BodyKey(each.link_id, each.n), None)
                self.entries.pop(row.session_no, None)
            self.apply_row(row)
        for session_no, _, payload in write.entries:
            self.entries.setdefault(session_no, []).append(payload)
        for link_no, seq in write.marks:
            self.mark(link_no, seq)

    def entry_figures(self, session_no: int) -> tuple[int, int]:
        """Return how many entries a session has, and their bytes."""
        entries = self.entries.get(session_no, [])
        return len(entries), sum(map(len, entries))


class MemoryJournal(AcceptingJournal, CatalogueReads):
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
            storage.write_checks(),
            DiskErrors(on_trouble, on_recovered),
            asyncio.get_running_loop(),
        )
        storage.opened, storage.clean = True, False
        self._storage = self._catalogue = storage
        self._delay = delay
        self._write_queue = WriteQueue()
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
        self._write_checks.prune(session_no)
        await self.flush()
        freed = self._storage.described(self._storage.sessions[session_no]).bytes
        pruned = self.promise()
        write = Write(lambda: settle(pruned, freed))
        write.rows.append(BeginPrune(session_no))
        self._put(write)
        # Shielded: the write settles it, even if the caller was cancelled.
        return int(await asyncio.shield(pruned))

    def _put(self, write: Write, *, urgent: bool = False) -> None:
        write.urgent = urgent
        self._queued_bytes += write.queued_bytes
        self._write_queue.add(write)
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay(), self._commit)

    def _commit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._group = self._group or self._write_queue.take()
        error = self._storage.refuse
        if error is not None:
            if self._disk_errors.error is None:
                self._pauses = back_off()
            self._disk_errors.enter("journal", explain(error, "the journal"))
            self._timer = self._loop.call_later(next(self._pauses), self._commit)
            return
        self._disk_errors.leave("journal")
        group, self._group = self._group, []
        for write in group:
            self._storage.apply(write)
        self._commits += 1
        if self._write_queue:
            self._timer = self._loop.call_later(self._delay(), self._commit)
        for write in group:
            self._queued_bytes -= write.queued_bytes
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
            while self._group or self._write_queue:
                self._commit()
        left = [*self._group, *self._write_queue.drain()]
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

    async def stats(self) -> Stats:
        """Read the figures; those of a disk are zero."""
        self.check_open()
        trouble = self._disk_errors.error
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
        """Return the session with an entry that names a body; see ``Bodies.session_of``."""
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
