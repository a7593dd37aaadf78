"""The journal on NATS JetStream, as the event loop sees it: rows in memory, entries and bodies read from the leader."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final

from ...errors import AsyncBlockError, Unavailable
from ..journal.catalogue import CatalogueReads
from ..journal.contract import BeginPrune, Opening, Snapshot, Stats, Write
from ..journal.diskerrors import DiskErrors, back_off
from ..journal.posting import settle
from ..journal.queueing import QueueingJournal
from .bodychains import BodyChains
from .commits import CommitReports, Commits
from .deletions import Deletions
from .fence import Fence, Overtaken
from .natsstore import LONGEST_PAUSE, NatsRefused, NatsStore, NatsUnsure, StoredMessage
from .partitionstream import Demands, prepare_streams
from .streamindex import SnapshotPlace, StreamIndex
from .streammessages import ENTRIES, PartitionNames, check_sizes, decode_entries

__all__ = ["JetStreamJournal"]

_RECENT_BYTES: Final = 8 << 20
"""Entries kept in memory for those who follow a session."""


class JetStreamJournal(QueueingJournal, CatalogueReads):
    """A journal in a partition of a set, from ``JetStreamJournal.open``. The ``Journal`` Protocol is its contract."""

    def __init__(
        self,
        store: NatsStore,
        names: PartitionNames,
        fence: Fence,
        index: StreamIndex,
        bodies: BodyChains,
        disk_errors: DiskErrors,
        on_overtaken: Callable[[Overtaken], None] | None,
    ) -> None:
        before = fence.found
        opening = Opening(epoch=fence.epoch, created=before is None, clean=before is not None and before["clean"])
        super().__init__(opening, index.write_checks(), disk_errors, asyncio.get_running_loop())
        self._store = store
        self._names = names
        self._fence = fence
        self._index = self._catalogue = index
        self.bodies = bodies
        """The bodies beside it."""
        self._on_overtaken = on_overtaken
        self._closing: asyncio.Task[str] | None = None
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._deletions = Deletions(store, names, index, bodies, self._pruned)
        for session_no in index.pruned:
            self._deletions.add_session(session_no)
        reports = CommitReports(
            stored=self._stored,
            taken=self._remember,
            trouble=lambda error: disk_errors.enter("journal", error),
            recovered=lambda: disk_errors.leave("journal"),
            overtaken=self._overtaken,
            died=lambda error: self._died("the task that writes the journal", error),
        )
        self._commits = Commits(fence, names, index, reports)

    @classmethod
    async def open(
        cls,
        servers: Sequence[str],
        names: PartitionNames,
        demands: Demands,
        *,
        owner: str = "asyncblock",
        instead_of: str | None = None,
        epoch: str = "",
        on_trouble: Callable[[AsyncBlockError], None] | None = None,
        on_recovered: Callable[[], None] | None = None,
        on_overtaken: Callable[[Overtaken], None] | None = None,
        on_taken: Callable[[int], None] = lambda _: None,
        patience: float = 5.0,
        connect: Callable[..., Awaitable[NatsStore]] = NatsStore.open,
        **options: Any,
    ) -> JetStreamJournal:
        """Open the journal of a partition, and make it if there is none. An earlier owner loses it, but nothing that
        was acknowledged is lost.

        ``owner`` is the name that others are told, ``instead_of`` the name of the owner to replace
        (``Fence.take_over``), ``epoch`` the set's if the partition is new, ``patience`` how many seconds an answer may
        take; ``options`` are those of ``nats.connect``.

        **Durability**: no write of an earlier owner is stored any more when it returns.
        **Cancellation** leaves nothing open; the partition may or may not have been taken over.

        Raises ``Unavailable`` with the setting that can't keep the promise, or when the servers don't answer, and
        ``Overtaken`` if the partition is owned by another one than ``instead_of``.
        """
        disk_errors = DiskErrors(on_trouble, on_recovered)
        store = await connect(servers, patience=patience, name=owner, **options)
        try:
            await prepare_streams(store, names, demands)
            fence, index = Fence(store, names, owner), StreamIndex()
            fence.on_taken = on_taken
            await fence.take_over(epoch, instead_of)
            async for message in _everything(store, names, fence.term):
                index.take(message)
            journal: list[JetStreamJournal] = []
            bodies = BodyChains(store, names, index, disk_errors, lambda what, error: journal[0]._died(what, error))
            await bodies.open(fence.term)
        except (NatsUnsure, NatsRefused) as error:
            await store.close()
            raise Unavailable(f"stream {names.stream} can't be opened: {error}") from error
        except BaseException:
            # After a cancel too: the caller gets no journal that it could close.
            await store.close()
            raise
        journal.append(cls(store, names, fence, index, bodies, disk_errors, on_overtaken))
        return journal[0]

    async def __aenter__(self) -> JetStreamJournal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def term(self) -> int:
        """The number that stands for this ownership; those of later owners are higher."""
        return self._fence.term

    # ------------------------------------------------------------------ writing

    async def prove(self) -> None:
        """Wait until a write of this journal is stored: so no other owner had taken over before that.

        It waits while the servers don't answer, and for ever once another owner has taken over. **Cancellation** is
        safe. Raises ``Closed``.
        """
        self.check_open()
        proved = self.promise()
        write = Write(lambda: settle(proved, None))
        # No stored answer is as old as 1970, so this write changes nothing; but it is a message in the stream.
        write.drop_requests(0)
        self._put(write)
        await proved

    def write(self, write: Write, *, urgent: bool = False) -> None:
        """Queue a write; see ``Journal.write``. Raises ``LocalProtocolError`` also if a message can't hold it."""
        self.check_open()
        check_sizes(write, self._store.max_payload)
        super().write(write, urgent=urgent)

    def _put(self, write: Write, *, urgent: bool = False) -> None:
        write.urgent = urgent
        self._queued_bytes += write.queued_bytes
        self._commits.put(write)

    async def close(self) -> None:
        """Store what is queued and end the connection; see ``Journal.close``."""
        if self._closing is None:
            self._closed = True
            self.bodies.shut()
            self._closing = self._loop.create_task(self._shut_down(), name="asyncblock-close-journal")
        left = await asyncio.shield(self._closing)
        self._end_promises()
        if left:
            raise Unavailable(left)

    async def _shut_down(self) -> str:
        chunks = await self.bodies.stop()
        writes = await self._commits.stop()
        await self._deletions.stop()
        left = self._what_is_left(f"stream {self._names.stream}", writes, chunks, self._commits.error)
        if not left:
            # If the servers fail just here, the next opening finds an unclean end, which does no harm.
            with suppress(NatsRefused, NatsUnsure):
                await self._fence.say_closed()
        await self._store.close()
        return left

    # ------------------------------------------------------------------ reading

    async def page(self, session_no: int, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
        """Read entries in order from an offset; see ``Journal.page``."""
        self.check_open()
        places = self._index.places.get(session_no)
        rows: list[tuple[int, bytes]] = []
        for first, seq in () if places is None else places.from_offset(offset):
            try:
                data = await self._message(seq, lambda: self._index.places.get(session_no) is places)
            except Unavailable:
                # Pruned meanwhile.
                return []
            for place, payload in enumerate(decode_entries(data), first):
                if place < offset:
                    continue
                max_bytes -= len(payload)
                if rows and max_bytes < 0:
                    return rows
                rows.append((place, payload))
        return rows

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry; see ``Journal.entry``."""
        rows = await self.page(session_no, offset, 0) if offset >= 0 else []
        if not rows:
            raise Unavailable(f"session number {session_no} has no entry {offset} in the journal")
        return rows[0][1]

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a session's snapshot."""
        self.check_open()
        while (place := self._index.snapshot_places.get(session_no)) is not None:
            seqs = range(place.first_seq, place.first_seq + place.parts)
            wanted = partial(self._is_snapshot, session_no, place)
            try:
                parts = [await self._message(seq, wanted) for seq in seqs]
            except Unavailable:
                # Another has replaced it meanwhile.
                continue
            return Snapshot(session_no=session_no, offset=place.offset, payload=b"".join(parts))
        return None

    def _is_snapshot(self, session_no: int, place: SnapshotPlace) -> bool:
        return self._index.snapshot_places.get(session_no) is place

    async def stats(self) -> Stats:
        """Read the figures; those that the servers have are zero if they don't answer."""
        self.check_open()
        used = limit = 0
        with suppress(NatsRefused, NatsUnsure):
            for stream in (self._names.stream, self._names.bodies):
                info = await self._store.ask(f"STREAM.INFO.{stream}")
                used += info["state"]["bytes"]
                limit += max(info["config"]["max_bytes"], 0)
        trouble = self._disk_errors.error
        return Stats(
            epoch=self.epoch,
            schema=1,
            synchronous="full",
            database_bytes=used,
            wal_bytes=0,
            free_bytes=max(limit - used, 0),
            queued_bytes=self._queued_bytes,
            commits=self._commits.count,
            trouble=None if trouble is None else str(trouble),
        )

    async def _message(self, seq: int, wanted: Callable[[], bool]) -> bytes:
        """Read a message that is stored. Raises ``Unavailable`` once it isn't wanted any more."""
        recent = self._recent.get(seq)
        if recent is not None:
            return recent
        for pause in back_off(LONGEST_PAUSE):
            found = None
            with suppress(NatsRefused, NatsUnsure):
                found = await self._store.get(self._names.stream, seq=seq)
            if found is not None:
                return found.data
            self.check_open()
            if not wanted():
                break
            # The message was stored. So the leader is a new one that hasn't caught up, or there is none.
            await asyncio.sleep(pause)
        raise Unavailable(f"message {seq} of stream {self._names.stream} is gone")

    # ------------------------------------------------------------------ what the tasks report

    def _remember(self, message: StoredMessage) -> None:
        if ENTRIES not in message.headers:
            return
        self._recent[message.seq] = message.data
        self._recent_bytes += len(message.data)
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def _stored(self, writes: list[Write]) -> None:
        self._deletions.look()
        for write in writes:
            for row in write.rows:
                if isinstance(row, BeginPrune):
                    self._deletions.add_session(row.session_no)
            self._follow(write)

    def _overtaken(self, error: Overtaken) -> None:
        self._disk_errors.enter("journal", error)
        if self._on_overtaken is not None:
            self._on_overtaken(error)


async def _everything(store: NatsStore, names: PartitionNames, term: int) -> AsyncIterator[StoredMessage]:
    """Yield what the stream holds up to the beginning of a term, payloads only where rows are."""
    subjects = [names.own, names.meta, names.entries("*"), names.snapshots("*")]
    whole = store.read(names.stream, [names.own, names.meta], term)
    async for message in store.read(names.stream, subjects, term, headers_only=True):
        if message.subject != names.meta:
            yield message
            continue
        async for found in whole:
            if found.seq == message.seq:
                yield found
                break
    await whole.aclose()
