"""How long a var value lives: as long as a job can ask for it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.client import Mainframe
from asyncblock.errors import UnknownBlock
from asyncblock.server import MainframeServer
from asyncblock.server.sessionstate.releases import Releases
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy

from ...engine.blocks import plan_of
from ...flows import all_of, end_of

pytestmark = pytest.mark.timeout(30)
VAR = {"contentMediaType": "oomol/var"}
OUT = [{"handle": "v", "json_schema": VAR}]
V = [{"handle": "v"}]


class Living:
    """Things that live, and a wait for their end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.names: set[str] = set()
        self._changed = asyncio.Event()

    def begins(self, thing: Thing) -> None:
        self.names.add(thing.name)
        weakref.finalize(thing, self._ends, thing.name)

    def _ends(self, name: str) -> None:
        self.names.discard(name)
        self.loop.call_soon_threadsafe(self._changed.set)

    async def are(self, *names: str) -> None:
        """Wait until these live and no others."""
        async with asyncio.timeout(10):
            while self.names != set(names):
                self._changed.clear()
                await self._changed.wait()


class Thing:
    """A value that JSON can't carry, whose end is seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        living.begins(self)


living: Living
taken: asyncio.Queue[str]
gate: asyncio.Event


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    global living, taken, gate
    living, taken, gate = Living(), asyncio.Queue(), asyncio.Event()
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def succeeded(mainframe: Mainframe, flow: Any) -> Sequence[events.Event]:
    found = [event async for event in await mainframe.start(flow)]
    assert end_of(found).state == "succeeded", end_of(found).error
    return found


@asyncblock.block(inputs=V, outputs=[])
async def take(inputs: Mapping[str, Any]) -> None:
    taken.put_nowait(inputs["v"].name)


@asyncblock.block(inputs=V, outputs=[])
async def take_and_wait(inputs: Mapping[str, Any]) -> None:
    taken.put_nowait(inputs["v"].name)
    await gate.wait()


@asyncblock.block(outputs=OUT)
async def paced(inputs: Mapping[str, Any], ctx: Context) -> None:
    """Goes on when what it has put out has been freed, while it runs itself."""
    for number in range(5):
        await ctx.output(Thing(str(number)), "v")
        assert await taken.get() == str(number)
        await living.are()


async def test_a_value_goes_when_its_consumer_has_ended(mainframe: Mainframe) -> None:
    flow = Flow("paced")
    flow.node(take, {"v": flow.node(paced)["v"]})
    await succeeded(mainframe, flow)


async def test_through_a_subflow_a_slot_and_a_condition(mainframe: Mainframe) -> None:
    inner = Flow("inner")
    slot = inner.slot("hole", {"v": inner.input("v", json_schema=VAR)}, ["v"])
    inner.output("v", slot["v"])
    flow = Flow("outer")
    through = flow.node(inner, {"v": flow.node(paced)["v"]}, slots={"hole": same})
    chosen = flow.condition({"v": through["v"]}, [], default="v")
    flow.node(take, {"v": chosen["v"]})
    await succeeded(mainframe, flow)


@asyncblock.block(inputs=V, outputs=OUT)
async def same(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"v": inputs["v"]}


@asyncblock.block(outputs=OUT)
async def unconsumed(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(5):
        await ctx.output(Thing(str(number)), "v")
    await living.are()


async def test_a_value_that_nobody_takes_goes_at_once(mainframe: Mainframe) -> None:
    flow = Flow("unconsumed")
    flow.node(unconsumed)
    await succeeded(mainframe, flow)


async def test_all_that_may_still_ask_hold_a_value(mainframe: Mainframe) -> None:
    flow = Flow("two")
    source = flow.node(five)
    flow.node(take, {"v": source["v"]})
    flow.node(take_and_wait, {"v": source["v"]})
    await succeeded(mainframe, flow)


@asyncblock.block(outputs=OUT)
async def five(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(5):
        await ctx.output(Thing(str(number)), "v")
    # The quick one takes all, the slow one has the first: nothing may go.
    assert sorted([await taken.get() for _ in range(6)]) == ["0", "0", "1", "2", "3", "4"]
    await ctx.flush()
    assert living.names == {"0", "1", "2", "3", "4"}
    gate.set()
    assert [await taken.get() for _ in range(4)] == ["1", "2", "3", "4"]
    await living.are()


@asyncblock.block(inputs=V, outputs=[], retries=2, backoff=0.01)
async def take_at_last(inputs: Mapping[str, Any], ctx: Context) -> None:
    if ctx.attempt < 3:
        raise ValueError("not yet")
    taken.put_nowait(inputs["v"].name)


async def test_a_job_that_may_be_tried_again_holds_its_values(mainframe: Mainframe) -> None:
    flow = Flow("retried")
    flow.node(take_at_last, {"v": flow.node(paced)["v"]})
    await succeeded(mainframe, flow)


@asyncblock.block(outputs=OUT, retries=1, backoff=0.01)
async def fails_once(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(Thing(f"of {ctx.attempt}"), "v")
    if ctx.attempt == 1:
        raise ValueError("once more")
    await living.are("of 2")


async def test_values_of_an_attempt_that_failed_go(mainframe: Mainframe) -> None:
    flow = Flow("failed")
    flow.node(take, {"v": flow.node(fails_once)["v"]})
    await succeeded(mainframe, flow)
    assert taken.get_nowait() == "of 2"


@asyncblock.block(name="gives", inputs=OUT, outputs=OUT)
async def gives(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await ctx.output(Thing("first"), "v")
    return {"v": Thing("second")}


@asyncblock.block(outputs=[{"handle": "out"}])
async def asks(inputs: Mapping[str, Any], ctx: Context) -> None:
    job = await ctx.run_block("self::gives", inputs={"v": Thing("given")})
    assert (await job)["v"].name == "second"
    await living.are("first", "second")
    for _ in range(2):
        assert [value.name async for _, value in job.outputs()] == ["first", "second"]


@asyncblock.block(inputs=[{"handle": "x", "nullable": True}], outputs=[{"handle": "out"}])
async def asks_around(inputs: Mapping[str, Any], ctx: Context) -> None:
    job = await ctx.run_block("self::asks")
    assert await job == {}
    await living.are()


async def test_who_runs_a_block_may_ask_for_what_it_has_put_out_until_its_own_end(mainframe: Mainframe) -> None:
    await succeeded(mainframe, plan_of(asks_around, asks, gives, x=None))


@asyncblock.block(outputs=[*OUT, {"handle": "j"}])
async def sends_badly(inputs: Mapping[str, Any], ctx: Context) -> None:
    with pytest.raises(asyncblock.UnserializableValue):
        await ctx.outputs({"v": Thing("not sent"), "j": object()})
    with pytest.raises(UnknownBlock):
        _ = await ctx.run_block("self::nowhere", inputs={"v": Thing("not given")})
    await living.are()


async def test_a_value_that_was_not_sent_is_not_kept(mainframe: Mainframe) -> None:
    flow = Flow("bad")
    source = flow.node(sends_badly)
    flow.node(take, {"v": source["v"]})
    await succeeded(mainframe, flow)


@asyncblock.block(outputs=OUT)
async def two(inputs: Mapping[str, Any], ctx: Context) -> None:
    for name in "ab":
        await ctx.output(Thing(name), "v")
    await living.are()


async def test_a_release_that_was_lost_is_made_up_for_after_the_next_welcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    global living, taken
    living, taken = Living(), asyncio.Queue()
    lost: asyncio.Queue[int] = asyncio.Queue()

    def lose(releases: Releases) -> None:
        due, releases._due, releases._timer = releases._due, {}, None
        for places in (places for attempts in due.values() for places in attempts.values()):
            for place in places:
                lost.put_nowait(place)

    monkeypatch.setattr(Releases, "_tell", lose)
    flow = Flow("cut")
    flow.node(take, {"v": flow.node(two)["v"]})
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(tmp_path / "data", Settings(heartbeat=0.3)))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", int(url.rpartition(":")[2])))
        mainframe = await stack.enter_async_context(asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", server.token))
        await stack.enter_async_context(asyncblock.Executor(blocks=[two, take]).attached(mainframe))
        session = await mainframe.start(flow)
        assert sorted([await lost.get(), await lost.get()]) == [0, 1]
        assert living.names == {"a", "b"}
        proxy.cut()
        assert (await session.wait()).state == "succeeded"


# ---------------------------------------------------------------------- what a consumer gets


@asyncblock.block(outputs=OUT)
async def camera(inputs: Mapping[str, Any], ctx: Context) -> None:
    buffer = np.zeros(1 << 18)
    for number in range(4):
        buffer[:] = number
        await ctx.output(buffer, "v")
    frame = pd.DataFrame({"n": [0]})
    for number in range(4, 8):
        frame.loc[0, "n"] = number
        await ctx.output(frame, "v")
    buffer[:] = -1
    frame.loc[0, "n"] = -1


@asyncblock.block(outputs=OUT)
def camera_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    buffer = np.zeros(1 << 18)
    for number in range(4):
        buffer[:] = number
        ctx.output(buffer, "v")
    frame = pd.DataFrame({"n": [0]})
    for number in range(4, 8):
        frame.loc[0, "n"] = number
        ctx.output(frame, "v")
    buffer[:] = -1
    frame.loc[0, "n"] = -1


@asyncblock.block(inputs=V, outputs=[{"handle": "n"}])
async def spoils(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    value = inputs["v"]
    if isinstance(value, pd.DataFrame):
        number = int(value.n[0])
        value.loc[0, "n"] = -2
    else:
        number = int(value.max())
        value[:] = -2
    await ctx.send_message(number)
    return {"n": number}


@pytest.mark.parametrize("source", [camera, camera_sync], ids=["async", "sync"])
async def test_consumers_get_what_a_value_was_whatever_becomes_of_it(mainframe: Mainframe, source: Any) -> None:
    flow = Flow("camera")
    frames = flow.node(source)
    for _ in range(2):
        flow.node(spoils, {"v": frames["v"]})
    found = await succeeded(mainframe, flow)
    told = [(event.node_id, event.payload) for event in all_of(found, events.BlockMessage)]
    for node in {node for node, _ in told}:
        assert [number for each, number in told if each == node] == list(range(8))


@asyncblock.block(outputs=OUT)
async def begins_late(inputs: Mapping[str, Any], ctx: Context) -> None:
    frame = pd.DataFrame({"n": [1]})
    sending = asyncio.create_task(ctx.output(frame, "v"))
    frame.loc[0, "n"] = -1
    await sending


async def test_it_is_the_call_that_counts(mainframe: Mainframe) -> None:
    flow = Flow("late")
    flow.node(spoils, {"v": flow.node(begins_late)["v"]})
    found = await succeeded(mainframe, flow)
    assert [event.payload for event in all_of(found, events.BlockMessage)] == [1]
