"""Recomputing: var values that went with their process are made again, where their block says ``recompute: true``.

The job that made them runs once more, as a new job with the same inputs, which delivers only what was lost: whatever
refers to a lost value refers to the new one from then on. What it needs itself may be lost, too, or let go long ago:
then that is made again first. Who needs such a value waits, and fails with words where it can't be made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ...flow.entries import JobCreated, Ref
from ..committing.transaction import Transaction
from ..dispatching.dispatch import Dispatcher
from ..jobstate.jobs import Job, JobOwner, JobState
from ..jobstate.lives import Lost, VarValue

__all__ = ["Recomputing"]

_Job = tuple[str, int]
"""A job and its attempt."""


class Recomputer(JobOwner, Protocol):
    """The session whose values are made again."""

    def fresh_job_id(self) -> str:
        """Return an id for a job that runs again."""
        ...

    def create_again(self, transaction: Transaction, created: JobCreated) -> None:
        """Let a job run again for values that are lost."""
        ...


class Recomputing:
    """What one session makes again, and who waits for it."""

    def __init__(self, session: Recomputer, dispatch: Dispatcher) -> None:
        self._session = session
        self._dispatch = dispatch
        self._waiting: dict[str, tuple[Job, list[VarValue]]] = {}
        """Jobs, and what each of them waits for."""

    def wait_for(self, transaction: Transaction, job: Job, missing: list[VarValue]) -> tuple[Lost, str | None] | None:
        """Let a job wait until its missing inputs are made again.

        Returns which of them can't be, and why if it is more than that its block doesn't allow it; None if all can.
        """
        for value in missing:
            maker = self._dispatch.links.get(value.made.link_id)
            if maker is not None and maker.executor is not None:
                return value.lost, None
            refused = self._refusal(value)
            if refused is not None:
                return refused
        self._waiting[job.job_id] = (job, missing)
        for value in missing:
            if self._session.lives.value(*value.origin[:3]) is value:
                self._begin(transaction, value, missing)
        # A job that waits itself leaves its place to another one of its node.
        self._review(transaction)
        return None

    def _refusal(self, value: VarValue) -> tuple[Lost, str | None] | None:
        """Say what of a chain can't be made again."""
        lives = self._session.lives
        seen = set[str]()
        stack = [value.origin]
        while stack:
            origin = stack.pop()
            if origin.job_id in seen:
                continue
            seen.add(origin.job_id)
            recipe = lives.lineage.get(origin.job_id)
            if recipe is None:
                if origin.job_id == value.made.job_id:
                    return value.lost, None
                words = f"to make it again, the var value of handle {origin.handle!r} of node {origin.node_id} (job "
                words += (
                    f"{origin.job_id}, attempt {origin.attempt}) would be needed: that is gone, too, and its block "
                )
                words += "doesn't say 'recompute: true'"
                return value.lost, words
            for needed in recipe.needs.values():
                found = lives.value(*needed[:3])
                if found is None or (not found.survives and self._dispatch.is_gone(found.made.link_id)):
                    stack.append(needed)
        return None

    # ------------------------------------------------------------------ making again

    def _begin(self, transaction: Transaction, value: VarValue, missing: Iterable[VarValue]) -> None:
        """Create the job that makes a value again, unless there is one, or its node has as many as it may."""
        session, made = self._session, value.made
        recipe = session.lives.lineage.get(made.job_id)
        if recipe is None or self._maker(value) is not None:
            return
        first = recipe.created
        limit = session.plan.resolve(first.flow, first.node_id, first.spec).concurrency
        busy = sum(
            job.recomputes is not None and job.job_id not in self._waiting and _place(job) == _place(first)
            for job in session.jobs.values()
        )
        if limit >= 0 and busy >= max(limit, 1):
            return
        wanted = [each for each in made.values.values() if not each.kept and (not each.survives or each in missing)]
        created = JobCreated(
            session.fresh_job_id(),
            first.node_id,
            first.kind,
            first.stacks,
            dict(first.inputs),
            first.flow,
            first.spec,
            recomputes=[made.job_id, made.attempt, sorted(each.number for each in wanted)],
        )
        session.create_again(transaction, created)

    def _maker(self, value: VarValue) -> Job | None:
        """Return the job that makes a value again."""
        at = (value.made.job_id, value.made.attempt)
        for job in self._session.jobs.values():
            if (again := job.recomputes) is not None and again[0] == at and value.number in again[1]:
                return job
        return None

    def revive(self, created: JobCreated) -> None:
        """Let the inputs that a job needs which runs again be lost values, where they were let go."""
        lives = self._session.lives
        recipe = lives.lineage.get(created.recomputes[0])
        for handle, origin in {} if recipe is None else recipe.needs.items():
            lives.revive(created.inputs[handle], origin)

    # ------------------------------------------------------------------ what comes of it

    def came(self, transaction: Transaction | None, job: Job, ref: Ref) -> None:
        """Take in a var value of a job that runs again."""
        assert job.recomputes is not None
        value = self._session.lives.remade(ref, job.recomputes)
        if value is None or transaction is None:
            return
        for waiting, missing in list(self._waiting.values()):
            if value in missing:
                missing.remove(value)
                if not missing:
                    self._go_on(transaction, waiting)

    def over(self, transaction: Transaction | None, job: Job, error: str | None) -> None:
        """A job that ran again has ended: what it hasn't delivered fails who waits for it."""
        if transaction is None or job.recomputes is None:
            return
        at, places = job.recomputes
        words = (
            "ended without it: it puts out something else when it runs again" if error is None else f"failed: {error}"
        )
        for waiting, missing in list(self._waiting.values()):
            for value in missing:
                if (value.made.job_id, value.made.attempt) == at and value.number in places:
                    del self._waiting[waiting.job_id]
                    if _still_waits(self._session, waiting):
                        reason = f"job {job.job_id}, which was to make it again, {words}"
                        self._dispatch.value_lost(transaction, waiting, value.lost, reason)
                    break
        self._review(transaction)

    def _review(self, transaction: Transaction) -> None:
        """Look again at jobs that wait for values which no job makes: there may be a place now."""
        for waiting, missing in list(self._waiting.values()):
            if waiting.job_id not in self._waiting or not _still_waits(self._session, waiting):
                self._waiting.pop(waiting.job_id, None)
                continue
            for value in list(missing):
                if value.made.values.get(value.number) is value:
                    self._begin(transaction, value, missing)

    def _go_on(self, transaction: Transaction, job: Job) -> None:
        del self._waiting[job.job_id]
        if _still_waits(self._session, job):
            self._dispatch.enqueue(transaction, job)


def _place(job: Job | JobCreated) -> tuple[str, str]:
    """Return which node of which run of a flow a job is of."""
    return str(job.stacks[-1]["flow_job_id"]), job.node_id


def _still_waits(session: JobOwner, job: Job) -> bool:
    return session.jobs.get(job.job_id) is job and job.state is JobState.WAITING and job.attempt is None
