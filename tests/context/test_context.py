"""What is true when an await of the Context returns, and what stays true when it is cancelled, fenced or too late."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.context import Context, SyncContext
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared

from ..flows import all_of, end_of, one_block, run_block, run_flow, started, until, warnings_of
from .test_base import SYNC, block, var_flow

STORED = """
import sqlite3
from contextlib import closing

def stored(directory, *words):
    # What another process would find if this one and the mainframe died here.
    with closing(sqlite3.connect(f"file:{directory}/journal.db?mode=ro", uri=True)) as journal:
        text = b"".join(bytes(row[0]) for row in journal.execute("SELECT payload FROM entries"))
    return {word: word.encode() in text for word in words}
"""


@SYNC
async def test_after_flush_data_telemetry_and_progress_are_in_the_journal(tmp_path: Path, form: str) -> None:
    source = block(
        """
        async def main(inputs, ctx):
            await ctx.output("val-ue", "out")
            await ctx.outputs({"out": "ma-ny"})
            await ctx.report_log("li-ne")
            await ctx.log_json({"js": "on-e"})
            await ctx.send_message("mes-sage")
            await ctx.send_warning("warn-ing")
            await ctx.send_error("err-or")
            await ctx.preview({"type": "text", "data": "pre-view"}, id="x")
            await ctx.report_progress(37.25)
            await ctx.flush()
            words = "val-ue", "ma-ny", "li-ne", "on-e", "mes-sage", "warn-ing", "err-or", "pre-view", "37.25"
            return {"out": stored(DATA, *words)}
        """,
        form,
    ).replace("DATA", repr(str(tmp_path / "data")))
    found = await run_flow(one_block(tmp_path / "f", STORED + dedent(source)), data_dir=tmp_path / "data")
    assert set(end_of(found).outputs["out"].values()) == {True}
    assert len(end_of(found).outputs["out"]) == 9


@SYNC
@pytest.mark.parametrize("call", ["done()", "finish()", "finish({'out': 'las-t'})", "output('las-t', 'out', True)"])
async def test_after_an_awaited_finish_it_is_in_the_journal_with_all_data_before_it(
    tmp_path: Path, form: str, call: str
) -> None:
    source = block(
        f"""
        import json
        from pathlib import Path

        async def main(inputs, ctx):
            for i in range(500):
                await ctx.output(f"value-{{i}}", "out")
            await ctx.{call}
            words = "value-0", "value-499", '"BlockFinished"', "las-t"
            Path(__file__).with_name("stored").write_text(json.dumps(stored(DATA, *words)))
        """,
        form,
    ).replace("DATA", repr(str(tmp_path / "data")))
    await run_flow(one_block(tmp_path / "f", STORED + dedent(source)), data_dir=tmp_path / "data")
    said = (tmp_path / "f" / "stored").read_text()
    assert said.count("true") == (4 if "las-t" in call else 3), said


CALLS = [
    "output(1, 'out')",
    "outputs({'out': 1})",
    "send_error('x')",
    "preview({'type': 'text', 'data': 'x'})",
    "report_progress(1)",
    "report_log('x')",
    "log_json({})",
    "send_message({})",
    "send_warning('x')",
]


@SYNC
@pytest.mark.parametrize("call", CALLS)
async def test_any_send_after_the_finish_raises_closed(tmp_path: Path, form: str, call: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            f"""
            from pathlib import Path
            from asyncblock import Closed

            async def main(inputs, ctx):
                await ctx.finish({{"out": 1}})
                try:
                    await ctx.{call}
                except Closed as error:
                    Path(__file__).with_suffix(".closed").write_text(str(error))
            """,
            form,
        ),
    )
    assert "finished" in (tmp_path / "n.closed").read_text()
    assert end_of(found).outputs == {"out": 1}
    assert not [e for e in found if isinstance(e, (events.BlockError, events.BlockLog, events.BlockMessage))]


def test_both_faces_have_the_same_members_and_each_says_what_it_promises() -> None:
    names = {name for name in vars(SyncContext) if not name.startswith("_")}
    assert names == {name for name in vars(Context) if not name.startswith("_")} - {"unawaited"}
    for name in ("output", "outputs", "flush", "done", "finish", "send_error", "preview", "report_progress"):
        text = getattr(Context, name).__doc__
        assert "**Durability**" in text, name
        assert "ancellation**" in text, name
    assert "no job can ask for it" in str(Context.output.__doc__)


@SYNC
@pytest.mark.parametrize(
    ("last", "finishes"),
    [("return {'out': 2}", 1), ("return None", 1), ("return 7", 1), ("raise ValueError('late')", 1)],
)
async def test_what_main_does_after_an_explicit_finish_changes_nothing_and_is_not_warned_about(
    tmp_path: Path, form: str, last: str, finishes: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = block(f"async def main(inputs, ctx):\n    await ctx.finish({{'out': 1}})\n    {last}\n", form)
    found = await run_block(tmp_path, source)
    assert len(all_of(found, events.BlockFinished)) == finishes
    assert (end_of(found).state, end_of(found).outputs) == ("succeeded", {"out": 1})
    assert not any("finished twice" in record.getMessage() for record in caplog.records)


@SYNC
async def test_an_exception_has_the_authors_frames_in_both_faces(tmp_path: Path, form: str) -> None:
    source = block("async def main(inputs, ctx):\n    helper()\n\ndef helper():\n    return [][1]\n", form)
    [finished] = all_of(await run_block(tmp_path, source), events.BlockFinished)
    assert finished.error == "IndexError: list index out of range"
    frames = [line.strip() for line in str(finished.traceback).splitlines() if line.strip().startswith("File")]
    assert frames == [f'File "{tmp_path / "n.py"}", line {n}, in {name}' for n, name in ((2, "main"), (5, "helper"))]


@pytest.mark.parametrize("value", ["{1, 2}", "None", "5", "'x'"])
async def test_var_handles_of_a_sync_block_work_as_those_of_an_async_one(tmp_path: Path, value: str) -> None:
    path = var_flow(tmp_path, value, "repr(value)")
    (tmp_path / "a.py").write_text(f"def main(inputs, ctx):\n    ctx.output({value}, 'frame')\n")
    assert end_of(await run_flow(path)).outputs == {"out": repr(eval(value))}


@pytest.mark.parametrize("call", [call for call in CALLS if "preview" not in call])
async def test_a_loop_of_any_call_gives_others_their_turn(tmp_path: Path, call: str) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import asyncio

        async def main(inputs, ctx):
            turns = 0

            async def other():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            for i in range(640):
                await ctx.{call}
            task.cancel()
            return {{"turns": turns}}
        """,
        ["out", "turns"],
    )
    assert end_of(found).outputs["turns"] >= 10


