"""What blocks send: values that travel as bodies, and values that can't travel. Those are an error at their call alone."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import LocalProtocolError, UnserializableValue
from asyncblock.link import StreamedBody

from ..flows import all_of, end_of, node, one_block, run_block, started, write_flow

TRIES = """
import decimal, enum, numpy, orjson

class Whole(int):
    pass

HUGE = decimal.Decimal("1E+400")
BAD = [HUGE, decimal.Decimal("1E-400"), decimal.Decimal(2**70), 2**70, Whole(2**70), "\\ud800", {(1,): 1}, {1: 1, "1": 2},
       orjson.Fragment(b"1E400"), orjson.Fragment(b"["), 1j, b"x", numpy.longdouble("0.1"), object(), {"\\ud800": 1}]
NESTED = [[[each]] for each in BAD] + [{"a": ["x" * 100_000, each]} for each in BAD]

async def main(inputs, ctx):
    silent = []
    for value in BAD + NESTED:
        calls = {
            "output": lambda: ctx.output(value, "out"),
            "outputs": lambda: ctx.outputs({"out": value}),
            "directed": lambda: ctx.output(value, "out", to_flow=[{"output_handle": "out"}]),
            "finish": lambda: ctx.finish({"out": value}),
            "log": lambda: ctx.log_json(value),
            "message": lambda: ctx.send_message(value),
        }
        for name, call in calls.items():
            try:
                await call()
                silent.append(f"{name} of {value!r:.50}")
            except Exception as error:
                if not isinstance(error, (asyncblock.errors.LocalProtocolError, asyncblock.errors.UnserializableValue, asyncblock.errors.Rejected)):
                    silent.append(f"{name} of {value!r:.50} raised {error!r:.100}")
        await ctx.preview(value)
        await ctx.preview({"type": "json", "data": value})
    for odd in (5, None, b"out", "\\ud800", ("out",)):
        for call in (lambda: ctx.output(1, odd), lambda: ctx.outputs({odd: 1}), lambda: ctx.finish({odd: 1})):
            try:
                await call()
                silent.append(f"handle {odd!r}")
            except asyncblock.errors.LocalProtocolError:
                pass
    for fine in (numpy.float32(5), numpy.int64(6), decimal.Decimal("7.5"), 10**400, -1, True and 8.5):
        await ctx.report_progress(fine)
    for odd in ("5", None, True, 1j, float("nan"), decimal.Decimal("NaN"), [1]):
        try:
            await ctx.report_progress(odd)
            silent.append(f"progress {odd!r}")
        except asyncblock.errors.LocalProtocolError:
            pass
    for text in ("\\ud800", 5, None, HUGE, b"x"):
        await ctx.report_log(text)
        await ctx.send_warning(text)
        await ctx.send_error(text)
    await ctx.flush()
    Handle = enum.StrEnum("Handle", {"OUT": "out"})
    await ctx.output(1, Handle.OUT)
    return {numpy.str_("out"): silent}
"""


@pytest.mark.timeout(120)
async def test_every_call_refuses_what_cannot_travel_and_the_job_goes_on(tmp_path: Path) -> None:
    tries = one_block(tmp_path, "import asyncblock.errors\n" + TRIES)
    async with asyncblock.embedded(workers=1) as mainframe:
        end = await (await mainframe.start(tries)).wait()
        assert end.state == "succeeded", end.error
        assert end.outputs == {"out": []}


async def test_inputs_and_requests_from_outside_are_refused_at_their_call(tmp_path: Path) -> None:
    task = node(
        "n",
        "async def main(inputs, ctx):\n    return {'out': 1}\n",
        tmp_path,
        inputs=[{"handle": "x", "value": 1}],
        inputs_from=[{"handle": "x", "from_flow": [{"input_handle": "x"}]}],
    )
    outputs = [{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    flow = write_flow(tmp_path, [task], inputs_def=[{"handle": "x", "value": 1}], outputs_from=outputs)
    async with asyncblock.embedded() as mainframe:
        for value in (2**70, {(): 1}, orjson.Fragment(b"1E400"), ["x" * 100_000, orjson.Fragment(b"[")], "\ud800"):
            with pytest.raises(UnserializableValue):
                await mainframe.start(flow, {"x": value})
        with pytest.raises(LocalProtocolError):
            await mainframe.start(flow, title="\ud800")
        session = await mainframe.start(flow)
        with pytest.raises(LocalProtocolError):
            await session.cancel("\ud800")
        with pytest.raises(UnserializableValue):
            await session.message_service("n", orjson.Fragment(b"]"))
        assert await session.outputs() == {"out": 1}


async def test_large_values_travel_as_bodies_and_arrive_whole(tmp_path: Path) -> None:
    producer = node(
        "a",
        """
        async def main(inputs, ctx):
            await ctx.output({"rows": [["x" * 100, i] for i in range(5000)]}, "rows")
            await ctx.output("after", "rest")
        """,
        tmp_path,
        outputs=["rows", "rest"],
    )
    consumer = node(
        "b",
        "def main(inputs, ctx):\n    return {'out': inputs['rows']['rows'][-1][1], 'all': inputs['rows']}\n",
        tmp_path,
        inputs=[{"handle": "rows"}],
        outputs=["out", "all"],
        inputs_from=[{"handle": "rows", "from_node": [{"node_id": "a", "output_handle": "rows"}]}],
    )
    flow_outputs = [{"handle": name, "from_node": [{"node_id": "b", "output_handle": name}]} for name in ("out", "all")]
    async with started(write_flow(tmp_path, [producer, consumer], outputs_from=flow_outputs)) as session:
        found = [event async for event in session]
        outputs = await session.outputs()
    large, after = all_of(found, events.BlockOutput)
    assert large.body is not None
    assert large.body.length > 500_000
    assert after.output == "after"
    assert outputs["out"] == 4999
    assert outputs["all"]["rows"][17] == ["x" * 100, 17]


async def test_a_value_json_cannot_carry_is_an_error_at_the_call_naming_handle_and_path(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            try:
                await ctx.output({"rows": [1, {"when": object()}]}, "out")
            except TypeError as error:
                await ctx.log_json({"handle": error.handle, "path": error.path, "text": str(error)})
        """,
    )
    [logged] = all_of(found, events.BlockLogJSON)
    assert logged.json["handle"] == "out"
    assert "rows[1].when" in logged.json["path"]
    assert end_of(found).state == "succeeded"


