"""Histograms: which bound a value counts for, and how many names are told apart."""

from __future__ import annotations

import math

import pytest

from asyncblock.server.histograms import OTHER, Histogram, HistogramFamily


def test_a_value_counts_for_the_first_bound_that_is_not_below_it() -> None:
    times = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.5, 1.0, 7.0, math.inf):
        times.observe(seconds)
    assert times.cumulated() == [2, 4, 6]


def test_a_clock_that_goes_back_counts_as_no_time() -> None:
    times = Histogram((0.1, 1.0))
    times.observe(-3600.0)
    assert (times.cumulated(), times.sum) == ([1, 1, 1], 0.0)


def test_a_name_of_a_megabyte_is_cut() -> None:
    family = HistogramFamily(("block",), (1.0,))
    for ending in ("a", "b"):
        family.observe(0.5, "x" * 1_000_000 + ending)
    [(labels, times)] = family
    assert (labels, times.cumulated()[-1]) == (("x" * 200,), 2)


def test_very_many_names_are_counted_together_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    family = HistogramFamily(("block", "outcome"), (1.0,), most=3)
    for number in range(100_000):
        family.observe(0.5, f"block {number}", "succeeded")
    family.observe(0.5, "block 99999", "failed")
    found = {labels: times.cumulated()[-1] for labels, times in family}
    assert found == {
        **{(f"block {number}", "succeeded"): 1 for number in range(3)},
        (OTHER, "succeeded"): 99_997,
        (OTHER, "failed"): 1,
    }
    assert len(caplog.records) == 1
    assert "'block 3'" in caplog.text
