"""Jobs that their blocks leave open (``ctx.keepAlive``) and finish later: then nothing of them is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import asyncblock

from ..flows import one_block
from ..processes import run

FINISHES = {
    "a task": """
        import asyncio

        async def main(inputs, ctx):
            async def later():
                await asyncio.sleep(0.05)
                await ctx.output(1, "out")
                await ctx.finish({"out": 2})
            ctx.later = asyncio.create_task(later())
            return ctx.keepAlive
        """,
    "a thread": """
        import threading, time

        def main(inputs, ctx):
            def later():
                time.sleep(0.05)
                ctx.output(1, "out")
                ctx.finish({"out": 2})
            threading.Thread(target=later).start()
            return ctx.keepAlive
        """,
    "itself": """
        async def main(inputs, ctx):
            await ctx.finish({"out": 2})
            return ctx.keepAlive
        """,
    "a callback": """
        import asyncio

        async def main(inputs, ctx):
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, lambda: asyncio.ensure_future(ctx.finish({"out": 2})))
            return ctx.keepAlive
        """,
}
FORMS = pytest.mark.parametrize("source", FINISHES.values(), ids=FINISHES.keys())


@FORMS
async def test_a_run_whose_block_finished_later_waits_for_no_job(tmp_path: Path, source: str) -> None:
    path = one_block(tmp_path / "f", source)
    done = await run("run", path, "--json", state=tmp_path)
    assert done.process.returncode == 0, done.err
    assert done.events()[-1]["outputs"] == {"out": 2}
    assert "still run after" not in "".join(done.err)


@FORMS
async def test_an_executor_lets_go_of_a_job_that_was_finished_later(tmp_path: Path, source: str) -> None:
    async with asyncblock.embedded() as mainframe:
        executor: Any = mainframe._local
        for _ in range(3):
            assert await (await mainframe.start(one_block(tmp_path, source))).outputs() == {"out": 2}
        # As long as it takes: the acknowledgement is on its way.
        async with asyncio.timeout(30):
            await executor.drain(None)
        assert executor.report.finished == 3


async def test_a_process_of_its_own_ends_with_a_job_that_was_finished_later(tmp_path: Path) -> None:
    path = one_block(tmp_path, FINISHES["a task"])
    path.write_text(path.read_text().replace("entry: n.py", "entry: n.py\n        spawn: true"))
    done = await run("run", path, "--json", state=tmp_path)
    assert done.process.returncode == 0, done.err
    assert done.events()[-1]["outputs"] == {"out": 2}
    assert "it is killed" not in "".join(done.err)
