from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncblock.server.journal import LinkRow, RequestRow, Write
from asyncblock.server.journal.writequeue import MAX_BYTES, MAX_ITEMS, WriteQueue
from asyncblock.testing.conformance.journal import session


def entry(session_no: int, *, urgent: bool = False, size: int = 10) -> Write:
    write = Write()
    write.entry(session_no, 0, bytes(size))
    write.urgent = urgent
    return write


def all_groups(queue: WriteQueue) -> list[list[Write]]:
    groups = []
    while group := queue.take():
        groups.append(group)
    return groups


def test_a_group_ends_at_its_bytes() -> None:
    queue = WriteQueue()
    for _ in range(10):
        queue.add(entry(1, size=MAX_BYTES // 4))
    assert [len(group) for group in all_groups(queue)] == [3, 3, 3, 1]


def test_a_group_ends_at_its_items() -> None:
    queue = WriteQueue()
    for _ in range(MAX_ITEMS + 1):
        queue.add(entry(1, size=0))
    assert [len(group) for group in all_groups(queue)] == [MAX_ITEMS, 1]


def test_a_write_over_every_limit_travels_alone() -> None:
    queue = WriteQueue()
    for size in (10, 5 * MAX_BYTES, 10):
        queue.add(entry(1, size=size))
    assert [len(group) for group in all_groups(queue)] == [1, 1, 1]


def test_urgent_writes_travel_with_what_must_precede_them_only() -> None:
    queue = WriteQueue()
    mine, other, hurry = entry(1), entry(2), entry(1, urgent=True)
    for write in (mine, other, hurry):
        queue.add(write)
    assert queue.urgent
    assert all_groups(queue) == [[mine, hurry], [other]]


def test_what_is_drawn_along_draws_along() -> None:
    """Session 2 shares a write with session 1, and session 3 shares one with session 2."""
    queue = WriteQueue()
    third, second, other, first, hurry = entry(3), entry(2), entry(4), entry(1), entry(1, urgent=True)
    second.entry(3, 1, b"")
    first.entry(2, 1, b"")
    for write in (third, second, other, first, hurry):
        queue.add(write)
    assert all_groups(queue) == [[third, second, first, hurry], [other]]


def test_a_row_of_a_session_does_not_wait_for_its_entries() -> None:
    queue = WriteQueue()
    data, cancel = entry(1), Write()
    cancel.session(session(1, "cancelling"))
    cancel.urgent = True
    queue.add(data)
    queue.add(cancel)
    assert all_groups(queue) == [[cancel], [data]]


def test_draining_returns_everything_in_order() -> None:
    queue = WriteQueue()
    writes = [entry(1), entry(2, urgent=True), entry(3)]
    for write in writes:
        queue.add(write)
    assert len(queue) == 3
    assert queue.drain() == [writes[1], writes[0], writes[2]]
    assert len(queue) == 0


things = st.lists(
    st.tuples(st.sampled_from(["entry", "mark", "session", "link", "request"]), st.integers(min_value=1, max_value=4)),
    min_size=1,
    max_size=3,
)


def make(parts: list[tuple[str, int]], urgent: bool) -> Write:
    write = Write()
    write.urgent = urgent
    for kind, number in parts:
        match kind:
            case "entry":
                write.entry(number, 0, b"")
            case "mark":
                write.mark(number, 1)
            case "session":
                write.session(session(number))
            case "link":
                write.link(LinkRow(link_no=number, link_id="", token_hash="", generation=1, boot=""))
            case _:
                write.request(RequestRow(request_id=str(number), answer=b"", at=1))
    return write


@given(st.lists(st.one_of(st.none(), st.tuples(things, st.booleans())), max_size=40))
def test_what_shares_something_keeps_its_order_and_nothing_is_lost(
    steps: list[tuple[list[tuple[str, int]], bool] | None],
) -> None:
    """None stands for a transaction at that point."""
    queue = WriteQueue()
    added: list[Write] = []
    taken: list[Write] = []
    for step in steps:
        if step is None:
            taken += queue.take()
        else:
            added.append(make(*step))
            queue.add(added[-1])
    taken += [write for group in all_groups(queue) for write in group]
    assert sorted(map(id, taken)) == sorted(map(id, added))
    place = {id(write): index for index, write in enumerate(taken)}
    for index, later in enumerate(added):
        for earlier in added[:index]:
            if not set(earlier.touches()).isdisjoint(later.touches()):
                assert place[id(earlier)] < place[id(later)]
