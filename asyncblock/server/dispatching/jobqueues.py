"""The queues of jobs that wait for an executor: one for each need, first in, first out.

``dispatch`` fills and empties them; ``absence`` and ``sharing`` look at them. A job that has ended while it waited
stays in its queue until its place comes up, or until the queue is tidied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ..jobstate.jobs import Job, JobState
from .needs import Need

__all__ = ["JobQueues", "is_to_go_out"]

_TIDY = 100
"""Jobs in a queue that aren't looked through."""


class JobQueues(dict[Need, "deque[Job]"]):
    """Waiting jobs by what they ask for; a queue that is empty isn't there."""

    def __init__(self) -> None:
        super().__init__()
        self._tidy_at: dict[Need, int] = {}
        """Lengths of the queues at which jobs are taken out that have ended while they waited."""

    def add(self, need: Need, jobs: Iterable[Job]) -> None:
        """Put jobs at a queue's end."""
        jobs = list(jobs)
        for job in jobs:
            job.waits()
        queue = self.get(need)
        if queue is None:
            self[need] = deque(jobs)
            return
        queue.extend(jobs)
        # Where nobody serves them, their place never comes up: they go now and then, and their sessions with them.
        if len(queue) > self._tidy_at.get(need, _TIDY):
            alive = [job for job in queue if is_to_go_out(job)]
            queue.clear()
            queue.extend(alive)
            self._tidy_at[need] = max(2 * len(alive), _TIDY)

    def drop(self, need: Need) -> None:
        """Let go of a queue that is empty."""
        del self[need]
        self._tidy_at.pop(need, None)

    @property
    def jobs(self) -> int:
        """How many jobs are in them; those that have ended meanwhile may still count."""
        return sum(map(len, self.values()))


def is_to_go_out(job: Job) -> bool:
    """Tell whether a job that is in a queue is still to be handed out; of a flow that is over none is."""
    return job.state is JobState.WAITING and job.session.state == "running"
