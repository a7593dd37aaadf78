"""What a page lets go on does so in a process of its own, as ``resume`` and ``retry`` in a terminal."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from asyncblock.server.journal.datadir import holder
from asyncblock.server.journal.peek import peek_sessions

from ..processes import start
from .test_paging import address_of, into, state_of, waits

pytestmark = pytest.mark.timeout(180)  # several commands, each of which has to start


async def test_a_killed_run_is_gone_on_with_and_retried_from_the_page(tmp_path: Path) -> None:
    """As ``resume`` and ``retry`` do, in processes that outlive the page."""
    async with start("run", waits(tmp_path), state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        running.kill(signal.SIGKILL)
        await running.process.wait()
    [directory] = (tmp_path / "asyncblock" / "runs").iterdir()
    try:
        async with start("page", session_id, "--no-browser", state=tmp_path) as page:
            async with into(await address_of(page)) as client:
                own = {"origin": str(client.base_url).rstrip("/")}
                of = f"api/sessions/{session_id}"
                await state_of(client, session_id, "interrupted")
                # What it runs goes on at once, and its first job fails: nobody knows how far that had come.
                answer = await client.post(f"{of}/resume", headers=own)
                assert answer.status_code == 200, answer.text
                found = await state_of(client, session_id, "failed")
                assert found["session"]["error"]
                assert (await client.post(f"{of}/resume", headers=own)).status_code == 409

                runs = {"kept": [], "again": {"n": "it hadn't finished"}}
                assert (await client.get(f"{of}/retry")).json() == runs
                answer = await client.post(f"{of}/retry", headers=own)
                assert answer.status_code == 200, answer.text
                retried = answer.json()["session"]
                assert retried != session_id
                await state_of(client, retried, "running")
                refused = await client.post(f"{of}/retry", headers=own)
                assert refused.status_code == 404 and "in use" in refused.json()["error"], refused.text
        # The page has ended, and what it has begun goes on.
        assert [each.state for each in peek_sessions(directory) if each.session_id == retried] == ["running"]
    finally:
        (tmp_path / "end").touch()
    async with asyncio.timeout(60):
        while holder(directory) is not None:  # noqa: ASYNC110  # it is nobody's child
            await asyncio.sleep(0.05)
    assert {each.session_id: each.state for each in peek_sessions(directory)} == {
        session_id: "failed",
        retried: "succeeded",
    }
