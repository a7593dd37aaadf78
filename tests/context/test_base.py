"""Every row and rule of the table of calls: what blocks may rely on, shown on a real mainframe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, node, one_block, run_block, run_flow, started, write_flow

SYNC = pytest.mark.parametrize("form", ["async", "sync"])


def block(source: str, form: str) -> str:
    """Write a block once, for both faces: ``await`` and ``async`` fall away for a sync one."""
    return source if form == "async" else source.replace("await ", "").replace("async ", "")


@SYNC
async def test_output_travels_with_handle_value_and_done_flag(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.output({"a": [1, None, "x"]}, "out")
                await ctx.output(2, handle="out")
            """,
            form,
        ),
    )
    assert [(e.handle, e.output) for e in all_of(found, events.BlockOutput)] == [
        ("out", {"a": [1, None, "x"]}),
        ("out", 2),
    ]
    end = end_of(found)
    assert (end.state, end.outputs) == ("succeeded", {"out": 2})


@SYNC
async def test_output_done_finishes_the_job(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.output(1, "out", done=True)
                try:
                    await ctx.output(2, "out")
                except Exception as error:
                    assert type(error).__name__ == "Closed", error
                    assert "finished" in str(error)
                    return
                raise AssertionError("a send after the finish must raise Closed")
            """,
            form,
        ),
    )
    assert [e.output for e in all_of(found, events.BlockOutput)] == [1]
    [finished] = all_of(found, events.BlockFinished)
    assert finished.error is None
    assert end_of(found).state == "succeeded"


@SYNC
async def test_outputs_go_in_one_record(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.outputs({"a": 1, "b": [2]})
            """,
            form,
        ),
        ["a", "b"],
    )
    [outputs] = all_of(found, events.BlockOutputs)
    assert outputs.outputs == {"a": 1, "b": [2]}
    assert end_of(found).outputs == {"a": 1, "b": [2]}


@SYNC
@pytest.mark.parametrize(
    ("last", "result", "error"),
    [
        ("return None", {}, None),
        ("return {'out': 5}", {"out": 5}, None),
        ("await ctx.finish()", {}, None),
        ("await ctx.finish(result={'out': 5})", {"out": 5}, None),
        ("await ctx.finish(error='no luck')", {}, "no luck"),
        ("await ctx.finish(result={'out': 5}, error='no luck')", {}, "no luck"),
        ("await ctx.done()", {}, None),
        ("await ctx.done(error='no luck')", {}, "no luck"),
        ("return 7", {}, "main returned int"),
        ("return [1]", {}, "main returned list"),
        ("raise ValueError('bad value')", {}, "ValueError: bad value"),
        ("import sys; sys.exit()", {}, None),
        ("import sys; sys.exit(0)", {}, None),
        ("import sys; sys.exit(3)", {}, "sys.exit(3)"),
        ("raise SystemExit('why')", {}, "sys.exit('why')"),
        ("import asyncio; raise asyncio.CancelledError()", {}, "CancelledError"),
        ("raise KeyboardInterrupt()", {}, "KeyboardInterrupt"),
        ("return {'out': object()}", {}, "out"),
    ],
)
async def test_each_way_to_end_is_one_finish(
    tmp_path: Path, form: str, last: str, result: dict[str, Any], error: str | None
) -> None:
    found = await run_block(tmp_path, block(f"async def main(inputs, ctx):\n    {last}\n", form))
    [finished] = all_of(found, events.BlockFinished)
    end = end_of(found)
    if error is None:
        assert (finished.error, finished.result) == (None, result)
        assert end.state == "succeeded"
    else:
        assert finished.error is not None
        assert error in finished.error
        assert end.state == "failed"
        assert end.error is not None
        assert error in end.error


