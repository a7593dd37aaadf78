"""Coroutine functions written for ``oocana``: each attempt has an event loop of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ..flows import all_of, end_of, node, run_flow, started, until, write_flow
from .kit import run

pytest.importorskip("oocana", reason="needs the extra 'oocana'")


async def test_sends_of_coroutines_arrive_in_order_and_wait_for_room(tmp_path: Path) -> None:
    count, size = 2000, 20_000
    found = await run(
        tmp_path,
        f"""
        import asyncio
        from oocana import Context

        async def main(params, context: Context):
            for number in range({count}):
                context.output("out", [number, "x" * {size}])
        """,
    )
    assert [e.output[0] for e in all_of(found, events.BlockOutput)] == list(range(count))
    assert end_of(found).state == "succeeded"


async def test_one_that_waits_or_computes_in_its_loop_stalls_no_other(tmp_path: Path) -> None:
    busy = """
        import time
        from oocana import Context

        async def main(params, context: Context):
            # Until the other one has said its last: that can't be while this one holds a loop that they share.
            while not open(params["file"]).read():
                time.sleep(0.01)
            return {"out": 1}
    """
    free = """
        import asyncio

        async def main(inputs, ctx):
            for _ in range(20):
                await asyncio.sleep(0.01)
            with open(inputs["file"], "w") as file:
                file.write("done")
    """
    (tmp_path / "said").touch()
    given = {
        "inputs": [{"handle": "file"}],
        "inputs_from": [{"handle": "file", "value": str(tmp_path / "said")}],
    }
    flow = write_flow(tmp_path, [node("busy", busy, tmp_path, **given), node("free", free, tmp_path, **given)])
    found = await run_flow(flow, workers=1)
    assert end_of(found).state == "succeeded"
    assert all_of(found, events.BlockWarning) == []


async def test_many_async_blocks_wait_at_once(tmp_path: Path) -> None:
    source = """
        import asyncio
        from oocana import Context

        waiting = 0

        async def main(params, context: Context):
            global waiting
            waiting += 1
            # Each waits for all the others.
            while waiting < 30:
                await asyncio.sleep(0.01)
            return {"out": waiting}
    """
    feed = "def main(inputs, ctx):\n    for each in range(30):\n        ctx.output(each, 'out')\n"
    flow = write_flow(
        tmp_path,
        [
            node("feed", feed, tmp_path),
            node(
                "n",
                source,
                tmp_path,
                concurrency=-1,
                inputs=[{"handle": "each"}],
                inputs_from=[{"handle": "each", "from_node": [{"node_id": "feed", "output_handle": "out"}]}],
            ),
        ],
    )
    found = await run_flow(flow, workers=1)
    assert end_of(found).state == "succeeded"
    assert len([e for e in all_of(found, events.BlockFinished) if e.node_id == "n"]) == 30


async def test_keep_alive_leaves_the_job_to_tasks_and_threads_until_they_finish_it(tmp_path: Path) -> None:
    found = await run(
        tmp_path,
        """
        import asyncio
        import threading
        from oocana import Context

        kept = []

        async def later(context):
            await asyncio.sleep(0.05)
            print("from the task")
            threading.Thread(target=lambda: context.finish(result={"out": "later"})).start()

        async def main(params, context: Context):
            kept.append(asyncio.create_task(later(context)))
            return context.keepAlive
        """,
    )
    assert end_of(found).outputs == {"out": "later"}
    assert [e.log for e in all_of(found, events.BlockLog)] == ["from the task"]


async def test_a_job_ends_with_its_function_whatever_tasks_it_has_left(tmp_path: Path) -> None:
    found = await run(
        tmp_path,
        """
        import asyncio
        from oocana import Context

        kept = []

        async def for_ever(context):
            while True:
                await asyncio.sleep(0.01)
                context.output("out", "too late")

        async def main(params, context: Context):
            kept.append(asyncio.create_task(for_ever(context)))
            return {"out": "at once"}
        """,
    )
    assert end_of(found).outputs == {"out": "at once"}


@pytest.mark.parametrize("keep", [False, True])
async def test_a_cancel_reaches_a_coroutine_which_may_clean_up(tmp_path: Path, keep: bool) -> None:
    source = f"""
        import asyncio
        from oocana import Context

        kept = []

        async def work(context):
            try:
                context.output("out", "begun")
                await asyncio.Event().wait()
            finally:
                open({str(tmp_path / "cleaned")!r}, "w").close()

        async def main(params, context: Context):
            kept.append(asyncio.create_task(work(context)))
            if {keep}:
                return context.keepAlive
            await kept[0]
    """
    flow = write_flow(tmp_path, [node("n", source, tmp_path)])
    async with started(flow, workers=1) as session:
        await until(session, events.BlockOutput)
        await session.cancel()
        found = [event async for event in session]
        assert end_of(found).state == "cancelled"
    assert (tmp_path / "cleaned").exists()
