"""Deadlines of a session: of jobs, of runs of subflows, and of what was cancelled and has to end.

Their clocks go on while the mainframe is away: the journal says when they began. ``session`` says when one begins and
is over; what comes of it goes through the session, as an error or a cancel from anywhere does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from ...flow.entries import FlowJobStarted, JobCreated
from ...wire.messages import Close
from ..committing.transaction import Transaction, now_ms
from ..committing.transactions import Transactions
from ..jobstate.jobs import Job, JobOwner, JobState
from ..journal import Snapshot

__all__ = ["Deadlines"]

_BACK: Final = 4.0
"""Heartbeats that a job whose time ran out while the mainframe was away has to tell that it ended in time."""

_GRACE_MARGIN: Final = 5.0
"""Seconds beyond the grace that an executor has to tell how a cancelled job ended."""

_ABANDONED: Final = 200
"""Jobs that are given up in one step of the loop."""


class Late(JobOwner, Protocol):
    """The session whose deadlines these are."""

    next_offset: int

    def fail_flow_job(self, transaction: Transaction, job_id: str, error: str) -> None:
        """End a run of a subflow, or a condition, from outside."""
        ...

    def cancel_job(self, job: Job, reason: str) -> None:
        """Tell the executor to cancel a job."""
        ...

    def release_values(self, transaction: Transaction) -> None:
        """Let go of var values that nothing holds any more."""
        ...

    def snapshot_if_due(self) -> Snapshot | None:
        """Return the state between two rows, when it is time for that."""
        ...

    def row_stored(self) -> None:
        """A row has committed."""
        ...


class Deadlines:
    """The clocks of one session, on the mainframe's loop."""

    def __init__(self, session: Late, transactions: Transactions) -> None:
        self._session = session
        self._transactions = transactions
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """By job, or run of a subflow."""
        self._end: asyncio.TimerHandle | None = None
        self.since: dict[str, int] = {}
        """When the clocks of jobs and of runs of subflows began that have a limit, in ms since the epoch."""

    @property
    def grace(self) -> float:
        """Seconds that a cancelled block has to clean up."""
        return self._transactions.settings.cancel_grace

    def begin(self, job: Job, timeout: float, since: int | None) -> None:
        """Start the clock of a job, which began at ``since`` if that isn't now."""
        self.since[job.job_id] = now_ms() if since is None else since
        self._timers[job.job_id] = self._later(self._left(timeout, since), self._time_is_up, job)

    def begin_flow(self, opened: FlowJobStarted | JobCreated, since: int | None = None) -> None:
        """Start the clock of a subflow's run, or of a condition that waits for its values."""
        timeout = self._session.plan.resolve(opened.flow, opened.node_id, opened.spec).timeout
        if timeout is not None:
            text = f"Timeout: it took longer than {timeout:g} s"
            self.since[opened.job_id] = now_ms() if since is None else since
            self._timers[opened.job_id] = self._later(self._left(timeout, since), self._flow_is_late, opened, text)

    def over(self, job_id: str) -> None:
        """A job or a run of a subflow has ended."""
        self.since.pop(job_id, None)
        timer = self._timers.pop(job_id, None)
        if timer is not None:
            timer.cancel()

    def abandon_later(self, job: Job) -> None:
        """Give a cancelled job of a flow that is over its time, and no more."""
        timer = self._timers.pop(job.job_id, None)
        if timer is not None:
            timer.cancel()
        self._timers[job.job_id] = self._later(self.grace + _GRACE_MARGIN, self._abandon, deque([job]))

    def abandon_all_later(self) -> None:
        """The flow is over: give what still runs its time to clean up, and no more."""
        self._end = self._later(self.grace + _GRACE_MARGIN, self._abandon_all)

    def all_over(self) -> None:
        """No job is left."""
        if self._end is not None:
            self._end.cancel()

    def stop_all(self) -> None:
        """Let no timer of the session fire any more."""
        for timer in (self._end, *self._timers.values()):
            if timer is not None:
                timer.cancel()

    def _later(self, delay: float, act: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return self._transactions.supervisor.later(delay, act, *args, what="a timer", session=self._session)

    def _left(self, timeout: float, since: int | None) -> float:
        """Return the seconds that a job has left which was created at a time that the journal tells.

        The time counts on while the mainframe is away, for the block runs on; what ended in time can still say so.
        """
        if since is None:
            return timeout
        spent = max(0.0, (now_ms() - since) / 1000)
        return min(timeout, max(timeout - spent, _BACK * self._transactions.settings.heartbeat))

    def _flow_is_late(self, opened: FlowJobStarted | JobCreated, error: str) -> None:
        with self._transactions.new_transaction() as transaction:
            self._session.fail_flow_job(transaction, opened.job_id, error)

    def _time_is_up(self, job: Job) -> None:
        if job.state is JobState.ENDED:
            return
        session = self._session
        with self._transactions.new_transaction() as transaction:
            error = f"Timeout: node {job.node_id} took longer than {job.timeout:g} s"
            if job.attempt is None:
                session.fail_job(transaction, job, error, retry=False)
            elif job.cancelling is None:
                transaction.urgent = True
                transaction.say(session, "JobCancelling", job_id=job.job_id, reason=error, overdue=True, t=now_ms())
                job.overdue = error
                session.cancel_job(job, error)
                self.abandon_later(job)

    def _abandon_all(self) -> None:
        self._abandon(deque(self._session.jobs.values()))

    def _abandon(self, jobs: deque[Job]) -> None:
        if self._transactions.supervisor.closed or self._session.ended:
            return
        with self._transactions.new_transaction() as transaction:
            for _ in range(min(len(jobs), _ABANDONED)):
                job = jobs.popleft()
                if job.attempt is not None:
                    job.attempt.link.send(
                        Close(job.attempt.channel, job.job_id, job.attempt.number, "it didn't end when cancelled")
                    )
                words = f"it was cancelled and didn't end within {self.grace:g} s of that"
                self._session.fail_job(
                    transaction, job, words if job.overdue is None else f"{job.overdue}; {words}", retry=False
                )
        if jobs:
            self._transactions.supervisor.soon(self._abandon, jobs, what="a timer", session=self._session)
