"""Executor processes that die: whoever takes their place tells of it, and of those whose successors couldn't."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import asyncblock
from asyncblock import events
from asyncblock.childprocesses.workers import Workers
from asyncblock.server import MainframeServer
from asyncblock.testing import FaultProxy

from ..flows import node, until, write_flow
from ..processes import all_ended, free_port, start

FOR_EVER_AT_FIRST = """
    import asyncio

    async def main(inputs, ctx):
        if ctx.attempt == 1:
            await asyncio.sleep(3600)
        return {"out": ctx.attempt}
    """


async def test_a_successor_that_dies_before_its_welcome_leaves_its_news_to_the_next(tmp_path: Path) -> None:
    """Otherwise the lease would run for its two minutes, and anew each time that the mainframe begins again."""
    first = node("n", FOR_EVER_AT_FIRST, tmp_path / "f")
    first["task"]["retries"] = {"retries": 1, "backoff": 0.01}
    outputs = [{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    flow = write_flow(tmp_path / "f", [first], outputs_from=outputs)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(tmp_path / "data"))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", int(url.rpartition(":")[2])))
        through = f"ws://127.0.0.1:{proxy.port}"
        workers = await stack.enter_async_context(Workers(through, server.token, 1, [flow.parent]))
        mainframe = await stack.enter_async_context(asyncblock.connect(url, server.token))
        session = await mainframe.start(flow)
        await until(session, events.BlockStarted)
        proxy.stall_new()
        accepted = proxy.accepted
        kill(workers)
        await proxy.until_accepted(accepted + 1)
        kill(workers)
        proxy.stall_new(False)
        async with asyncio.timeout(30):
            assert await session.outputs() == {"out": 2}


def kill(workers: Workers) -> None:
    [pid] = workers.pids()
    os.kill(pid, signal.SIGKILL)


async def test_a_child_whose_parent_was_killed_leaves_in_order(tmp_path: Path) -> None:
    async with start("serve", "--port", str(free_port()), state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        async with start("executor", state=tmp_path) as executor:
            await executor.until_line("executor for", err=True)
            while len(executor.family()) < 2:  # noqa: ASYNC110  # processes tell nobody of it
                await asyncio.sleep(0.01)
            children = [pid for pid in executor.family() if pid != executor.process.pid]
            executor.kill(signal.SIGKILL)
            await all_ended(children)
            await executor.wait()
    assert not [line for line in executor.err if "Error" in line]
