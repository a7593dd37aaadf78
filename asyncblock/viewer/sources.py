"""Where the sessions of a page come from: a mainframe that is served, and journals of runs on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from .. import events
from ..client import Mainframe, Session, SessionInfo
from ..client.grouped import by_group, cancel_group
from ..errors import Rejected, Unauthorized, Unavailable
from ..report.recording import Followed, Recording
from .again import Again
from .jobinputs import Row, row_in
from .onwards import Resumes, Retries, RetriesThere
from .startable import Startable
from .wholegroups import Group, Groups

__all__ = ["ListedPage", "LocalSessions", "Query", "Sources", "Watched"]

_SCANNED: Final = 5_000
"""Sessions that are looked through for one page of a list, if few of them have the words."""

_ASKED: Final = 200
_MOST: Final = 1_000
"""Sessions of the first request, and of each further one: many may be of one group, which is a single entry."""


async def _stays() -> bool:
    return False


class _Live(Followed):
    """A session of a mainframe; its events go on until it ends."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._followed = session

    def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events, and wait for new ones."""
        return self._followed.events(offset)


@dataclass(frozen=True, slots=True)
class Watched:
    """A session that is open to be watched."""

    recording: Recording
    """If the session runs, its events go on until it ends."""
    cancel: Callable[[str], Awaitable[None]] | None = None
    """Cancels it, for a reason; None if it may not be cancelled, or nothing runs."""
    away: Callable[[], bool] = lambda: False
    """Tells whether the mainframe can't be reached at the moment."""
    again: Again | None = None
    """Starts it again; None if that isn't allowed."""
    retry: Retries | None = None
    """Runs it again from where it failed; None if that isn't allowed or can't be done."""
    resume: Resumes | None = None
    """Goes on with it after its process was killed; None if that isn't allowed or can't be done."""
    moved: Callable[[], Awaitable[bool]] = _stays
    """Tells whether it goes on in another place than it is read from, and is to be opened anew."""
    row: Row | None = None
    """Reads the lines of a row of its journal; None if they can't be read."""
    rows: int | None = None
    """The page has caught up after so many rows, those that the journal had when it was opened; None: at its end."""

    @classmethod
    async def of(cls, mainframe: Mainframe, session_id: str, *, may_cancel: bool) -> Watched:
        """Open a session of a mainframe. Raises ``Rejected`` when there is none."""
        session, link = mainframe.session(session_id), mainframe.links.of(session_id)
        info = await session.info()
        cancel = session.cancel if may_cancel else None
        again = Again(mainframe, session_id) if may_cancel else None
        retry = RetriesThere(mainframe, session_id) if may_cancel else None

        async def row(offset: int) -> Sequence[bytes]:
            return row_in((await link.read(session_id, offset, max_bytes=1)).rows, offset)

        live = _Live(session)
        return cls(live, cancel, lambda: link.away, again, retry, row=row, rows=info.rows)

    def only_seen(self) -> Watched:
        """Return it without what changes anything, for a token that may only read."""
        return replace(self, cancel=None, again=None, retry=None, resume=None)


class LocalSessions(Protocol):
    """Sessions of runs on this machine. Their journals are read without being opened."""

    async def sessions(self) -> list[SessionInfo]:
        """List them. If the process of one was killed, its state is ``interrupted``."""
        ...

    def open(self, session_id: str) -> AbstractAsyncContextManager[Watched]:
        """Open one for the duration of the block. Raises ``Unavailable`` where there is none of this id."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """Which sessions a list shows."""

    state: str = ""
    text: str = ""
    """Words that id, title, path or error have, in upper or lower case."""
    since: int = 0
    """ms since the epoch."""
    before: tuple[int, str] | None = None
    """When the last session of the page before was created, and its id."""
    limit: int = 100
    unfolded: tuple[tuple[str, int], ...] = ()
    """Groups that are shown with their sessions, and how many of each."""

    def fits(self, info: SessionInfo) -> bool:
        """Tell whether a session belongs on this page of the list."""
        if self.before is not None and (info.created_at, info.session_id) >= self.before:
            return False
        return self.finds(info)

    def finds(self, info: SessionInfo) -> bool:
        """Tell whether a session belongs in the list, on any page."""
        if (self.state and info.state != self.state) or info.created_at < self.since:
            return False
        words = " ".join((info.session_id, info.title, info.path, info.error or "")).lower()
        return all(each in words for each in self.text.lower().split())


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of a list."""

    sessions: list[SessionInfo]
    """The newest session that fits stands for all of its group."""
    more: bool
    """There may be more after the last one."""
    last: tuple[int, str] | None
    """Where the next page begins."""
    groups: dict[str, Group] = field(default_factory=dict)
    """The groups of this page, and those that are unfolded, with all of their sessions."""


