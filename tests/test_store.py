"""Ranges of var values that a mainframe lets go: as long as it likes, and no longer a wait than for what is here."""

from __future__ import annotations

import pytest

from asyncblock.store import EXECUTOR_NAME, Store, StoreKey
from asyncblock.wire.ranges import Ranges


@pytest.mark.timeout(20)
def test_a_range_far_longer_than_what_is_here_releases_what_is_here() -> None:
    store = Store()
    for place in range(5):
        store.put(StoreKey(EXECUTOR_NAME, "h", "s.0", "s", attempt=1, place=place), object())
    assert store.release("s", "s.0", 2, Ranges.from_json([[0, 1 << 62]])) == []
    gone = store.release("s", "s.0", 1, Ranges.from_json([[1, 2], [3, 1 << 62]]))
    assert [kept.key.place for kept in gone] == [1, 3, 4]
    assert len(store) == 2