async def test_an_exception_carries_the_authors_frames_only(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        def helper():
            return 1 / 0

        async def main(inputs, ctx):
            helper()
        """,
    )
    [finished] = all_of(found, events.BlockFinished)
    assert finished.traceback is not None
    assert "in helper" in finished.traceback
    assert "in main" in finished.traceback
    assert "asyncblock/executor" not in finished.traceback


@SYNC
async def test_value_and_handle_that_have_changed_places_say_so(tmp_path: Path, form: str) -> None:
    source = """
        from asyncblock.errors import LocalProtocolError

        async def main(inputs, ctx):
            for arguments in (
                ("out", "text"), ("out", {"a": 1}), ("out", [1]), ("out", None), ("out", 7), ("var", object()),
                ("out", ""),
            ):
                try:
                    await ctx.output(*arguments)
                except LocalProtocolError as error:
                    print(error)
            try:
                await ctx.output(value="out", handle="text", to_node=[])
            except LocalProtocolError as error:
                print(error)
            await ctx.output("out", "text", done=True)
    """
    handles: list[str | dict[str, Any]] = ["out", {"handle": "var", "json_schema": {"contentMediaType": "oomol/var"}}]
    found = await run_block(tmp_path, block(source, form), handles, capture=True)
    words = "output(value, handle) takes the value first: {0!r} is an output handle of this block, and {1} isn't; write output(value, {0!r})"
    given = ["the dict given for the handle", "the list given for the handle", "the NoneType given for the handle"]
    expected = [words.format("out", each) for each in ("'text'", *given, "the int given for the handle")]
    expected += [words.format("var", "the object given for the handle"), words.format("out", "''")]
    assert [e.log for e in all_of(found, events.BlockLog)] == [*expected, words.format("out", "'text'")]
    assert all_of(found, events.BlockOutput) == []
    [finished] = all_of(found, events.BlockFinished)
    assert finished.error == f"LocalProtocolError: {words.format('out', repr('text'))}"


@SYNC
async def test_two_texts_of_which_both_are_handles_are_taken_as_they_stand(tmp_path: Path, form: str) -> None:
    source = "async def main(inputs, ctx):\n    await ctx.output('a', 'b')\n    await ctx.output('a', 'a')\n"
    found = await run_block(tmp_path, block(source, form), ["a", "b"])
    assert end_of(found).outputs == {"b": "a", "a": "a"}


@SYNC
@pytest.mark.parametrize(
    ("value", "call"),
    [
        ("object()", "await ctx.output({}, 'other'); await ctx.output(1, 'out')"),
        ("{1, object()}", "await ctx.outputs({{'other': {}, 'out': 1}})"),
        ("'x' * (257 << 20)", "await ctx.finish(result={{'other': {}, 'out': 1}})"),
        ("Hostile()", "return {{'other': {}, 'out': 1}}"),
        ("2**80", "await ctx.output(1, 'out'); await ctx.output({}, 'other', done=True)"),
    ],
)
async def test_a_value_for_an_undefined_handle_that_cannot_be_encoded_fails_nothing(
    tmp_path: Path, form: str, value: str, call: str
) -> None:
    source = f"""
import collections.abc

class Hostile(collections.abc.Mapping):
    def __getitem__(self, key):
        raise RuntimeError("no")
    def __iter__(self):
        raise RuntimeError("no")
    def __len__(self):
        return 1

async def main(inputs, ctx):
    {call.format(value)}
"""
    found = await run_block(tmp_path, block(source, form))
    first, second = (e.error for e in all_of(found, events.BlockError))
    assert first == "Output handle key: [other] is not defined in Block outputs schema."
    assert second.startswith("Output handle key: [other] is not defined, and its value wasn't sent: ")
    [finished] = all_of(found, events.BlockFinished)
    assert finished.error is None
    end = end_of(found)
    assert (end.state, end.outputs) == ("succeeded", {"out": 1})


@SYNC
async def test_an_undefined_handle_sends_an_error_and_the_output_all_the_same(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.output(1, "other")
                return {"third": 2}
            """,
            form,
        ),
    )
    assert [e.error for e in all_of(found, events.BlockError)] == [
        "Output handle key: [other] is not defined in Block outputs schema.",
        "Output handle key: [third] is not defined in Block outputs schema.",
    ]
    assert [(e.handle, e.output) for e in all_of(found, events.BlockOutput)] == [("other", 1)]
    assert end_of(found).state == "succeeded"


async def test_without_declared_outputs_every_handle_is_fine(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            await ctx.output(1, "whatever")
        """,
        None,
    )
    assert all_of(found, events.BlockError) == []


@SYNC
async def test_keep_alive_leaves_the_job_open_until_it_is_finished(tmp_path: Path, form: str) -> None:
    source = {
        "async": """
            import asyncio

            async def later(ctx):
                await ctx.output(1, "out")
                await ctx.done()

            async def main(inputs, ctx):
                main.task = asyncio.create_task(later(ctx))
                return ctx.keepAlive
            """,
        "sync": """
            import threading

            def main(inputs, ctx):
                def later():
                    ctx.output(1, "out")
                    ctx.done()
                threading.Thread(target=later).start()
                return ctx.keep_alive
            """,
    }[form]
    found = await run_block(tmp_path, source)
    assert end_of(found).outputs == {"out": 1}


@SYNC
async def test_a_second_explicit_finish_changes_nothing(
    tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.finish(result={"out": 1})
                await ctx.done(error="too late")
                await ctx.finish(result={"out": 2})
                return {"out": 3}
            """,
            form,
        ),
    )
    [finished] = all_of(found, events.BlockFinished)
    assert finished.result == {"out": 1}
    assert end_of(found).outputs == {"out": 1}
    assert sum("finished twice" in record.getMessage() for record in caplog.records) == 2


