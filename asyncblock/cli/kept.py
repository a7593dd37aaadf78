"""Sessions of runs on this machine, for the page: read from their journals, and over the link while they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from .. import events
from ..client import Mainframe, SessionInfo, connect
from ..errors import ConnectionLost, Unavailable
from ..flow.plan import Plan
from ..inprocess.runs import local_runs
from ..report.recording import RecordedSession, Recording
from ..server.journal.datadir import holder, read_address, read_token
from ..server.journal.peek import peek_session, peek_sessions
from ..viewer import Watched
from ..viewer.jobinputs import Row, row_in
from ..wire.bodies import BodyRef
from .goingon import GoesOn
from .sessioncommands import LocalRun, info_of
from .targets import COMMAND_TIMEOUT

__all__ = ["KeptRuns"]

_LOOK = 1.0
"""Seconds without an event after which is looked whether the run's process is still there."""


class KeptRuns:
    """The last local runs, and the sessions of further data directories."""

    def __init__(self, *directories: Path, local: bool) -> None:
        self._directories = directories
        self._local = local
        self._read: dict[Path, tuple[list[int], list[LocalRun]]] = {}
        """What each directory had, and when its journal had been written: a list is looked at each second."""

    async def sessions(self) -> list[SessionInfo]:
        """List them."""
        return [info_of(run) for run in await asyncio.to_thread(self.runs, "")]

    def runs(self, prefix: str) -> list[LocalRun]:
        """Return the runs that have session ids with a prefix. Reads files."""
        places = [*(local_runs() if self._local else ()), *self._directories]
        found = {run.row.session_id: run for place in places for run in self._runs_in(place)}
        return [run for session_id, run in found.items() if session_id.startswith(prefix)]

    def _runs_in(self, directory: Path) -> list[LocalRun]:
        journal = directory / "journal.db"
        files = (journal, journal.with_name("journal.db-wal"))
        written = [each.stat().st_mtime_ns for each in files if each.exists()]
        there = self._read.get(directory)
        if there is not None and there[0] == written:
            return there[1]
        found = [LocalRun(row, directory) for row in peek_sessions(directory)]
        self._read[directory] = (written, found)
        return found

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[Watched]:
        """Open a session for the duration of the block. Raises ``Unavailable`` if there is none with this id."""
        found = [run for run in await asyncio.to_thread(self.runs, session_id) if run.row.session_id == session_id]
        if not found:
            raise Unavailable(f"there is no session {session_id!r} any more: the oldest of local runs are deleted")
        directory = found[0].directory
        address = read_address(directory) if found[0].state == "running" else None
        on = GoesOn(directory, session_id)
        can_retry, can_resume = await asyncio.to_thread(lambda: (on.can_retry, on.can_resume))
        retry = on if can_retry else None
        resume = on if can_resume else None

        async def moved() -> bool:
            return await asyncio.to_thread(self._moved, directory, session_id)

        if address is None:
            async with _read(directory, session_id) as (recording, row):
                yield Watched(recording, retry=retry, resume=resume, moved=moved, row=row)
            return
        token = read_token(directory)
        async with connect(str(address["url"]), token, timeout=COMMAND_TIMEOUT) as mainframe:
            running = _Running(mainframe, session_id, directory)
            cancel = mainframe.session(session_id).cancel
            yield Watched(
                running,
                cancel,
                lambda: running.away,
                retry=retry,
                resume=resume,
                moved=moved,
                row=running.row,
                rows=found[0].row.rows,
            )

    def _moved(self, directory: Path, session_id: str) -> bool:
        """Tell whether a session that was read up to where a process was killed has gone on since."""
        if holder(directory) is not None:
            return read_address(directory) is not None
        return any(run.row.session_id == session_id and run.state != "interrupted" for run in self._runs_in(directory))


@asynccontextmanager
async def _read(directory: Path, session_id: str) -> AsyncIterator[tuple[Recording, Row]]:
    """Read a session as its journal has it at the moment, and single rows of it."""
    with peek_session(directory, session_id) as found:
        # Several panels may ask at the same time, and a connection to SQLite serves one thread at a time.
        lock = threading.Lock()

        def rows(offset: int) -> list[tuple[int, list[bytes]]]:
            with lock:
                return found.rows(offset)

        async def row(offset: int) -> Sequence[bytes]:
            return row_in(await asyncio.to_thread(rows, offset), offset)

        interrupted = found.row.state == "running" and holder(directory) is None
        yield RecordedSession(session_id, rows, found.body, interrupted=interrupted), row


class _Running:
    """A run in a process of its own: over its link, and from its journal when the process has ended."""

    def __init__(self, mainframe: Mainframe, session_id: str, directory: Path) -> None:
        self.session_id = session_id
        self._link = mainframe.links.of(session_id)
        self._session = mainframe.session(session_id)
        self._directory = directory
        self._gone = False
        self._over = False

    @property
    def interrupted(self) -> bool:
        """The process has ended before the session did."""
        return self._gone and not self._over

    @property
    def away(self) -> bool:
        """The process doesn't answer, and hasn't ended."""
        return self._link.away and not self._has_gone()

    def _has_gone(self) -> bool:
        self._gone = self._gone or (self._link.away and holder(self._directory) is None)
        return self._gone

    async def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events, and wait for new ones until the session, or its process, has ended."""
        epoch = self._link.epoch
        while not self._has_gone():
            reading = asyncio.ensure_future(self._link.read(self.session_id, offset))
            try:
                while not reading.done() and not self._has_gone():
                    await asyncio.wait([reading], timeout=_LOOK)
                if not reading.done():
                    break
                page = reading.result()
            finally:
                reading.cancel()
            if self._link.epoch != epoch:
                raise ConnectionLost(f"session {self.session_id} is in another journal now")
            for place, lines in page.rows:
                for event in events.events_of_row(self.session_id, place, lines):
                    self._over = self._over or isinstance(event, events.SessionFinished)
                    yield event
            if page.end or self._over:
                return
            offset = page.next
        async with _read(self._directory, self.session_id) as (recording, _):
            async with aclosing(recording.events(offset)) as rest:  # type: ignore[type-var]  # an async generator
                async for event in rest:
                    self._over = self._over or isinstance(event, events.SessionFinished)
                    yield event

    async def plan(self) -> Plan:
        """Return what it runs."""
        if self._has_gone():
            async with _read(self._directory, self.session_id) as (recording, _):
                return await recording.plan()
        return await self._session.plan()

    async def row(self, offset: int) -> Sequence[bytes]:
        """Return the lines of a row. Raises ``Unavailable`` when it isn't there."""
        if self._has_gone():
            async with _read(self._directory, self.session_id) as (_, row):
                return await row(offset)
        return row_in((await self._link.read(self.session_id, offset, max_bytes=1)).rows, offset)

    async def fetch(self, ref: BodyRef) -> Any:
        """Return a large value."""
        if self._has_gone():
            async with _read(self._directory, self.session_id) as (recording, _):
                return await recording.fetch(ref)
        return await self._session.fetch(ref)
