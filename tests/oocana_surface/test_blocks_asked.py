"""Blocks that blocks of ``oocana`` run, with callbacks and a future."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ..flows import all_of, end_of, run_flow
from .kit import OUT, package

pytest.importorskip("oocana", reason="needs the extra 'oocana'")

ADD = """
from oocana import Context

def main(params, context: Context):
    context.report_progress(50)
    context.output("out", params["a"])
    context.outputs({"out": params["a"] + 1, "more": "m"})
    return {"out": params["a"] + params["b"]}
"""
ADD_DEFS = {
    "inputs_def": [
        {"handle": "a", "json_schema": {"type": "number"}},
        {"handle": "b", "value": 10},
    ],
    "outputs_def": [{"handle": "out"}, {"handle": "more"}],
}
FAIL = "def main(inputs, ctx):\n    raise ValueError('no luck')\n"


async def asked(tmp_path: Path, source: str) -> list[events.Event]:
    blocks = {
        "caller": (source, OUT),
        "add": (ADD, ADD_DEFS),
        "fail": (FAIL, OUT),
    }
    return await run_flow(package(tmp_path, blocks, [{"node_id": "n", "task": "self::caller"}]), workers=1)


async def test_a_block_runs_and_its_callbacks_hear_everything_before_its_end(tmp_path: Path) -> None:
    found = await asked(
        tmp_path,
        """
        import threading
        from oocana import BlockJob, Context

        async def main(params, context: Context):
            heard, rates, threads = [], [], set()
            job = context.run_block("self::add", inputs={"a": 1})
            assert isinstance(job, BlockJob)

            def hear(output):
                heard.append(output)
                threads.add(threading.get_ident())
                context.send_message("free to send")

            job.add_output_callback(hear)
            job.add_output_callback(lambda output: 1 / 0)
            job.add_progress_callback(rates.append)
            assert job.finish() is job.finish()
            assert await job.finish() is None
            return {"out": [heard, rates, threads == {threading.get_ident()}]}
        """,
    )
    assert end_of(found).outputs == {"out": [[{"out": 1}, {"more": "m", "out": 2}, {"out": 11}], [50, 100], True]}
    assert [e.payload for e in all_of(found, events.BlockMessage)] == ["free to send"] * 3
    assert any("ZeroDivisionError" in e.log for e in all_of(found, events.BlockLog))


async def test_a_block_that_fails_or_cannot_run_says_so_at_its_finish(tmp_path: Path) -> None:
    found = await asked(
        tmp_path,
        """
        from oocana import BlockExecuteException, Context

        async def main(params, context: Context):
            said = []
            for block, inputs, strict in (
                ("self::nothing", {}, False),
                ("self::fail", {}, False),
                ("self::add", {}, False),
                ("self::add", {"a": "text"}, True),
                ("self::add", {"a": object()}, False),
            ):
                job = context.run_block(block, inputs=inputs, strict=strict)
                try:
                    await job.finish()
                except BlockExecuteException as error:
                    said.append(str(error))
            return {"out": said}
        """,
    )
    said = end_of(found).outputs["out"]
    words = ["nothing", "no luck", "a: it is missing", "a", "can't be sent"]
    assert len(said) == len(words)
    for each, expected in zip(said, words, strict=True):
        assert each.startswith("BlockExecuteException: run block self::")
        assert expected in each.partition(" failed: ")[2]


async def test_many_blocks_run_side_by_side_and_one_that_nobody_waits_for_runs_to_its_end(tmp_path: Path) -> None:
    found = await asked(
        tmp_path,
        """
        import asyncio
        from oocana import Context

        async def main(params, context: Context):
            jobs = [context.run_block("self::add", inputs={"a": each}) for each in range(20)]
            await asyncio.gather(*(job.finish() for job in jobs))
            context.run_block("self::add", inputs={"a": 100})
            return {"out": len(jobs)}
        """,
    )
    assert end_of(found).outputs == {"out": 20}
    ended = [e for e in all_of(found, events.BlockFinished) if e.node_id == "run_block::self::add"]
    assert len(ended) == 21


async def test_a_def_block_runs_blocks_and_waits_in_an_event_loop_that_it_makes(tmp_path: Path) -> None:
    found = await asked(
        tmp_path,
        """
        import asyncio
        import threading
        from oocana import Context

        def main(params, context: Context):
            heard, threads = [], set()

            def hear(output):
                heard.append(output)
                threads.add(threading.current_thread().name)
                print("heard")

            job = context.run_block("self::add", inputs={"a": 1})
            job.add_output_callback(hear)
            try:
                job.finish()
            except RuntimeError as error:
                refused = str(error)

            async def inside():
                also = []
                other = context.run_block("self::add", inputs={"a": 5})
                other.add_output_callback(also.append)
                await asyncio.gather(job.finish(), other.finish())
                return also[-1]

            other = asyncio.run(inside())
            # Nobody waits for this one.
            context.run_block("self::add", inputs={"a": 100})
            return {"out": [refused, other, heard, sorted(threads)]}
        """,
    )
    assert end_of(found).outputs == {
        "out": [
            "no running event loop",
            {"out": 15},
            [{"out": 1}, {"more": "m", "out": 2}, {"out": 11}],
            ["callbacks for self::add"],
        ]
    }
    assert [e.log for e in all_of(found, events.BlockLog)] == ["heard"] * 3
    ended = [e for e in all_of(found, events.BlockFinished) if e.node_id == "run_block::self::add"]
    assert len(ended) == 3


async def test_one_that_stops_waiting_can_wait_again(tmp_path: Path) -> None:
    found = await asked(
        tmp_path,
        """
        import asyncio
        from oocana import Context

        async def main(params, context: Context):
            job = context.run_block("self::add", inputs={"a": 1})
            waiting = asyncio.ensure_future(job.finish())
            waiting.cancel()
            await job.finish()
            return {"out": "ended"}
        """,
    )
    assert end_of(found).outputs == {"out": "ended"}
