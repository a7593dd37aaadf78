"""All sessions of a mainframe: those that run are held in memory, those that ended are looked up in the journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from ..errors import InvalidFlow, Rejected
from ..flow.plan import Plan
from .dispatch import Dispatcher
from .jobs import Job, JobState
from .journal import Journal, SessionRow
from .session import Session
from .settings import Settings
from .turn import Turn
from .values import Values

__all__ = ["Sessions"]

MAX_SESSIONS = 10_000
"""Running sessions that a mainframe accepts; each costs a few kB and its open jobs."""


class Sessions:
    """Starts, finds, cancels and recovers sessions."""

    def __init__(
        self, journal: Journal, loop: asyncio.AbstractEventLoop, tasks: asyncio.TaskGroup, settings: Settings
    ) -> None:
        self.journal = journal
        self.settings = settings
        self.loop = loop
        self.values = Values(journal)
        self.dispatch = Dispatcher(self)
        self.running: dict[str, Session] = {}
        self.rows: dict[str, SessionRow] = {}
        """Every session that the journal knows, by id."""
        self.closed = False
        self._tasks = tasks

    def turn(self) -> Turn:
        """Begin a turn of its own for an event that came from no link."""
        return Turn(self.journal)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the mainframe's task group."""
        self._tasks.create_task(coroutine)

    # ------------------------------------------------------------------ orders

    def start(self, turn: Turn, session_id: str, plan: object, inputs: dict[str, Any], title: str) -> str:
        """Start a session; one that was started before under this id is left as it is.

        Raises ``Rejected`` for a plan that can't be run or when too many sessions run.
        """
        if session_id in self.rows:
            return session_id
        if not session_id.isalnum() or len(session_id) > 64:
            raise Rejected("a session id is 1 to 64 letters and digits", code="session_id")
        if len(self.running) >= MAX_SESSIONS:
            raise Rejected(f"{MAX_SESSIONS} sessions run already", code="overload")
        try:
            checked = Plan.from_json(plan)
        except InvalidFlow as error:
            raise Rejected(str(error), code="invalid_flow") from error
        wrong = checked.input_problems(inputs)
        if wrong:
            raise Rejected("; ".join(wrong), code="invalid_flow")
        number = self.journal.new_session_no()
        inputs = checked.input_values(inputs)
        session = Session(self, number, session_id, checked, inputs, int(time.time() * 1000))
        self.running[session_id] = session
        row = SessionRow(
            session_no=number,
            session_id=session_id,
            title=title or checked.title,
            path=checked.path or "",
            state="running",
            created_at=session.created_at,
        )
        self.rows[session_id] = row
        turn.write.session(row)
        session.start(turn, row.title)
        return session_id

    def cancel(self, turn: Turn, session_id: str, reason: str) -> None:
        """Cancel a running session; one that has ended is left as it is."""
        if session_id not in self.rows:
            raise Rejected(f"no session {session_id!r} here", code="unknown_session")
        session = self.running.get(session_id)
        if session is not None:
            session.cancel(turn, reason)

    def ended(self, turn: Turn, session: Session) -> None:
        """A session has reached its terminal state: its row changes with the same transaction."""
        row = replace(
            self.rows[session.session_id],
            state=session.state,
            finished_at=session.finished_at,
            error=session.error,
            rows=session.next_offset + 1,
            bytes=session.bytes,
        )
        self.rows[session.session_id] = row
        turn.write.session(row)
        self.dispatch.session_over(session.session_id)
        turn.after(lambda: self._forget(session))

    def _forget(self, session: Session) -> None:
        self.running.pop(session.session_id, None)
        # The last row has been counted since.
        self.rows[session.session_id] = replace(self.rows[session.session_id], bytes=session.bytes)

    def close(self) -> None:
        """Stop all timers; running sessions go on when the mainframe comes back."""
        self.closed = True
        for session in self.running.values():
            session.stop_timers()
        self.dispatch.stop_timers()

    def retry_later(self, job: Job, delay: float) -> None:
        """Hand a failed job out again after its pause."""
        self.loop.call_later(delay, self._retry, job)

    def _retry(self, job: Job) -> None:
        if not self.closed and job.state is JobState.WAITING and job.session.state == "running":
            turn = self.turn()
            self.dispatch.enqueue(turn, job)
            turn.commit()

    # ------------------------------------------------------------------ recovery

    async def recover(self) -> int:
        """Fold the journal of every session that hadn't ended; return how many go on."""
        for row in await self.journal.sessions():
            self.rows[row.session_id] = row
        unfinished = [row for row in self.rows.values() if row.state == "running"]
        for row in unfinished:
            await self._recover(row)
        for session in list(self.running.values()):
            turn = self.turn()
            session.resume(turn)
            turn.commit()
        return len(unfinished)

    async def _recover(self, row: SessionRow) -> None:
        session: Session | None = None
        offset = 0
        while page := await self.journal.page(row.session_no, offset, 1 << 20):
            for place, payload in page:
                if session is None:
                    session = Session.from_first_row(self, row.session_no, payload)
                session.replay_row(place, payload)
                offset = place + 1
            await asyncio.sleep(0)
        if session is not None and not session.ended:
            # The row counts the bodies too.
            session.bytes = row.bytes
            self.running[row.session_id] = session
