"""Cancellation: of blocks that clean up, that don't end, that hold a thread; nobody else is harmed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.link import JobSender
from asyncblock.server.settings import Settings

from ...flows import all_of, end_of, node, one_block, started, write_flow
from ...flows import until as until_event

QUICK = Settings(cancel_grace=0.3)


async def until(session: asyncblock.Session, words: str) -> None:
    """Wait until a block has logged some words."""
    async with asyncio.timeout(30):
        async for event in session:
            if isinstance(event, events.BlockLog) and words in event.log:
                return


async def test_a_sync_block_gets_an_exception_in_its_thread_and_its_job_is_cancelled(tmp_path: Path) -> None:
    source = """
        import time

        def main(inputs, ctx):
            print("here")
            try:
                while True:
                    time.sleep(0.01)
            finally:
                open(inputs["mark"], "w").close()
        """
    mark = tmp_path / "mark"
    inputs = [{"handle": "mark", "value": str(mark)}]
    flow = write_flow(tmp_path / "f", [node("loop", source, tmp_path / "f", inputs=inputs)])
    async with asyncblock.embedded(capture=True, settings=QUICK) as mainframe:
        session = await mainframe.start(flow)
        await until(session, "here")
        await session.cancel("enough")
        end = await session.wait()
        found = [event async for event in session]
    assert end.state == "cancelled"
    assert all_of(found, events.BlockFinished)[-1].cancelled
    assert mark.exists()


@pytest.mark.parametrize("form", ["async def", "def"])
async def test_a_cancel_that_comes_before_the_code_begins_keeps_it_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    # The executor is never told that JobStarted is on its way: its job stands where the cancel has to find it.
    monkeypatch.setattr(JobSender, "started", False)
    monkeypatch.setattr(JobSender, "when_started", lambda self, sent: None)
    source = f"""
        {form} main(inputs, ctx):
            open(inputs["mark"], "w").close()
        """
    mark = tmp_path / "mark"
    inputs = [{"handle": "mark", "value": str(mark)}]
    flow = write_flow(tmp_path / "f", [node("n", source, tmp_path / "f", inputs=inputs)])
    async with asyncblock.embedded() as mainframe, asyncio.timeout(5):
        session = await mainframe.start(flow)
        async for event in session:
            if isinstance(event, events.BlockStarted):
                break
        await session.cancel("too early")
        assert (await session.wait()).state == "cancelled"
    assert not mark.exists()


async def test_an_async_block_that_does_not_end_is_left_behind_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
        import asyncio

        async def main(inputs, ctx):
            ctx.logger.info("here")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)
        """
    flow = write_flow(tmp_path / "f", [node("stubborn", source, tmp_path / "f")])
    async with asyncblock.embedded(settings=QUICK) as mainframe:
        session = await mainframe.start(flow)
        await until(session, "here")
        await session.cancel("enough")
        async with asyncio.timeout(10):
            end = await session.wait()
        found = [event async for event in session]
    assert end.state == "cancelled"
    assert all_of(found, events.BlockFinished)[-1].cancelled
    [said] = [record.getMessage() for record in caplog.records if "left behind" in record.getMessage()]
    assert "node stubborn" in said and "stubborn.py:" in said


async def test_a_thread_that_cannot_be_stopped_retires_its_process_and_harms_no_other_job(tmp_path: Path) -> None:
    stuck = """
        import os
        import threading
        import time

        def main(inputs, ctx):
            print("stuck in", os.getpid())
            # One long wait in C: an exception that is raised in the thread isn't seen before it ends.
            threading.Event().wait(3600)
        """
    other = """
        import asyncio
        import os

        async def main(inputs, ctx):
            print("other in", os.getpid())
            for number in range(200):
                await ctx.output(number, "out")
                await asyncio.sleep(0.01)
            return {"out": os.getpid()}
        """
    quick = "import os\n\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n"
    first = write_flow(tmp_path / "p" / "flows" / "stuck", [node("stuck", stuck, tmp_path / "p" / "flows" / "stuck")])
    outputs = [{"handle": "pid", "from_node": [{"node_id": "other", "output_handle": "out"}]}]
    place = tmp_path / "p" / "flows" / "other"
    second = write_flow(place, [node("other", other, place)], outputs_from=outputs)
    outputs = [{"handle": "pid", "from_node": [{"node_id": "quick", "output_handle": "out"}]}]
    place = tmp_path / "p" / "flows" / "quick"
    third = write_flow(place, [node("quick", quick, place)], outputs_from=outputs)
    (tmp_path / "p" / "package.oo.yaml").write_text("name: p\n")
    async with asyncblock.embedded(workers=1, packages=[tmp_path / "p"], settings=QUICK) as mainframe:
        session = await mainframe.start(first)
        await until(session, "stuck in")
        beside = await mainframe.start(second)
        await until(beside, "other in")
        await session.cancel("enough")
        assert (await session.wait()).state == "cancelled"
        async with asyncio.timeout(30):
            later = await (await mainframe.start(third)).outputs()
            assert (await beside.outputs())["pid"] != later["pid"]


async def test_one_job_can_be_cancelled_and_fails_its_flow_with_that_reason(tmp_path: Path) -> None:
    source = "import asyncio\n\nasync def main(inputs, ctx):\n    print('here')\n    await asyncio.sleep(3600)\n"
    flow = write_flow(tmp_path / "f", [node("wait", source, tmp_path / "f")])
    async with asyncblock.embedded(capture=True) as mainframe:
        session = await mainframe.start(flow)
        await until(session, "here")
        async for job in session:
            if isinstance(job, events.BlockStarted):
                break
        assert isinstance(job, events.BlockStarted)
        await mainframe.cancel_job(session.session_id, job.job_id, "not needed")
        end = await session.wait()
    assert end.state == "failed"
    assert end.error is not None and "not needed" in end.error


async def test_a_timeout_ends_the_job_with_that_word(tmp_path: Path) -> None:
    source = """
        import asyncio

        async def main(inputs, ctx):
            try:
                await asyncio.sleep(3600)
            finally:
                await ctx.output("cleaned up", "out")
        """
    flow = write_flow(tmp_path / "f", [node("slow", source, tmp_path / "f", timeout=0.3)])
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow)
        end = await session.wait()
    assert end.state == "failed"
    assert end.error is not None and "Timeout" in end.error and "slow" in end.error


async def test_cancelled_blocks_may_clean_up_and_still_send(tmp_path: Path) -> None:
    path = one_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            await ctx.output(1, "out")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await ctx.output(2, "out")
                raise
        """,
    )
    async with started(path) as session:
        await until_event(session, events.BlockOutput)
        await session.cancel("enough")
        found = [event async for event in session]
    assert [e.output for e in all_of(found, events.BlockOutput)] == [1, 2]
    [finished] = all_of(found, events.BlockFinished)
    assert finished.cancelled
    assert end_of(found).state == "cancelled"
    assert "enough" in str(end_of(found).error)


async def test_a_block_that_swallows_its_cancel_is_cancelled_all_the_same(tmp_path: Path) -> None:
    path = one_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            await ctx.output(1, "out")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return {"out": 2}
        """,
    )
    async with started(path) as session:
        await until_event(session, events.BlockOutput)
        await session.cancel()
        found = [event async for event in session]
    [finished] = all_of(found, events.BlockFinished)
    assert finished.cancelled
    assert end_of(found).state == "cancelled"
