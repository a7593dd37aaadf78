"""What a journal keeps and what it promises: the rows, the ``Write`` that changes them, the ``Journal`` Protocol.

No storage is known here; ``asyncblock.server.journal`` states the guarantees in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from ...errors import AsyncBlockError

__all__ = [
    "MAX_OFFSET",
    "RUNNING",
    "BeginPrune",
    "Bodies",
    "BodyKey",
    "BodyRow",
    "DropBody",
    "DropLink",
    "DropRequests",
    "Journal",
    "LinkRow",
    "Opening",
    "RequestRow",
    "Row",
    "SessionRow",
    "Snapshot",
    "Stats",
    "Write",
]

MAX_OFFSET = (1 << 32) - 1
"""The last offset that a session can have: entries are keyed by ``session_no << 32 | offset``."""

RUNNING: Final = "running"
"""The state of a session to which entries may still come when the journal is opened again."""

_ROW_COST = 200
"""Bytes that a row counts for besides its payload: its Python objects while it is queued, its cell in the database."""

_WRITE_COST = 12 << 10
"""Bytes that a write counts for in the queue besides: what the disk takes in the 40 µs that each one needs, however
small it is. With its bytes alone, small ones of one link made all others wait for 2 s (tests/security/test_floods.py).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session. Writing it creates or replaces the row of its ``session_no``."""

    session_no: int
    session_id: str
    created_at: int
    """Milliseconds since 1970, as all times here."""
    state: str
    title: str = ""
    path: str = ""
    finished_at: int | None = None
    error: str | None = None
    rows: int = 0
    """How many entries there are, which is the next offset. Filled when read, ignored when written."""
    bytes: int = 0
    """Bytes of its entries and bodies. Filled when read, ignored when written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """A link. Writing it creates or replaces it; under a new number it replaces the older link and its mark."""

    link_no: int
    link_id: str
    token_hash: str
    generation: int
    boot: str
    stored_seq: int = 0
    """The mark. Filled when read, ignored when written: only ``Write.mark`` moves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """The answer to a request. The first answer of an id stays."""

    request_id: str
    answer: bytes
    at: int
    session_no: int | None = None
    """The session that it goes away with; None for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRow:
    """A body that an entry names, written together with that entry; the body then lives as long as the session, unless
    that drops it."""

    session_no: int
    link_id: str
    n: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropBody:
    """A body that a session needs no more: it counts as under way again, until it is discarded."""

    session_no: int
    link_id: str
    n: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a session before row ``offset``, in the caller's own form. The one with the highest offset stays."""

    session_no: int
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class DropLink:
    """A link that is over."""

    link_no: int


@dataclass(frozen=True, slots=True)
class DropRequests:
    """Answers that won't be asked for again."""

    before: int


@dataclass(frozen=True, slots=True)
class BeginPrune:
    """A session that is being deleted: hidden from here on. Written by ``Journal.prune`` only."""

    session_no: int


Row = SessionRow | LinkRow | RequestRow | BodyRow | DropBody | Snapshot | DropLink | DropRequests | BeginPrune


class BodyKey(NamedTuple):
    """Names a body: the link that sent it, and the number that the sender counts up."""

    link_id: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What was found when the journal was opened."""

    epoch: str
    created: bool
    """There was no journal before."""
    clean: bool
    """The last user closed it."""
    changed: str | None = None
    """Why the epoch is another than at the last opening; None when it isn't."""
    lost_bodies: tuple[BodyKey, ...] = ()
    """Bodies that entries name and that aren't there whole. Looked for when the epoch changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Figures for people and for metrics."""

    epoch: str
    schema: int
    synchronous: str
    database_bytes: int
    wal_bytes: int
    free_bytes: int
    """What the disk has left."""
    queued_bytes: int
    commits: int
    """Transactions since the opening."""
    trouble: str | None


