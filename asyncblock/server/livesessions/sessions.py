"""All sessions of a mainframe: those that run are held in memory, those that ended are looked up in the journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from ...errors import AsyncBlockError, InvalidFlow, Rejected
from ...flow.plan import Plan
from ...runtime.collector import undisturbed
from ...wire.methods import plan_misfit
from ...wire.placement import Placement
from ..committing.transaction import Transaction
from ..dispatching.dispatch import Dispatcher
from ..jobstate.jobs import Job, JobState
from ..journal import RUNNING, Journal, SessionRow
from ..journal.diskerrors import DISK_EXCEPTIONS
from ..serverlimits import MAX_BLOCK, MAX_START
from ..sessionstate.fold import SessionFold, SessionOwner
from ..sessionstate.refolding import Refolding
from ..sessionstate.releases import Releases
from ..settings import Settings
from ..supervision import Supervisor, in_words
from .session import RunningSession

__all__ = ["Sessions"]

logger = logging.getLogger("asyncblock.server")


_RECENT = 1000
"""Rows of ended sessions that are in memory, a kB each: those that have waited for one ask for it next."""


class Sessions(SessionOwner):
    """Starts, finds, cancels and recovers sessions."""

    def __init__(
        self,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        supervisor: Supervisor,
        settings: Settings,
        place: Path | None = None,
        *,
        alone: bool = True,
    ) -> None:
        super().__init__(journal, loop, supervisor, settings, place, alone=alone)
        self.placement = Placement()
        """Which sessions may be started here."""
        self.running: dict[str, RunningSession] = {}
        self.dispatch = Dispatcher(self)
        self.exports = self.dispatch.exports
        self.releases = Releases(self, self.dispatch.links, self.running)
        self.refolding = Refolding(self)
        self.rows: dict[str, SessionRow] = {}
        """Those of the sessions that run, by id."""
        self._recent: OrderedDict[str, SessionRow] = OrderedDict()
        """Some of those that ended or were asked for last; the journal has them all."""
        self.ended_counts: Counter[str] = Counter()
        """How many have ended, by state."""
        self.ended_bytes = 0
        """Bytes of their entries and bodies."""
        self._prunes = 0
        self._pruning: set[int] = set()

    # ------------------------------------------------------------------ rows

    def row(self, session_id: str) -> SessionRow | None:
        """Return a session's row if it is in memory: ``find`` knows the others, and brings what it finds here."""
        return self.rows.get(session_id) or self._recent.get(session_id)

    async def find(self, session_id: str) -> SessionRow | None:
        """Return a session's row, from the journal if need be; None when there is none. **Cancellation** is safe."""
        known = self.row(session_id)
        if known is not None:
            return known
        prunes = self._prunes
        found = await self.journal.session(session_id)
        if (known := self.row(session_id)) is not None:
            return known
        if found is not None and self._prunes == prunes:
            self._remember(found)
        return found

    def _remember(self, row: SessionRow) -> None:
        self._recent[row.session_id] = row
        self._recent.move_to_end(row.session_id)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def prune(self, number: int, session_id: str, state: str) -> int | None:
        """Delete a session that has ended; return its bytes, None when another call does, or its end isn't stored yet.

        **Durability** and **cancellation** as ``Journal.prune``.
        """
        if number in self._pruning or session_id in self.rows:
            return None
        self._prunes += 1
        self._recent.pop(session_id, None)
        self._pruning.add(number)
        try:
            freed = await self.journal.prune(number)
        finally:
            self._pruning.discard(number)
        self.ended_counts[state] -= 1
        self.ended_bytes -= freed
        return freed

    # ------------------------------------------------------------------ orders

    def start(
        self,
        transaction: Transaction,
        session_id: str,
        plan: object,
        inputs: dict[str, Any],
        title: str,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """Start a session; one that was started before under this id, for which ``find`` has looked, stays as it is.

        Raises ``Rejected`` for a plan that can't be run or when too many sessions run.
        """
        if self.row(session_id) is not None:
            return session_id
        if not session_id.isalnum() or len(session_id) > 64:
            raise Rejected("a session id is 1 to 64 letters and digits", code="session_id")
        if not self.placement.has(session_id):
            here = self.placement.partition
            raise Rejected(f"session {session_id!r} is for another partition of the set than {here}", code="partition")
        if len(self.running) >= self.settings.max_sessions:
            raise Rejected(f"{self.settings.max_sessions} sessions run already", code="overload")
        try:
            checked = Plan.from_json(plan)
        except InvalidFlow as error:
            raise Rejected(str(error), code="invalid_flow") from error
        if (misfit := plan_misfit(plan)) is not None:
            raise Rejected(f"malformed plan: {misfit.path!r:.200} must be {misfit.wanted}", code="invalid_flow")
        wrong = checked.input_problems(inputs)
        if wrong:
            raise Rejected("; ".join(wrong), code="invalid_flow")
        inputs = checked.input_values(inputs)
        made = checked.to_json()
        _check_sizes(checked, made, inputs)
        if self.settings.watch is not None:
            metadata = self.settings.watch.starting(session_id, title or checked.title, metadata or {})
        number = self.journal.new_session_no()
        session = RunningSession(self, number, session_id, checked, inputs, int(time.time() * 1000), metadata)
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
        transaction.write.session(row)
        session.start(transaction, row.title, made)
        return session_id

    def cancel(self, transaction: Transaction, session_id: str, reason: str) -> None:
        """Cancel a running session; one that has ended, for which ``find`` has looked, is left as it is."""
        if self.row(session_id) is None:
            raise Rejected(f"no session {session_id!r} here", code="unknown_session")
        session = self.running.get(session_id)
        if session is not None:
            session.cancel(transaction, reason)

    def ended(self, transaction: Transaction, session: SessionFold) -> None:
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
        transaction.write.session(row)
        self.dispatch.session_over(session.session_id)
        transaction.after(lambda: self._forget(session))

    def _forget(self, session: SessionFold) -> None:
        self.running.pop(session.session_id, None)
        self.recent_rows.forget(session.number)
        # The last row has been counted since.
        row = replace(self.rows.pop(session.session_id), bytes=session.bytes, rows=session.next_offset)
        self._over(row)
        self.dispatch.forget(session, session.links)
        session.leave()

    def _over(self, row: SessionRow) -> None:
        """Count a session that has ended, and let go of it."""
        self._remember(row)
        self.ended_counts[row.state] += 1
        self.ended_bytes += row.bytes
        self.journal.retire(row.session_no)

    def close(self) -> None:
        """Stop all timers; running sessions go on when the mainframe comes back."""
        self.supervisor.closed = True
        self.settle()
        for session in self.running.values():
            session.deadlines.stop_all()
        self.dispatch.stop_timers()

    def retry_later(self, job: Job, delay: float) -> None:
        """Hand a failed job out again after its pause."""
        self.supervisor.later(delay, self._retry, job, what="the next attempt of a job", session=job.session)

    def _retry(self, job: Job) -> None:
        if not self.supervisor.closed and job.state is JobState.WAITING and job.session.state == "running":
            with self.new_transaction() as transaction:
                self.dispatch.enqueue(transaction, job)

    # ------------------------------------------------------------------ recovery

    async def recover(self, broken: str | None = None) -> int:
        """Fold the journal of every session that hadn't ended; return how many go on.

        ``broken`` says why the journal may not be a continuation of what was acknowledged: sessions say so, too.
        """
        with undisturbed():
            return await self._recover_all(broken)

    async def _recover_all(self, broken: str | None) -> int:
        for state, (count, size) in (await self.journal.totals()).items():
            self.ended_counts[state] = count
            self.ended_bytes += size
        unfinished = await self.journal.sessions(RUNNING)
        self.rows = {row.session_id: row for row in unfinished}
        for row in unfinished:
            try:
                await self._recover(row)
            except (AsyncBlockError, *DISK_EXCEPTIONS):
                # The disk: nothing is known of the session, so nothing may be said of it.
                raise
            except Exception as error:
                logger.error("session %s can't go on from its journal", row.session_id, exc_info=error)
                self._give_up(row, f"the mainframe failed at its journal ({in_words(error)}); its log says more")
        for session in list(self.running.values()):
            with self.new_transaction() as transaction:
                session.resume(transaction)
                if broken is not None:
                    session.journal_broken(transaction, self.journal.epoch, broken)
        for link in [each for each in self.dispatch.links.values() if not each.number and each.load]:
            # No process can prove that the link is its own, so those jobs will never be continued.
            self.dispatch.gone(link, "the journal doesn't know its link any more")
        return len(unfinished)

    def _give_up(self, row: SessionRow, reason: str) -> None:
        """End a session that can't be folded; the others go on."""
        self.running.pop(row.session_id, None)
        at = int(time.time() * 1000)
        end = {"type": "SessionFinished", "session_id": row.session_id, "state": "failed", "error": reason}
        with self.new_transaction() as transaction:
            payload = orjson.dumps({**end, "outputs": {}, "bodies": {}, "t": at})
            transaction.write.entry(row.session_no, self.journal.next_offset(row.session_no), payload)
            ended = replace(row, state="failed", finished_at=at, error=reason, rows=row.rows + 1)
            transaction.write.session(ended)
            transaction.after(lambda: self._over(replace(ended, bytes=row.bytes + len(payload))))
        # Nothing counts on it any more.
        self.rows.pop(row.session_id)
        self._remember(ended)

    async def _recover(self, row: SessionRow) -> None:
        session = await self.fold(row.session_no)
        if session is not None and not session.ended:
            # The row counts the bodies too.
            session.bytes = row.bytes
            if session.lives.spent:
                # Most were dropped before the mainframe ended.
                named = {(body.link_id, body.n) for body in await self.journal.body_rows(row.session_no)}
                session.lives.spent = [body for body in session.lives.spent if (body.link, body.n) in named]
            self.running[row.session_id] = session

    async def fold(self, number: int, until: int | None = None) -> RunningSession | None:
        """Fold the rows of a session, from its snapshot on, to the last one before ``until``; None without a row."""
        session: RunningSession | None = None
        offset = 0
        snapshot = await self.journal.snapshot(number)
        if snapshot is not None and (until is None or snapshot.offset <= until):
            session = RunningSession.from_first_row(self, number, await self.journal.entry(number, 0))
            offset = snapshot.offset if session.restore(snapshot) else 0
        while page := await self.journal.page(number, offset, 1 << 20):
            for place, payload in page:
                if place == until:
                    return session
                if session is None:
                    session = RunningSession.from_first_row(self, number, payload)
                session.replay_row(place, payload)
                offset = place + 1
            # A session may have millions of rows: everything else has its turn between two pages.
            await asyncio.sleep(0)
        return session


def _check_sizes(plan: Plan, made: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Refuse what couldn't be told to executors and observers in one message each."""
    size = len(orjson.dumps([made, inputs]))
    if size > MAX_START:
        raise Rejected(
            f"the plan and its inputs have {size} bytes; {MAX_START} may be. Let a node read large values from a file",
            code="too_large",
        )
    if size <= MAX_BLOCK:
        return
    for flow in (plan, *plan.flows.values()):
        for node in flow.nodes:
            size = len(orjson.dumps(node.block))
            if size > MAX_BLOCK:
                raise Rejected(f"node {node.node_id}: its block has {size} bytes; {MAX_BLOCK} may be", code="too_large")
