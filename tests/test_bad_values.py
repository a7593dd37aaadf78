"""What can't travel is an error at its call, whatever the call is, and nobody else's: link and job go on."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock.errors import LocalProtocolError, UnserializableValue

from .flows import node, one_block, write_flow

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
