"""What a mainframe tells of its sessions."""

from __future__ import annotations

from asyncblock.client.listed import session_info

ROW = {
    "session_id": "s1",
    "title": "t",
    "path": "p",
    "state": "running",
    "created_at": 1,
    "finished_at": None,
    "error": None,
    "bytes": 10,
}


def test_what_an_older_mainframe_does_not_say_is_unknown() -> None:
    info = session_info(ROW)
    assert (info.progress, info.rows, info.group) == (None, None, None)


def test_what_a_later_mainframe_says_besides_is_passed_over() -> None:
    assert session_info({**ROW, "colour": "blue"}) == session_info(ROW)
