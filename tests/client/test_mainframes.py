"""A handle on a mainframe: what it lists, tells and deletes, and what it says when it can't."""

from __future__ import annotations

from pathlib import Path

import pytest

import asyncblock
from asyncblock.errors import Closed, FlowFailed, LocalProtocolError, Rejected

from ..flows import one_block

PRINTS = """
async def main(inputs, ctx):
    print("hello")
"""


async def test_a_handle_that_is_used_afterwards_says_that_it_is_closed(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(one_block(tmp_path, PRINTS))
        await session.wait()
    with pytest.raises(Closed):
        await mainframe.sessions()
    with pytest.raises(Closed):
        await session.wait()


async def test_sessions_are_listed_newest_first_and_by_state(tmp_path: Path) -> None:
    good = one_block(tmp_path / "g", "def main(inputs, ctx): ...\n")
    bad = one_block(tmp_path / "b", "def main(inputs, ctx):\n    raise ValueError('no')\n")
    async with asyncblock.embedded() as mainframe:
        ids = []
        for path in (good, bad, good):
            session = await mainframe.start(path, title=f"of {path.parent.name}")
            await session.wait()
            ids.append(session.session_id)
        listed = await mainframe.sessions()
        assert [info.session_id for info in listed] == ids[::-1]
        assert [info.session_id for info in await mainframe.sessions(state="failed")] == [ids[1]]
        assert [info.session_id for info in await mainframe.sessions(limit=1)] == [ids[2]]
        assert (listed[1].title, listed[1].state, "no" in str(listed[1].error)) == ("of b", "failed", True)
        with pytest.raises(FlowFailed, match="no"):
            await mainframe.session(ids[1]).outputs()
        with pytest.raises(Rejected, match="no session 'unknown'"):
            await mainframe.session("unknown").wait()


async def test_prune_and_info_of_a_handle(tmp_path: Path) -> None:
    path = one_block(tmp_path, "def main(inputs, ctx): ...\n")
    async with asyncblock.embedded() as mainframe:
        sessions = [await mainframe.start(path) for _ in range(3)]
        for session in sessions:
            await session.wait()
        info = await mainframe.info()
        assert (info["sessions"]["known"], info["roles"]) == (3, ["client", "executor", "observer"])
        with pytest.raises(LocalProtocolError, match="older=SECONDS"):
            await mainframe.prune()
        assert (await mainframe.prune(older=3600)).sessions == ()
        pruned = await mainframe.prune(older=0, keep=2)
        assert pruned.sessions == (sessions[0].session_id,)
        assert pruned.bytes > 0
        assert len(await mainframe.sessions()) == 2
        with pytest.raises(Rejected, match="no session"):
            await sessions[0].wait()
        with pytest.raises(Rejected, match="must be a number from 0"):
            await mainframe.prune(keep=-1)


async def test_connect_without_an_address_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCBLOCK_URL", raising=False)
    with pytest.raises(LocalProtocolError, match="ASYNCBLOCK_URL"):
        async with asyncblock.connect():
            pass
