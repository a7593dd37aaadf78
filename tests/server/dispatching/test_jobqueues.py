"""Queues of waiting jobs: order, and that what has ended goes before its place comes up."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

from asyncblock.server.dispatching.jobqueues import JobQueues
from asyncblock.server.dispatching.needs import Need
from asyncblock.server.jobstate.blockspec import BlockKind
from asyncblock.server.jobstate.jobs import Job, JobOwner, JobState

NEED = Need("python", "h", None, None, False, "p")


def job(session: Any = None) -> Job:
    """Return a job as far as a queue looks at it."""
    session = session or SimpleNamespace(state="running")
    return cast(Job, SimpleNamespace(state=JobState.WAITING, session=session, waits=lambda: None))


def test_jobs_stand_in_the_order_in_which_they_came() -> None:
    queues, jobs = JobQueues(), [job() for _ in range(5)]
    queues.add(NEED, jobs[:1])
    queues.add(NEED, jobs[1:3])
    queues.add(NEED, jobs[3:])
    assert list(queues[NEED]) == jobs
    assert queues.jobs == 5


def real(number: int) -> Job:
    """Return a job with an input."""
    kind = BlockKind.of({"inputs": [{"handle": "a"}], "outputs": []})
    return Job(cast(JobOwner, None), f"j{number}", "n", [], kind, {"a": ["record", 7, 0, 1000 + number, "out"]})


def test_what_goes_out_has_the_inputs_that_it_had_when_it_began_to_wait() -> None:
    queues, waits = JobQueues(), real(1)
    queues.add(NEED, [waits])
    assert waits.inputs == {"a": ["record", 7, 0, 1001, "out"]}
    waits.begins()
    assert waits.inputs == {"a": ["record", 7, 0, 1001, "out"]}
    assert waits.inputs is waits.inputs


def test_inputs_take_little_memory_while_jobs_wait() -> None:
    queues = JobQueues()
    tracemalloc.start()
    jobs = [real(number) for number in range(1000)]
    made, _ = tracemalloc.get_traced_memory()
    queues.add(NEED, jobs)
    waiting, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made - waiting > 200 * len(jobs)


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


def test_a_queue_is_looked_through_step_by_step() -> None:
    looked: list[int] = []

    class Waiting(SimpleNamespace):
        @property
        def state(self) -> JobState:
            looked[-1] += 1
            return JobState.ENDED if self.number % 3 else JobState.WAITING

    queues, session, longest = JobQueues(), SimpleNamespace(state="running"), 0
    for number in range(20_000):
        looked.append(0)
        queues.add(NEED, [cast(Job, Waiting(number=number, session=session, waits=lambda: None))])
        longest = max(longest, queues.jobs)
    assert max(looked) <= 2
    # A third of them is alive.
    assert longest < 20_000 * 2 / 3
    looked.append(0)
    left = [cast(Any, each).number for each in queues[NEED]]
    assert left == sorted(left)
    assert {number for number in left if number % 3 == 0} == set(range(0, 20_000, 3))


def test_a_job_that_is_put_back_comes_first_while_its_queue_is_looked_through() -> None:
    queues, jobs = JobQueues(), [job() for _ in range(300)]
    for each in jobs:
        queues.add(NEED, [each])
        first = queues[NEED].popleft()
        assert first is jobs[0]
        queues[NEED].appendleft(first)
    assert [queues[NEED].popleft() for _ in jobs] == jobs
    assert not queues[NEED]
