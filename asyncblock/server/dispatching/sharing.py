"""Sharing: what running jobs have of what executors offer, who is next where it isn't enough, and who is told so.

Executors that have announced the same ``pool`` offer what they offer together. A job has its part from when it is
handed out until its attempt has ended. Of the jobs that can't have theirs yet, the one that has waited longest keeps
for itself the executor that lacks least: small jobs that go on coming never keep a large one waiting for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from ...resources import Resources, shown
from ..committing.transactions import Transactions
from ..jobstate.jobs import Job, JobState, LinkState
from .needs import Need, serves

__all__ = ["Sharing"]

_TELL_AFTER = 0.5
"""Seconds that a job waits before that is told: most that wait are short."""

_SHOWN = 5
"""Nodes that are named."""


class Sharing:
    """Knows what is free, and tells jobs that wait what they wait for."""

    def __init__(
        self, transactions: Transactions, links: Mapping[str, LinkState], queues: Mapping[Need, Iterable[Job]]
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._queues = queues
        self._count = 0
        """Jobs that have waited."""
        self._kept: tuple[Need, str] | None = None
        """For which need which pool is kept."""
        self._told: set[tuple[str, str]] = set()
        """Sessions and nodes that were told, while jobs of theirs wait."""
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ what is free

    def has_room(self, link: LinkState, need: Need) -> bool:
        """Tell whether an executor that could run a job has what it takes free."""
        if not need.resources.amounts:
            return True
        free = self._free(link)
        if self._kept is not None and self._kept[0] != need and self._kept[1] == _pool(link):
            for name, amount in self._kept[0].resources.amounts:
                free[name] = free.get(name, 0) - amount
        return all(free.get(name, 0) >= amount for name, amount in need.resources.amounts)

    def _free(self, link: LinkState) -> dict[str, int]:
        """Return what of an executor's offers no job has."""
        if link.executor is None:
            return {}
        free = dict(link.executor.offers.amounts)
        for other in self._of_pool(link):
            for name, amount in other.taken.items():
                free[name] = free.get(name, 0) - amount
        return free

    def _of_pool(self, link: LinkState) -> Iterator[LinkState]:
        if link.pool is None:
            yield link
        else:
            yield from (each for each in self._links.values() if each.pool == link.pool)

    # ------------------------------------------------------------------ who is next

    def waits(self, need: Need, job: Job) -> None:
        """Take note that a job waits; it may be told what for."""
        if not job.waits_as:
            self._count += 1
            job.waits_as = self._count
        self.keep(need)
        if self._timer is None:
            self._timer = self._transactions.supervisor.later(_TELL_AFTER, self._look, what="a wait for resources")

    def keeps_for(self, need: Need) -> bool:
        """Tell whether an executor is kept for jobs of that kind."""
        return self._kept is not None and self._kept[0] == need

    def in_turn(self, needs: Iterable[Need]) -> list[Need]:
        """Return needs of resources in the order in which their first jobs began to wait; nothing is kept yet."""
        self._kept = None

        def place(need: Need) -> int:
            waiting = (job.waits_as for job in self._queues[need] if job.state is JobState.WAITING)
            return next(waiting, 0)

        return sorted(needs, key=place)

    def keep(self, need: Need) -> None:
        """Keep for the job whose turn it is the executor that lacks least, if what all of them lack is room."""
        if self._kept is not None:
            return
        serving = [link for link in self._links.values() if serves(link, need)]
        if serving and not any(self.has_room(link, need) for link in serving):
            nearest = min(serving, key=lambda link: self._lacks(link, need.resources))
            self._kept = (need, _pool(nearest))

    def _lacks(self, link: LinkState, resources: Resources) -> float:
        """Return by how much an executor lacks what is wanted: the greatest part of any amount."""
        free = self._free(link)
        return max((amount - free.get(name, 0)) / amount for name, amount in resources.amounts)

    # ------------------------------------------------------------------ what is told

    def stop(self) -> None:
        """Let nothing ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        # Where nobody offers it, that is told by ``absence``.
        waiting = [
            (need, job, serving)
            for need, queue in self._queues.items()
            if need.resources.amounts and (serving := [link for link in self._links.values() if serves(link, need)])
            for job in queue
            if job.state is JobState.WAITING
        ]
        places = {(job.session.session_id, job.node_id) for _, job, _ in waiting}
        self._told &= places
        if len(self._told) == len(places):
            return
        with self._transactions.new_transaction() as transaction:
            for need, job, serving in waiting:
                place = (job.session.session_id, job.node_id)
                if place not in self._told:
                    self._told.add(place)
                    job.session.waits(transaction, job, self._words(need, serving))

    def _words(self, need: Need, serving: list[LinkState]) -> str:
        nearest = min(serving, key=lambda link: self._lacks(link, need.resources))
        offered, free = dict(nearest.executor.offers.amounts) if nearest.executor else {}, self._free(nearest)
        names = [name for name, amount in need.resources.amounts if free.get(name, 0) < amount]
        if not names:
            after = self._kept is not None and self._kept[0] != need
            why = "its turn comes after others that wait for the same" if after else "no executor has a slot for it"
            return f"it needs {need.resources}, and {why}"
        used = [f"{shown(name, max(free.get(name, 0), 0))} of {shown(name, offered[name])} {name}" for name in names]
        holders = {
            attempt.job.node_id
            for link in self._of_pool(nearest)
            for attempt in link.attempts.values()
            if not attempt.fenced and any(name in names for name, _ in attempt.job.resources.amounts)
        }
        nodes = sorted(holders)[:_SHOWN]
        more = f" and {len(holders) - len(nodes)} more" if len(holders) > len(nodes) else ""
        by = f"; in use by {', '.join(nodes)}{more}" if nodes else ""
        return f"it needs {need.resources}; free is {', '.join(used)}{by}"


def _pool(link: LinkState) -> str:
    return link.pool or link.link_id
