"""The newest rows in memory, for readers who keep up."""

from __future__ import annotations

from asyncblock.server.committing.recentrows import RecentRows


def row(offset: int, size: int = 10) -> tuple[int, bytes, int]:
    return offset, b"x" * size, 1


def offsets(rows: RecentRows, session_no: int, offset: int, end: int = 100, max_bytes: int = 1000) -> list[int]:
    return [place for place, _, _ in rows.page(session_no, offset, end, max_bytes)]


def test_rows_of_a_session_that_is_read_are_remembered_from_then_on() -> None:
    rows = RecentRows()
    rows.add(1, row(0))
    rows.follow(1)
    for offset in (1, 2, 3):
        rows.add(1, row(offset))
    assert offsets(rows, 1, 1) == [1, 2, 3]
    assert offsets(rows, 1, 2) == [2, 3]
    # The first isn't here: the journal has it.
    assert offsets(rows, 1, 0) == []
    assert offsets(rows, 1, 4) == []


def test_following_again_forgets_nothing() -> None:
    rows = RecentRows()
    rows.follow(1)
    rows.add(1, row(0))
    rows.follow(1)
    assert offsets(rows, 1, 0) == [0]


def test_a_page_ends_where_the_journal_does_and_at_its_size() -> None:
    rows = RecentRows()
    rows.follow(1)
    for offset in range(5):
        rows.add(1, row(offset))
    assert offsets(rows, 1, 1, end=3) == [1, 2]
    assert offsets(rows, 1, 3, end=3) == []
    assert offsets(rows, 1, 0, max_bytes=25) == [0, 1]
    # One row at least, however large.
    assert offsets(rows, 1, 0, max_bytes=1) == [0]


def test_the_oldest_rows_make_room_whosever_they_are() -> None:
    rows = RecentRows()
    rows.follow(1)
    rows.follow(2)
    rows.add(1, row(0, 1 << 20))
    rows.add(2, row(0, 1 << 20))
    rows.add(2, row(1, 1 << 20))
    assert offsets(rows, 1, 0) == []
    assert offsets(rows, 2, 0, max_bytes=1 << 22) == [0, 1]
    rows.add(1, row(1, 1 << 20))
    assert offsets(rows, 2, 0) == []
    assert offsets(rows, 2, 1) == [1]
    assert offsets(rows, 1, 1) == [1]


def test_a_session_that_is_forgotten_gives_its_room_back() -> None:
    rows = RecentRows()
    rows.follow(1)
    rows.follow(2)
    rows.add(1, row(0, 1 << 20))
    rows.add(2, row(0, 1 << 20))
    rows.forget(1)
    rows.forget(3)
    rows.add(2, row(1, 1 << 20))
    assert offsets(rows, 1, 0) == []
    assert offsets(rows, 2, 0, max_bytes=1 << 22) == [0, 1]
    rows.add(1, row(1))
    assert offsets(rows, 1, 1) == []


def test_a_row_larger_than_the_budget_is_left_to_the_journal() -> None:
    rows = RecentRows()
    rows.follow(1)
    rows.add(1, row(0, 3 << 20))
    assert offsets(rows, 1, 0) == []
    rows.add(1, row(1))
    assert offsets(rows, 1, 1) == [1]
