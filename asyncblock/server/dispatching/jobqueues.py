"""The queues of jobs that wait for an executor: one for each need, first in, first out.

``dispatch`` fills and empties them; ``absence`` and ``sharing`` look at them. A job that has ended while it waited
stays in its queue until its place comes up, or until the queue has been looked through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from ..jobstate.jobs import Job, JobState
from .needs import Need

__all__ = ["JobQueue", "JobQueues", "is_to_go_out"]

_TIDY = 100
"""Jobs in a queue that aren't looked through."""

_LOOKED_AT = 2
"""Jobs that are looked at for each that is added, so that a queue has been looked through before it doubles again. At
once it took 20 ms for a hundred thousand jobs, and nothing else went on meanwhile (stall)."""


class JobQueue:
    """Waiting jobs of one need, in the order in which they came."""

    __slots__ = ("_behind", "_first", "_tidy_at")

    def __init__(self) -> None:
        self._first: deque[Job] = deque()
        self._behind: deque[Job] = deque()
        """What comes after ``_first`` and hasn't been looked at yet; empty unless the queue is being looked through."""
        self._tidy_at = _TIDY
        """Its length at which it is looked through."""

    def __len__(self) -> int:
        return len(self._first) + len(self._behind)

    def __iter__(self) -> Iterator[Job]:
        return chain(self._first, self._behind)

    def extend(self, jobs: Iterable[Job]) -> None:
        """Add jobs at the end, and drop some of those that have ended while they waited.

        Where nobody serves them, their place never comes up: they, and their sessions, would stay.
        """
        before = len(self)
        (self._behind or self._first).extend(jobs)
        if not before:
            # All of them have just come.
            self._tidy_at = max(2 * len(self), _TIDY)
        if not self._behind and len(self._first) > self._tidy_at:
            self._first, self._behind = self._behind, self._first
        if self._behind:
            self._look(_LOOKED_AT * (len(self) - before))

    def _look(self, jobs: int) -> None:
        for _ in range(min(jobs, len(self._behind))):
            job = self._behind.popleft()
            if is_to_go_out(job):
                self._first.append(job)
        if not self._behind:
            self._tidy_at = max(2 * len(self._first), _TIDY)

    def popleft(self) -> Job:
        """Take the job that has waited longest; one that has ended may come."""
        return self._first.popleft() if self._first else self._behind.popleft()

    def appendleft(self, job: Job) -> None:
        """Put a job back at the front."""
        self._first.appendleft(job)


class JobQueues(dict[Need, JobQueue]):
    """Waiting jobs by what they ask for; a queue that is empty isn't there."""

    def add(self, need: Need, jobs: Iterable[Job]) -> None:
        """Put jobs at a queue's end."""
        jobs = list(jobs)
        for job in jobs:
            job.waits()
        queue = self.get(need)
        if queue is None:
            queue = self[need] = JobQueue()
        queue.extend(jobs)

    @property
    def jobs(self) -> int:
        """How many jobs are in them; those that have ended meanwhile may still count."""
        return sum(map(len, self.values()))


def is_to_go_out(job: Job) -> bool:
    """Tell whether a job that is in a queue is still to be handed out; of a flow that is over none is."""
    return job.state is JobState.WAITING and job.session.state == "running"
