"""Errors that can be found: by the exception that a caller gets, by the job's log, by the journal that is kept."""

from __future__ import annotations

import asyncio
import signal
import traceback
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock import BlockFailed, Context, FlowFailed, SyncContext, events
from asyncblock.inprocess.runs import find_run
from asyncblock.server.journal.peek import peek_sessions
from asyncblock.testing import run_block

from . import processes
from .flows import node, write_flow


@asyncblock.block
async def stumble(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    prices = {"a": 1}
    return {"out": prices[inputs["name"]]}  # the author's line


@asyncblock.block
def fine(inputs: dict[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return {"out": inputs}


def failing() -> asyncblock.Flow:
    flow = asyncblock.Flow("failing")
    flow.node(fine, {"x": 1}, node_id="fine")
    flow.node(stumble, {"name": "b"}, node_id="look up")
    return flow


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


# ---------------------------------------------------------------------- Flow.run, Session.outputs, Session.wait


async def test_a_failed_flow_names_the_node_shows_the_authors_line_and_keeps_the_journal() -> None:
    with pytest.raises(FlowFailed) as caught:
        await failing().run()
    failed = caught.value
    assert (failed.node_id, failed.state) == ("look up", "failed")
    assert isinstance(failed.__cause__, BlockFailed) and failed.__cause__.node_id == "look up"
    assert 'prices[inputs["name"]]}  # the author' in failed.__cause__.traceback
    text = printed(failed)
    assert "# the author's line" in text and "KeyError: 'b'" in text
    assert failed.journal is not None and f"is kept in {failed.journal}" in text
    [row] = peek_sessions(Path(failed.journal))
    assert (row.session_id, row.state) == (failed.session_id, "failed")
    # Among those of the command, so that they are listed and don't pile up.
    assert find_run(failed.session_id) == (Path(failed.journal), failed.session_id)


async def test_the_journal_of_a_flow_that_succeeds_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    flow = asyncblock.Flow("fine")
    flow.output("out", flow.node(fine, {"x": 1})["out"])
    assert await flow.run() == {"out": {"x": 1}}
    assert not list(tmp_path.glob("asyncblock-*"))


async def test_the_node_is_the_innermost_one_of_a_subflow_and_the_journal_where_it_was_asked_for(
    tmp_path: Path,
) -> None:
    flow = asyncblock.Flow("around")
    flow.node(failing(), node_id="outer")
    async with asyncblock.embedded(tmp_path) as mainframe:
        session = await mainframe.start(flow)
        with pytest.raises(FlowFailed, match="node outer: node look up: KeyError: 'b'") as caught:
            await session.outputs()
        assert (caught.value.node_id, caught.value.journal) == ("look up", str(tmp_path))
        assert "# the author's line" in printed(caught.value)
        end = await session.wait()
        assert end.failed is not None and end.failed.node_id == "look up"
        assert end.to_json()["failed"]["node_id"] == "look up"
        # Another failure that comes later, and one that another block has dealt with, aren't the flow's.
        [first] = [e async for e in session if isinstance(e, events.BlockFinished) and e.error]
        assert (first.job_id, first.offset) == (end.failed.job_id, end.failed.offset)


async def test_a_job_that_the_mainframe_has_ended_is_named_too() -> None:
    @asyncblock.block
    async def long(ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = asyncblock.Flow("slow")
    flow.node(long, node_id="long", timeout=0.1)
    with pytest.raises(FlowFailed, match="node long: ") as caught:
        await flow.run()
    assert caught.value.node_id == "long"


async def test_a_cancelled_session_blames_nobody() -> None:
    @asyncblock.block
    async def long(ctx: Context) -> None:
        await asyncio.Event().wait()

    flow = asyncblock.Flow("slow")
    flow.node(long)
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow)
        await session.cancel("no more")
        with pytest.raises(FlowFailed, match="no more") as caught:
            await session.outputs()
        assert (caught.value.node_id, caught.value.__cause__, caught.value.state) == (None, None, "cancelled")


# ---------------------------------------------------------------------- tests of blocks


async def test_a_block_in_a_test_raises_what_it_raised() -> None:
    class Own(Exception):
        pass

    async def main(inputs: dict[str, Any], ctx: Context) -> None:
        raise Own("with a story", 3)

    def main_sync(inputs: dict[str, Any], ctx: SyncContext) -> None:
        raise Own("with a story", 3)

    for each in (main, main_sync):
        with pytest.raises(Own, match="story") as caught:
            await run_block(each)
        assert caught.value.args == ("with a story", 3)
        assert "raise Own" in printed(caught.value)
        assert (await run_block(each, check=False)).error == "Own: ('with a story', 3)"


async def test_a_block_that_fails_without_an_exception_raises_in_a_test_too() -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> None:
        await ctx.done("no such row")

    async def wrong(inputs: dict[str, Any], ctx: Context) -> Any:
        return 5

    with pytest.raises(BlockFailed, match="no such row"):
        await run_block(main)
    with pytest.raises(BlockFailed, match="main returned int"):
        await run_block(wrong)


async def test_an_error_of_many_lines_says_that_there_are_more() -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> None:
        raise ValueError("first\nsecond\nthird")

    result = await run_block(main, check=False)
    assert result.error == "ValueError: first (and 2 more lines)"
    [finished] = [event for event in result.events if isinstance(event, events.BlockFinished)]
    assert finished.traceback is not None and "third" in finished.traceback


# ---------------------------------------------------------------------- what a block leaves behind, in real processes


async def ran(tmp_path: Path, source: str, **environment: str) -> tuple[list[dict[str, Any]], str]:
    """Run one block by the command; return its events and what stood on stderr."""
    flow = write_flow(tmp_path / "flow", [node("leaves", source, tmp_path / "flow")])
    command = await processes.run("run", flow, "--json", state=tmp_path / "state", **environment)
    return [orjson.loads(line) for line in command.out], "\n".join(command.err)


def logged(found: list[dict[str, Any]]) -> str:
    return "\n".join(f"{e['node_id']}: {e['log']}" for e in found if e["type"] == "BlockLog")


async def test_an_error_of_a_task_that_nobody_awaits_is_in_the_jobs_log(tmp_path: Path) -> None:
    source = """
        import asyncio
        async def helper(n):
            raise LookupError(f"nothing at {n}")
        async def main(inputs, ctx):
            kept = asyncio.create_task(helper(1))
            dropped = asyncio.create_task(helper(2))
            del dropped
            await asyncio.sleep(0.01)
            await ctx.output(1, "out")
    """
    found, _ = await ran(tmp_path, source)
    text = logged(found)
    for number in (1, 2):
        assert f"leaves: the task helper, which is never awaited, failed: LookupError: nothing at {number}" in text
    assert 'raise LookupError(f"nothing at' in text
    assert found[-1]["state"] == "succeeded"


async def test_an_error_that_the_block_has_dealt_with_is_told_nowhere(tmp_path: Path) -> None:
    source = """
        import asyncio
        async def helper():
            raise LookupError("expected")
        async def main(inputs, ctx):
            tasks = [asyncio.create_task(helper()) for _ in range(3)]
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(helper())
            except* LookupError:
                pass
            await ctx.output(1, "out")
    """
    found, err = await ran(tmp_path, source)
    assert (logged(found), err) == ("", "")
    assert not [e for e in found if e["type"] == "BlockWarning"]


async def test_a_task_that_goes_on_when_the_block_has_returned_is_told_and_so_is_what_comes_of_it(
    tmp_path: Path,
) -> None:
    source = """
        import asyncio
        ended = asyncio.Event()
        async def late(ctx):
            await ended.wait()
            print("too late for the log")
            try:
                await ctx.output(2, "out")
            finally:
                asyncio.get_running_loop().call_soon(last.set_result, None)
        async def main(inputs, ctx):
            global last
            last = asyncio.get_running_loop().create_future()
            asyncio.create_task(late(ctx), context=None)
            await asyncio.sleep(0)
            await ctx.done()
            ended.set()
            await last
    """
    found, err = await ran(tmp_path, source)
    assert "node leaves (job " in err and "has ended, and prints: too late for the log" in err
    assert "has ended, and its task late failed:" in err and 'await ctx.output(2, "out")' in err
    assert "Closed: job" in err

    source = """
        import asyncio
        async def late():
            await asyncio.Event().wait()
        async def main(inputs, ctx):
            global kept
            kept = asyncio.create_task(late())
            await asyncio.sleep(0)
            return {"out": 1}
    """
    found, _ = await ran(tmp_path / "second", source)
    [warning] = [e["warning"] for e in found if e["type"] == "BlockWarning"]
    assert "the block has returned while a task of it still ran: late (leaves.py:" in warning


# ---------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("module", ["typer", "asyncblock.cli.commands", "asyncblock.client"])
async def test_an_interrupt_while_modules_are_imported_leaves_with_130_and_says_nothing(
    tmp_path: Path, module: str
) -> None:
    # The interpreter says each module that it has imported.
    async with processes.start("run", "stocks", state=tmp_path, PYTHONPROFILEIMPORTTIME="1") as command:
        await command.until_line(module, err=True)
        command.kill(signal.SIGINT)
        assert await command.wait() == 130
    assert "Traceback" not in "\n".join(command.err)
