"""The readers: threads with read-only connections, and the queries that they run.

A query returns few rows, best one: each row takes the GIL back, and a block that computes holds it for 5 ms at a time.
So a page is joined inside SQLite (m, 3500 entries of 300 bytes with such a block: 22 ms; row by row: 17 s).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from ...errors import Closed, Unavailable
from ...wire.ranges import Ranges
from .contract import RUNNING, BodyKey, BodyRow, LinkRow, RequestRow, SessionRow, Snapshot
from .database import DatabaseConnection
from .posting import poster, settle
from .writechecks import WriteChecks

__all__ = [
    "Readers",
    "bodies",
    "bodies_of_link",
    "entry",
    "write_checks",
    "links",
    "page",
    "request",
    "sessions",
    "snapshot",
]

T = TypeVar("T")
_Job = tuple[Callable[[DatabaseConnection], Any], asyncio.Future[Any]]

_MAX_INT = (1 << 63) - 1

_PATIENCE = 0.003
"""Seconds that a read waits before the loop gives way to it: one that isn't starved has been answered by then."""

_WAY, _PAUSE = 0.002, 0.005
"""Seconds that the loop waits for reads at most, and then not again for so long: those that wait for the disk and not
for the GIL must not hold it up."""

_MAX_ROWS = 1 << 16
"""Entries in a page, for those that have next to no payload."""


