"""That executor processes leave: without a mainframe, while they start, when nobody is there to listen."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ..flows import node as block_node
from ..flows import one_block, write_flow
from ..processes import all_ended, appears, free_port, start

pytestmark = pytest.mark.timeout(120)

WAITS = """
import asyncio
import pathlib

async def main(inputs, ctx):
    (pathlib.Path(__file__).parent / "begun").touch()
    await ctx.output("x" * 100, "out")
    await ctx.flush()
    (pathlib.Path(__file__).parent / "flushed").touch()
    while not (pathlib.Path(__file__).parent / "enough").exists():
        await asyncio.sleep(0.01)
    return {"out": 1}
"""


async def test_an_executor_whose_mainframe_is_away_leaves_soon_after_its_grace(tmp_path: Path) -> None:
    """The block has returned, its finish waits for an acknowledgement that nobody gives."""
    flow = one_block(tmp_path / "f", WAITS)
    port = str(free_port())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(
            start("executor", "--package", tmp_path / "f", "--grace", "1", state=tmp_path)
        )
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--detach", state=tmp_path))
        await appears(tmp_path / "f" / "flushed")
        server.kill()
        await server.wait()
        (tmp_path / "f" / "enough").touch()
        # A second of grace, and another for the mainframe to come back. A block that goes on would have 15 to clean up.
        await executor.leaves(signal.SIGTERM, before=15)
        assert executor.process.returncode == 0
        assert await submit.wait() == 0


async def test_executors_that_still_start_end_with_the_run_that_was_killed(tmp_path: Path) -> None:
    """Whatever a child does, its parent's end is its own, and it holds nobody's standard error."""
    flow = write_flow(tmp_path / "f", [block_node(f"n{n}", WAITS, tmp_path / "f") for n in range(2)])
    async with start("run", flow, "--workers", "2", state=tmp_path) as run:
        async with asyncio.timeout(30):
            while len(run.family()) < 3:  # noqa: ASYNC110  # processes tell nobody of it
                await asyncio.sleep(0.001)
        run.kill()
        # Its standard error ends with the last child. Without their parent's end they would try to connect for 30 s.
        await run.leaves(before=28)


async def test_an_executor_that_has_no_mainframe_yet_leaves_at_once(tmp_path: Path) -> None:
    one_block(tmp_path / "f", WAITS)
    port = str(free_port())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "f", state=tmp_path))
        await executor.until_line("executor for", err=True)
        server.kill()
        await server.wait()
        # Its child is killed, and the next one finds no mainframe.
        [child] = [pid for pid in executor.family() if pid != executor.process.pid]
        os.kill(child, signal.SIGKILL)
        await all_ended([child])
        async with asyncio.timeout(30):
            while len(executor.family()) < 2:  # noqa: ASYNC110  # processes tell nobody of it
                await asyncio.sleep(0.01)
        # It would try for 30 s to connect, or have as long to end its jobs.
        await executor.leaves(signal.SIGTERM, before=25)