class Sources:
    """All sessions of a page. ``mainframe`` and ``kept`` may be missing.

    ``flows`` are directories with flows that may be started.
    """

    def __init__(
        self,
        mainframe: Mainframe | None,
        kept: LocalSessions | None = None,
        *,
        roles: frozenset[str],
        flows: Sequence[Path] = (),
    ) -> None:
        self.mainframe = mainframe
        self._kept = kept
        self.roles = roles
        self.startable = Startable(mainframe, flows) if mainframe is not None and self.may_cancel else None
        """The flows that may be started; None if the token may start none."""
        self._groups = Groups(self._members)

    @property
    def address(self) -> str | None:
        """Where the mainframe is, for people."""
        return None if self.mainframe is None else self.mainframe.address

    @property
    def may_cancel(self) -> bool:
        """Tell whether the token may cancel and start sessions."""
        return "client" in self.roles

    @property
    def away(self) -> bool:
        """Tell whether the mainframe can't be reached at the moment."""
        return self.mainframe is not None and self.mainframe.links.away

    async def sessions(self, query: Query) -> ListedPage:
        """List sessions, the newest first.

        **Cancellation** is safe. Raises as ``Mainframe.sessions``.
        """
        local = [] if self._kept is None else [each for each in await self._kept.sessions() if query.fits(each)]
        local.sort(key=_place, reverse=True)
        found, more, last = await self._of_mainframe(query)
        every = sorted({each.session_id: each for each in (*local, *found)}.values(), key=_place, reverse=True)
        whole = [of[0] for of in by_group(every).values()]
        if more and last is not None:
            # Local sessions that are older than those looked through belong on a later page, in order with the rest.
            whole = [each for each in whole if _place(each) >= last]
        shown = whole[: query.limit]
        more = more or len(whole) > len(shown)
        if len(whole) > len(shown) or last is None:
            last = _place(shown[-1]) if shown else None
        return ListedPage(shown, more, last, await self._groups_of(shown, query))

    async def _groups_of(self, shown: list[SessionInfo], query: Query) -> dict[str, Group]:
        wanted = {each.group: each for each in shown if each.group is not None}
        groups: dict[str, Group] = {}
        for name in dict.fromkeys((*wanted, *(name for name, _ in query.unfolded))):
            if (group := await self._groups.get(name, wanted.get(name))) is not None:
                groups[name] = group
        return groups

    async def executors(self) -> dict[str, Any]:
        """Return the executors that run blocks for the mainframe, as it describes them.

        **Cancellation** is safe. Raises as ``Mainframe.executors``.
        """
        if self.mainframe is None:
            return {"none": True, "count": 0, "waiting": 0, "executors": [], "may_order": False}
        try:
            told = await self.mainframe.links.executors()
        except Rejected as error:
            if error.code != "method":
                raise
            raise Unavailable(f"the mainframe at {self.address} is an older one, which doesn't tell") from error
        return {**told, "may_order": self.may_cancel}

    async def _members(self, group: str) -> list[SessionInfo]:
        local = [] if self._kept is None else await self._kept.sessions()
        found = [each for each in local if each.group == group]
        if self.mainframe is not None:
            found += await self.mainframe.sessions(limit=None, prefix=group)
        return list({each.session_id: each for each in found}.values())

    async def cancel_group(self, group: str, reason: str) -> int:
        """Cancel all sessions of a group that run; return how many.

        **Cancellation** leaves those cancelled that were. Raises ``Unavailable`` where no mainframe runs them.
        """
        if self.mainframe is None:
            raise Unavailable("no mainframe is served here that would run them")
        return await cancel_group(self.mainframe, group, reason)

    async def _of_mainframe(self, query: Query) -> tuple[list[SessionInfo], bool, tuple[int, str] | None]:
        """Return the mainframe's sessions that fit, whether there may be more, and the last place looked at."""
        if self.mainframe is None or query.state == "interrupted":
            return [], False, None
        found: list[SessionInfo] = []
        last = None if query.before is None else _stand_in(*query.before)
        scanned = 0
        entries: set[str] = set()
        while len(entries) < query.limit and scanned < _SCANNED:
            asked = _MOST if scanned else _ASKED
            page = await self.mainframe.sessions(state=query.state or None, limit=asked, before=last)
            fitting = [each for each in page if query.fits(each)]
            found += fitting
            entries.update(each.group or each.session_id for each in fitting)
            scanned += len(page)
            if page:
                last = page[-1]
            if len(page) < asked or page[-1].created_at < query.since:
                return found, False, None
        return found, True, None if last is None else _place(last)

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[Watched]:
        """Open a session for the duration of the block. Raises ``Unavailable`` when there is none."""
        if self._kept is not None and any(each.session_id == session_id for each in await self._kept.sessions()):
            async with self._kept.open(session_id) as watched:
                yield watched if self.may_cancel else watched.only_seen()
            return
        if self.mainframe is None:
            raise Unavailable(f"there is no session {session_id!r} here; the oldest of local runs are deleted")
        try:
            watched = await Watched.of(self.mainframe, session_id, may_cancel=self.may_cancel)
        except Unauthorized:
            raise
        except Rejected as error:
            raise Unavailable(f"the mainframe at {self.mainframe.address} has no session {session_id!r}") from error
        yield watched


def _place(info: SessionInfo) -> tuple[int, str]:
    return info.created_at, info.session_id


def _stand_in(created_at: int, session_id: str) -> SessionInfo:
    """Return a stand-in for a session, with nothing but its place in the list."""
    return SessionInfo(session_id, "", "", "", created_at, None, None, 0)
