"""Queues of waiting jobs: order, and that what has ended goes before its place comes up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from asyncblock.server.jobqueues import JobQueues
from asyncblock.server.jobs import Job, JobState
from asyncblock.server.needs import Need

NEED = Need("python", "h", None, None, False, "p")


def job(session: Any = None) -> Job:
    """Return a job as far as a queue looks at it."""
    session = session or SimpleNamespace(state="running")
    return cast(Job, SimpleNamespace(state=JobState.WAITING, session=session))


def test_jobs_stand_in_the_order_in_which_they_came() -> None:
    queues, jobs = JobQueues(), [job() for _ in range(5)]
    queues.add(NEED, jobs[:1])
    queues.add(NEED, jobs[1:3])
    queues.add(NEED, jobs[3:])
    assert list(queues[NEED]) == jobs
    assert queues.jobs == 5


def test_a_queue_is_dropped_when_it_is_empty() -> None:
    queues = JobQueues()
    queues.add(NEED, [job()])
    queues[NEED].popleft()
    queues.drop(NEED)
    assert not queues


def test_jobs_that_have_ended_dont_stay_where_nobody_serves_them() -> None:
    queues, over = JobQueues(), SimpleNamespace(state="failed")
    alive = [job() for _ in range(3)]
    most = 0
    for number in range(10_000):
        each = job(over if number % 2 else None)
        if number % 2 == 0:
            each.state = JobState.ENDED
        queues.add(NEED, [each, *([alive[number // 4000]] if number % 4000 == 0 else [])])
        most = max(most, queues.jobs)
    assert most <= 102
    assert [each for each in queues[NEED] if each in alive] == alive
