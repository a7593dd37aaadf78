"""Which partition a session is in: a promise, for what was placed stays there."""

from __future__ import annotations

import secrets
from collections import Counter

from asyncblock.wire.placement import Placement, partition_of


def test_a_session_is_where_it_was() -> None:
    assert [partition_of(f"s{n}", 4) for n in range(8)] == [2, 0, 2, 0, 3, 1, 3, 1]
    assert {partition_of(each, 1) for each in ("", "a", "\u00e4")} == {0}


def test_ids_of_ours_are_spread_evenly() -> None:
    counts = Counter(partition_of(secrets.token_hex(8), 8) for _ in range(8000))
    assert min(counts.values()) > 800


def test_each_session_is_in_one_partition() -> None:
    places = [Placement(partition, 4) for partition in range(4)]
    assert [sum(place.has(f"s{n}") for place in places) for n in range(8)] == [1] * 8
    assert places[2].has("s0")
    assert Placement().has("s0")
