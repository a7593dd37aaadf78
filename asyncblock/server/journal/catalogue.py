"""The rows of a journal in memory, and the questions that are asked of them: for journals that have no database to ask.

Entries and the bytes of bodies are elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

from ...wire.ranges import Ranges
from .contract import (
    RUNNING,
    BeginPrune,
    BodyKey,
    BodyRow,
    DropBody,
    DropLink,
    DropRequests,
    LinkRow,
    RequestRow,
    Row,
    SessionRow,
    Snapshot,
)
from .writechecks import WriteChecks

__all__ = ["Catalogue", "CatalogueReads"]


@dataclass(slots=True, eq=False)
class Catalogue(ABC):
    """Sessions, links with their marks, answers, snapshots, and which session names which body."""

    sessions: dict[int, SessionRow] = field(default_factory=dict)
    links: dict[int, LinkRow] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    requests: dict[str, RequestRow] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    body_rows: dict[BodyKey, BodyRow] = field(default_factory=dict)
    bodies_by_session: dict[int, list[BodyRow]] = field(default_factory=dict)
    last_session_no: int = 0
    last_link_no: int = 0

    @abstractmethod
    def entry_figures(self, session_no: int) -> tuple[int, int]:
        """Return how many entries a session has, and their bytes."""

    def apply_row(self, row: Row) -> None:
        """Take a row in that is stored."""
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
                key = BodyKey(row.link_id, row.n)
                if key not in self.body_rows:
                    self.body_rows[key] = row
                    self.bodies_by_session.setdefault(row.session_no, []).append(row)
            case DropBody():
                key = BodyKey(row.link_id, row.n)
                named = self.body_rows.get(key)
                if named is not None and named.session_no == row.session_no:
                    del self.body_rows[key]
                    self.bodies_by_session[row.session_no].remove(named)
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

    def mark(self, link_no: int, seq: int) -> None:
        """Raise a link's mark."""
        self.marks[link_no] = max(seq, self.marks.get(link_no, 0))

    def _drop_link(self, link_no: int) -> None:
        self.links.pop(link_no, None)
        self.marks.pop(link_no, None)

    def _prune(self, session_no: int) -> None:
        self.sessions.pop(session_no, None)
        self.snapshots.pop(session_no, None)
        self.requests = {id: each for id, each in self.requests.items() if each.session_no != session_no}
        for row in self.bodies_by_session.pop(session_no, []):
            del self.body_rows[BodyKey(row.link_id, row.n)]

    def rows(self) -> list[SessionRow]:
        """Return the sessions by their numbers."""
        return [row for _, row in sorted(self.sessions.items())]

    def bodies_of(self, session_no: int) -> list[BodyRow]:
        """Return what a session's entries name in bodies, in order."""
        return sorted(self.bodies_by_session.get(session_no, []), key=lambda row: (row.link_id, row.n))

    def described(self, row: SessionRow) -> SessionRow:
        """Return a session with its figures."""
        rows, size = self.entry_figures(row.session_no)
        size += sum(each.length for each in self.bodies_by_session.get(row.session_no, []))
        return replace(row, rows=rows, bytes=size)

    def write_checks(self) -> WriteChecks:
        """Return the checks for a journal that is opened now."""
        return WriteChecks(
            (
                (row.session_no, row.session_id, self.entry_figures(row.session_no)[0])
                for row in self.rows()
                if row.state == RUNNING
            ),
            Ranges(row.session_no for row in self.rows() if row.state != RUNNING),
            self.last_session_no,
            self.last_link_no,
        )


class CatalogueReads(ABC):
    """The part of a journal that answers from its catalogue. The ``Journal`` Protocol is its contract."""

    _catalogue: Catalogue

    @abstractmethod
    def check_open(self) -> None:
        """Raise ``Closed`` after the end."""

    async def sessions(self, state: str | None = None) -> list[SessionRow]:
        """Read the sessions; those in one state if it is given."""
        self.check_open()
        return [self._catalogue.described(row) for row in self._catalogue.rows() if state in (None, row.state)]

    async def session(self, session_id: str) -> SessionRow | None:
        """Read one session."""
        self.check_open()
        found = next((row for row in self._catalogue.sessions.values() if row.session_id == session_id), None)
        return None if found is None else self._catalogue.described(found)

    async def newest_sessions(
        self, *, state: str | None = None, prefix: str = "", before: tuple[int, str] | None = None, limit: int
    ) -> list[SessionRow]:
        """Read sessions, the newest first; see ``Journal.newest_sessions``."""
        self.check_open()
        found = [
            row
            for row in self._catalogue.sessions.values()
            if state in (None, row.state)
            and row.session_id.startswith(prefix)
            and (before is None or (row.created_at, row.session_id) < before)
        ]
        found.sort(key=lambda row: (row.created_at, row.session_id), reverse=True)
        return [self._catalogue.described(row) for row in found[:limit]]

    async def prunable(
        self, *, until: int | None, keep: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int, str, str]]:
        """Read which sessions may be pruned; see ``Journal.prunable``."""
        self.check_open()
        ended = sorted(
            (row for row in self._catalogue.sessions.values() if row.state != RUNNING),
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
        marks = self._catalogue.marks
        return [replace(row, stored_seq=marks.get(n, 0)) for n, row in sorted(self._catalogue.links.items())]

    async def request(self, request_id: str) -> RequestRow | None:
        """Read the answer to a request."""
        self.check_open()
        return self._catalogue.requests.get(request_id)

    async def body_rows(self, session_no: int) -> list[BodyRow]:
        """Read what the session's entries name in bodies."""
        self.check_open()
        return self._catalogue.bodies_of(session_no)