class Write:
    """The changes of one transaction. Filled by the caller, then the journal's: don't touch it after.

    ``entries`` and ``marks`` are what happens thousands of times a second; ``rows`` is the rest, applied in order.
    """

    __slots__ = ("entries", "marks", "rows", "size", "stored", "urgent")

    def __init__(self, stored: Callable[[], None] | None = None) -> None:
        self.entries: list[tuple[int, int, bytes]] = []
        self.marks: list[tuple[int, int]] = []
        self.rows: list[Row] = []
        self.stored = stored
        """Run on the event loop after the commit."""
        self.size = _ROW_COST
        """Bytes that it takes, about."""
        self.urgent = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that it counts for while it waits: with what else goes to the disk in its time."""
        return self.size + _WRITE_COST

    def entry(self, session_no: int, offset: int, payload: bytes) -> None:
        """Append an entry to a session, at the session's next offset."""
        self.entries.append((session_no, offset, payload))
        self.size += len(payload) + _ROW_COST

    def mark(self, link_no: int, seq: int) -> None:
        """Raise a link's highest stored sequence number; a lower one changes nothing."""
        self.marks.append((link_no, seq))

    def session(self, row: SessionRow) -> None:
        """Create or change a session."""
        self._add(row, 0)

    def link(self, row: LinkRow) -> None:
        """Create or change a link."""
        self._add(row, 0)

    def request(self, row: RequestRow) -> None:
        """Keep the answer to a request."""
        self._add(row, len(row.answer))

    def body(self, row: BodyRow) -> None:
        """Say that an entry of this write names a body."""
        self._add(row, 0)

    def drop_body(self, row: DropBody) -> None:
        """Say that a session needs a body no more, which an entry names. A body of another session isn't touched."""
        self._add(row, 0)

    def snapshot(self, row: Snapshot) -> None:
        """Keep a session's state."""
        self._add(row, len(row.payload))

    def drop_link(self, link_no: int) -> None:
        """Forget a link and its mark."""
        self._add(DropLink(link_no), 0)

    def drop_requests(self, before: int) -> None:
        """Forget the answers given before a time."""
        self._add(DropRequests(before), 0)

    def _add(self, row: Row, size: int) -> None:
        self.rows.append(row)
        self.size += size + _ROW_COST

    def touches(self) -> Iterator[tuple[str, int | str]]:
        """Name the things whose changes must keep their order."""
        for session_no, _, _ in self.entries:
            yield "entries", session_no
        for link_no, _ in self.marks:
            yield "mark", link_no
        for row in self.rows:
            match row:
                case SessionRow():
                    yield "session", row.session_no
                case Snapshot():
                    yield "snapshot", row.session_no
                case BodyRow() | DropBody() | BeginPrune():
                    yield "entries", row.session_no
                case LinkRow():
                    yield "link", row.link_no
                    yield "link id", row.link_id
                    yield "mark", row.link_no
                case DropLink():
                    yield "link", row.link_no
                    yield "mark", row.link_no
                case RequestRow():
                    yield "request", row.request_id
                case DropRequests():
                    yield "requests", 0


class Journal(Protocol):
    """A journal, open. Used from the event loop that opened it; the module's docstring states what it guarantees."""

    @property
    def opening(self) -> Opening:
        """What was found when it was opened."""
        ...

    @property
    def epoch(self) -> str:
        """The journal's identity."""
        ...

    @property
    def bodies(self) -> Bodies:
        """The bodies beside it."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes written and not stored yet, bodies not counted: what back-pressure is measured by."""
        ...

    @property
    def trouble(self) -> AsyncBlockError | None:
        """Why nothing is being stored at the moment; None when all is well."""
        ...

    def new_session_no(self) -> int:
        """Return a number that no session of this journal has had."""
        ...

    def new_link_no(self) -> int:
        """Return a number that no link of this journal has had."""
        ...

    def next_offset(self, session_no: int) -> int:
        """Return the offset that the session's next entry must carry, counting what is queued."""
        ...

    def retire(self, session_no: int) -> None:
        """Say that nothing more will be written to a session whose last write is stored: its memory comes back.

        When the journal is opened again, all that aren't in the state ``RUNNING`` are taken for such.
        Raises ``LocalProtocolError`` for a session that isn't there.
        """
        ...

    def write(self, write: Write, *, urgent: bool = False) -> None:
        """Queue a write; it is committed with others as soon as the disk takes it. Never waits.

        **Durability** begins when ``write.stored`` runs. The queue isn't bounded here: hold back the senders by
        ``queued_bytes``.

        **Order** is that of the calls. An ``urgent`` write overtakes every queued one with which it shares nothing:
        the entries of a session, a session's row, a link's row and mark, a request id, a snapshot; what it shares
        something with goes before it, and so on from there. So a cancel that must not wait behind the session's own
        data is a ``SessionRow`` or a ``RequestRow``, written urgently; its entry follows in an ordinary write.

        Raises ``LocalProtocolError`` for an entry with another offset than ``next_offset`` or of an unknown session:
        the caller's mistake, nothing of the write is queued. Raises ``Closed`` after ``close``.
        """
        ...

    async def flush(self) -> None:
        """Wait until everything written before is stored.

        **Durability**: as ``stored``. In trouble it waits for the end of the trouble.
        **Cancellation** is safe. Raises ``Closed`` when the journal was closed without storing it.
        """
        ...

    async def page(self, session_no: int, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
        """Read entries in order from an offset: up to ``max_bytes`` of payload, at least one if there is any.

        **Cancellation** is safe.
        """
        ...

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry.

        **Cancellation** is safe. Raises ``Unavailable`` when there is none at that offset.
        """
        ...

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a session's snapshot.

        **Cancellation** is safe.
        """
        ...

    async def sessions(self, state: str | None = None) -> list[SessionRow]:
        """Read the sessions, in order of their numbers; those in one state if it is given.

        **Cancellation** is safe.
        """
        ...

    async def session(self, session_id: str) -> SessionRow | None:
        """Read one session.

        **Cancellation** is safe.
        """
        ...

    async def newest_sessions(
        self,
        *,
        state: str | None = None,
        prefix: str = "",
        before: tuple[int, str] | None = None,
        limit: int,
    ) -> list[SessionRow]:
        """Read sessions by ``(created_at, session_id)``, the newest first, of those ``before`` a place in that order.

        **Cancellation** is safe.
        """
        ...

    async def prunable(
        self, *, until: int | None, keep: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int, str, str]]:
        """Read which sessions may be pruned: (created_at, number, id, state), in order, from behind a place.

        They aren't running, have ended (or else begun) by the time ``until``, and aren't among the ``keep`` newest.
        **Cancellation** is safe.
        """
        ...

    async def totals(self) -> dict[str, tuple[int, int]]:
        """Count the sessions that aren't running: how many by state, and the bytes of their entries and bodies.

        **Cancellation** is safe.
        """
        ...

    async def links(self) -> list[LinkRow]:
        """Read the links with their marks, in order of their numbers.

        **Cancellation** is safe.
        """
        ...

    async def request(self, request_id: str) -> RequestRow | None:
        """Read the answer to a request.

        **Cancellation** is safe.
        """
        ...

    async def body_rows(self, session_no: int) -> list[BodyRow]:
        """Read what the session's entries name in bodies.

        **Cancellation** is safe.
        """
        ...

    async def stats(self) -> Stats:
        """Read the figures.

        **Cancellation** is safe.
        """
        ...

    async def prune(self, session_no: int) -> int:
        """Delete a session with everything of it; return the bytes of its entries and bodies.

        **Durability**: gone for good when it returns. If the process dies before, it is gone for readers or not at
        all, and the next opening deletes the rest.
        **Cancellation** doesn't stop a deletion that has begun.
        Other writes go on meanwhile: it works in pieces of about 1 MiB. Further writes to the session are refused.

        Raises ``LocalProtocolError`` for a session that isn't there, ``Closed`` when the journal is closed meanwhile.
        """
        ...

    async def close(self) -> None:
        """Store what is queued, stop the threads, leave the place to others. Idempotent.

        **Durability**: everything written is stored when it returns.
        **Cancellation** doesn't stop the closing; call it again to wait for its end.
        Raises ``Unavailable`` when the journal is in trouble: the message says what was not stored.
        """
        ...