@pytest.mark.parametrize("call", CALLS)
async def test_a_loop_of_any_call_can_be_cancelled(tmp_path: Path, call: str) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import asyncio

        async def main(inputs, ctx):
            async def forever():
                while True:
                    await ctx.{call}

            task = asyncio.create_task(forever())
            await asyncio.sleep(0.01)
            task.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait([task])
            return {{"cancelled": task.cancelled()}}
        """,
        ["out", "cancelled"],
    )
    assert end_of(found).outputs["cancelled"] is True


async def test_cancelling_a_wait_in_done_leaves_the_finish_standing(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            await ctx.output(1, "out")
            task = asyncio.create_task(ctx.done())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await ctx.done("a second finish")
            await asyncio.sleep(0)
            raise ValueError("the finish stands")
        """,
    )
    [finished] = all_of(found, events.BlockFinished)
    assert finished.error is None
    assert end_of(found).outputs == {"out": 1}


async def test_conversion_of_a_preview_leaves_the_loop_alone(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import asyncio
        import threading

        class Picture:
            def _repr_html_(self):
                self.thread = threading.current_thread()
                loop.call_soon_threadsafe(ready.set)
                assert went_on.wait(10), "the loop stood still"
                return "<b>here</b>"

        async def main(inputs, ctx):
            global loop, ready, went_on
            loop, ready, went_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
            picture = Picture()
            showing = asyncio.create_task(ctx.preview(picture))
            await ready.wait()
            went_on.set()
            await showing
            assert picture.thread is not threading.current_thread()
        """,
    )
    assert end_of(found).state == "succeeded", end_of(found).error
    [preview] = all_of(found, events.BlockPreview)
    assert preview.payload["type"] == "html" and preview.payload["data"] == "<b>here</b>"


@SYNC
async def test_a_preview_that_cannot_be_made_is_a_warning(tmp_path: Path, form: str) -> None:
    source = block(
        """
        class Broken:
            def _repr_html_(self):
                raise RuntimeError("no picture")

        async def main(inputs, ctx):
            await ctx.preview(Broken())
            return {"out": 1}
        """,
        form,
    )
    found = await run_block(tmp_path, source)
    [warning] = warnings_of(found)
    assert warning.startswith("a preview of Broken failed: ") and "no picture" in warning
    assert end_of(found).outputs == {"out": 1}


@SYNC
async def test_cancelled_blocks_may_still_send_until_they_end(tmp_path: Path, form: str) -> None:
    source = {
        "async": """
            import asyncio

            async def main(inputs, ctx):
                await ctx.output(1, "out")
                try:
                    await asyncio.Event().wait()
                finally:
                    for i in range(100):
                        await ctx.output(i, "out")
                    await ctx.report_log("last words")
                    await ctx.flush()
            """,
        "sync": """
            import time

            def main(inputs, ctx):
                ctx.output(1, "out")
                try:
                    while True:
                        ctx.report_progress(1)
                        time.sleep(0.01)
                finally:
                    for i in range(100):
                        ctx.output(i, "out")
                    ctx.report_log("last words")
                    ctx.flush()
            """,
    }[form]
    async with started(one_block(tmp_path, source)) as session:
        await until(session, events.BlockOutput)
        await session.cancel()
        found = [event async for event in session]
    if form == "async":
        assert [e.output for e in all_of(found, events.BlockOutput)] == [1, *range(100)]
        assert [e.log for e in all_of(found, events.BlockLog)] == ["last words"]
    assert end_of(found).state == "cancelled"


async def test_a_fenced_attempt_is_cancelled_with_that_reason_and_its_waits_raise_lease_lost(tmp_path: Path) -> None:
    source = """
    import asyncio
    from pathlib import Path
    from asyncblock import LeaseLost

    async def main(inputs, ctx):
        await ctx.output(1, "out")
        said = []
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            said.append(str(error))
        for call in (ctx.flush, ctx.done, ctx.finish):
            try:
                await call()
            except LeaseLost as error:
                said.append(type(error).__name__)
        Path(__file__).with_name("said").write_text(" | ".join(said))
    """
    path = one_block(tmp_path / "f", source)
    async with AsyncExitStack() as stack:
        io = await stack.enter_async_context(shared().lease())
        server = await stack.enter_async_context(hosted_mainframe(io, tmp_path / "data"))
        url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
        mainframe = await stack.enter_async_context(asyncblock.connect(url, server.token))
        await stack.enter_async_context(asyncblock.Executor(packages=[path.parent]).attached(mainframe))
        session = await mainframe.start(path)
        assigned = await until(session, events.JobAssigned)
        await until(session, events.BlockOutput)
        io.post(server.executor_gone, assigned.link, "somebody saw it end")
        end = await session.wait()
    assert "somebody saw it end" in str(end.error)
    said = (tmp_path / "f" / "said").read_text().split(" | ")
    assert "lease lost" in said[0]
    assert "somebody saw it end" in said[0]
    assert said[1:] == ["LeaseLost"] * len(said[1:])
    assert len(said) >= 2


async def test_the_first_terminal_record_in_the_journal_wins(tmp_path: Path) -> None:
    """The block's own finish comes after the cancel of its session: the session has been cancelled all the same."""
    source = """
    import asyncio

    async def main(inputs, ctx):
        await ctx.output(1, "out")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ctx.output(2, "out")
            await ctx.done()
    """
    path = one_block(tmp_path / "f", source)
    async with AsyncExitStack() as stack:
        io = await stack.enter_async_context(shared().lease())
        server = await stack.enter_async_context(hosted_mainframe(io, tmp_path / "data"))
        url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
        mainframe = await stack.enter_async_context(asyncblock.connect(url, server.token))
        await stack.enter_async_context(asyncblock.Executor(packages=[path.parent]).attached(mainframe))
        session = await mainframe.start(path)
        await until(session, events.BlockOutput)
        await session.cancel("first")
        end = await session.wait()
        found = [event async for event in session]
    assert (end.state, str(end.error)) == ("cancelled", "cancelled: first")
    terminal: list[Any] = [e for e in found if isinstance(e, (events.BlockFinished, events.SessionFinished))]
    assert [type(event) for event in terminal] == [events.BlockFinished, events.SessionFinished]


async def test_many_tasks_of_a_block_may_send_at_once(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            async def send(k):
                for i in range(50):
                    await ctx.output([k, i], "out")

            async with asyncio.TaskGroup() as tasks:
                for k in range(20):
                    tasks.create_task(send(k))
        """,
    )
    outputs = [e.output for e in all_of(found, events.BlockOutput)]
    assert len(outputs) == 1000
    for k in range(20):
        assert [i for task, i in outputs if task == k] == list(range(50))


async def test_an_output_that_waits_for_room_can_be_cancelled_and_was_not_sent(tmp_path: Path) -> None:
    """The window fills while the mainframe's journal is held; what was cancelled never arrives, the rest does."""
    found = await run_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            sent, i = [], 0
            while True:
                task = asyncio.create_task(ctx.output([i, "x" * 60_000], "out"))
                for _ in range(3):
                    await asyncio.sleep(0)
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task])
                    if task.cancelled():
                        break
                sent.append(i)
                i += 1
            await ctx.output(sent, "sent")
        """,
        ["out", "sent"],
    )
    sent = end_of(found).outputs["sent"]
    assert [e.output[0] for e in all_of(found, events.BlockOutput) if e.handle == "out"] == sent
