"""Retries: policy, pauses, and outputs that come from exactly one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.client import resolve_flow
from asyncblock.errors import FlowFailed, InvalidFlow
from asyncblock.server.settings import Settings

from ...flows import all_of, end_of, handle_def, node, one_block, run_flow, until, write_flow

FAILS_ONCE = """
    async def main(inputs, ctx):
        await ctx.output(ctx.attempt, "out")
        if ctx.attempt == 1:
            raise ValueError("not yet")
    """


def retrying(directory: Path, retries: object, source: str = FAILS_ONCE) -> Path:
    """Write a flow whose first node fails at first, and whose second makes a list of what it is given."""
    first = node("first", source, directory)
    first["task"]["retries"] = retries
    second = node(
        "second",
        "async def main(inputs, ctx):\n    return {'out': inputs['v']}\n",
        directory,
        inputs=[handle_def("v")],
        inputs_from=[{"handle": "v", "from_node": [{"node_id": "first", "output_handle": "out"}]}],
    )
    outputs = [{"handle": "last", "from_node": [{"node_id": "second", "output_handle": "out"}]}]
    return write_flow(directory, [first, second], outputs_from=outputs)


def taken(found: Sequence[events.Event]) -> list[Any]:
    """Return what the second node was given, run by run."""
    return [event.result["out"] for event in all_of(found, events.BlockFinished) if event.node_id == "second"]


@pytest.mark.parametrize(
    "retries", [1, {"backoff": 0.01}, {"retries": 3, "backoff": 0.01, "not_retried": ["KeyError"]}]
)
async def test_each_downstream_input_comes_from_the_attempt_that_finished(tmp_path: Path, retries: object) -> None:
    found = await run_flow(retrying(tmp_path, retries))
    assert taken(found) == [2]
    assert [event.output for event in all_of(found, events.BlockOutput) if event.node_id == "first"] == [1, 2]
    [again] = all_of(found, events.JobRetrying)
    assert (again.attempt, again.node_id) == (1, "first")
    assert "not yet" in again.error
    assert end_of(found).outputs == {"last": 2}


async def test_with_release_stream_outputs_of_a_failed_attempt_have_gone_downstream(tmp_path: Path) -> None:
    found = await run_flow(retrying(tmp_path, {"backoff": 0.01, "release": "stream"}))
    assert taken(found) == [1, 2]


async def test_errors_that_are_not_retried_end_the_job_at_once(tmp_path: Path) -> None:
    found = await run_flow(retrying(tmp_path, {"retries": 3, "not_retried": ["ValueError"]}))
    assert all_of(found, events.JobRetrying) == []
    assert end_of(found).state == "failed"


async def test_the_last_attempt_s_error_is_the_job_s(tmp_path: Path) -> None:
    source = "async def main(inputs, ctx):\n    raise ValueError(f'attempt {ctx.attempt}')\n"
    found = await run_flow(retrying(tmp_path, {"retries": 2, "backoff": 0.01}, source))
    assert [event.pause for event in all_of(found, events.JobRetrying)] == [0.01, 0.02]
    assert "attempt 3" in str(end_of(found).error)


async def test_a_block_in_code_has_the_policy_of_its_decorator() -> None:
    attempts = []

    @asyncblock.block(retries=2, backoff=0.01, not_retried=[KeyError])
    async def flaky(inputs: Mapping[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("not yet")
        raise KeyError("never")

    flow = asyncblock.Flow("code")
    flow.node(flaky, {})
    async with asyncblock.embedded() as mainframe:
        with pytest.raises(FlowFailed, match="never"):
            await (await mainframe.start(flow)).outputs()
    assert attempts == [1, 2]


def test_how_outputs_are_released_is_said_where_it_is_not_usual() -> None:
    @asyncblock.block(retries=1, release="stream")
    async def streams(inputs: Mapping[str, Any], ctx: asyncblock.Context) -> None: ...

    assert streams.retries == {"retries": 1, "backoff": 1.0, "not_retried": [], "release": "stream"}


@pytest.mark.parametrize(
    ("retries", "words"),
    [
        ("often", "a whole number"),
        (-1, "a whole number"),
        ({"retries": 1.5}, "a whole number"),
        ({"backof": 1}, "'backof'"),
        ({"backoff": -1}, "seconds"),
        ({"not_retried": "ValueError"}, "list of names"),
        ({"release": "never"}, "'finish'"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_with_file_and_line(
    tmp_path: Path, retries: object, words: str
) -> None:
    with pytest.raises(InvalidFlow, match=words) as caught:
        resolve_flow(retrying(tmp_path, retries), None, ())
    assert "flow.oo.yaml:" in str(caught.value)


async def test_the_pause_before_a_retry_outlives_the_mainframe(tmp_path: Path) -> None:
    flow = retrying(tmp_path / "f", {"retries": 1, "backoff": 3.0})
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        session = await mainframe.start(flow)
        waiting = await until(session, events.JobRetrying)
        session_id = session.session_id
    async with asyncblock.embedded(tmp_path / "data", packages=[flow.parent]) as mainframe:
        session = mainframe.session(session_id)
        assert await session.outputs() == {"last": 2}
        found = [event async for event in session]
    [second] = [event for event in all_of(found, events.JobAssigned) if event.node_id == "first" and event.attempt == 2]
    assert second.t >= waiting.at - 50
    assert taken(found) == [2]


async def test_a_job_that_its_executor_never_began_is_handed_out_again_without_a_retry(tmp_path: Path) -> None:
    # Imports come before JobStarted: the process dies in one.
    source = f"""
        import os
        import signal

        mark = {str(tmp_path / "mark")!r}
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

        async def main(inputs, ctx):
            return {{"out": ctx.attempt}}
        """
    found = await run_flow(one_block(tmp_path / "f", source), workers=1)
    assert end_of(found).outputs == {"out": 2}
    [released] = all_of(found, events.JobReleased)
    assert "killed by SIGKILL" in released.reason
    assert all_of(found, events.JobFailed) == []


async def test_the_clock_of_a_timeout_runs_on_while_the_mainframe_is_away(tmp_path: Path) -> None:
    source = "import asyncio\n\nasync def main(inputs, ctx):\n    await asyncio.sleep(3600)\n"
    slow = node("slow", source, tmp_path / "f", timeout=1.0)
    slow["task"]["retries"] = {"retries": 5, "backoff": 0.01}
    flow = write_flow(tmp_path / "f", [slow])
    settings = Settings(heartbeat=0.1)
    async with asyncblock.embedded(tmp_path / "data", settings=settings) as mainframe:
        session = await mainframe.start(flow)
        created = await until(session, events.JobCreated)
        await until(session, events.BlockStarted)
        session_id = session.session_id
    async with asyncblock.embedded(tmp_path / "data", packages=[flow.parent], settings=settings) as mainframe:
        async with asyncio.timeout(10):
            end = await mainframe.session(session_id).wait()
    assert end.state == "failed"
    assert "Timeout" in str(end.error)
    assert end.t - created.t < 1900


async def test_a_timeout_lets_the_block_clean_up_and_counts_a_finish_in_time(tmp_path: Path) -> None:
    source = """
        import asyncio

        async def main(inputs, ctx):
            try:
                await asyncio.sleep(3600)
            finally:
                await ctx.output("cleaned up", "out")
                await ctx.flush()
        """
    found = await run_flow(write_flow(tmp_path, [node("slow", source, tmp_path, timeout=0.2)]))
    [output] = all_of(found, events.BlockOutput)
    assert output.output == "cleaned up"
    assert all_of(found, events.LateRecords) == []
    assert all_of(found, events.BlockFinished)[-1].cancelled
    assert str(end_of(found).error).endswith("Timeout: node slow took longer than 0.2 s")