class Bodies(Protocol):
    """The bodies of a journal. You get it from ``Journal.bodies``; used from the journal's event loop."""

    @property
    def queued_bytes(self) -> int:
        """Bytes written and not in their files yet."""
        ...

    @property
    def max_queued_bytes(self) -> int:
        """What ``queued_bytes`` may reach."""
        ...

    def write(self, key: BodyKey, offset: int, chunk: bytes | memoryview) -> asyncio.Future[int]:
        """Queue a chunk; the future's result is the stored length. Never waits.

        Await the future to hold the sender back, or drop it. The part of a chunk that is stored already is skipped, so
        a sender may begin again anywhere up to the stored length; a chunk that begins behind it ends the future with
        ``RemoteProtocolError``. Chunks of one body are stored in the order of the calls.

        **Durability**: a stored chunk survives the death of the process.
        **Cancellation** of the future doesn't stop the write.

        Raises ``RemoteProtocolError`` for a link id that can't be a file's name, ``Unavailable`` when
        ``max_queued_bytes`` would be passed, ``Closed``.
        """
        ...

    async def finish(self, key: BodyKey, length: int, sha256: str) -> None:
        """Check that a body is whole, after all chunks written before. It may be called again.

        **Durability**: with ``full`` the body is synced when it returns. Commit its ``BodyRow`` afterwards.
        **Cancellation** is safe.

        Raises ``RemoteProtocolError`` when length or sum differ; with another sum the body is deleted, unless a
        ``BodyRow`` names it already.
        """
        ...

    async def read(self, key: BodyKey, offset: int, n: int) -> bytes:
        """Read up to ``n`` bytes; empty behind the end.

        **Cancellation** is safe. Raises ``Unavailable`` when there is no such body.
        """
        ...

    async def session_of(self, key: BodyKey) -> int | None:
        """Return the number of the session whose entries name a body; None when none does.

        **Cancellation** is safe.
        """
        ...

    async def names_any(self, link_id: str) -> bool:
        """Tell whether entries name a body of a link: its id is taken for as long.

        **Cancellation** is safe.
        """
        ...

    def under_way(self, link_id: str) -> dict[int, int]:
        """Return the stored lengths, by number, of the link's bodies that no committed ``BodyRow`` names."""
        ...

    async def discard(self, key: BodyKey) -> int:
        """Delete a body that nothing will name; return its bytes.

        What a committed ``BodyRow`` names stays. Not for one whose row is written and not committed.
        **Durability**: with the process it may come back, as one under way. **Cancellation** doesn't stop it.
        """
        ...

    async def delete_unreferenced(self, link_id: str) -> int:
        """Delete the bodies of a link that no committed ``BodyRow`` names; return their bytes.

        For a link that is over and whose last writes are stored. **Cancellation** doesn't stop it.
        """
        ...

    def keep_only(self, link_ids: Collection[str]) -> None:
        """Queue the deletion of the bodies that no committed ``BodyRow`` names, but for those of some links.

        For a journal that was just opened, before anything is written: what a mainframe left that died before it had
        deleted them. They count as gone at once, and chunks that are written afterwards begin anew. Raises ``Closed``.
        """
        ...
