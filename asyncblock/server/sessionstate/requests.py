"""Blocks that jobs have asked for: the orders, their cancels, and the word about their end. One for each session.

What is said here stands in the session's journal; what follows from it is the session's and its flow's.
"""

from __future__ import annotations

from typing import Protocol

from ...flow.entries import BlockRequested, Fact, FlowJobStarted, Weighed
from ..committing.transaction import Transaction, now_ms
from ..committing.transactions import Transactions
from ..jobstate.jobs import Job, JobOwner, JobState
from ..journal import Snapshot
from .deadlines import Deadlines

__all__ = ["BlockRequests"]


class Asked(JobOwner, Protocol):
    """The session whose jobs ask for blocks."""

    next_offset: int
    deadlines: Deadlines
    flow_jobs: dict[str, FlowJobStarted]
    """Runs of subflows that haven't ended."""

    def feed(self, transaction: Transaction | None, fact: Fact) -> None:
        """Give the flow a fact."""
        ...

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


class BlockRequests:
    """Knows for each open job what it has asked for."""

    def __init__(self, session: Asked, transactions: Transactions) -> None:
        self._session = session
        self._transactions = transactions

    def order(self, transaction: Transaction, asked: BlockRequested) -> int:
        """A job asks for a block or subflow of the plan's catalog; return the offset of the row that says so."""
        session = self._session
        transaction.say(
            session,
            "BlockRequested",
            caller=asked.caller,
            job_id=asked.job_id,
            key=asked.key,
            reference=asked.reference,
            inputs=asked.inputs,
            extra=asked.extra,
            t=now_ms(),
        )
        offset = session.next_offset
        self.note(asked, offset)
        session.feed(transaction, asked)
        session.lives.caller_over(asked.job_id)
        return offset

    def note(self, asked: BlockRequested, offset: int) -> None:
        """Remember an order: one that comes again gets the same answer."""
        caller = self._session.jobs.get(asked.caller)
        if caller is not None:
            caller.asked[asked.job_id] = offset
            caller.blocks.add(asked.job_id)
            # The order names them; one that comes again is answered without them.
            caller.arguments.drop(asked.job_id)
            if caller.attempt is not None:
                self._session.lives.note_given(caller.attempt, asked.inputs)

    def weigh(self, transaction: Transaction, job: Job, node_id: str, weight: float) -> None:
        """A job gives a node of its flow another weight in the flow's progress."""
        transaction.say(self._session, "NodeWeighed", job_id=job.job_id, node_id=node_id, weight=weight, t=now_ms())
        self._session.feed(transaction, Weighed(job.job_id, node_id, weight))

    # ------------------------------------------------------------------ the end

    def cancel(self, transaction: Transaction, job_id: str, reason: str) -> None:
        """Cancel what a job has asked for: a job, or a run of a subflow. What has ended is left as it is."""
        session = self._session
        job = session.jobs.get(job_id)
        if job_id in session.flow_jobs:
            session.fail_flow_job(transaction, job_id, f"cancelled: {reason}")
        elif job is not None and job.attempt is None:
            session.fail_job(transaction, job, f"cancelled: {reason}", retry=False)
        elif job is not None:
            transaction.urgent = True
            transaction.say(session, "JobCancelling", job_id=job_id, reason=reason, t=now_ms())
            session.cancel_job(job, reason)
            session.deadlines.abandon_later(job)

    def cancel_all(self, transaction: Transaction | None, caller: Job, reason: str) -> None:
        """Cancel everything that a job has asked for: it has failed, begins anew, or was cancelled itself."""
        if transaction is not None:
            for job_id in sorted(caller.blocks):
                self.cancel(transaction, job_id, reason)
        caller.arguments.clear()

    def cancel_all_soon(self, caller: Job, reason: str) -> None:
        """As ``cancel_all``, in a transaction of its own: the one under way counts its lines."""
        if caller.blocks:
            self._transactions.supervisor.soon(
                self._cancel_all_now, caller, reason, what="a cancel of blocks", session=self._session
            )

    def _cancel_all_now(self, caller: Job, reason: str) -> None:
        owner = self._transactions
        if owner.supervisor.closed or caller.state is JobState.ENDED:
            return
        with owner.new_transaction() as transaction:
            self.cancel_all(transaction, caller, reason)

    def tell(self, transaction: Transaction | None, ended: Job | FlowJobStarted, error: str | None) -> None:
        """Say that what a job has asked for is over: only the mainframe knows that nothing follows."""
        if transaction is not None and ended.caller is not None:
            transaction.say(
                self._session,
                "BlockJobFinished",
                job_id=ended.job_id,
                node_id=ended.node_id,
                error=error,
                t=now_ms(),
            )

    def forget(self, ended: Job | FlowJobStarted) -> None:
        """Count what is over no more."""
        caller = self._session.jobs.get(ended.caller) if ended.caller is not None else None
        if caller is not None:
            caller.blocks.discard(ended.job_id)
