"""A session: one run of a flow, live. Facts are fed to its flow; what that decides is journaled, then acted on.

It is made up of ``sessionvalues`` (its values), ``fold`` (what lines make of it), ``recovery`` (how it comes back),
``sessionrows`` (what happens to it becomes rows) and ``sessionend``; ``deadlines`` has its clocks. Nothing in them may
act on what isn't a line of the same transaction.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from ...flow import conditions
from ...flow.entries import (
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobStarted,
    JobCreated,
    RunFinished,
    SessionBegun,
)
from ...flow.plan import Plan
from ...resources import NOTHING
from ...wire.messages import Close
from ..committing.transaction import Transaction, now_ms
from ..committing.values import Found
from ..dispatching.needs import BESIDE
from ..jobstate.blockspec import BlockKind, title_of
from ..jobstate.jobs import Job
from ..sessionstate.deadlines import Deadlines
from ..sessionstate.fold import SessionOwner
from ..sessionstate.recomputing import Recomputing
from ..sessionstate.requests import BlockRequests
from .sessionend import NOT_BEGUN, SessionEnd

__all__ = ["RunningSession"]


class RunningSession(SessionEnd):
    """One run of a flow, from its start to its one terminal state."""

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
        super().__init__(owner, number, session_id, plan, inputs, created_at, metadata)
        self.requests = BlockRequests(self, owner)
        self.recomputing = Recomputing(self, owner.dispatch)
        self.deadlines = Deadlines(self, owner)
        self._kinds: dict[tuple[str | None, str], BlockKind] = {}
        """By flow and node, of those that no slot or block chooses."""
        self._unacted: deque[Decision] = deque()
        self._acting = False
        self._settling = False
        self._dropped: deque[Job] = deque()
        self._to_cancel: deque[Job] = deque()
        self._snapshot_at = owner.settings.snapshot_bytes

    # ------------------------------------------------------------------ live events

    def start(self, transaction: Transaction, title: str, plan: dict[str, Any]) -> None:
        """Begin: the plan, as JSON, goes into the journal whole, then the flow's first decisions."""
        transaction.say(
            self,
            "SessionStarted",
            session_id=self.session_id,
            title=title,
            path=self.plan.path,
            plan=plan,
            inputs=self.inputs,
            **({"metadata": self.metadata} if self.metadata else {}),
            t=now_ms(),
        )
        self.feed(transaction, SessionBegun())

    def cancel(self, transaction: Transaction, reason: str) -> None:
        """End the session: what waits is dropped, what runs is cancelled."""
        if self.state != "running":
            return
        transaction.urgent = True
        transaction.say(self, "SessionCancelled", reason=reason, t=now_ms())
        self.feed(transaction, Cancelled(reason))

    def break_off(self, reason: str) -> None:
        """End the session as failed at once: something of ours broke in it, so that its state can't be trusted.

        The run isn't asked any more, and no job is waited for: each one is fenced and its executor told to stop it.
        """
        with self._owner.new_transaction() as transaction:
            self._unacted.clear()
            for job in list(self.jobs.values()):
                if (attempt := job.attempt) is not None:
                    attempt.link.send(Close(attempt.channel, job.job_id, attempt.number, reason))
                    self._close_attempt(transaction, attempt, "failed", reason, finished=False)
                self._owner.dispatch.withdraw(job)
                job.attempt = None
            self.jobs.clear()
            self.deadlines.stop_all()
            self._finish_with(transaction, RunFinished("failed", reason, {}), {})

    def journal_broken(self, transaction: Transaction, epoch: str, reason: str) -> None:
        """Note that rows after this journal's last one may be lost, and end every lease: attempts are fenced by epoch.

        Whether an executor has begun a job, or even finished it, may be what was lost: the retry policy decides.
        """
        transaction.say(self, "JournalBroken", epoch=epoch, reason=reason, t=now_ms())
        words = f"the mainframe's journal was broken ({reason}): what has become of its attempt can't be known"
        for job in [job for job in self.jobs.values() if job.attempt is not None]:
            self.fail_job(transaction, job, words, retry=True)

    def fail_flow_job(self, transaction: Transaction, job_id: str, error: str) -> None:
        """End a run of a subflow, or a condition, from outside: its time is up, or its caller cancelled it."""
        self._undecided.pop(job_id, None)
        if self._run.is_open(job_id):
            transaction.say(self, "JobFailed", job_id=job_id, attempt=1, error=error, retry=False, t=now_ms())
            self._feed_failure(transaction, error, None, job_id=job_id, **self._node_of(job_id))

    # ------------------------------------------------------------------ the flow's decisions

    def feed(self, transaction: Transaction | None, fact: Fact) -> None:
        """Give the flow a fact. Live (in a transaction) it decides, and the decisions are journaled and acted on."""
        if transaction is None:
            self._run.replay(fact)
            return
        self._journal_decisions(transaction, self._run.feed(fact, transaction.jobs))

    def _settle(self) -> None:
        """Go on deciding, in a transaction of its own: thousands of jobs may follow from what came together."""
        self._settling = False
        if not (self._owner.supervisor.closed or self.ended):
            with self._owner.new_transaction() as transaction:
                self._journal_decisions(transaction, self._run.settle(transaction.jobs))

    def _journal_decisions(self, transaction: Transaction, decisions: list[Decision]) -> None:
        transaction.jobs -= len(decisions)
        if self._run.unsettled and not self._settling:
            self._settling = True
            self._owner.supervisor.soon(self._settle, what="deciding", session=self)
        for decision in decisions:
            line = decision.to_json()
            line["t"] = now_ms()
            if isinstance(decision, FlowJobOutput) and (constant := self._constant(decision.ref)) is not None:
                # Readers have the journal's rows and no plan.
                line["value"] = constant.value
            transaction.line(self, orjson.dumps(line))
        # What acting leads to (a condition whose values are here is decided at once) comes after what was decided
        # before: the journal has the order in which the run has changed.
        self._unacted.extend(decisions)
        if self._acting:
            return
        self._acting = True
        try:
            while self._unacted:
                self._act(transaction, self._unacted.popleft())
        finally:
            self._acting = False

    def _act(self, transaction: Transaction, decision: Decision) -> None:
        if isinstance(decision, JobCreated):
            if decision.kind == "condition":
                self._undecided[decision.job_id] = decision
                self._resolve(decision.inputs, lambda t, found: self._decide(t, decision, found), transaction)
                if self._run.is_open(decision.job_id):
                    self.deadlines.begin_flow(decision)
            else:
                self._owner.dispatch.enqueue(transaction, self.create(decision))
        elif isinstance(decision, FlowJobStarted):
            self._open_flow(decision)
        elif isinstance(decision, FlowJobOutput):
            self._fold_flow_output(decision)
        elif isinstance(decision, FlowJobFinished):
            self._fold_flow_end(transaction, decision)
        elif isinstance(decision, RunFinished):
            self._conclude(transaction, decision)

    def create(self, created: JobCreated, since: int | None = None) -> Job:
        node = self.plan.resolve(created.flow, created.node_id, created.spec)
        group, within = node.group, NOTHING
        if group is not None and created.flow is not None and not group.startswith("*"):
            group = f"{created.stacks[-1]['flow_job_id']}:{group}"
        if group is None and created.caller is not None and created.spec is not None:
            beside = created.spec[2].get("beside", "") if len(created.spec) > 2 else ""
            group = BESIDE + beside
            caller = self.jobs.get(created.caller) if beside else None
            within = NOTHING if caller is None else caller.within
        kind = self._kinds.get((created.flow, created.node_id)) if created.spec is None else None
        if kind is None:
            kind = BlockKind.of(node.block)
            if created.spec is None:
                self._kinds[created.flow, created.node_id] = kind
        again = created.recomputes
        job = Job(
            session=self,
            job_id=created.job_id,
            node_id=created.node_id,
            stacks=created.stacks,
            # Shared, for they never change: copies for a hundred thousand jobs would be half of the jobs' memory.
            kind=kind,
            given=created.inputs,
            group=group,
            roams=node.roams,
            timeout=node.timeout,
            flow=created.flow,
            caller=created.caller,
            within=within,
            role=created.kind,
            spec=created.spec,
            recomputes=None if again is None else ((again[0], again[1]), again[2]),
        )
        self.jobs[job.job_id] = job
        if self.watch is not None:
            self._tell_began(created, title_of(node.block), since)
        if job.block.get("recompute"):
            self.lives.remember(created, self.jobs)
        if job.timeout is not None:
            self.deadlines.begin(job, job.timeout, since)
        return job

    def create_again(self, transaction: Transaction, created: JobCreated) -> None:
        """Let a job run again for values that are lost."""
        self._note_again(created)
        self._journal_decisions(transaction, [created])

    def _decide(self, transaction: Transaction, created: JobCreated, found: dict[str, Found]) -> None:
        if not self._run.is_open(created.job_id):
            return
        self.deadlines.over(created.job_id)
        self._undecided.pop(created.job_id, None)
        block = self.plan.resolve(created.flow, created.node_id, created.spec).block
        tested = conditions.tested(block["cases"])
        large = sorted(handle for handle, each in found.items() if each.body is not None and handle in tested)
        if large:
            self.fail_flow_job(transaction, created.job_id, _too_large_to_test(large))
            return
        values = {handle: each.value for handle, each in found.items()}
        handle = conditions.decide(block["cases"], block.get("default"), values)
        ref = next(iter(created.inputs.values()), None)
        transaction.say(self, "ConditionDecided", job_id=created.job_id, handle=handle, ref=ref, t=now_ms())
        self.feed(transaction, ConditionDecided(created.job_id, handle, ref))

    # ------------------------------------------------------------------ recovery

    def resume(self, transaction: Transaction) -> None:
        """Go on after the replay: open attempts belong to their links again, what waits is handed out."""
        waiting: list[Job] = []
        for job in list(self.jobs.values()):
            if job.attempt is not None:
                self._owner.dispatch.adopt(job.attempt)
                if job.cancelling is not None and self.state == "running":
                    self.deadlines.abandon_later(job)
            elif self.state == "running" and job.retry_at is not None:
                at, pause = job.retry_at
                # Never longer than the pause: clocks may have been set.
                self._owner.retry_later(job, min(pause, max(0.0, (at - now_ms()) / 1000)))
            elif self.state == "running":
                waiting.append(job)
            else:
                self._end_job(transaction, job, NOT_BEGUN)
        self._owner.dispatch.enqueue_all(transaction, waiting)
        self._replayed_attempts.clear()
        undecided, self._undecided = self._undecided, {}
        for created in undecided.values():
            if self._run.is_open(created.job_id):
                self._act(transaction, created)
        self._journal_decisions(transaction, self._run.settle(transaction.jobs))
        if self.state == "ending" and self._verdict is not None:
            self._conclude(transaction, self._verdict)


def _too_large_to_test(handles: list[str]) -> str:
    return (
        f"the condition tests {', '.join(map(repr, handles))}, of more than 64 KiB; the mainframe doesn't "
        "look into such values: let the block before it send what the condition tests"
    )
