"""The garbage collector in asyncblock's own processes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from asyncblock import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_it_comes_less_often() -> None:
    gc.set_threshold(700, 10, 10)
    collector.calm()
    assert gc.get_threshold()[:2] == (5000, 2)


@pytest.mark.parametrize("young", [0, 5000, 50_000])
def test_one_that_is_off_or_comes_even_less_often_is_left_alone(young: int) -> None:
    gc.set_threshold(young, 10, 10)
    collector.calm()
    assert gc.get_threshold()[:2] == (young, 10)
