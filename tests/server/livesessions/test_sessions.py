"""Sessions that have ended are on disk: everything about them can be asked as before, and their memory comes back."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.client import Mainframe, Session, connect
from asyncblock.errors import Rejected
from asyncblock.server.dispatching import jobqueues
from asyncblock.server.jobstate.jobs import Job
from asyncblock.server.journal import SessionRow, SqliteJournal
from asyncblock.server.journal.datadir import holder
from asyncblock.server.livesessions import sessions as sessions_module
from asyncblock.server.livesessions.session import RunningSession
from asyncblock.server.settings import Settings

from ...flows import one_block
from ...peers import Host, Peer, mainframe, node, plan
from ...processes import free_port, start
from ...security.starved import BOUND, Starved
from ...waits import until_files

pytestmark = pytest.mark.timeout(180)

PLAN = plan(node("n"))


async def ended(peer: Peer, *ids: str) -> None:
    """Run sessions to their end."""
    for id in ids:
        assert (await peer.ask("start", session_id=id, plan=PLAN, title=f"title of {id}"))["error"] is None
        assert (await peer.ask("cancel", session_id=id))["error"] is None
        await peer.say("read", id=1, session_id=id, offset=-1)
        assert (await peer.until("page"))["error"] is None


@asynccontextmanager
async def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Host, Peer]]:
    """Serve a mainframe that keeps two rows of ended sessions in memory."""
    monkeypatch.setattr(sessions_module, "_RECENT", 2)
    async with mainframe(tmp_path, Settings(no_executor_timeout=1000)) as host:
        peer = host.peer()
        await peer.hello(f"peer-{secrets.token_hex(4)}")
        yield host, peer


async def listed(peer: Peer, **how: Any) -> list[str]:
    answer = (await peer.ask("sessions", **how))["result"]
    return [row["session_id"] for row in answer["sessions"]]


async def test_sessions_that_have_ended_are_listed_and_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"s{n}" for n in range(10)]
    async with forgetful(tmp_path, monkeypatch) as (host, peer):
        await ended(peer, *ids)
        assert (await peer.ask("start", session_id="runs", plan=PLAN))["error"] is None
        sessions = host.server.sessions
        assert (list(sessions.rows), len(sessions._recent)) == (["runs"], 2)
        assert sorted(await listed(peer)) == sorted([*ids, "runs"])
        assert await listed(peer, state="running") == ["runs"]
        assert len(await listed(peer, state="cancelled")) == 10
        assert await listed(peer, prefix="s7") == ["s7"]
        # Page by page, each behind the last one of the one before.
        seen: list[str] = []
        before = None
        while page := (await peer.ask("sessions", limit=3, before=before))["result"]["sessions"]:
            seen += [row["session_id"] for row in page]
            before = [page[-1]["created_at"], page[-1]["session_id"]]
        assert seen == await listed(peer)
        row = (await peer.ask("session", session_id="s0"))["result"]
        assert (row["state"], row["title"], row["progress"]) == ("cancelled", "title of s0", None)
        assert [each["type"] for each in await peer.rows("s0")][-1] == "SessionFinished"
        info = (await peer.ask("info"))["result"]
        assert info["sessions"] == {"known": 11, "running": 1}
        total = sum(
            [(await peer.ask("session", session_id=id))["result"]["bytes"] for id in (*ids, "runs")],
        )
        assert info["journal"]["session_bytes"] == total


async def test_the_id_of_a_session_that_has_ended_starts_no_other_one_and_its_cancel_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with forgetful(tmp_path, monkeypatch) as (host, peer):
        await ended(peer, "a", "b", "c", "d")
        assert host.server.sessions.row("a") is None
        again = await peer.ask("start", session_id="a", plan=PLAN)
        assert (again["error"], again["result"]) == (None, {"session_id": "a"})
        assert (await peer.ask("session", session_id="a"))["result"]["state"] == "cancelled"
        assert (await peer.ask("cancel", session_id="b"))["error"] is None
        assert (await peer.ask("cancel", session_id="never"))["error"]["code"] == "unknown_session"
        assert host.server.sessions.running == {}


async def test_figures_are_right_after_a_restart_and_a_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with forgetful(tmp_path, monkeypatch) as (_, peer):
        await ended(peer, *(f"s{n}" for n in range(6)))
        before = (await peer.ask("info"))["result"]
    async with forgetful(tmp_path, monkeypatch) as (host, peer):
        after = (await peer.ask("info"))["result"]
        for name in ("sessions", "known"), ("journal", "session_bytes"):
            assert after[name[0]][name[1]] == before[name[0]][name[1]]
        assert host.server.sessions.ended_counts == {"cancelled": 6}
        pruned = (await peer.ask("prune", older_ms=None, keep=2))["result"]
        assert pruned["sessions"] == ["s0", "s1", "s2", "s3"]
        info = (await peer.ask("info"))["result"]
        assert info["sessions"]["known"] == 2
        assert info["journal"]["session_bytes"] == before["journal"]["session_bytes"] - pruned["bytes"]
        assert sorted(await listed(peer)) == ["s4", "s5"]
        await peer.say("read", id=9, session_id="s0", offset=0)
        assert (await peer.until("page"))["error"] == "no session 's0' here"
        # Its id is free again.
        await ended(peer, "s0")
        assert sorted(await listed(peer)) == ["s0", "s4", "s5"]


async def test_two_prunes_at_once_delete_each_session_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with forgetful(tmp_path, monkeypatch) as (host, peer):
        ids = [f"s{n:02}" for n in range(30)]
        await ended(peer, *ids)
        for number in (1, 2):
            await peer.say("request", id=f"p{number}", method="prune", params={"keep": 0})
        replies = [await peer.until("reply") for _ in range(2)]
        assert [reply["error"] for reply in replies] == [None, None]
        assert sorted(id for reply in replies for id in reply["result"]["sessions"]) == ids
        assert await listed(peer) == []
        assert host.server.sessions.ended_counts.total() == 0
        assert host.server.sessions.ended_bytes == 0


async def test_more_sessions_than_an_answer_names_are_pruned_by_asking_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncblock.server.rpc import operations

    monkeypatch.setattr(operations, "_PRUNE_PAGE", 3)
    monkeypatch.setattr(operations, "_MAX_PRUNED", 5)
    async with asyncblock.embedded(tmp_path, settings=Settings(no_executor_timeout=1000)) as mainframe:
        for n in range(14):
            session = await begin(mainframe, f"s{n:02}")
            await session.cancel()
            await session.wait()
        pruned = await mainframe.prune(keep=1)
        assert pruned.sessions == tuple(f"s{n:02}" for n in range(13))
        with pytest.raises(Rejected, match="no session 's00' here"):
            await mainframe.session("s00").wait()
        assert (await mainframe.session("s13").info()).state == "cancelled"


async def begin(mainframe: Mainframe, session_id: str) -> Session:
    await mainframe.link.request("start", {"session_id": session_id, "plan": PLAN}, id=session_id)
    return mainframe.session(session_id)


# ---------------------------------------------------------------------- memory and disk of a served mainframe


async def test_the_memory_of_sessions_that_have_ended_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions, jobs that never found an executor, rows, offsets, sums: of all of them a bounded number is left."""
    monkeypatch.setattr(jobqueues, "_TIDY", 10)
    async with forgetful(tmp_path, monkeypatch) as (host, peer):
        await ended(peer, *(f"s{n}" for n in range(150)))
        gc.collect()
        left = Counter(type(each) for each in gc.get_objects() if isinstance(each, (RunningSession, Job, SessionRow)))
        assert max(left.values()) <= 30, left
        journal = host.server.journal
        assert isinstance(journal, SqliteJournal)
        assert journal._write_checks._next == {}
        assert len(journal._write_checks._over.to_json()) == 1
        assert journal._writer._totals.known == {}
        assert len(await listed(peer, limit=1000)) == 150


