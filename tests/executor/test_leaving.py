"""Item 6: an executor leaves in a bounded time whatever the mainframe does, and says what wasn't acknowledged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.executor import Executor, attachment
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy

from ..flows import one_block, until
from ..waits import until_called

GATED = {
    "async": """
        import asyncio
        import os

        async def main(inputs, ctx):
            await ctx.output(0, "out")
            await ctx.flush()
            print("running", flush=True)
            while not os.path.exists(__file__ + ".gate"):
                await asyncio.sleep(0.01)
            for number in range(1, 10):
                await ctx.output(number, "out")
        """,
    "sync": """
        import os
        import time

        def main(inputs, ctx):
            ctx.output(0, "out")
            ctx.flush()
            while not os.path.exists(__file__ + ".gate"):
                time.sleep(0.01)
            for number in range(1, 10):
                ctx.output(number, "out")
        """,
}


@pytest.mark.parametrize("kind", GATED)
async def test_an_executor_whose_mainframe_is_away_leaves_and_counts_what_was_not_acknowledged(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachment, "_LEAVE_PATIENCE", 0.5)
    monkeypatch.setattr(attachment, "_LAST_ACKS", 0.2)
    flow = one_block(tmp_path / "f", GATED[kind])
    async with (
        asyncio.timeout(45),
        MainframeServer(tmp_path / "data", Settings(heartbeat=1000)) as server,
        server.listen("127.0.0.1", 0) as url,
        FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
        asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", server.token) as mainframe,
    ):
        host = Executor(packages=[flow.parent])
        async with host.attached(mainframe):
            session = await mainframe.start(flow)
            await until(session, events.BlockOutput)
            proxy.stall()
            (flow.parent / "n.py.gate").touch()
            sender = mainframe.link._link_sender
            await until_called(sender, "finish", lambda: sender.unacknowledged >= 10)
        # Nine outputs and the finish.
        assert str(host.report) == "0 jobs finished, 0 failed, 0 cancelled, 10 records unacknowledged"
