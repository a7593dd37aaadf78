"""The journal on SQLite, as the event loop sees it: calls queue what the threads do, and hear of it later."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ...errors import AsyncBlockError, Unavailable
from . import reader
from .bodystore import BodyStore
from .contract import (
    BodyKey,
    BodyRow,
    DropBody,
    LinkRow,
    RequestRow,
    SessionRow,
    Snapshot,
    Stats,
    Write,
)
from .database import Connect, DatabaseConnection, Synchronous, check_synchronous, connect
from .datadir import DataDir
from .diskerrors import DiskErrors
from .opening import Parts, open_parts
from .posting import poster
from .pruner import Pruner
from .queueing import QueueingJournal
from .statements import VERSION
from .writer import Chores, Reports, Writer

__all__ = ["SqliteJournal"]


class SqliteJournal(QueueingJournal):
    """A journal in a data directory, from ``SqliteJournal.open``. The ``Journal`` Protocol is its contract."""

    def __init__(self, parts: Parts, loop: asyncio.AbstractEventLoop, disk_errors: DiskErrors) -> None:
        super().__init__(parts.opening, parts.write_checks, disk_errors, loop)
        self._parts = parts
        self._closing: asyncio.Future[str] | None = None
        self._readers = reader.Readers(parts.reading, loop)
        self._bodies = BodyStore(
            parts.place.bodies_path,
            self._readers,
            loop,
            disk_errors,
            parts.unreferenced,
            self._died,
            sync=parts.synchronous == "full",
        )
        self._writer = Writer(parts.writing, parts.copying, parts.ground, self._reports(), self._chores())

    @classmethod
    async def open(
        cls,
        place: DataDir,
        *,
        synchronous: Synchronous = "normal",
        on_trouble: Callable[[AsyncBlockError], None] | None = None,
        on_recovered: Callable[[], None] | None = None,
        connect: Connect = connect,
    ) -> SqliteJournal:
        """Open the journal of a data directory, made if need be. It belongs to the running event loop.

        **Durability**: the opening itself is on disk, synced, when it returns.
        **Cancellation** waits for the opening under way and closes it again.
        Close the journal before the directory.

        Raises ``Unavailable`` when the disk refuses, or the file is something else's or a newer asyncblock's.
        """
        check_synchronous(synchronous)
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, open_parts, place, synchronous, connect)
        try:
            # A thread can't be cancelled. Were it not waited for, it would open the files, and lock the directory, when
            # nobody can close them any more.
            parts = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_again)
            await asyncio.wait([opening])
            raise
        return cls(parts, loop, DiskErrors(on_trouble, on_recovered))

    @property
    def bodies(self) -> BodyStore:
        """The bodies beside it."""
        return self._bodies

    async def __aenter__(self) -> SqliteJournal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------ writing

    def retire(self, session_no: int) -> None:
        """Say that nothing more will be written to a session; see ``Journal.retire``."""
        super().retire(session_no)
        self._writer.forget(session_no)

    def _put(self, write: Write, *, urgent: bool = False) -> None:
        self._readers.give_way()
        write.urgent = urgent
        self._queued_bytes += write.queued_bytes
        self._writer.put(write)

    # ------------------------------------------------------------------ reading

    async def page(self, session_no: int, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
        """Read entries in order from an offset; see ``Journal.page``."""
        return await self._readers.run(lambda c: reader.page(c, session_no, offset, max_bytes))

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry; see ``Journal.entry``."""
        return await self._readers.run(lambda c: reader.entry(c, session_no, offset))

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a session's snapshot."""
        return await self._readers.run(lambda c: reader.snapshot(c, session_no))

    async def sessions(self, state: str | None = None) -> list[SessionRow]:
        """Read the sessions; those in one state if it is given."""
        return await self._readers.run(lambda c: reader.sessions(c, state))

    async def session(self, session_id: str) -> SessionRow | None:
        """Read one session."""
        found = await self._readers.run(lambda c: reader.sessions(c, session_id=session_id))
        return found[0] if found else None

    async def newest_sessions(
        self, *, state: str | None = None, prefix: str = "", before: tuple[int, str] | None = None, limit: int
    ) -> list[SessionRow]:
        """Read sessions, the newest first; see ``Journal.newest_sessions``."""
        return await self._readers.run(lambda c: reader.newest_sessions(c, state, prefix, before, limit))

    async def prunable(
        self, *, until: int | None, keep: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int, str, str]]:
        """Read which sessions may be pruned; see ``Journal.prunable``."""
        return await self._readers.run(lambda c: reader.prunable(c, until, keep, after, limit))

    async def totals(self) -> dict[str, tuple[int, int]]:
        """Count the sessions that aren't running."""
        return await self._readers.run(reader.totals)

    async def links(self) -> list[LinkRow]:
        """Read the links with their marks."""
        return await self._readers.run(reader.links)

    async def request(self, request_id: str) -> RequestRow | None:
        """Read the answer to a request."""
        return await self._readers.run(lambda c: reader.request(c, request_id))

    async def body_rows(self, session_no: int) -> list[BodyRow]:
        """Read what the session's entries name in bodies."""
        return await self._readers.run(lambda c: reader.bodies(c, session_no))

    async def stats(self) -> Stats:
        """Read the figures."""
        return await self._readers.run(self._stats)

    def _stats(self, _: DatabaseConnection) -> Stats:
        path = self._parts.place.journal_path
        wal = path.with_name(path.name + "-wal")
        trouble = self._disk_errors.error
        return Stats(
            epoch=self.epoch,
            schema=VERSION,
            synchronous=self._parts.synchronous,
            database_bytes=path.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            free_bytes=shutil.disk_usage(path.parent).free,
            queued_bytes=self._queued_bytes,
            commits=self._writer.commits,
            trouble=None if trouble is None else str(trouble),
        )

    # ------------------------------------------------------------------ the end of a session, and of all

    async def close(self) -> None:
        """Store what is queued, stop the threads, unlock; see ``Journal.close``."""
        if self._closing is None:
            self._closed = True
            self._bodies.shut()
            self._readers.shut()
            self._closing = self._loop.run_in_executor(None, self._shut_down)
        # Closing twice, or giving up waiting, gives the one outcome; the threads are stopped once.
        left = await asyncio.shield(self._closing)
        self._end_promises()
        if left:
            raise Unavailable(left)

    def _shut_down(self) -> str:
        """Stop everything, on a thread that may wait; return what was not stored."""
        chunks = self._bodies.stop()
        writes = self._writer.stop()
        self._readers.stop()
        left = self._what_is_left(str(self._parts.place.path), writes, chunks, self._writer.error)
        parts = self._parts
        if not left:
            # A disk that fills up just here makes the next opening find an unclean end, no more.
            with suppress(Exception):
                parts.writing.execute("PRAGMA synchronous = FULL")
                parts.epoch_file.end()
        # A connection that can't be closed, or a log that stays: the next opening takes in what is in the log.
        with suppress(Exception):
            for connection in (*parts.reading, parts.copying):
                connection.close()
            parts.writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        parts.writing.close()
        return left

    # ------------------------------------------------------------------ what the writer reports

    def _reports(self) -> Reports:
        post = poster(self._loop)
        return Reports(
            stored=lambda writes: post(self._stored, writes),
            trouble=lambda error: post(self._disk_errors.enter, "journal", error),
            died=lambda error: post(self._died, "the thread that writes the journal", error),
            recovered=lambda: post(self._disk_errors.leave, "journal"),
            pruned=lambda session_no, outcome: post(self._pruned, session_no, outcome),
        )

    def _chores(self) -> Chores:
        parts = self._parts
        return Chores(parts.epoch_file.advance, Pruner(parts.writing, parts.place.bodies_path, parts.half_pruned))

    def _stored(self, writes: list[Write]) -> None:
        for write in writes:
            for row in write.rows:
                if isinstance(row, BodyRow):
                    self._bodies.referenced(BodyKey(row.link_id, row.n))
                elif isinstance(row, DropBody):
                    self._bodies.dropped(BodyKey(row.link_id, row.n), row.length)
            self._follow(write)


def _close_again(opening: asyncio.Future[Parts]) -> None:
    if opening.exception() is None:
        opening.result().close()
