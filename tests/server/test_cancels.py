"""A cancel is sent at once and a dispatch when it is in the journal: the executor hears of it whichever comes first."""

from __future__ import annotations

from pathlib import Path

from ..peers import mainframe, node, plan


async def test_a_cancel_that_overtakes_its_dispatch_is_said_again_behind_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path / "data") as host:
        peer = host.peer()
        await peer.hello(slots=1)
        sessions = host.server.sessions
        started = sessions.turn()
        sessions.start(started, "s", plan(node("a")), {}, "t")
        started.commit()
        cancelled = sessions.turn()
        sessions.cancel(cancelled, "s", "enough")
        cancelled.commit()
        # It was for a job that nobody knew.
        early = await peer.until("cancel", "dispatch")
        assert early["op"] == "cancel"
        dispatched = await peer.until("cancel", "dispatch")
        assert (dispatched["op"], dispatched["job_id"]) == ("dispatch", early["job_id"])
        assert await peer.until("cancel") == early
        await peer.batch(1, dispatched["channel"], {"type": "BlockFinished", "cancelled": True, "t": 1})
        assert (await peer.rows("s"))[-1]["state"] == "cancelled"
