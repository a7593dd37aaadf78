"""Kill -9 of either side: what was acknowledged is there once, jobs that finished don't run again, waiters go on."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from ...flows import handle_def, node, write_flow
from ...processes import free_port, start

COUNT = 40


def counting_flow(directory: Path, *, retries: int = 0) -> Path:
    """A slow producer of numbers, and a consumer that runs once for each of them."""
    slow = node(
        "slow",
        f"""
        import asyncio
        import os

        async def main(inputs, ctx):
            with open(os.path.join(os.path.dirname(__file__), "..", "ran"), "a") as ran:
                ran.write(str(ctx.attempt))
            for i in range({COUNT}):
                await ctx.output(i, "out")
                await ctx.flush()
                print(i)
                await asyncio.sleep(0.05)
        """,
        directory,
    )
    slow["task"]["retries"] = {"retries": retries, "backoff": 0.1}
    after = node(
        "after",
        "async def main(inputs, ctx):\n    return {'out': inputs['v'] * 10}\n",
        directory,
        inputs=[handle_def("v")],
        inputs_from=[{"handle": "v", "from_node": [{"node_id": "slow", "output_handle": "out"}]}],
        concurrency=3,
    )
    outputs = [{"handle": "last", "from_node": [{"node_id": "after", "output_handle": "out"}]}]
    return write_flow(directory, [slow, after], outputs_from=outputs)


def numbers(found: list[dict[str, Any]], attempt: int | None = None) -> list[int]:
    return [
        event["output"]
        for event in found
        if event["type"] == "BlockOutput"
        and event["node_id"] == "slow"
        and (attempt is None or event["attempt"] == attempt)
    ]


def consumed(found: list[dict[str, Any]]) -> list[int]:
    """Return what the consumer made of each value that it was given."""
    ended = [event for event in found if event["type"] == "BlockFinished" and event["node_id"] == "after"]
    return sorted(event["result"]["out"] for event in ended)


async def test_a_killed_mainframe_comes_back_and_everything_goes_on(tmp_path: Path) -> None:
    flow, data, port = counting_flow(tmp_path / "f"), tmp_path / "data", str(free_port())
    serve = ("serve", "--data-dir", data, "--port", port)
    async with start(*serve, state=tmp_path) as first:
        await first.until_line("mainframe at", err=True)
        async with (
            start("executor", "--data-dir", data, "--package", flow.parent, state=tmp_path) as executor,
            start("submit", flow, "--data-dir", data, "--json", state=tmp_path) as submit,
            AsyncExitStack() as stack,
        ):
            started = await submit.until_line("SessionStarted")
            session_id = orjson.loads(started)["session_id"]
            watch = await stack.enter_async_context(
                start("watch", session_id, "--data-dir", data, "--json", state=tmp_path)
            )
            await submit.until_line('"output":10')
            await watch.until_line('"output":10')
            first.kill()
            await first.wait()
            async with start(*serve, state=tmp_path) as second:
                assert await submit.wait() == 0
                assert await watch.wait() == 0
                # The link of the command itself may be back later than that of the process which runs the blocks.
                await executor.until_line("is back after", err=True)
                executor.kill(signal.SIGTERM)
                assert await executor.wait() == 0
                assert second.process.returncode is None
    found = submit.events()
    assert watch.events() == found
    assert numbers(found) == list(range(COUNT))
    assert consumed(found) == [10 * i for i in range(COUNT)]
    assert found[-1]["outputs"] == {"last": 10 * (COUNT - 1)}
    assert (tmp_path / "ran").read_text() == "1"
    assert executor.out[-1].startswith(f"{COUNT + 1} jobs finished, 0 failed")
    offsets = [event["offset"] for event in found]
    assert offsets == sorted(offsets)
    for side in (executor, submit):
        # Once for the outage, and not for each attempt to end it.
        told = [words for line in side.err for words in ("is lost,", "is back after") if words in line]
        # A cut that the next attempt mends is no outage; the executor's was told above.
        assert told == ["is lost,", "is back after"] or (side is submit and told == [])


async def test_a_killed_executor_fails_its_job_with_that_reason(tmp_path: Path) -> None:
    flow = counting_flow(tmp_path / "f")
    found = await run_and_kill(tmp_path, flow)
    end = found[-1]
    assert end["state"] == "failed"
    assert "node slow" in end["error"]
    assert "killed by SIGKILL" in end["error"]


async def test_with_retries_a_second_attempt_runs_and_each_value_goes_downstream_once(tmp_path: Path) -> None:
    flow = counting_flow(tmp_path / "f", retries=1)
    found = await run_and_kill(tmp_path, flow)
    assert found[-1]["state"] == "succeeded"
    assert (tmp_path / "ran").read_text() == "12"
    assert 10 <= len(numbers(found, 1)) < COUNT
    assert numbers(found, 2) == list(range(COUNT))
    assert consumed(found) == [10 * i for i in range(COUNT)]
    assert Counter(event["type"] for event in found)["SessionFinished"] == 1


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def run_and_kill(tmp_path: Path, flow: Path) -> list[dict[str, Any]]:
    """Run a flow and kill its executor process when ten outputs were seen."""
    async with start("run", flow, "--json", state=tmp_path) as run:
        await run.until_line('"output":10')
        for child in children_of(run.process.pid):
            os.kill(child, signal.SIGKILL)
        await run.wait()
        return run.events()