@SYNC
async def test_send_error_tells_and_does_not_fail(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path, block("async def main(inputs, ctx):\n    await ctx.send_error('careful')\n", form)
    )
    assert [e.error for e in all_of(found, events.BlockError)] == ["careful"]
    assert end_of(found).state == "succeeded"


@SYNC
async def test_reports_keep_their_shapes_and_order(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.report_log("one")
                await ctx.report_log("two", stdio="stderr")
                await ctx.log_json({"a": [1]})
                await ctx.send_message({"b": 2})
                await ctx.send_warning("hm")
            """,
            form,
        ),
    )
    kinds = (events.BlockLog, events.BlockLogJSON, events.BlockMessage, events.BlockWarning)
    reports = [event for event in found if isinstance(event, kinds)]
    assert [type(event) for event in reports] == [events.BlockLog, *kinds]
    assert [(e.log, e.stdio) for e in all_of(found, events.BlockLog)] == [("one", "stdout"), ("two", "stderr")]
    assert all_of(found, events.BlockLogJSON)[0].json == {"a": [1]}
    assert all_of(found, events.BlockMessage)[0].payload == {"b": 2}
    assert all_of(found, events.BlockWarning)[0].warning == "hm"


@SYNC
async def test_progress_is_thinned_and_the_last_one_comes_before_the_finish(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                for i in range(1001):
                    await ctx.report_progress(i / 10)
                await ctx.report_progress(250)
            """,
            form,
        ),
    )
    rates = [event.rate for event in all_of(found, events.BlockProgress)]
    assert rates[-1] == 100
    assert len(rates) < 50
    assert rates == sorted(rates)


@SYNC
@pytest.mark.parametrize("value", ["'half'", "None", "float('nan')", "True"])
async def test_progress_that_is_no_number_is_an_error_at_the_call(tmp_path: Path, form: str, value: str) -> None:
    found = await run_block(
        tmp_path, block(f"async def main(inputs, ctx):\n    await ctx.report_progress({value})\n", form)
    )
    assert "progress is a number from 0 to 100" in str(end_of(found).error)


@SYNC
async def test_flush_returns_when_everything_is_in_the_journal(tmp_path: Path, form: str) -> None:
    path = one_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.output("value", "out")
                await ctx.report_progress(33)
                await ctx.report_log("line")
                await ctx.flush()
                open(__file__ + ".flushed", "w").close()
                await ctx.flush()
            """,
            form,
        ),
    )
    found = await run_flow(path)
    assert (tmp_path / "n.py.flushed").exists()
    order = [type(event) for event in found if isinstance(event, events.BlockEvent)]
    assert order.index(events.BlockProgress) < order.index(events.BlockFinished)
    assert end_of(found).state == "succeeded"


@SYNC
async def test_properties_say_what_the_mainframe_said(tmp_path: Path, form: str) -> None:
    found = await run_block(
        tmp_path,
        block(
            """
            async def main(inputs, ctx):
                await ctx.log_json({
                    "inputs": ctx.inputs, "same": ctx.inputs is inputs, "session_id": ctx.session_id,
                    "job_id": ctx.job_id, "job_info": ctx.job_info, "block_info": ctx.block_info,
                    "node_id": ctx.node_id, "attempt": ctx.attempt, "outputs_def": list(ctx.outputs_def),
                })
            """,
            form,
        ),
    )
    [logged] = all_of(found, events.BlockLogJSON)
    said = logged.json
    assert said["session_id"] == logged.session_id
    assert said["job_id"] == logged.job_id
    assert said["job_info"] == {"session_id": logged.session_id, "job_id": logged.job_id}
    assert said["block_info"]["stacks"][-1]["node_id"] == "n"
    assert (said["inputs"], said["same"], said["node_id"], said["attempt"]) == ({}, True, "n", 1)
    assert said["outputs_def"] == ["out"]


VAR = {"handle": "frame", "json_schema": {"contentMediaType": "oomol/var"}}


def var_flow(directory: Path, value: str, check: str) -> Path:
    producer = node(
        "a", f"async def main(inputs, ctx):\n    await ctx.output({value}, 'frame')\n", directory, outputs=[VAR]
    )
    consumer = node(
        "b",
        f"""
        def main(inputs, ctx):
            value = inputs["frame"]
            return {{"out": {check}}}
        """,
        directory,
        inputs=[VAR],
        inputs_from=[{"handle": "frame", "from_node": [{"node_id": "a", "output_handle": "frame"}]}],
    )
    outputs = [{"handle": "out", "from_node": [{"node_id": "b", "output_handle": "out"}]}]
    return write_flow(directory, [producer, consumer], outputs_from=outputs)


@pytest.mark.parametrize(
    ("value", "travels"),
    [("{1, 2}", True), ("[1]", True), ("None", True), ("5", False), ("'x'", False), ("True", False)],
)
async def test_var_handles_keep_everything_but_basic_types_in_the_store(
    tmp_path: Path, value: str, travels: bool
) -> None:
    found = await run_flow(var_flow(tmp_path, value, "repr(value)"))
    [output] = all_of(found, events.BlockOutput)
    if travels:
        # What it takes when it goes to another process, or why it can't.
        assert (output.output.pop("portable", 0) > 0) != (output.output.pop("stays", "") != "")
        assert output.output == {
            "executor": "asyncblock",
            "handle": "frame",
            "job_id": output.job_id,
            "session_id": output.session_id,
            "attempt": 1,
            "place": 0,
        }
    else:
        assert not isinstance(output.output, dict)
    assert end_of(found).outputs == {"out": repr(eval(value))}


async def test_a_loop_of_sends_lets_the_others_run(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            turns = 0

            async def other():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            for i in range(1000):
                await ctx.output(i, "out")
            task.cancel()
            return {"turns": turns}
        """,
        ["out", "turns"],
    )
    assert end_of(found).outputs["turns"] >= 1000 // 64


