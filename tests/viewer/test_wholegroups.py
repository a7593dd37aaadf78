"""Groups in a list of sessions: one entry each, which tells of all their sessions."""

from __future__ import annotations

from asyncblock.client import SessionInfo
from asyncblock.client.many import new_group, new_id
from asyncblock.viewer import Sources
from asyncblock.viewer.sources import Query
from asyncblock.viewer.tabs import Lists
from asyncblock.viewer.wholegroups import Groups

from .served import MadeRuns


def member(group: str, index: int, state: str) -> SessionInfo:
    ended = None if state == "running" else 2000
    return SessionInfo(new_id(group, index), "many", "p", state, 1000 + index, ended, None, 0)


async def test_a_group_is_one_entry_of_a_list_and_tells_of_all_its_sessions() -> None:
    one, other = new_group(), new_group()
    infos = [member(one, n, "failed" if n == 3 else "succeeded") for n in range(1000)]
    infos += [SessionInfo(f"s{n:03}", "alone", "p", "running", 900 + 10 * n, None, None, 0) for n in range(50)]
    infos += [member(other, n, "running") for n in range(2)]

    class Runs(MadeRuns):
        async def sessions(self) -> list[SessionInfo]:
            return infos

    sources = Sources(None, Runs(), roles=frozenset({"client"}))
    seen: list[str] = []
    query = Query(limit=7)
    while True:
        page = await sources.sessions(query)
        seen += [each.group or each.session_id for each in page.sessions]
        for name in {each.group for each in page.sessions if each.group is not None}:
            assert page.groups[name].info.count == (1000 if name == one else 2)
        if not page.more:
            break
        query = Query(limit=7, before=page.last)
    assert [each for each in seen if each not in (one, other)] == [f"s{n:03}" for n in range(49, -1, -1)]
    assert seen[0] == one and seen.count(other) == 1
    found = await sources.sessions(Query(state="failed", unfolded=((one, 50), ("m00000none", 5))))
    assert [each.group for each in found.sessions] == [one], "a group is found by one of its sessions"
    told = Lists(sources).told(found, Query(state="failed", unfolded=((one, 50),)))
    assert told["groups"][one]["states"] == {"failed": 1, "succeeded": 999}
    assert [each["index"] for each in told["members"][one]["sessions"]] == [3]
    whole = Query(unfolded=((one, 50),))
    members = Lists(sources).told(await sources.sessions(whole), whole)["members"][one]
    assert [each["index"] for each in members["sessions"]] == list(range(50)) and members["count"] == 1000


async def test_a_group_is_read_again_when_one_of_its_sessions_is_new_or_has_ended() -> None:
    group = new_group()
    infos = [member(group, 0, "succeeded")]
    read = 0

    async def members(name: str) -> list[SessionInfo]:
        nonlocal read
        read += 1
        return infos

    groups = Groups(members)

    async def states() -> dict[str, int]:
        found = await groups.get(group, infos[-1])
        assert found is not None
        return found.info.states

    assert [await states() for _ in range(3)] == [{"succeeded": 1}] * 3 and read == 1
    infos.append(member(group, 1, "failed"))
    assert await states() == {"failed": 1, "succeeded": 1} and read == 2
    infos.clear()
    assert await Groups(members).get(group) is None
