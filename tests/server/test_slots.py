"""Slots: sync jobs go where threads are free, and one that waits for others doesn't keep them out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncblock
from asyncblock import Context, SyncContext
from asyncblock.flow.plan import InputPlan, NodePlan, Source

from ..engine.blocks import OUT, X, double_sync, entry, plan_of, subflow
from ..flows import handle_def, node, write_flow
from ..processes import free_port, start

MEET = """
    import os
    import time

    def main(inputs, ctx):
        # All four must run at once, or none ends.
        place = inputs["place"]
        open(os.path.join(place, f"{inputs['v']}-{os.getpid()}"), "w").close()
        until = time.monotonic() + 30
        while len(os.listdir(place)) < 4:
            if time.monotonic() > until:
                raise TimeoutError(f"only {os.listdir(place)} came")
            time.sleep(0.02)
        return {"out": os.getpid()}
    """


async def test_sync_jobs_go_to_the_executor_with_free_threads(tmp_path: Path) -> None:
    directory, place = tmp_path / "f", tmp_path / "place"
    place.mkdir()
    feed = node(
        "feed", "async def main(inputs, ctx):\n    for i in range(4):\n        await ctx.output(i, 'out')\n", directory
    )
    meet = node(
        "meet",
        MEET,
        directory,
        inputs=[handle_def("v"), handle_def("place")],
        inputs_from=[
            {"handle": "v", "from_node": [{"node_id": "feed", "output_handle": "out"}]},
            {"handle": "place", "value": str(place)},
        ],
        concurrency=4,
    )
    flow = write_flow(directory, [feed, meet])
    data, port = tmp_path / "data", str(free_port())
    common = ("executor", "--data-dir", data, "--package", directory, "--sync-slots")
    async with start("serve", "--data-dir", data, "--port", port, state=tmp_path) as serve:
        await serve.until_line("mainframe at", err=True)
        async with start(*common, "1", state=tmp_path) as one, start(*common, "3", state=tmp_path) as three:
            await one.until_line("executor for", err=True)
            await three.until_line("executor for", err=True)
            async with start("submit", flow, "--data-dir", data, "--json", state=tmp_path) as submit:
                assert await submit.wait() == 0
            for executor in (one, three):
                executor.kill(signal.SIGTERM)
                await executor.wait()
    pids = [path.name.split("-")[1] for path in place.iterdir()]
    assert sorted(pids.count(pid) for pid in set(pids)) in ([1, 3], [4])


@asyncblock.block(name="asks_and_waits", inputs=X, outputs=OUT)
def asks_and_waits(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return dict(ctx.run_block("self::inner", inputs=inputs).result())


@asyncblock.block(name="fills_the_threads", inputs=[], outputs=OUT)
async def fills_the_threads(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    jobs = [await ctx.run_block("self::asks_and_waits", inputs={"x": n}) for n in range(4 * (os.cpu_count() or 1))]
    return {"out": [found["out"] for found in await asyncio.gather(*jobs)]}


async def test_threads_that_wait_for_sync_blocks_leave_their_places_to_those() -> None:
    leaf = NodePlan("leaf", "task", entry(double_sync).block, {"x": InputPlan((Source(None, "x"),))})
    plan = plan_of(fills_the_threads, asks_and_waits)
    plan = subflow(plan, "inner", [leaf], {"out": [Source("leaf", "out")]})
    async with asyncblock.embedded() as mainframe, asyncio.timeout(20):
        outputs = await (await mainframe.start(plan)).outputs()
    assert outputs["out"] == [2 * n for n in range(4 * (os.cpu_count() or 1))]
