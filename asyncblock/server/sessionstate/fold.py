"""The fold of a session: what each line of its journal makes of it, live and in a recovery by the same code.

``transaction`` is None in a recovery: then nothing follows from a line, for what followed stands in the journal itself.
What takes effect (decisions of the flow, sends) is asked of the methods that are abstract here; ``session`` has them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ...flow.entries import (
    Fact,
    Finished,
    FlowJobFinished,
    FlowJobStarted,
    JobCreated,
    Output,
    Progressed,
    RunFinished,
)
from ...flow.plan import Plan
from ...flow.run import Run
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..dispatching.dispatch import Dispatcher
from ..jobstate.blockspec import title_of
from ..jobstate.jobs import Attempt, Job, JobState, LinkState
from ..jobstate.lives import Lives
from .deadlines import Deadlines
from .recomputing import Recomputing
from .refolding import Refolding
from .releases import Releases
from .requests import BlockRequests
from .sessionvalues import RecordPlace, SessionValues, values_of

__all__ = ["SessionFold", "SessionOwner"]


class SessionOwner(Transactions, ABC):
    """Who has this session among others: ``sessions.Sessions``, of which a session asks no more than this."""

    dispatch: Dispatcher
    releases: Releases
    refolding: Refolding

    @abstractmethod
    def ended(self, transaction: Transaction, session: SessionFold) -> None:
        """A session has reached its terminal state: its row changes with the same transaction."""

    @abstractmethod
    def retry_later(self, job: Job, delay: float) -> None:
        """Hand a failed job out again after its pause."""


class SessionFold(SessionValues, ABC):
    """What a session's lines have made of it."""

    _owner: SessionOwner
    requests: BlockRequests
    recomputing: Recomputing
    deadlines: Deadlines

    def __init__(
        self,
        owner: SessionOwner,
        number: int,
        session_id: str,
        plan: Plan,
        inputs: dict[str, Any],
        created_at: int,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._owner = owner
        self.number = number
        self.session_id = session_id
        self.plan = plan
        self.inputs = inputs
        self.created_at = created_at
        self.metadata = metadata or {}
        """What it was started with besides its inputs; its jobs have it."""
        watch = owner.settings.watch
        self.watch = None if watch is None else watch.session(self)
        """What is told of what happens in it, if anything is."""
        self.state = "running"
        """``running``, ``ending`` while jobs clean up, ``finishing`` while outputs are read, then ``succeeded``,
        ``failed`` or ``cancelled``."""
        self.error: str | None = None
        self.failed: dict[str, Any] | None = None
        """The job that failed the session: its node, and the row that has its error."""
        self.next_offset = 0
        self.stored_offset = 0
        """Rows below this offset are in the journal: what readers may see."""
        self.end_stored = False
        """The last row is in the journal."""
        self.bytes = 0
        self.counted = 0
        """Outputs without consumers."""
        self.jobs: dict[str, Job] = {}
        """Jobs that haven't ended."""
        self.flow_jobs: dict[str, FlowJobStarted] = {}
        """Runs of subflows that haven't ended."""
        self.readers: set[Callable[[], None]] = set()
        self.finished_at: int | None = None
        self._run = Run(plan, session_id)
        self.lives = Lives(session_id, self._count_holders)
        """Which var values may still be asked for."""
        self._again = 0
        """How many jobs there were that ran again for values that were lost."""
        self._verdict: RunFinished | None = None
        self._undecided: dict[str, JobCreated] = {}
        self._replayed_attempts: dict[tuple[str, int], Attempt] = {}
        self.links: set[LinkState] = set()
        """Those that have had a job of this session."""
        self.served: set[str] = set()
        """Packages, and code blocks, of which an executor has had a job of this session."""

    @property
    def rate(self) -> int:
        """Return how far the flow is, in percent."""
        return self._run.rate

    @property
    def ended(self) -> bool:
        """Tell whether the session has reached its terminal state."""
        return self.state in ("succeeded", "failed", "cancelled")

    def _fold_records(
        self,
        transaction: Transaction | None,
        attempt: Attempt,
        records: list[Any],
        place: tuple[int, int],
        size: int,
        skip: set[int],
        flat: str = "",
    ) -> None:
        """Fold records in; with ``flat`` they are outputs on that handle, each with a flat value and nothing else."""
        job = attempt.job
        for index, record in enumerate(records):
            if flat and self._queue(transaction, attempt, records, (*place, index), flat, size):
                return
            if index in skip:
                continue
            kind = record["type"]
            if job.recomputes is not None and kind in ("BlockOutput", "BlockOutputs"):
                self._fold_again(transaction, attempt, (*place, index), record)
            elif kind == "BlockOutput":
                if self._consumed(job, handle := record["handle"]):
                    targets = (record.get("to_node"), record.get("to_flow"))
                    self._fold_value(transaction, attempt, (*place, index), record, handle, size, targets)
                else:
                    self._fold_unconsumed(attempt, (*place, index), handle, record.get("output"))
            elif kind == "BlockOutputs":
                for handle in (*record["outputs"], *record.get("bodies", ())):
                    self._fold_value(transaction, attempt, (*place, index), record, handle, size, (None, None))
            elif kind == "JobStarted":
                attempt.started = True
                if job.state is JobState.ASSIGNED:
                    job.state = JobState.RUNNING
            elif kind == "BlockFinished":
                self._fold_finish(transaction, attempt, (*place, index), record, size)
                return
            elif kind == "BlockArguments":
                self._fold_arguments(attempt, (*place, index), record, size)
            elif kind == "BlockProgress":
                self.feed(transaction, Progressed(job.job_id, record["rate"]))
            elif kind == "BlockPreview" and transaction is not None and len(job.stacks) > 1:
                self._forward_preview(transaction, job, record, attempt.link.link_id)

    def _fold_value(
        self,
        transaction: Transaction | None,
        attempt: Attempt,
        place: RecordPlace,
        record: dict[str, Any],
        handle: str,
        size: int,
        targets: tuple[Any, Any],
    ) -> None:
        value = record.get("output") if record["type"] == "BlockOutput" else record["outputs"].get(handle)
        if not self._run.consumers(attempt.job.job_id, handle):
            self._fold_unconsumed(attempt, place, handle, value)
            return
        self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        ref = ("record", *place, handle)
        is_var = type(value) is dict and self.lives.note(attempt, place, handle, value)
        if attempt.job.policy.holds:
            attempt.hold((*ref, *targets))
            if is_var:
                self.lives.take(ref)
        else:
            self.feed(transaction, Output(attempt.job.job_id, handle, ref, *targets))

    def _fold_again(
        self, transaction: Transaction | None, attempt: Attempt, place: RecordPlace, record: dict[str, Any]
    ) -> None:
        """Outputs of a job that runs again: those that were lost stand for what is lost, the others are nobody's."""
        for handle, value in values_of(record):
            if self.lives.note(attempt, place, handle, value):
                ref = ("record", *place, handle)
                if attempt.job.policy.holds and record["type"] != "BlockFinished":
                    attempt.hold((*ref, None, None))
                    self.lives.take(ref)
                else:
                    self.recomputing.came(transaction, attempt.job, ref)

    def _fold_finish(
        self, transaction: Transaction | None, attempt: Attempt, place: RecordPlace, record: dict[str, Any], size: int
    ) -> None:
        job = attempt.job
        attempt.finished = True
        error = record.get("error")
        if record.get("cancelled"):
            error = job.overdue or f"cancelled: {job.cancelling or 'by its executor'}"
        elif error is not None and job.overdue is not None:
            error = f"{job.overdue}; its clean-up failed: {error}"
        if error is not None:
            # Cancelled by its executor, because that leaves: another attempt may do better.
            ours = bool(record.get("cancelled")) and job.cancelling is not None
            retried = record.get("error_type") not in job.policy.not_retried and not ours
            self._fold_failure(transaction, job, error, retried, finished=True, offset=place[0])
            return
        self._close_attempt(transaction, attempt, "succeeded", None, finished=True)
        if job.recomputes is not None:
            for *ref, _, _ in attempt.held or ():
                self.recomputing.came(transaction, job, tuple(ref))
            self._fold_again(transaction, attempt, place, record)
            self._end_job(transaction, job, None)
            self.feed(transaction, Finished(job.job_id, None, {}))
            self.recomputing.over(transaction, job, None)
            self._end_if_quiet(transaction)
            return
        outputs = {h: ("record", *place, h) for h in (*record.get("result", ()), *record.get("bodies", ()))}
        if any(self._run.consumers(job.job_id, handle) for handle in outputs):
            self._owner.values.keep((self.number, *place), record, attempt.link.link_id, size)
        for handle, value in values_of(record):
            if self.lives.note(attempt, place, handle, value):
                self._keep_for_caller(job.caller, outputs[handle])
        for *ref, to_node, to_flow in attempt.held or ():
            self.feed(transaction, Output(job.job_id, ref[4], tuple(ref), to_node, to_flow))
        self._end_job(transaction, job, None)
        self.requests.tell(transaction, job, None)
        self.feed(transaction, Finished(job.job_id, None, outputs))
        self._end_if_quiet(transaction)

    def _fold_failure(
        self,
        transaction: Transaction | None,
        job: Job,
        error: str,
        retry: bool,
        *,
        finished: bool = False,
        offset: int | None = None,
        lost: dict[str, Any] | None = None,
    ) -> None:
        if job.attempt is not None:
            outcome = "failed" if job.cancelling is None else "cancelled"
            self._close_attempt(transaction, job.attempt, outcome, error, finished=finished)
        self.requests.cancel_all(transaction, job, f"the job that asked for it has ended ({error})")
        # It may run again as often as need be, says its block; only what it fails of itself counts as its attempts.
        died = retry and not finished and job.deaths_left > 0
        if retry and (died or job.retries_left > 0) and self.state == "running" and job.cancelling is None:
            if died:
                job.deaths_left -= 1
            else:
                job.retries_left -= 1
            job.attempt, job.state = None, JobState.WAITING
            if transaction is not None:
                self._retry_later(transaction, job, error)
            return
        self._end_job(transaction, job, error)
        self.requests.tell(transaction, job, error)
        who: dict[str, Any] = {"node_id": job.node_id, "attempt": job.attempts, **({"lost": lost} if lost else {})}
        self._feed_failure(transaction, error, offset, job_id=job.job_id, **who)
        self.recomputing.over(transaction, job, error)
        self._end_if_quiet(transaction)

    def _feed_failure(
        self, transaction: Transaction | None, error: str, offset: int | None, *, job_id: str, **who: Any
    ) -> None:
        """Feed a job's error, and keep in mind whose it was if the flow fails of it."""
        if not self._run.decided:
            self.failed = {"job_id": job_id, **who, **({} if offset is None else {"offset": offset})}
        self.feed(transaction, Finished(job_id, error, {}))
        if not self._run.decided:
            self.failed = None

    def _fold_release(self, transaction: Transaction | None, job: Job) -> None:
        if job.attempt is not None:
            self._close_attempt(transaction, job.attempt, "released", None, finished=False)
        self.requests.cancel_all(transaction, job, "the job that asked for it begins anew")
        job.attempt, job.state = None, JobState.WAITING
        if transaction is not None:
            self._owner.dispatch.enqueue(transaction, job)

    def _fold_flow_end(self, transaction: Transaction | None, ended: FlowJobFinished) -> None:
        """A run of a subflow is over; after an error, what still runs in it is cancelled."""
        started = self.flow_jobs.pop(ended.job_id, None)
        self.deadlines.over(ended.job_id)
        if started is None:
            return
        self._tell_over(transaction, ended.job_id, ended.error)
        self.requests.forget(started)
        if started.runs is not None:
            self._owner.dispatch.unpin(self.session_id, ended.job_id, self.plan.flow(started.runs))
        if ended.error is None:
            return
        for inner in [each for each in self.flow_jobs.values() if _is_inside(each.stacks, ended.job_id)]:
            del self.flow_jobs[inner.job_id]
            self._tell_over(transaction, inner.job_id, ended.error)
            self.requests.forget(inner)
            self.requests.tell(transaction, inner, ended.error)
            self.deadlines.over(inner.job_id)
        for job in [each for each in self.jobs.values() if _is_inside(each.stacks, ended.job_id)]:
            if job.attempt is None:
                self._owner.dispatch.withdraw(job)
                self._end_job(transaction, job, ended.error)
                self.requests.tell(transaction, job, ended.error)
            elif transaction is None:
                job.cancelling = ended.error
            else:
                self.cancel_job(job, ended.error)
                self.deadlines.abandon_later(job)

    def _close_attempt(
        self, transaction: Transaction | None, attempt: Attempt, outcome: str, error: str | None, *, finished: bool
    ) -> None:
        """Fence an attempt: it is over, whatever still comes of it."""
        attempt.fenced = True
        self.lives.attempt_over(attempt)
        if transaction is not None:
            self._owner.dispatch.freed(transaction, attempt, finished=finished)
            seconds = self._owner.loop.time() - attempt.assigned_at if attempt.assigned_at else None
            if seconds is not None and outcome != "released":
                self._owner.timings.job.observe(seconds, title_of(attempt.job.block), outcome)
            if self.watch is not None:
                link = attempt.link.link_id
                self.watch.attempt_over(attempt.job.job_id, attempt.number, seconds, link, outcome, error)

    def _tell_over(self, transaction: Transaction | None, job_id: str, error: str | None) -> None:
        if self.watch is not None:
            self.watch.job_over(job_id, error, told=transaction is None)

    def _end_job(self, transaction: Transaction | None, job: Job, error: str | None) -> None:
        job.state = JobState.ENDED
        self._tell_over(transaction, job.job_id, error)
        # The attempt stays with its link as long as records may come; it knows its job, and must not be in a circle.
        job.attempt = None
        self.jobs.pop(job.job_id, None)
        self.deadlines.over(job.job_id)
        self.lives.caller_over(job.job_id)
        self.requests.forget(job)

    # ------------------------------------------------------------------ what takes effect

    @abstractmethod
    def feed(self, transaction: Transaction | None, fact: Fact) -> None:
        """Give the flow a fact. Live (in a transaction) it decides, and the decisions are journaled and acted on."""

    @abstractmethod
    def cancel_job(self, job: Job, reason: str) -> None:
        """Tell the executor to cancel a job: at once, it never waits behind data."""

    @abstractmethod
    def leave(self) -> None:
        """Leave no circles behind, now that the end is in the journal."""

    @abstractmethod
    def _retry_later(self, transaction: Transaction, job: Job, error: str) -> None: ...

    @abstractmethod
    def _forward_preview(self, transaction: Transaction, job: Job, record: dict[str, Any], link: str) -> None: ...

    @abstractmethod
    def _end_if_quiet(self, transaction: Transaction | None) -> None: ...


def _is_inside(stacks: list[dict[str, Any]], flow_job_id: str) -> bool:
    return any(level["flow_job_id"] == flow_job_id for level in stacks)