async def test_calls_that_are_never_awaited_fail_the_job_with_words_that_help(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        found = await run_block(
            tmp_path,
            """
            async def main(inputs, ctx):
                ctx.output(1, "out")
            """,
        )
    error = end_of(found).error
    assert error is not None
    assert "never awaited" in error
    assert "await ctx.output(value, handle)" in error


async def test_the_awaits_wait_when_the_window_is_full_and_everything_arrives(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            for i in range(200):
                await ctx.output([i, "x" * 50_000], "out")
        """,
    )
    assert [e.output[0] for e in all_of(found, events.BlockOutput)] == list(range(200))


async def test_ctx_logger_becomes_block_log(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            ctx.logger.info("hello %s", "you")
            ctx.logger.error("oh")
            await ctx.report_log("last")
        """,
    )
    logs = [(e.log, e.stdio) for e in all_of(found, events.BlockLog)]
    assert logs == [("INFO hello you", "stdout"), ("ERROR oh", "stderr"), ("last", "stdout")]


async def test_a_preview_is_converted_and_the_payload_left_alone(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            payload = {"type": "text", "data": "x"}
            await ctx.preview(payload)
            assert payload == {"type": "text", "data": "x"}
            await ctx.preview({"type": "image", "data": "data:image/png;base64," + "A" * 100_000}, id="big")
        """,
    )
    small, large = all_of(found, events.BlockPreview)
    assert small.payload == {"type": "text", "data": "x"}
    assert large.body is not None
    assert large.id == "big"
    assert end_of(found).state == "succeeded"


async def test_one_link_serves_client_and_executor(tmp_path: Path) -> None:
    path = one_block(tmp_path, "async def main(inputs, ctx):\n    return {'out': 1}\n")
    async with asyncblock.embedded() as mainframe:
        sessions = [await mainframe.start(path) for _ in range(5)]
        assert [await session.outputs() for session in sessions] == [{"out": 1}] * 5


@pytest.mark.parametrize(("tested", "state"), [(True, "failed"), (False, "succeeded")])
async def test_a_condition_hands_a_large_value_on_and_refuses_to_look_into_it(
    tmp_path: Path, tested: bool, state: str
) -> None:
    producer = node(
        "a",
        "async def main(inputs, ctx):\n    await ctx.outputs({'big': 'x' * 100_000, 'small': 1})\n",
        tmp_path,
        outputs=["big", "small"],
    )
    condition = {
        "node_id": "c",
        "inputs_from": [
            {"handle": name, "from_node": [{"node_id": "a", "output_handle": name}]} for name in ("big", "small")
        ],
        "inputs_def": [{"handle": "big"}, {"handle": "small"}],
        "conditions": {
            "cases": [
                {
                    "handle": "yes",
                    "expressions": [
                        {"input_handle": "big" if tested else "small", "operator": "is not null", "value": None}
                    ],
                }
            ],
        },
    }
    flow_outputs = [{"handle": "out", "from_node": [{"node_id": "c", "output_handle": "yes"}]}]
    async with started(write_flow(tmp_path, [producer, condition], outputs_from=flow_outputs)) as session:
        end = await session.wait()
        assert end.state == state
        if tested:
            assert "condition tests 'big'" in str(end.error)
        else:
            assert await session.outputs() == {"out": "x" * 100_000}