class Readers:
    """Threads that read, each with a connection of its own. Used from the event loop."""

    def __init__(self, connections: list[DatabaseConnection], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._post = poster(loop)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._pending: dict[asyncio.Future[Any], float] = {}
        """What isn't read yet, and since when it waits. The loop adds, the threads take out."""
        self._through = threading.Event()
        self._way_at = 0.0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name="asyncblock-read", daemon=True)
            for each in connections
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, read: Callable[[DatabaseConnection], T]) -> T:
        """Run a function in one of the threads and return its result. **Cancellation** abandons it."""
        if self._closed:
            raise Closed("the journal is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._pending[future] = time.monotonic()
        self._jobs.put((read, future))
        return await future

    def give_way(self) -> None:
        """Keep the loop's thread from the GIL for a moment, if reads wait for it. Call it between a long job's steps.

        A read takes the GIL some six times. While the loop and the writer hand it to and fro it waits up to 100 ms for
        each: a thread that waits demands it only after a switch interval in which it hasn't changed hands (stall).
        """
        try:
            oldest = next(iter(self._pending.values()))
        except (StopIteration, RuntimeError):
            # Nothing waits; or a thread took one out just now, so they aren't starved.
            return
        now = time.monotonic()
        if now - oldest > _PATIENCE and now >= self._way_at:
            self._through.clear()
            if self._pending:
                self._through.wait(_WAY)
            self._way_at = time.monotonic() + _PAUSE

    def shut(self) -> None:
        """Accept nothing more."""
        self._closed = True

    def stop(self) -> None:
        """Answer what was asked, then end the threads and wait for them. After ``shut``."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, connection: DatabaseConnection) -> None:
        while (job := self._jobs.get()) is not None:
            read, future = job
            outcome: object
            try:
                outcome = read(connection)
            except Exception as error:
                # It is the asker's. A thread that ended by it would leave all later reads without an answer.
                outcome = error
            del self._pending[future]
            self._post(settle, future, outcome)
            if not self._pending:
                self._through.set()


_PAGE = """WITH RECURSIVE
    walk (id, start) AS (
        SELECT id, total - length(payload) FROM entries WHERE id = ?
        UNION ALL
        SELECT next.id, walk.start FROM walk JOIN entries AS next ON next.id = walk.id + 1
        WHERE next.total - walk.start <= ? LIMIT ?)
    SELECT group_concat(length(payload)), CAST(group_concat(CAST(payload AS TEXT), '') AS BLOB)
    FROM walk JOIN entries USING (id)"""


def page(connection: DatabaseConnection, session_no: int, offset: int, max_bytes: int) -> list[tuple[int, bytes]]:
    """Read entries from an offset; the offsets have no gaps, so the walk goes from one id to the next."""
    first = session_no << 32 | offset
    lengths, joined = connection.execute(_PAGE, (first, max_bytes, _MAX_ROWS)).fetchone()
    if lengths is None:
        return []
    rows = []
    start = 0
    for place, length in enumerate(map(int, str(lengths).split(",")), offset):
        rows.append((place, joined[start : start + length]))
        start += length
    return rows


def entry(connection: DatabaseConnection, session_no: int, offset: int) -> bytes:
    """Read one entry. Raises ``Unavailable`` when it isn't there."""
    row = connection.execute("SELECT payload FROM entries WHERE id = ?", (session_no << 32 | offset,)).fetchone()
    if row is None:
        raise Unavailable(f"session number {session_no} has no entry {offset} in the journal")
    return bytes(row[0])


_SESSIONS = """SELECT session_no, session_id, created_at, state, title, path, finished_at, error, last, total,
        (SELECT coalesce(sum(length), 0) FROM bodies WHERE bodies.session_no = sessions.session_no)
    FROM (SELECT *,
            (SELECT max(id) FROM entries WHERE id BETWEEN session_no << 32 AND (session_no + 1 << 32) - 1) AS last
        FROM (SELECT * FROM sessions WHERE pruning = 0 {condition})) AS sessions
    LEFT JOIN (SELECT id, total FROM entries) ON id = last ORDER BY {order}"""
"""Figures are asked of the database for those sessions only that are wanted: each takes two look-ups."""

_NEWEST = "created_at DESC, session_id DESC"


def sessions(
    connection: DatabaseConnection, state: str | None = None, session_id: str | None = None
) -> list[SessionRow]:
    """Read all sessions, those in a state, or the one with an id."""
    condition, values = "", tuple[str, ...]()
    if session_id is not None:
        condition, values = "AND session_id = ?", (session_id,)
    elif state is not None:
        condition, values = "AND state = ?", (state,)
    return _session_rows(connection, condition, values, "session_no")


def newest_sessions(
    connection: DatabaseConnection, state: str | None, prefix: str, before: tuple[int, str] | None, limit: int
) -> list[SessionRow]:
    """Read some of the newest sessions, in a state, with a prefix, behind a place in that order."""
    conditions, values = [], list[Any]()
    if state is not None:
        conditions.append("state = ?")
        values.append(state)
    if prefix:
        # What comes after the prefix sorts below the highest character that there is.
        conditions.append("session_id >= ? AND session_id < ?")
        values += prefix, prefix + "\U0010ffff"
    if before is not None:
        conditions.append("(created_at, session_id) < (?, ?)")
        values += before
    condition = "".join(f" AND {each}" for each in conditions)
    return _session_rows(connection, f"{condition} ORDER BY {_NEWEST} LIMIT ?", (*values, limit), _NEWEST)


def prunable(
    connection: DatabaseConnection, until: int | None, keep: int, after: tuple[int, int], limit: int
) -> list[tuple[int, int, str, str]]:
    """Read which sessions that have ended may go, the oldest first: (created_at, number, id, state)."""
    return connection.execute(
        """SELECT created_at, session_no, session_id, state FROM sessions
        WHERE pruning = 0 AND state <> ? AND (created_at, session_no) > (?, ?)
            AND coalesce(finished_at, created_at) <= ? AND session_no NOT IN (
                SELECT session_no FROM sessions WHERE pruning = 0 AND state <> ?
                ORDER BY created_at DESC, session_no DESC LIMIT ?)
        ORDER BY created_at, session_no LIMIT ?""",
        (RUNNING, *after, _MAX_INT if until is None else until, RUNNING, keep, limit),
    ).fetchall()


def totals(connection: DatabaseConnection) -> dict[str, tuple[int, int]]:
    """Count the sessions that have ended, by state, and the bytes of their entries and bodies."""
    found = connection.execute(
        """SELECT state, count(*), coalesce(sum(bytes), 0) FROM (SELECT state,
            coalesce((SELECT total FROM entries WHERE id BETWEEN session_no << 32 AND (session_no + 1 << 32) - 1
                ORDER BY id DESC LIMIT 1), 0)
            + (SELECT coalesce(sum(length), 0) FROM bodies WHERE bodies.session_no = sessions.session_no) AS bytes
        FROM sessions WHERE pruning = 0 AND state <> ?) GROUP BY state""",
        (RUNNING,),
    ).fetchall()
    return {state: (count, size) for state, count, size in found}


def _session_rows(
    connection: DatabaseConnection, condition: str, values: Sequence[Any], order: str
) -> list[SessionRow]:
    found = connection.execute(_SESSIONS.format(condition=condition, order=order), values).fetchall()
    return [
        SessionRow(
            session_no=row[0],
            session_id=row[1],
            created_at=row[2],
            state=row[3],
            title=row[4],
            path=row[5],
            finished_at=row[6],
            error=row[7],
            rows=0 if row[8] is None else (row[8] & 0xFFFF_FFFF) + 1,
            bytes=(row[9] or 0) + row[10],
        )
        for row in found
    ]


def write_checks(connection: DatabaseConnection) -> WriteChecks:
    """Return the checks for a journal that is opened now."""
    used = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    known = connection.execute(
        """SELECT session_no, session_id,
            (SELECT max(id) & 0xFFFFFFFF FROM entries WHERE id BETWEEN session_no << 32 AND (session_no + 1 << 32) - 1)
        FROM sessions WHERE pruning = 0 AND state = ?""",
        (RUNNING,),
    ).fetchall()
    over = connection.execute(
        """SELECT min(session_no), max(session_no) + 1 FROM (
            SELECT session_no, session_no - row_number() OVER (ORDER BY session_no) AS run
            FROM sessions WHERE pruning = 0 AND state <> ?)
        GROUP BY run ORDER BY 1""",
        (RUNNING,),
    ).fetchall()
    rows = ((row[0], row[1], 0 if row[2] is None else row[2] + 1) for row in known)
    return WriteChecks(
        rows, Ranges.from_json([list(row) for row in over]), used.get("sessions", 0), used.get("links", 0)
    )


def links(connection: DatabaseConnection) -> list[LinkRow]:
    """Read the links and their marks."""
    found = connection.execute(
        """SELECT link_no, link_id, token_hash, generation, boot, coalesce(seq, 0)
        FROM links LEFT JOIN marks USING (link_no) ORDER BY link_no"""
    ).fetchall()
    return [
        LinkRow(link_no=row[0], link_id=row[1], token_hash=row[2], generation=row[3], boot=row[4], stored_seq=row[5])
        for row in found
    ]


def request(connection: DatabaseConnection, request_id: str) -> RequestRow | None:
    """Read the answer to a request."""
    row = connection.execute(
        "SELECT request_id, answer, at, session_no FROM requests WHERE request_id = ?", (request_id,)
    ).fetchone()
    return None if row is None else RequestRow(request_id=row[0], answer=row[1], at=row[2], session_no=row[3])


def bodies(connection: DatabaseConnection, session_no: int) -> list[BodyRow]:
    """Read the bodies that a session's entries name."""
    found = connection.execute(
        "SELECT session_no, link_id, n, length, sha256 FROM bodies WHERE session_no = ? ORDER BY link_id, n",
        (session_no,),
    ).fetchall()
    return [BodyRow(session_no=row[0], link_id=row[1], n=row[2], length=row[3], sha256=row[4]) for row in found]


def bodies_of_link(connection: DatabaseConnection, link_id: str) -> set[int]:
    """Return the numbers of a link's bodies that entries name."""
    return {n for (n,) in connection.execute("SELECT n FROM bodies WHERE link_id = ?", (link_id,)).fetchall()}


def names_bodies_of(connection: DatabaseConnection, link_id: str) -> bool:
    """Tell whether entries name bodies of a link."""
    return connection.execute("SELECT 1 FROM bodies WHERE link_id = ? LIMIT 1", (link_id,)).fetchone() is not None


def session_of_body(connection: DatabaseConnection, key: BodyKey) -> int | None:
    """Return the session with an entry that names a body."""
    found = connection.execute("SELECT session_no FROM bodies WHERE link_id = ? AND n = ?", (key.link_id, key.n))
    row = found.fetchone()
    return None if row is None else int(row[0])


def names_body(connection: DatabaseConnection, key: BodyKey) -> bool:
    """Tell whether an entry names a body."""
    found = connection.execute("SELECT 1 FROM bodies WHERE link_id = ? AND n = ? LIMIT 1", (key.link_id, key.n))
    return found.fetchone() is not None


def snapshot(connection: DatabaseConnection, session_no: int) -> Snapshot | None:
    """Read a session's snapshot."""
    row = connection.execute(
        "SELECT session_no, offset, payload FROM snapshots WHERE session_no = ?", (session_no,)
    ).fetchone()
    return None if row is None else Snapshot(session_no=row[0], offset=row[1], payload=row[2])
