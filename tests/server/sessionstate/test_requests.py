"""Blocks that run blocks: outputs, events, errors, cancels, nesting; in both forms."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import BlockFailed, Context, SyncContext, events
from asyncblock.block import AnyBlock
from asyncblock.client import Mainframe
from asyncblock.errors import InvalidInputs, LocalProtocolError, Rejected, UnknownBlock
from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source

from ...engine.blocks import OUT, X, double, double_sync, entry, plan_of, subflow
from ...flows import all_of, end_of

pytestmark = pytest.mark.timeout(30)
FORM = pytest.mark.parametrize("form", ["async", "sync"])


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def run(mainframe: Mainframe, plan: Plan) -> list[events.Event]:
    return [event async for event in await mainframe.start(plan)]


async def out(mainframe: Mainframe, plan: Plan) -> Any:
    """Run a flow and return its one output."""
    end = end_of(await run(mainframe, plan))
    assert end.state == "succeeded", end.error
    return end.outputs["out"]


# ---------------------------------------------------------------------- outputs and events


@asyncblock.block(inputs=X, outputs=OUT)
async def calls(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block(f"self::{inputs['x']}", inputs={"x": 21})
    outputs = await job
    assert (await job, job.ended, job.rate) == (outputs, True, 100)
    return {"out": outputs}


@asyncblock.block(inputs=X, outputs=OUT)
def calls_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    job = ctx.run_block(f"self::{inputs['x']}", inputs={"x": 21})
    outputs = job.result()
    assert (job.result(), job.ended, job.rate) == (outputs, True, 100)
    return {"out": outputs}


CALLS: dict[str, AnyBlock] = {"async": calls, "sync": calls_sync}


@FORM
@pytest.mark.parametrize("name", ["double", "double_sync"])
async def test_a_block_runs_a_block_and_gets_its_outputs(mainframe: Mainframe, form: str, name: str) -> None:
    found = await run(mainframe, plan_of(CALLS[form], x=name))
    assert end_of(found).outputs == {"out": {"out": 42}}
    [asked] = [e for e in all_of(found, events.JobCreated) if e.node_id == f"run_block::self::{name}"]
    assert [level["node_id"] for level in asked.stacks] == ["caller", f"run_block::self::{name}"]
    [over] = all_of(found, events.BlockJobFinished)
    assert (over.job_id, over.error) == (asked.job_id, None)


@FORM
async def test_the_last_value_of_each_handle_is_what_it_gives(mainframe: Mainframe, form: str) -> None:
    assert await out(mainframe, plan_of(CALLS[form], x="many")) == {"a": "last", "b": 2}


@asyncblock.block(inputs=[], outputs=OUT)
async def listens(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::many", inputs={"x": 3})
    await job
    late = [type(event).__name__ async for event in job]
    again = [type(event).__name__ async for event in job]
    assert late == again
    values = []
    async for handle, value in job.outputs():
        values.append([handle, value])
        await ctx.send_message({"heard": handle})
    return {"out": {"events": late, "values": values, "progress": [rate async for rate in job.progress()]}}


@asyncblock.block(inputs=[], outputs=OUT)
def listens_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    job = ctx.run_block("self::many", inputs={"x": 3})
    job.result()
    late = [type(event).__name__ for event in job]
    assert late == [type(event).__name__ for event in job]
    values = []
    for handle, value in job.outputs():
        values.append([handle, value])
        ctx.send_message({"heard": handle})
    return {"out": {"events": late, "values": values, "progress": list(job.progress())}}


LISTENS: dict[str, AnyBlock] = {"async": listens, "sync": listens_sync}


@FORM
async def test_b3_b15_what_came_before_somebody_listens_is_not_lost(mainframe: Mainframe, form: str) -> None:
    """And whoever listens may send."""
    found = await out(mainframe, plan_of(LISTENS[form]))
    assert found["values"] == [["a", 0], ["a", 1], ["a", 2], ["a", "last"], ["b", 1], ["b", 2]]
    assert found["events"][0] == "JobCreated"
    assert found["events"][-1] == "BlockJobFinished"
    assert found["events"].count("BlockOutput") == 3
    assert found["progress"] == [100]


@asyncblock.block(inputs=[], outputs=OUT)
async def follows(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    """Goes on with a block step by step: each event is heard while the block runs."""
    job = await ctx.run_block("self::stepwise")
    heard = []
    async for handle, value in job.outputs():
        heard.append(value)
        assert handle == "out"
        STEPS.release()
    return {"out": heard}


STEPS = threading.Semaphore(0)


@asyncblock.block(inputs=[], outputs=OUT)
def stepwise(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    for number in range(5):
        ctx.output(number, "out")
        assert STEPS.acquire(timeout=10)


async def test_events_are_heard_while_the_block_runs(mainframe: Mainframe) -> None:
    assert await out(mainframe, plan_of(follows, stepwise)) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------- failures


@asyncblock.block(inputs=[], outputs=OUT)
async def survives(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::fail")
    heard: list[Any] = []
    try:
        async for handle, value in job.outputs():
            heard.append([handle, value])
    except BlockFailed as failed:
        heard.append(str(failed))
    try:
        await job
    except BlockFailed as failed:
        return {"out": [str(failed), failed.traceback, heard]}
    raise AssertionError


@asyncblock.block(inputs=[], outputs=OUT)
def survives_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    job = ctx.run_block("self::fail")
    heard: list[Any] = []
    try:
        for handle, value in job.outputs():
            heard.append([handle, value])
    except BlockFailed as failed:
        heard.append(str(failed))
    try:
        job.result()
    except BlockFailed as failed:
        return {"out": [str(failed), failed.traceback, heard]}
    raise AssertionError


@FORM
async def test_e1_a_block_that_fails_fails_its_caller_at_most(mainframe: Mainframe, form: str) -> None:
    """In the original such a job was never removed, and the flow never finished."""
    forms: dict[str, AnyBlock] = {"async": survives, "sync": survives_sync}
    words, traceback, heard = await out(mainframe, plan_of(forms[form]))
    assert words == "block 'self::fail' failed: ValueError: no such luck"
    assert "blocks.py" in traceback
    assert heard == [["out", 1], words]


@asyncblock.block(inputs=X, outputs=OUT)
async def refused(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    try:
        job = await ctx.run_block(block, **kwargs)
    except Exception as error:
        return {"out": [type(error).__name__, str(error), getattr(error, "problems", None)]}
    raise AssertionError(f"{job} was not refused")


@asyncblock.block(inputs=X, outputs=OUT)
def refused_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    try:
        ctx.run_block(block, **kwargs)
    except Exception as error:
        return {"out": [type(error).__name__, str(error), getattr(error, "problems", None)]}
    raise AssertionError("it was not refused")


@FORM
@pytest.mark.parametrize(
    ("block", "kwargs", "kind", "words", "handles"),
    [
        ("self::duble", {}, UnknownBlock, "no block 'self::duble' that this flow could run. Did you mean 'self::double'?", None),
        ("nowhere", {}, UnknownBlock, "no block 'nowhere'", None),
        (3, {}, LocalProtocolError, "a block is named by a text", None),
        ("self::double", {}, InvalidInputs, "x: it is missing", ["x"]),
        ("self::double", {"inputs": [1]}, LocalProtocolError, "inputs are a dict", None),
        ("self::typed", {"inputs": {"n": "1"}, "strict": True}, InvalidInputs, 'n: "1" is not of type "integer"', ["n"]),
        ("self::typed", {"inputs": {"n": 0}, "strict": True}, InvalidInputs, "n: 0 is less than the minimum of 1", ["n"]),
        ("self::double", {"inputs": {"x": 1}, "additional_inputs_def": [{"handle": "y", "value": 1}]}, InvalidInputs, "takes no additional inputs", []),
        ("self::double", {"inputs": {"x": 1}, "additional_outputs_def": [{"handle": "y"}]}, InvalidInputs, "takes no additional outputs", []),
        ("self::foreign", {"inputs": {}}, Rejected, "block 'self::foreign' can't be run: it is written in Rust", None),
    ],
)  # fmt: skip
async def test_what_cannot_be_run_is_refused_with_a_typed_error(
    mainframe: Mainframe,
    form: str,
    block: object,
    kwargs: dict[str, Any],
    kind: type[Exception],
    words: str,
    handles: Any,
) -> None:
    forms: dict[str, AnyBlock] = {"async": refused, "sync": refused_sync}
    caller = forms[form]
    foreign = {"pack::foreign": NodePlan("foreign", "task", {"refused": "it is written in Rust"})}
    found = await run(mainframe, plan_of(caller, entries=foreign, x=[block, kwargs]))
    name, said, problems = end_of(found).outputs["out"]
    assert name == kind.__name__
    assert words in said
    assert (None if problems is None else list(problems)) == handles
    assert len(all_of(found, events.JobCreated)) == 1


# ---------------------------------------------------------------------- inputs


@asyncblock.block(inputs=X, outputs=OUT)
async def passes(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    return await (await ctx.run_block(block, **kwargs))


@asyncblock.block(inputs=X, outputs=OUT)
def passes_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    return ctx.run_block(block, **kwargs).result()


PASSES: dict[str, AnyBlock] = {"async": passes, "sync": passes_sync}


@FORM
@pytest.mark.parametrize("strict", [False, True])
async def test_defaults_and_nothing_are_filled_in(mainframe: Mainframe, form: str, strict: bool) -> None:
    plan = plan_of(PASSES[form], x=["self::typed", {"inputs": {"n": 5, "undeclared": 1}, "strict": strict}])
    assert await out(mainframe, plan) == {"n": 5, "with_default": "d", "nothing": None}


@FORM
async def test_without_strict_nothing_is_compared(mainframe: Mainframe, form: str) -> None:
    plan = plan_of(PASSES[form], x=["self::typed", {"inputs": {"n": "5", "nothing": 1}}])
    assert await out(mainframe, plan) == {"n": "5", "with_default": "d", "nothing": 1}


@asyncblock.block(name="open", inputs=X, outputs=OUT)
async def open_block(inputs: Mapping[str, Any], ctx: Context) -> None:
    assert ctx.inputs_def["y"]["is_additional"] is True
    await ctx.output(inputs["x"] + inputs["y"], "out")
    await ctx.output(inputs["z"], "more")


@FORM
async def test_additional_handles_are_the_blocks_too(mainframe: Mainframe, form: str) -> None:
    more = {
        "inputs": {"x": 1, "y": 2},
        "additional_inputs_def": [{"handle": "y"}, {"handle": "z", "value": "zz"}],
        "additional_outputs_def": [{"handle": "more"}],
    }
    allowing = {"pack::open": entry(open_block, additional_inputs=True, additional_outputs=True)}
    forms: dict[str, AnyBlock] = {"async": gathers, "sync": gathers_sync}
    caller = forms[form]
    found = await run(mainframe, plan_of(caller, open_block, entries=allowing, x=["self::open", more]))
    assert end_of(found).outputs == {"out": {"out": 3, "more": "zz"}}, end_of(found).error
    assert not all_of(found, events.BlockError)


@asyncblock.block(inputs=X, outputs=OUT)
async def gathers(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    return {"out": await (await ctx.run_block(block, **kwargs))}


@asyncblock.block(inputs=X, outputs=OUT)
def gathers_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    block, kwargs = inputs["x"]
    return {"out": ctx.run_block(block, **kwargs).result()}


VAR = {"contentMediaType": "oomol/var"}
BIN = {"contentMediaType": "oomol/bin"}


@asyncblock.block(
    name="kinds",
    inputs=[{"handle": "var", "json_schema": VAR}, {"handle": "bin", "json_schema": BIN}, {"handle": "large"}],
    outputs=[{"handle": "var", "json_schema": VAR}, {"handle": "bin", "json_schema": BIN}, {"handle": "large"}],
)
async def kinds(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    assert isinstance(inputs["bin"], bytes)
    return dict(inputs)


@asyncblock.block(inputs=[], outputs=OUT)
async def hands(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    thing, large = object(), ["y" * 1000] * 200
    given = {"var": thing, "bin": b"\x00\xff" * 50_000, "large": large}
    got = await (await ctx.run_block("self::kinds", inputs=given, strict=True))
    assert got["var"] is thing
    return {"out": [got["bin"] == given["bin"], got["large"] == large]}


@asyncblock.block(inputs=[], outputs=OUT)
def hands_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    thing, large = object(), ["y" * 1000] * 200
    given = {"var": thing, "bin": b"\x00\xff" * 50_000, "large": large}
    got = ctx.run_block("self::kinds", inputs=given).result()
    assert got["var"] is thing
    return {"out": [got["bin"] == given["bin"], got["large"] == large]}


HANDS: dict[str, AnyBlock] = {"async": hands, "sync": hands_sync}


@FORM
async def test_values_of_every_kind_go_there_and_come_back(mainframe: Mainframe, form: str) -> None:
    assert await out(mainframe, plan_of(HANDS[form], kinds)) == [True, True]


# ---------------------------------------------------------------------- many, nested, subflows


@asyncblock.block(name="down", inputs=X, outputs=OUT)
async def down(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    if inputs["x"] == 0:
        return {"out": [level["node_id"] for level in ctx.block_info["stacks"]]}
    return await (await ctx.run_block("self::down", inputs={"x": inputs["x"] - 1}))


@asyncblock.block(name="down_sync", inputs=X, outputs=OUT)
def down_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    if inputs["x"] == 0:
        return {"out": [level["node_id"] for level in ctx.block_info["stacks"]]}
    return ctx.run_block("self::down_sync", inputs={"x": inputs["x"] - 1}).result()


@FORM
async def test_a_block_that_was_run_runs_blocks_itself(tmp_path: Path, form: str) -> None:
    """More levels than worker threads: a thread that waits makes room for others."""
    forms: dict[str, AnyBlock] = {"async": down, "sync": down_sync}
    block = forms[form]
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        assert mainframe._local is not None
        assert await out(mainframe, plan_of(block, x=12)) == ["caller", *[f"run_block::self::{block.name}"] * 12]


async def test_blocks_that_call_each_other_for_ever_end(mainframe: Mainframe) -> None:
    end = end_of(await run(mainframe, plan_of(down, x=1000)))
    assert end.state == "failed"
    assert "more than 50 levels deep" in (end.error or "")


@asyncblock.block(inputs=X, outputs=OUT)
async def fans_out(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    jobs = [await ctx.run_block("self::double", inputs={"x": number}) for number in range(inputs["x"])]
    return {"out": sum([(await job)["out"] for job in jobs])}


@asyncblock.block(inputs=X, outputs=OUT)
def fans_out_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    jobs = [ctx.run_block("self::double_sync", inputs={"x": number}) for number in range(inputs["x"])]
    return {"out": sum(job.result()["out"] for job in jobs)}


@FORM
async def test_many_blocks_run_at_once(mainframe: Mainframe, form: str) -> None:
    forms: dict[str, AnyBlock] = {"async": fans_out, "sync": fans_out_sync}
    caller = forms[form]
    assert await out(mainframe, plan_of(caller, x=60)) == sum(range(60)) * 2


async def test_a_job_waits_when_it_has_as_many_blocks_as_it_may(
    mainframe: Mainframe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.context.enginecalls.MAX_BLOCKS", 3)
    monkeypatch.setattr("asyncblock.server.rpc.blocks.MAX_BLOCKS", 3)
    for caller in (fans_out, fans_out_sync):
        assert await out(mainframe, plan_of(caller, x=20)) == sum(range(20)) * 2


def with_subflow(caller: AnyBlock) -> Plan:
    """``twice`` doubles its input and doubles that; a failing one is ``broken``."""
    first = dataclasses.replace(entry(double), node_id="first", inputs={"x": InputPlan((Source(None, "x"),))})
    second = dataclasses.replace(
        entry(double_sync), node_id="second", inputs={"x": InputPlan((Source("first", "out"),))}
    )
    constant = dataclasses.replace(entry(double), node_id="constant", inputs={"x": InputPlan((), True, [1])})
    outputs = {"out": [Source("second", "out")], "same": [Source(None, "x")], "list": [Source("constant", "out")]}
    plan = subflow(plan_of(caller, x="twice"), "twice", [first, second, constant], outputs)
    return plan


@FORM
async def test_a_subflow_is_run_like_a_block(mainframe: Mainframe, form: str) -> None:
    found = await run(mainframe, with_subflow(CALLS[form]))
    assert end_of(found).outputs == {"out": {"out": 84, "same": 21, "list": [1, 1]}}, end_of(found).error


# ---------------------------------------------------------------------- cancels


@asyncblock.block(name="waits", inputs=[], outputs=OUT)
async def waits(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output("here", "out")
    await asyncio.Event().wait()


@asyncblock.block(inputs=X, outputs=OUT)
async def cancels(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block(inputs["x"])
    async for _ in job.outputs():
        break
    await job.cancel("it took too long")
    try:
        await job
    except BlockFailed as failed:
        await job.cancel()
        return {"out": str(failed)}
    raise AssertionError


@asyncblock.block(inputs=X, outputs=OUT)
def cancels_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    job = ctx.run_block(inputs["x"])
    for _ in job.outputs():
        break
    job.cancel("it took too long")
    try:
        job.result()
    except BlockFailed as failed:
        job.cancel()
        return {"out": str(failed)}
    raise AssertionError


CANCELS: dict[str, AnyBlock] = {"async": cancels, "sync": cancels_sync}


@FORM
async def test_a_block_can_be_cancelled_by_its_caller(mainframe: Mainframe, form: str) -> None:
    words = await out(mainframe, plan_of(CANCELS[form], waits, x="self::waits"))
    assert words == "block 'self::waits' failed: cancelled: it took too long"


@FORM
async def test_a_subflow_can_be_cancelled_by_its_caller(mainframe: Mainframe, form: str) -> None:
    inner = dataclasses.replace(entry(waits), node_id="inner")
    caller = plan_of(CANCELS[form], waits, x="self::slow")
    plan = subflow(caller, "slow", [inner], {"out": [Source("inner", "out")]}, inputs_def=())
    found = await run(mainframe, plan)
    assert end_of(found).outputs == {"out": "block 'self::slow' failed: cancelled: it took too long"}
    assert [e.cancelled for e in all_of(found, events.BlockFinished) if e.node_id == "inner"] == [True]


@asyncblock.block(name="middle", inputs=[], outputs=OUT)
async def middle(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return await (await ctx.run_block("self::waits"))


@asyncblock.block(name="middle_sync", inputs=[], outputs=OUT)
def middle_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return ctx.run_block("self::waits").result()


@FORM
async def test_a_cancel_of_the_caller_cancels_what_it_runs(mainframe: Mainframe, form: str) -> None:
    forms: dict[str, AnyBlock] = {"async": middle, "sync": middle_sync}
    caller = forms[form]
    session = await mainframe.start(plan_of(caller, waits))
    found: list[events.Event] = []
    async for event in session:
        found.append(event)
        if isinstance(event, events.BlockOutput) and event.node_id == "run_block::self::waits":
            job_id = next(e.job_id for e in all_of(found, events.JobCreated) if e.node_id == "caller")
            await mainframe.cancel_job(session.session_id, job_id, "enough")
    cancelled = {e.node_id for e in all_of(found, events.BlockFinished) if e.cancelled}
    assert cancelled == {"caller", "run_block::self::waits"}
    assert end_of(found).state == "failed"


@asyncblock.block(inputs=X, outputs=OUT)
async def leaves(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await (await ctx.run_block("self::middle")).__aiter__().__anext__()
    raise ValueError("I have had enough")


async def test_a_caller_that_fails_leaves_nothing_behind(mainframe: Mainframe) -> None:
    found = await run(mainframe, plan_of(leaves, middle, waits, x=1))
    assert "I have had enough" in (end_of(found).error or "")
    begun = {e.job_id for e in all_of(found, events.BlockStarted)}
    assert len(begun) >= 2
    assert begun <= {e.job_id for e in all_of(found, events.BlockFinished)}


@asyncblock.block(inputs=[], outputs=OUT)
async def forgets(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::double", inputs={"x": 1})
    assert job.block == "self::double"
    return {"out": "I don't wait"}


async def test_a_caller_that_returns_lets_its_blocks_run_to_their_end(mainframe: Mainframe) -> None:
    found = await run(mainframe, plan_of(forgets))
    assert end_of(found).outputs == {"out": "I don't wait"}
    [over] = all_of(found, events.BlockJobFinished)
    assert over.error is None


tries: list[int] = []


@asyncblock.block(name="flaky", inputs=[], outputs=OUT, retries=2, backoff=0.01)
async def flaky(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    tries.append(ctx.attempt)
    await ctx.output(f"of attempt {ctx.attempt}", "out")
    if ctx.attempt < 3:
        raise OSError("not yet")
    return {}


@asyncblock.block(inputs=[], outputs=OUT)
async def patient(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": await (await ctx.run_block("self::flaky"))}


async def test_a_block_is_tried_again_as_it_says_itself(mainframe: Mainframe) -> None:
    tries.clear()
    assert await out(mainframe, plan_of(patient, flaky)) == {"out": "of attempt 3"}
    assert tries == [1, 2, 3]


@asyncblock.block(name="breaks", inputs=[], outputs=OUT)
async def breaks(inputs: Mapping[str, Any], ctx: Context) -> None:
    await BREAK.wait()
    raise ValueError("it breaks")


BREAK: asyncio.Event


@asyncblock.block(name="asks_slow", inputs=[], outputs=OUT)
async def asks_slow(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return await (await ctx.run_block("self::slow"))


@asyncblock.block(name="asks_slow_sync", inputs=[], outputs=OUT)
def asks_slow_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return ctx.run_block("self::slow").result()


@FORM
@pytest.mark.parametrize("nested", [False, True], ids=["root", "nested"])
async def test_a_flow_that_fails_ends_at_once_what_its_blocks_run(
    mainframe: Mainframe, form: str, nested: bool
) -> None:
    """Beside the failing block another one waits for a subflow that it runs: no thread of it is left waiting."""
    global BREAK
    BREAK = asyncio.Event()
    forms: dict[str, AnyBlock] = {"async": asks_slow, "sync": asks_slow_sync}
    asks = forms[form]
    nodes = [dataclasses.replace(entry(block), node_id=block.name) for block in (breaks, asks)]
    plan = plan_of(CALLS[form], breaks, asks, waits, x="outer")
    plan = subflow(plan, "outer", nodes, {}, inputs_def=X if nested else ())
    plan = subflow(plan, "slow", [dataclasses.replace(entry(waits), node_id="inner")], {}, inputs_def=())
    if not nested:
        plan = dataclasses.replace(plan, nodes=tuple(nodes), outputs={})
    session = await mainframe.start(plan)
    began = 0.0
    found: list[events.Event] = []
    async for event in session:
        found.append(event)
        if isinstance(event, events.BlockOutput) and event.node_id == "inner":
            began = asyncio.get_running_loop().time()
            BREAK.set()
    assert "it breaks" in (end_of(found).error or "")
    assert asyncio.get_running_loop().time() - began < 8
    for thread in threading.enumerate():
        if thread.name.startswith("asyncblock job"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
    cancelled = {e.node_id for e in all_of(found, events.BlockFinished) if e.cancelled}
    assert {"inner", asks.name} <= cancelled


@asyncblock.block(name="needs_secret", inputs=X, outputs=OUT)
async def needs_secret(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    assert inputs["x"]["token"] == "t0p-s3cret"
    return {"out": len(inputs["x"]["token"])}


@FORM
async def test_a_secret_that_is_given_to_a_block_travels_as_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_SECRET_PROD__TOKEN", "t0p-s3cret")
    given = ["self::needs_secret", {"inputs": {"x": {"token": "${{OO_SECRET:aws,prod,token}}"}}}]
    async with asyncblock.embedded(tmp_path) as mainframe:
        assert await out(mainframe, plan_of(PASSES[form], needs_secret, x=given)) == 10
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b'"token":"${{OO_SECRET:aws,prod,token}}"' in content for content in kept)
    assert not any(b"t0p-s3cret" in content for content in kept)


TRIES: list[int] = []


@asyncblock.block(name="unsteady", inputs=X, outputs=OUT, retries=3, backoff=0.01)
async def unsteady(inputs: Mapping[str, Any], ctx: Context) -> None:
    TRIES.append(1)
    for number in range(3):
        await ctx.output([len(TRIES), number], "out")
    await ctx.flush()
    if len(TRIES) < inputs["x"]:
        raise ValueError("again")


@asyncblock.block(inputs=X, outputs=OUT)
async def hears(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::unsteady", inputs={"x": inputs["x"]})
    heard: list[Any] = []
    try:
        async for _, value in job.outputs():
            heard.append(value)
    except BlockFailed:
        heard.append("failed")
    return {"out": heard}


@asyncblock.block(inputs=X, outputs=OUT)
def hears_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    job = ctx.run_block("self::unsteady", inputs={"x": inputs["x"]})
    heard: list[Any] = []
    try:
        for _, value in job.outputs():
            heard.append(value)
    except BlockFailed:
        heard.append("failed")
    return {"out": heard}


@pytest.mark.parametrize("caller", [hears, hears_sync], ids=["async", "sync"])
async def test_outputs_of_a_block_with_retries_come_from_one_attempt(mainframe: Mainframe, caller: AnyBlock) -> None:
    TRIES.clear()
    assert await out(mainframe, plan_of(caller, unsteady, x=3)) == [[3, 0], [3, 1], [3, 2]]
    TRIES.clear()
    assert await out(mainframe, plan_of(caller, unsteady, x=9)) == ["failed"]
