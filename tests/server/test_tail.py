"""The newest rows in memory, for readers who keep up."""

from __future__ import annotations

from asyncblock.server.tail import Tail


def row(offset: int, size: int = 10) -> tuple[int, bytes, int]:
    return offset, b"x" * size, 1


def offsets(tail: Tail, session_no: int, offset: int, end: int = 100, max_bytes: int = 1000) -> list[int]:
    return [place for place, _, _ in tail.page(session_no, offset, end, max_bytes)]


def test_rows_of_a_session_that_is_read_are_remembered_from_then_on() -> None:
    tail = Tail()
    tail.add(1, row(0))
    tail.follow(1)
    for offset in (1, 2, 3):
        tail.add(1, row(offset))
    assert offsets(tail, 1, 1) == [1, 2, 3]
    assert offsets(tail, 1, 2) == [2, 3]
    # The first isn't here: the journal has it.
    assert offsets(tail, 1, 0) == []
    assert offsets(tail, 1, 4) == []


def test_following_again_forgets_nothing() -> None:
    tail = Tail()
    tail.follow(1)
    tail.add(1, row(0))
    tail.follow(1)
    assert offsets(tail, 1, 0) == [0]


def test_a_page_ends_where_the_journal_does_and_at_its_size() -> None:
    tail = Tail()
    tail.follow(1)
    for offset in range(5):
        tail.add(1, row(offset))
    assert offsets(tail, 1, 1, end=3) == [1, 2]
    assert offsets(tail, 1, 3, end=3) == []
    assert offsets(tail, 1, 0, max_bytes=25) == [0, 1]
    # One row at least, however large.
    assert offsets(tail, 1, 0, max_bytes=1) == [0]


def test_the_oldest_rows_make_room_whosever_they_are() -> None:
    tail = Tail()
    tail.follow(1)
    tail.follow(2)
    tail.add(1, row(0, 1 << 20))
    tail.add(2, row(0, 1 << 20))
    tail.add(2, row(1, 1 << 20))
    assert offsets(tail, 1, 0) == []
    assert offsets(tail, 2, 0, max_bytes=1 << 22) == [0, 1]
    tail.add(1, row(1, 1 << 20))
    assert offsets(tail, 2, 0) == []
    assert offsets(tail, 2, 1) == [1]
    assert offsets(tail, 1, 1) == [1]


def test_a_session_that_is_forgotten_gives_its_room_back() -> None:
    tail = Tail()
    tail.follow(1)
    tail.follow(2)
    tail.add(1, row(0, 1 << 20))
    tail.add(2, row(0, 1 << 20))
    tail.forget(1)
    tail.forget(3)
    tail.add(2, row(1, 1 << 20))
    assert offsets(tail, 1, 0) == []
    assert offsets(tail, 2, 0, max_bytes=1 << 22) == [0, 1]
    tail.add(1, row(1))
    assert offsets(tail, 1, 1) == []


def test_a_row_larger_than_the_budget_is_left_to_the_journal() -> None:
    tail = Tail()
    tail.follow(1)
    tail.add(1, row(0, 3 << 20))
    assert offsets(tail, 1, 0) == []
    tail.add(1, row(1))
    assert offsets(tail, 1, 1) == [1]
