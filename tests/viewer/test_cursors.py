"""A session as the page follows it: one cursor and fold, lines and values read back, earlier moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

import asyncblock
from asyncblock import events
from asyncblock.client import SessionInfo
from asyncblock.page import State
from asyncblock.viewer import ServedPage, Sources, Watched
from asyncblock.viewer.cursors import Following, Followings
from asyncblock.viewer.sources import Query
from asyncblock.viewer.told import values_of

from ..flows import one_block
from ..report.made import Made
from .served import MadeRuns, client_of, page_of, tab_of


def made() -> Made:
    """Two nodes that say, put out and show many things, in rows that mix them."""
    session = Made("a", "b", edges=(("a", "b"),))
    for number in range(1000):
        session.records(
            "ab"[number % 2],
            [
                {"type": "BlockLog", "log": f"line {number}", "stdio": "stdout"},
                {"type": "BlockOutput", "handle": "out", "output": number},
                {"type": "BlockProgress", "rate": number / 10},
                {"type": "BlockWarning", "warning": f"warning {number}"},
            ],
        )
        if number % 100 == 0:
            session.preview("a", {"type": "text", "title": f"t{number}", "data": str(number)}, id="p")
    session.end(x=1)
    return session


@asynccontextmanager
async def followed(session: Made) -> AsyncIterator[Following]:
    """Follow a session that was made, to its end."""
    followings = Followings(MadeRuns(one=session).open)
    try:
        async with followings.watching("one") as following:
            while not following.ended:
                await following.next_change().wait()
            yield following
    finally:
        await followings.close()


async def test_lines_are_read_back_from_where_they_stand() -> None:
    async with followed(made()) as following:
        history = following.history
        assert history is not None
        places = following.index.lines["a"]
        assert len(places) == following.state.nodes["a"].lines == 1000
        lines = await history.lines(places[500:504])
        assert [each.text for each in lines] == ["line 500", "warning 500", "line 502", "warning 502"]
        assert [each.kind for each in lines] == ["stdout", "warning"] * 2
        assert [each.text for each in await history.lines(places[-1:])] == ["warning 998"]
        assert await history.lines(places[:0]) == []
        found = await history.search(places, "LINE 99", 0)
        assert [each.line.text for each in found.found] == ["line 990", "line 992", "line 994", "line 996", "line 998"]
        assert found.next is None and places[found.found[0].number] == places[990]


async def test_a_search_of_much_says_how_far_it_came() -> None:
    async with followed(made()) as following:
        assert following.history is not None
        places = following.index.lines["b"]
        first = await following.history.search(places, "n", 0)
        assert len(first.found) == 200 and first.next is not None
        second = await following.history.search(places, "n", first.next)
        assert second.found[0].number == first.next


async def test_the_last_values_of_each_handle_are_found_again() -> None:
    async with followed(made()) as following:
        assert following.history is not None
        places = list(following.index.values["b"]["out"])
        found = await following.history.at_places(places)
        assert [values_of(found[each])["out"] for each in places] == list(range(961, 1000, 2))


async def test_each_moment_is_what_a_fold_up_to_it_is() -> None:
    session = made()
    async with followed(session) as following:
        assert following.history is not None
        every = [event async for event in session.recording().events()]
        for row in (700, 3, 350, 351, 0, 999, 701, 1013, 5000):
            state = await following.history.at(row)
            whole = State().fold(each for each in every if each.offset <= row)
            for path, node in whole.nodes.items():
                if path:
                    assert state.nodes[path] == node, (row, path)
            assert (state.state, state.now) == (whole.state, whole.now)
            assert len(state.gallery.previews) == len(whole.gallery.previews)


async def test_previews_that_arent_kept_are_read_where_they_stand() -> None:
    session = made()
    session.preview("b", {"type": "text", "data": "x" * 100_000})
    async with followed(session) as following:
        assert following.history is not None
        shown = following.state.gallery.previews
        assert [(await following.history.payload(each.place))["data"] for each in shown[:3]] == ["0", "100", "200"]
        assert len({each.place for each in shown}) == len(shown)


async def test_all_who_watch_share_one_cursor_and_those_that_nobody_watches_are_let_go() -> None:
    opened: list[str] = []
    closed: list[str] = []

    @asynccontextmanager
    async def open(session_id: str) -> AsyncIterator[Watched]:
        opened.append(session_id)
        try:
            yield Watched(Made("a").recording())
        finally:
            closed.append(session_id)

    followings = Followings(open)
    async with followings.watching("s0") as first, followings.watching("s0") as second:
        assert first is second
        for number in range(1, 9):
            async with followings.watching(f"s{number}"):
                pass
        assert opened == [f"s{number}" for number in range(9)], "each once"
        async with followings.watching("s0") as third:
            assert third is first, "what is watched stays"
    for _ in range(3):
        await asyncio.sleep(0)
    assert closed == ["s1", "s2", "s3", "s4", "s5"], "the four that were watched last are kept"
    await followings.close()
    assert len(closed) == 9


async def test_a_session_that_isnt_there_is_said_to_be_so_and_asked_for_anew() -> None:
    runs = MadeRuns()
    followings = Followings(runs.open)
    async with followings.watching("one") as following:
        assert following.error == "there is none"
    runs.made["one"] = made()
    async with followings.watching("one") as following:
        assert following.error is None
    await followings.close()


async def test_a_list_is_filtered_and_paged_and_has_each_session_once() -> None:
    infos = [
        SessionInfo(
            f"s{n:03}",
            "even" if n % 2 == 0 else "odd",
            "p",
            "failed" if n % 10 == 0 else "succeeded",
            1000 + n // 3,
            2000,
            "why" if n % 10 == 0 else None,
            0,
        )
        for n in range(100)
    ]

    class Runs(MadeRuns):
        async def sessions(self) -> list[SessionInfo]:
            return infos

    sources = Sources(None, Runs(), roles=frozenset({"client"}))
    seen: list[str] = []
    query = Query(limit=7)
    while True:
        page = await sources.sessions(query)
        seen += [each.session_id for each in page.sessions]
        if not page.more:
            break
        query = Query(limit=7, before=page.last)
    assert seen == [f"s{n:03}" for n in range(99, -1, -1)]
    failed = await sources.sessions(Query(state="failed", text="WHY even"))
    assert [each.session_id for each in failed.sessions] == [f"s{n:03}" for n in range(90, -1, -10)]
    assert [each.session_id for each in (await sources.sessions(Query(since=1033))).sessions] == ["s099"]


async def test_the_list_of_a_mainframe_goes_on_where_a_page_ended() -> None:
    class Pages:
        """Stands for the part of a mainframe that lists: 1,000 sessions, of which few fit."""

        address = "here"
        asked = 0

        async def sessions(self, *, state: str | None, limit: int, before: SessionInfo | None) -> list[SessionInfo]:
            self.asked += 1
            last = 1000 if before is None else before.created_at
            return [
                SessionInfo(f"s{n}", "rare" if n % 300 == 0 else "often", "", "succeeded", n, n, None, 0)
                for n in range(last - 1, max(last - 1 - limit, -1), -1)
            ]

    sources = Sources(Pages(), None, roles=frozenset({"client"}))  # type: ignore[arg-type]
    found = await sources.sessions(Query(text="rare", limit=2))
    assert [each.session_id for each in found.sessions] == ["s900", "s600"] and found.more
    rest = await sources.sessions(Query(text="rare", limit=2, before=found.last))
    assert [each.session_id for each in rest.sessions] == ["s300", "s0"]


TICKS = """
import asyncio
async def main(inputs, ctx):
    for number in range(3):
        await ctx.report_progress(number * 30)
        await ctx.preview({"type": "text", "data": f"version {number}"}, id="p")
        print("said", number)
        await ctx.output(number, "out")
    await ctx.flush()
    await asyncio.Event().wait()
