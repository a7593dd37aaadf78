"""Sessions of one group, told as one."""

from __future__ import annotations

from asyncblock.client import SessionInfo
from asyncblock.client.grouped import by_group, is_whole, of_group
from asyncblock.client.many import index_of, new_group, new_id

GROUP = new_group()


def session(index: int, state: str, *, began: int = 0, ended: int | None = None, **more: object) -> SessionInfo:
    known = {"error": None, "bytes": 10, "progress": None, **more}
    return SessionInfo(new_id(GROUP, index), "title", "path", state, began, ended, **known)  # type: ignore[arg-type]


def test_a_group_is_told_by_its_worst_state_once_nothing_runs() -> None:
    fine, bad = session(0, "succeeded", ended=5), session(1, "failed", began=2, ended=9, error="why")
    gone, killed = session(2, "cancelled", ended=6), session(3, "interrupted")
    runs = session(4, "running", began=1, progress=50.0)
    assert of_group(GROUP, [fine]).state == "succeeded"
    assert of_group(GROUP, [fine, gone]).state == "cancelled"
    assert of_group(GROUP, [fine, gone, killed]).state == "interrupted"
    ended = of_group(GROUP, [gone, bad, fine])
    assert (ended.state, ended.told, ended.error) == ("failed", "1 failed, 1 cancelled, 1 succeeded", "why")
    assert (ended.created_at, ended.finished_at, ended.progress, ended.bytes) == (0, 9, 100.0, 30)
    going = of_group(GROUP, [runs, bad])
    assert (going.state, going.told, going.finished_at) == ("running", "1 running, 1 failed", None)
    assert (going.progress, going.count) == (75.0, 2)


def test_a_state_that_is_not_known_here_is_told_last() -> None:
    assert of_group(GROUP, [session(0, "paused"), session(1, "succeeded")]).told == "1 succeeded, 1 paused"


def test_sessions_are_sorted_by_group_and_alone_where_they_were_started_so() -> None:
    alone = SessionInfo("0123456789abcdef", "t", "p", "running", 0, None, None, 0)
    found = by_group([session(1, "running"), alone, session(0, "succeeded")])
    assert {name: len(of) for name, of in found.items()} == {GROUP: 2, alone.session_id: 1}
    assert list(found) == [GROUP, alone.session_id]
    assert (index_of(alone.session_id), index_of(new_id(GROUP, 7))) == (-1, 7)


def test_a_part_of_a_group_is_told_from_the_whole() -> None:
    assert is_whole([session(1, "running"), session(0, "succeeded")])
    assert not is_whole([session(2, "running"), session(1, "running")])
    assert not is_whole([session(2, "running"), session(0, "running")])
