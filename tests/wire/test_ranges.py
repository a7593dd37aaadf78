"""Sets of numbers as ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncblock.wire.ranges import Ranges


@given(st.lists(st.integers(0, 40)))
def test_it_is_a_set_in_the_room_of_its_gaps(numbers: list[int]) -> None:
    ranges = Ranges(numbers)
    expected = sorted(set(numbers))
    assert list(ranges) == expected
    assert [number for number in range(42) if number in ranges] == expected
    told = ranges.to_json()
    assert list(Ranges.from_json(told)) == expected
    assert len(told) == sum(number - 1 not in expected for number in expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20))))
def test_numbers_are_taken_away_again(steps: list[tuple[bool, int]]) -> None:
    ranges, expected = Ranges(), set[int]()
    for adds, number in steps:
        if adds:
            ranges.add(number)
            expected.add(number)
        else:
            ranges.discard(number)
            expected.discard(number)
        assert list(ranges) == sorted(expected)
        assert len(ranges.to_json()) == sum(each - 1 not in expected for each in expected)


def test_what_is_no_range_is_left_out() -> None:
    assert list(Ranges.from_json([[1, 3], [5], "x", [7, 6], [8.0, 9], [True, 4]])) == [1, 2]
    assert list(Ranges.from_json({"a": 1})) == []


def test_ranges_that_come_in_any_order_and_overlap_are_one_set() -> None:
    ranges = Ranges.from_json([[5, 7], [0, 2], [6, 9], [2, 3]])
    assert ranges.to_json() == [[0, 3], [5, 9]]
    assert (ranges.count, 1 in ranges, 3 in ranges, 8 in ranges) == (7, True, False, True)
