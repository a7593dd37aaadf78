"""Returns: jobs whose values lie in files of a host from which no executor is connected, until one is back.

An executor that left in order, or was killed, has let them there; in a rollout another one comes in its place. A job
waits for that as long as one waits for an executor with its code, and only then is the value lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from ...wire.bodies import BodyRef
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..jobstate.jobs import Job, LinkState
from ..jobstate.lives import Lost, Made, VarValue
from .jobqueues import is_to_go_out
from .placing import Placing

__all__ = ["Returns"]


class Returns:
    """Knows which jobs wait for an executor that can open files."""

    def __init__(
        self,
        transactions: Transactions,
        links: Mapping[str, LinkState],
        placing: Placing,
        enqueue: Callable[[Transaction, Job], None],
        lose: Callable[[Transaction, Job, Lost, str | None], None],
        pump: Callable[[Transaction], None],
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._placing = placing
        self._enqueue = enqueue
        self._lose = lose
        self._pump = pump
        self._expecting: asyncio.TimerHandle | None = None
        self._waiting: dict[Job, tuple[list[VarValue], asyncio.TimerHandle]] = {}

    def noted(self, job: Job, missing: list[VarValue]) -> Callable[[], None]:
        """Note where values are that can't be had where a job would go; return what is to be done about it."""
        return partial(self._are_missing, job, _whereabouts(missing))

    def _are_missing(self, job: Job, seen: list[_Whereabouts]) -> None:
        """Let inputs be made again that are where a job can't run, or end it: another attempt would do no better.

        One that was made again since it was ``seen``, while a row was being stored, is there: out with the job anew.
        """
        with self._transactions.new_transaction() as transaction:
            if job.session.jobs.get(job.job_id) is not job or not is_to_go_out(job):
                return
            missing = [value for value, *_ in seen]
            if _whereabouts(missing) != seen:
                self._enqueue(transaction, job)
            elif (refused := job.session.wait_for(transaction, job, missing)) is not None and not self._wait(
                transaction, job, missing
            ):
                lost, reason = refused
                self._lose(transaction, job, lost, reason or self._placing.why_not_far(missing))

    def _wait(self, transaction: Transaction, job: Job, missing: list[VarValue]) -> bool:
        """Let a job wait if all of its missing values are in files that somebody may come back to."""
        if not all(map(self._may_return, missing)):
            return False
        seconds = self._transactions.settings.no_executor_timeout
        value = missing[0].lost
        job.session.waits(
            transaction,
            job,
            f"its var value of handle {value.handle!r} of node {value.node_id} is in a file, and no executor of that "
            f"host is connected; start one there, with the same ASYNCBLOCK_BODIES_DIR (it waits {seconds:g} s)",
        )
        timer = self._transactions.supervisor.later(seconds, self._expired, job, what="a wait for an executor's return")
        self._waiting[job] = (missing, timer)
        return True

    def _may_return(self, value: VarValue) -> bool:
        place = None if value.file is None else value.file[0]
        return place is not None and not any(
            link.executor is not None and link.connection is not None and place in link.places
            for link in self._links.values()
        )

    def came(self, transaction: Transaction, link: LinkState) -> None:
        """Hand jobs out anew whose files an executor can open that has come."""
        for job, (missing, timer) in list(self._waiting.items()):
            if any(value.file is not None and value.file[0] in link.places for value in missing):
                del self._waiting[job]
                timer.cancel()
                if is_to_go_out(job):
                    self._enqueue(transaction, job)

    def expect(self) -> None:
        """Give those that an earlier mainframe knew a lease's time to come back: one is always the first."""
        settings, supervisor = self._transactions.settings, self._transactions.supervisor
        self._expecting = supervisor.later(settings.lease, self._in_vain, what="a wait for those known before")

    def _in_vain(self) -> None:
        self._expecting = None
        for link in self._links.values():
            link.expected = False
        with self._transactions.new_transaction() as transaction:
            self._pump(transaction)

    def withdraw(self, job: Job) -> None:
        """Let a job wait no more that has ended."""
        _, timer = self._waiting.pop(job, (None, None))
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Let nothing ring any more."""
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        if self._expecting is not None:
            self._expecting.cancel()

    def _expired(self, job: Job) -> None:
        missing, _ = self._waiting.pop(job)
        if is_to_go_out(job):
            with self._transactions.new_transaction() as transaction:
                self._lose(transaction, job, missing[0].lost, None)


_Whereabouts = tuple[VarValue, Made, tuple[str, str] | None, BodyRef | None, bool]


def _whereabouts(values: list[VarValue]) -> list[_Whereabouts]:
    """Return where values are: one that was made again, or exported, is elsewhere."""
    return [(value, value.made, value.file, value.body, value.kept) for value in values]