async def test_bytes_of_every_kind_travel_raw_and_arrive_as_bytes(tmp_path: Path) -> None:
    bin_handles = [
        {"handle": name, "json_schema": {"contentMediaType": "oomol/bin"}} for name in ("a", "b", "c", "empty", "large")
    ]
    producer = node(
        "a",
        """
        async def main(inputs, ctx):
            kept = bytearray(b"before")
            await ctx.output(b"\\x00\\xff", "a")
            await ctx.output(kept, "b")
            kept[:] = b"after!"
            await ctx.output(memoryview(b"0123456789")[::2], "c")
            await ctx.output(b"", "empty")
            await ctx.output(bytes(range(256)) * 1000, "large")
        """,
        tmp_path,
        outputs=bin_handles,
    )
    flow_outputs = [
        {"handle": each["handle"], "from_node": [{"node_id": "a", "output_handle": each["handle"]}]}
        for each in bin_handles
    ]
    async with started(write_flow(tmp_path, [producer], outputs_from=flow_outputs)) as session:
        assert await session.outputs() == {
            "a": b"\x00\xff",
            "b": b"before",
            "c": b"02468",
            "empty": b"",
            "large": bytes(range(256)) * 1000,
        }


async def test_bytes_over_the_limit_are_refused_before_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.context.payloads.MAX_VALUE", 1000)
    producer = node(
        "a",
        """
        from asyncblock import PayloadTooLarge

        async def main(inputs, ctx):
            for value, handle in ((bytes(1001), "bin"), (["x"] * 70_000, "json")):
                try:
                    await ctx.output(value, handle)
                except PayloadTooLarge as error:
                    await ctx.output(str(error), "said")
        """,
        tmp_path,
        outputs=[{"handle": "bin", "json_schema": {"contentMediaType": "oomol/bin"}}, "json", "said"],
    )
    async with started(write_flow(tmp_path, [producer])) as session:
        said = [event.output for event in all_of([e async for e in session], events.BlockOutput)]
    assert len(said) == 2
    assert "'bin'" in said[0]
    assert "1001" in said[0]
    assert "1000" in said[0]
    assert "'json'" in said[1]


async def test_large_values_are_summed_and_copied_off_the_loop_of_their_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    real = StreamedBody._next_block

    def next_block(streamed: StreamedBody) -> bytes | None:
        threads.add(threading.get_ident())
        return real(streamed)

    monkeypatch.setattr(StreamedBody, "_next_block", next_block)
    producer = node(
        "a",
        """
        import threading

        async def main(inputs, ctx):
            await ctx.output(b"x" * 100_000, "bin")
            await ctx.output(["x"] * 100_000, "json")
            await ctx.output(threading.get_ident(), "loop")
        """,
        tmp_path,
        outputs=[{"handle": "bin", "json_schema": {"contentMediaType": "oomol/bin"}}, "json", "loop"],
    )
    async with started(write_flow(tmp_path, [producer])) as session:
        outputs = all_of([e async for e in session], events.BlockOutput)
    assert threads
    assert outputs[-1].output not in threads
