"""The end of a session: what runs is cancelled, what waits is dropped, and once all is quiet the last row says so.

Nothing here decides that it ends; ``session`` does, or its flow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...flow.entries import RunFinished
from ...wire.messages import SessionEnded
from ..committing.transaction import Transaction, now_ms
from ..committing.values import Found
from ..dispatching.spill import sizes, spill
from ..jobstate.jobs import Attempt, Job, JobState
from ..serverlimits import INLINE_BYTES
from .sessionrows import SessionRows

__all__ = ["NOT_BEGUN", "SessionEnd"]

NOT_BEGUN = "its flow was over before an executor had it"

_DROPPED = 200
"""Jobs that are cancelled, or that wait and are ended, in one step of the loop, each in some 8 µs: at once, ten
thousand cancels took 80 ms."""


class SessionEnd(SessionRows):
    """A session that can come to its end."""

    _dropped: deque[Job]
    """Jobs of a flow that is over, as far as they haven't been looked at."""
    _to_cancel: deque[Job]
    """Those of them that executors had at its end, as far as they haven't been cancelled."""

    def _conclude(self, transaction: Transaction, verdict: RunFinished) -> None:
        """The flow is over: cancel what still runs, then end."""
        self._verdict = verdict
        self.state = "ending"
        attempts = (attempt for link in self.links for attempt in link.attempts.values())
        self._to_cancel.extend(each.job for each in attempts if each.job.session is self and each.job.attempt is each)
        self._dropped.extend(self.jobs.values())
        self._drop_some(transaction)
        if self.jobs:
            self.deadlines.abandon_all_later()
        self._end_if_quiet(transaction)

    def _drop_some(self, transaction: Transaction) -> None:
        """Cancel jobs, and then end those that no executor has, some at a time: there may be a hundred thousand."""
        for _ in range(min(len(self._to_cancel), _DROPPED)):
            job = self._to_cancel.popleft()
            if job.attempt is not None and self._verdict is not None:
                self.cancel_job(job, self._verdict.error or "the flow has finished")
        for _ in range(0 if self._to_cancel else min(len(self._dropped), _DROPPED)):
            job = self._dropped.popleft()
            if job.attempt is None and job.state is not JobState.ENDED:
                self._owner.dispatch.withdraw(job)
                self._end_job(transaction, job, NOT_BEGUN)
                self._run.drop(job.job_id)
        if self._to_cancel or self._dropped:
            self._owner.supervisor.soon(self._drop_more, what="the end of jobs", session=self)

    def _drop_more(self) -> None:
        if not self._owner.supervisor.closed:
            with self._owner.new_transaction() as transaction:
                self._drop_some(transaction)
                self._end_if_quiet(transaction)

    def cancel_job(self, job: Job, reason: str) -> None:
        """Tell the executor to cancel a job: at once, it never waits behind data."""
        job.cancelling = reason
        self.say_cancel(job)
        if job.attempt is not None and job.state is JobState.ASSIGNED:
            self.end_unsent(job.attempt)
        self.requests.cancel_all_soon(job, reason)

    def end_unsent(self, attempt: Attempt) -> None:
        """End a cancelled job if its dispatch hasn't left: its executor has never heard of it, and can't say its end.
        In a transaction of its own: the one under way counts its lines, and may cancel thousands."""
        self._owner.supervisor.soon(self._end_unsent, attempt, what="the end of a job", session=self)

    def _end_unsent(self, attempt: Attempt) -> None:
        job = attempt.job
        # It may have been sent meanwhile, with its cancel behind it.
        over = self._owner.supervisor.closed or attempt.fenced or job.attempt is not attempt
        if not over and (why := self._owner.dispatch.sender.withdraw(attempt)) is not None:
            with self._owner.new_transaction() as transaction:
                self.fail_job(transaction, job, job.overdue or f"{job.cancelling}; {why}", retry=False)

    def leave(self) -> None:
        """Leave no circles behind, now that the end is in the journal: they would stay until the collector comes."""
        self._run.close()
        self.lives.close()
        del self.requests, self.recomputing, self.deadlines

    def _end_if_quiet(self, transaction: Transaction | None) -> None:
        if transaction is None or self.state != "ending" or self.jobs or self._verdict is None:
            return
        self.deadlines.all_over()
        # Before the outputs are read, which may take transactions of its own: nothing else may begin the end meanwhile.
        self.state = "finishing"
        verdict = self._verdict
        self._resolve(verdict.outputs, lambda t, found: self._finish(t, verdict, found), transaction)

    def _finish(self, transaction: Transaction, verdict: RunFinished, found: dict[str, Found]) -> None:
        if sum(sizes(found).values()) > INLINE_BYTES:
            transaction.after(lambda: self._begin(self._finish_large(verdict, found), "the end"))
            return
        self._finish_with(transaction, verdict, found)

    async def _finish_large(self, verdict: RunFinished, found: dict[str, Found]) -> None:
        found = await spill(self._owner.journal, self.number, self.session_id, found)
        with self._owner.new_transaction() as transaction:
            self._finish_with(transaction, verdict, found)

    def _finish_with(self, transaction: Transaction, verdict: RunFinished, found: dict[str, Found]) -> None:
        self.finished_at = now_ms()
        self.error = verdict.error
        self.state = verdict.state
        self.lives.end()
        transaction.say(
            self,
            "SessionFinished",
            session_id=self.session_id,
            state=verdict.state,
            error=verdict.error,
            **({"failed": self.failed} if self.failed is not None and verdict.state == "failed" else {}),
            outputs={handle: each.value for handle, each in found.items() if each.body is None},
            bodies={handle: each.body for handle, each in found.items() if each.body is not None},
            t=self.finished_at,
        )
        self._owner.ended(transaction, self)
        if self.watch is not None:
            self.watch.session_over(verdict.state, verdict.error)
        transaction.after(self._tell_executors)

    def _tell_executors(self) -> None:
        # Those, too, who can remove what executors that have left have handed down.
        heirs = [link for link in self._owner.dispatch.links.values() if self.lives.places & link.places]
        for link in {id(link): link for link in (*self.links, *heirs)}.values():
            link.send(SessionEnded(self.session_id))

    # ------------------------------------------------------------------ what may have to be read first

    def _resolve(
        self, refs: dict[str, Any], then: Callable[[Transaction, dict[str, Found]], None], transaction: Transaction
    ) -> None:
        """Go on with values: in this transaction when they are in memory, else in one of its own after reading."""
        found = self.resolve_now(refs)
        if found is not None:
            then(transaction, found)
            return

        async def read() -> None:
            values = await self.resolve(refs)
            with self._owner.new_transaction() as later:
                then(later, values)

        transaction.after(lambda: self._begin(read(), "reading values"))

    def _begin(self, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        self._owner.supervisor.begin(coroutine, what, self)