"""


async def told(page: ServedPage, client: httpx.AsyncClient, session_id: str, until: str) -> list[dict[str, Any]]:
    """Watch as a tab does until the session's state is what it should be."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(30), tab_of(page, client) as socket:
        await socket.send(orjson.dumps({"watch": session_id}).decode())
        while not found or found[-1]["session"]["state"] != until:
            found.append(orjson.loads(await socket.recv()))
            if found[-1]["session"]["values"] == 3 and found[-1]["may_cancel"]:
                own = {"origin": page.url.rstrip("/")}
                answer = await client.post(f"api/sessions/{session_id}/cancel", headers=own)
                assert answer.status_code == 200, answer.text
    return found


async def test_a_tab_is_told_of_a_run_as_it_goes_on_and_may_cancel_it(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", TICKS)
    async with asyncblock.embedded(capture=True) as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path)
        found = await told(page, client, session.session_id, "cancelled")
        assert found[0]["whole"] and all(each["type"] == "session" for each in found)
        last = found[-1]["session"]
        assert isinstance(last, dict) and (last["values"], last["lines"]) == (3, 3)
        assert last["previews"] >= 1, "those that were superseded before they were sent aren't in the journal"
        values = (await client.get(f"api/sessions/{session.session_id}/values")).json()["handles"]
        assert [(each["handle"], each["values"][0]["text"], each["count"]) for each in values] == [("out", "2", 3)]
        lines = (await client.get(f"api/sessions/{session.session_id}/log", params={"node": "n"})).json()
        assert [each["text"] for each in lines["lines"]] == ["said 0", "said 1", "said 2"]
        again = await told(page, client, session.session_id, "cancelled")
        assert len(again) == 1 and again[0]["whole"], "who comes back gets the whole again"
        listed = (await client.get("api/sessions", params={"text": session.session_id})).json()["sessions"]
        assert [each["state"] for each in listed] == ["cancelled"]


async def test_an_observers_page_cant_cancel(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", TICKS)
    async with asyncblock.embedded() as mainframe:
        async with page_of(mainframe, roles=("observer",)) as page, client_of(page) as client:
            session = await mainframe.start(path)
            answer = await client.post(
                f"api/sessions/{session.session_id}/cancel", headers={"origin": page.url.rstrip("/")}
            )
            assert answer.status_code == 403
        await session.cancel()
        async for event in session:
            assert isinstance(event, events.Event)


async def test_a_large_value_comes_as_a_file(tmp_path: Path) -> None:
    source = "async def main(inputs, ctx):\n    await ctx.output('x' * 300_000, 'out')\n"
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(one_block(tmp_path / "f", source))
        await session.wait()
        of = f"api/sessions/{session.session_id}"
        [handle] = (await client.get(f"{of}/values")).json()["handles"]
        [value] = handle["values"]
        assert value["text"] is None and value["size"] > 300_000
        for place in (value["place"], "0"):
            answer = await client.get(f"{of}/value/{place}/out")
            assert len(answer.json()) == 300_000
            assert answer.headers["content-disposition"] == 'attachment; filename="out.json"'
