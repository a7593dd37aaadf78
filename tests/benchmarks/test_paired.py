from __future__ import annotations

import math
import random
from itertools import product

import pytest

from benchmarks.paired import FEWEST, estimate


def rejected(differences: list[float], center: float) -> bool:
    """Wilcoxon's test, two-sided, 5 %, by counting: would it refuse this center?"""
    shifted = sorted((each - center for each in differences), key=abs)
    positive = sum(rank for rank, each in enumerate(shifted, 1) if each > 0)
    ranks = range(1, len(shifted) + 1)
    sums = [sum(rank for rank, up in zip(ranks, ups, strict=True) if up) for ups in product((0, 1), repeat=len(ranks))]
    tail = min(sum(each <= positive for each in sums), sum(each >= positive for each in sums)) / len(sums)
    return tail <= 0.025


@pytest.mark.parametrize("count", [6, 7, 8, 9])
def test_the_interval_holds_what_the_test_of_signed_ranks_does_not_refuse(count: int) -> None:
    dice = random.Random(count)
    logs = [dice.gauss(0.1, 0.05) for _ in range(count)]
    found = estimate([math.exp(each) for each in logs])
    low, high = math.log(found.low), math.log(found.high)
    assert not rejected(logs, low + 1e-9) and rejected(logs, low - 1e-9)
    assert not rejected(logs, high - 1e-9) and rejected(logs, high + 1e-9)
    assert low < math.log(found.ratio) < high


@pytest.mark.parametrize(("count", "critical"), [(6, 0), (8, 3), (10, 8), (12, 13), (20, 52), (25, 89)])
def test_the_ranks_are_those_of_the_published_table(count: int, critical: int) -> None:
    # Powers of two: no two means of two are equal, and their order is known.
    logs = [float(2**place) for place in range(count)]
    means = sorted((first + second) / 2 for place, first in enumerate(logs) for second in logs[place:])
    scale = 2.0**-count
    found = estimate([math.exp(each * scale) for each in logs])
    assert math.log(found.low) == pytest.approx(means[critical] * scale)
    assert math.log(found.high) == pytest.approx(means[-1 - critical] * scale)


def test_equal_rounds_have_their_ratio_and_no_width() -> None:
    found = estimate([1.25] * 8)
    assert (found.ratio, found.low, found.high) == pytest.approx((1.25, 1.25, 1.25))
    assert found.reach == pytest.approx(0.0)


def test_it_makes_no_difference_which_of_the_two_is_called_the_first() -> None:
    ratios = [1.01, 0.97, 1.05, 1.2, 0.99, 1.03, 1.02]
    one, other = estimate(ratios), estimate([1 / each for each in ratios])
    assert (one.ratio, one.low, one.high) == pytest.approx((1 / other.ratio, 1 / other.high, 1 / other.low))
    assert one.reach == pytest.approx(other.reach)


def test_fewer_rounds_than_an_interval_needs_have_none() -> None:
    found = estimate([1.0] * (FEWEST - 1))
    assert (found.low, found.high, found.reach) == (0.0, math.inf, math.inf)
    assert estimate([1.1, 1.2, 1.15]).ratio == pytest.approx(math.sqrt(1.15 * math.sqrt(1.1 * 1.2)), rel=0.01)


def test_a_disturbed_round_moves_little() -> None:
    calm = [0.998, 1.001, 1.003, 0.997, 1.0, 1.002, 0.999, 1.001, 1.0, 0.998, 1.002]
    found = estimate([*calm, 0.3])
    assert found.ratio == pytest.approx(1.0, abs=0.002)
    assert found.low > 0.99 and found.high < 1.01


@pytest.mark.parametrize("disturbed", [0.0, 0.15])
def test_looking_until_it_is_narrow_keeps_the_interval_honest(disturbed: float) -> None:
    dice = random.Random(7)

    def once() -> float:
        return dice.gauss(0, 0.02) - (abs(dice.gauss(0, 0.1)) if dice.random() < disturbed else 0.0)

    held = 0
    for _ in range(300):
        ratios: list[float] = []
        while len(ratios) < 8 or (estimate(ratios).reach > 0.02 and len(ratios) < 60):
            # The second of two is always a little slower: the order changes.
            ratios += [math.exp(once() - once() + 0.003), math.exp(once() - once() - 0.003)]
        held += estimate(ratios).low <= 1 <= estimate(ratios).high
    assert held >= 0.92 * 300
