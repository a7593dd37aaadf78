"""The end of a session: it comes in steps, however many jobs there are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ...peers import mainframe, node, plan


async def test_jobs_that_run_are_cancelled_in_steps_before_those_that_wait_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.livesessions.sessionend._DROPPED", 2)
    waits = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    async with mainframe(tmp_path) as host:
        worker = host.peer()
        await worker.hello("worker", slots=200)
        await worker.ask("start", session_id="s", plan=plan(node("a"), waits))
        session = host.server.sessions.running["s"]
        channel = (await worker.until("dispatch"))["channel"]
        output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, *[{**output, "output": n} for n in range(300)])
        running = [await worker.until("dispatch") for _ in range(199)]
        while len(session.jobs) < 301:
            await worker.ask("info")
        steps = set()
        cancelled = asyncio.ensure_future(worker.ask("cancel", session_id="s", reason="enough"))
        while len(session.jobs) > 200:
            steps.add((sum(job.cancelling is not None for job in session.jobs.values()), len(session.jobs)))
            await asyncio.sleep(0)
        await cancelled
        assert {0, 2, 100, 198, 200} <= {said for said, _ in steps}
        assert {left for said, left in steps if said < 200} == {301}
        assert all(job.cancelling == "cancelled: enough" for job in session.jobs.values())
        for seq, each in enumerate([{"channel": channel}, *running], 2):
            await worker.batch(seq, each["channel"], {"type": "BlockFinished", "cancelled": True, "t": 1})
        rows = await worker.rows("s")
    assert rows[-1]["state"] == "cancelled"
