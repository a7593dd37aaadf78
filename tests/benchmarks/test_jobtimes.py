"""What is said of the existing executor's jobs, by when they began and ended."""

from __future__ import annotations

import pytest

from benchmarks.rivals.jobtimes import JobTimes, figures

NONE = JobTimes(3)


def times(wanted: int, jobs: dict[str, tuple[float, float | None]], over: float) -> JobTimes:
    found = JobTimes(wanted, over=over)
    for job, (began, ended) in jobs.items():
        found.begin(job, began)
        if ended is not None:
            found.end(job, ended)
    return found


def test_all_that_ended_are_counted_from_the_first_ones_begin_to_the_last_ones_end() -> None:
    many = times(3, {"a": (10, 11), "b": (10, 14), "c": (12, 13)}, over=60)
    assert figures(many, NONE, NONE) == {"in_flight_64": 3 / 4}


def test_where_some_have_not_ended_the_time_in_which_they_did_not_counts() -> None:
    many = times(100, {"a": (10, 11), "b": (10, None), "c": (10, None)}, over=60)
    assert figures(many, NONE, NONE) == {"in_flight_64": 1 / 50}
    chain = times(3, {"a": (10, 11), "b": (11, 12), "c": (12, None)}, over=31)
    assert figures(NONE, NONE, chain) == {"chain": 1 / 20}


def test_where_none_has_ended_there_is_no_figure_and_not_a_zero() -> None:
    many = times(2, {"a": (10, None), "b": (10, None)}, over=70)
    assert figures(many, NONE, NONE) == {}
    one = times(1, {"a": (10, 11)}, over=12)
    assert figures(NONE, one, one) == {}


def test_one_at_a_time_is_the_median_from_start_to_start_and_a_chain_counts_from_its_first_end() -> None:
    alone = times(4, {"c": (1.3, 1.4), "a": (1.0, 1.1), "b": (1.1, 1.2), "d": (2.0, 2.5)}, over=9)
    chain = times(3, {"a": (0.0, 5.0), "b": (5.0, 5.5), "c": (5.5, 6.0)}, over=9)
    assert figures(NONE, alone, chain) == {"one_at_a_time": pytest.approx(200), "chain": 2.0}


def test_a_job_that_is_said_again_began_when_it_was_said_first() -> None:
    found = JobTimes(2)
    for now in (1.0, 4.0, 7.0):
        found.begin("a", now)
    found.begin("b", 2.0)
    assert not found.end("somebody else's", 3.0)
    assert not found.end("a", 8.0)
    assert found.end("b", 9.0)
    assert not found.ended.keys() ^ {"a", "b"}
    assert (found.began["a"], found.last) == (1.0, 9.0)
