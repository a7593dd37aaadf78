"""Answers of several partitions, joined."""

from __future__ import annotations

from typing import Any

from asyncblock.client.joined import joined_info, joined_roster, newest_of


def row(created_at: int, session_id: str) -> dict[str, Any]:
    return {"created_at": created_at, "session_id": session_id}


def test_the_newest_of_all_pages_come_first() -> None:
    pages = [[row(9, "a"), row(5, "b")], [], [row(9, "c"), row(7, "d"), row(1, "e")]]
    assert [each["session_id"] for each in newest_of(pages, 4)] == ["c", "a", "d", "b"]
    assert len(newest_of(pages, 9)) == 5


def info(**more: Any) -> dict[str, Any]:
    journal = {"database_bytes": 1, "wal_bytes": 2, "session_bytes": 3, "free_bytes": 9, "trouble": None}
    return {
        "version": "1",
        "executors": 0,
        "offers": [],
        "in_vain": [],
        "languages": ["python"],
        "var_values": {"held_bytes": 5, "limit_bytes": 7},
        "sessions": {"known": 4, "running": 1},
        "journal": journal,
        **more,
    }


def vain(jobs: int, package: str) -> dict[str, Any]:
    return {"jobs": jobs, "package": package, "version": "v", "needs": {}}


def test_what_partitions_have_is_added_and_what_executors_say_to_each_is_not() -> None:
    other = info(executors=2, offers=[{"packages": ["p"]}], languages=["node"], in_vain=[vain(2, "a"), vain(1, "b")])
    other["journal"] = {**other["journal"], "free_bytes": 3, "trouble": "full"}
    joined = joined_info([info(in_vain=[vain(1, "a")]), other])
    assert (joined["version"], joined["executors"], joined["offers"]) == ("1", 2, [{"packages": ["p"]}])
    assert joined["in_vain"] == [vain(3, "a"), vain(1, "b")]
    assert joined["languages"] == ["node", "python"]
    assert joined["var_values"] == {"held_bytes": 5, "limit_bytes": 7}
    assert joined["sessions"] == {"known": 8, "running": 2}
    assert joined["journal"] == {
        "database_bytes": 2,
        "wal_bytes": 4,
        "session_bytes": 6,
        "free_bytes": 3,
        "trouble": "full",
    }


def executor(link: str, seconds: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "link": link,
        "connected": True,
        "quiet": 0.5,
        "drained": False,
        "load": {"loop": 1, "threads": 0, "processes": 0},
        "held_bytes": 5,
        "job_count": 1,
        "jobs": [{"job_id": "j", "seconds": seconds}],
        "stall": None,
        **more,
    }


def test_an_executor_with_links_to_several_partitions_is_one() -> None:
    stall = {"ago": 1.0, "seconds": 3.0, "where": "main (a.py:3)"}
    joined = joined_roster(
        [
            {"count": 2, "waiting": 1, "executors": [executor("a", 2.0), executor("b", 1.0)]},
            {"count": 1, "waiting": 3, "executors": [executor("b", 7.0, connected=False, quiet=9.0, stall=stall)]},
        ]
    )
    assert (joined["count"], joined["waiting"]) == (2, 4)
    assert joined["executors"][0] == executor("a", 2.0)
    assert joined["executors"][1] == {
        **executor("b"),
        "connected": False,
        "quiet": 9.0,
        "load": {"loop": 2, "threads": 0, "processes": 0},
        "job_count": 2,
        "jobs": [{"job_id": "j", "seconds": 7.0}, {"job_id": "j", "seconds": 1.0}],
        "stall": stall,
    }
