"""How a dispatch gets to its executor, whatever its inputs and its connection are."""

from __future__ import annotations

from pathlib import Path

from asyncblock.server.settings import Settings

from ...peers import mainframe, node, plan

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


async def test_after_each_welcome_what_is_assigned_is_dispatched_again_as_it_was(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=60)) as host:
        peer = host.peer()
        token = (await peer.hello("executor", slots=1))["token"]
        await peer.ask("start", session_id="s", plan=plan(node("a", {"v": {"sources": [], "value": 7}})))
        first = await peer.until("dispatch")
        await peer.transport.close()
        again = host.peer()
        await again.hello("executor", slots=1, generation=2, token=token)
        second = await again.until("dispatch")
        assert second == first
        await again.batch(1, second["channel"], STARTED, FINISHED)
        assert (await again.rows("s"))[-1]["state"] == "succeeded"