@asynccontextmanager
async def serving(state: Path, place: Path) -> AsyncIterator[tuple[Mainframe, str]]:
    port = free_port()
    arguments = ("--port", str(port), "--data-dir", place, "--no-executor-timeout", "1000")
    async with start("serve", *arguments, state=state) as server:
        await server.until_line("mainframe at", err=True)
        url, token = f"ws://127.0.0.1:{port}", (place / "token").read_text().strip()
        async with connect(url, token) as mainframe:
            yield mainframe, url


def token_of(tmp_path: Path) -> str:
    return (tmp_path / "data" / "token").read_text().strip()


async def test_a_prune_gives_the_disk_back_and_holds_nobody_up(tmp_path: Path) -> None:
    source = """
    async def main(inputs, ctx):
        for _ in range(300):
            await ctx.output("x" * 60_000, "out")
    """
    flow = one_block(tmp_path / "f", source)
    place = tmp_path / "data"
    async with AsyncExitStack() as stack:
        mainframe, url = await stack.enter_async_context(serving(tmp_path, place))
        reach = {"ASYNCBLOCK_URL": url, "ASYNCBLOCK_TOKEN": token_of(tmp_path)}
        executor = await stack.enter_async_context(
            start("executor", "--package", tmp_path / "f", state=tmp_path, **reach)
        )
        await executor.until_line("executor for", err=True)
        for _ in range(3):
            assert (await (await mainframe.start(flow)).wait()).state == "succeeded"

        def files() -> int:
            return sum((place / name).stat().st_size for name in ("journal.db", "journal.db-wal"))

        assert files() > 50 << 20
        pruning = asyncio.create_task(mainframe.prune(keep=0))
        waits = []
        number = 0
        # What the machine ran besides doesn't count.
        server = holder(place)
        assert server is not None
        starved = Starved(server)
        while not pruning.done():
            waited = starved.watch(time.monotonic)
            await begin(mainframe, f"beside{number}")
            waits.append(waited())
            number += 1
        assert (await pruning).bytes > 50 << 20
        assert max(waits) < BOUND
        await until_files(place, lambda: files() <= 3 << 20)
