"""The garbage collector in asyncblock's own processes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from asyncblock.runtime import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_it_comes_less_often() -> None:
    gc.set_threshold(700, 10, 10)
    collector.calm()
    assert gc.get_threshold() == (5000, 2, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (2000, 10, 10), (700, 1000, 10), (50_000, 10, 10)])
def test_what_somebody_has_chosen_stays(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)
    collector.calm()
    assert gc.get_threshold() == chosen
