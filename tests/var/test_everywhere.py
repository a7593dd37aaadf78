"""Whatever way a var value takes, each one that was put out arrives as the very object that it was."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.block import AnyBlock
from asyncblock.client import Mainframe
from asyncblock.store import StoreKey

from ..engine.blocks import plan_of
from ..executor.test_services import ServicePackage
from ..flows import all_of, end_of

pytestmark = pytest.mark.timeout(30)
FORM = pytest.mark.parametrize("form", ["async", "sync"])
VAR = {"contentMediaType": "oomol/var"}
NUMBERS = list(range(20))


def var(*names: str) -> list[dict[str, Any]]:
    return [{"handle": name, "json_schema": VAR} for name in names]


class Thing:
    """A value that JSON can't carry."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def told(mainframe: Mainframe, flow: Any) -> list[Any]:
    """Run a flow; return what its blocks ``tell`` were given, in order."""
    found = [event async for event in await mainframe.start(flow)]
    assert end_of(found).state == "succeeded", end_of(found).error
    return [event.payload for event in all_of(found, events.BlockMessage)]


@asyncblock.block(inputs=[{"handle": "v"}], outputs=[])
async def tell(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.send_message(inputs["v"].number)


@asyncblock.block(outputs=var("v"))
async def many(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in NUMBERS:
        await ctx.output(Thing(number), "v")


@asyncblock.block(outputs=var("v"))
def many_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    for number in NUMBERS:
        ctx.output(Thing(number), "v")


@asyncblock.block(inputs=[{"handle": "v"}], outputs=var("v"))
async def same(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"v": inputs["v"]}


# ---------------------------------------------------------------------- ways of sending


@asyncblock.block(outputs=var("a", "b", "c"))
async def each_way(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    await ctx.output(Thing(1), "a")
    await ctx.output(Thing(11), "b")
    await ctx.outputs({"a": Thing(2), "b": Thing(12), "c": Thing(20)})
    await asyncio.gather(*(ctx.output(Thing(number), "a") for number in (3, 4)))
    return {"a": Thing(5), "b": Thing(13)}


@asyncblock.block(outputs=var("a", "b", "c"))
async def by_finish(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(Thing(1), "a")
    await ctx.output(Thing(11), "b")
    await ctx.outputs({"a": Thing(2), "b": Thing(12), "c": Thing(20)})
    await ctx.outputs({"a": Thing(3)})
    await ctx.output(Thing(4), "a")
    await ctx.finish({"a": Thing(5), "b": Thing(13)})


@asyncblock.block(outputs=var("a", "b", "c"))
def each_way_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    ctx.output(Thing(1), "a")
    ctx.output(Thing(11), "b")
    ctx.outputs({"a": Thing(2), "b": Thing(12), "c": Thing(20)})
    ctx.outputs({"a": Thing(3)})
    ctx.output(Thing(4), "a")
    return {"a": Thing(5), "b": Thing(13)}


@asyncblock.block(inputs=[{"handle": "v"}, {"handle": "name"}], outputs=[])
async def tell_of(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.send_message([inputs["name"], inputs["v"].number])


@pytest.mark.parametrize("block", [each_way, by_finish, each_way_sync], ids=lambda each: each.name)
async def test_several_handles_in_every_way_of_sending(mainframe: Mainframe, block: AnyBlock) -> None:
    flow = Flow("ways")
    source = flow.node(block)
    for name in ("a", "b", "c"):
        flow.node(tell_of, {"v": source[name], "name": name})
    found = await told(mainframe, flow)
    assert [number for name, number in found if name == "a"] == [1, 2, 3, 4, 5]
    assert [number for name, number in found if name == "b"] == [11, 12, 13]
    assert [number for name, number in found if name == "c"] == [20]


@asyncblock.block(outputs=var("v"))
async def turn_about(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in NUMBERS:
        await ctx.output(Thing(number), "v", to_node=[{"node_id": f"n{number % 2}", "input_handle": "v"}])


async def test_values_for_chosen_nodes(mainframe: Mainframe) -> None:
    flow = Flow("chosen")
    source = flow.node(turn_about)
    for name in ("n0", "n1"):
        flow.node(tell_of, {"v": source["v"], "name": name}, node_id=name)
    found = await told(mainframe, flow)
    for name, first in (("n0", 0), ("n1", 1)):
        assert [number for node, number in found if node == name] == NUMBERS[first::2]


# ---------------------------------------------------------------------- ways through a flow


@pytest.mark.parametrize("source", [many, many_sync], ids=["async", "sync"])
async def test_through_a_subflow_a_slot_and_a_condition(mainframe: Mainframe, source: AnyBlock) -> None:
    inner = Flow("inner")
    given = inner.input("v", json_schema=VAR)
    first = inner.node(same, {"v": given})
    slot = inner.slot("hole", {"v": first["v"]}, ["v"])
    inner.output("v", slot["v"])
    flow = Flow("outer")
    made = flow.node(source)
    through = flow.node(inner, {"v": made["v"]}, slots={"hole": same})
    chosen = flow.condition({"v": through["v"]}, [], default="v")
    flow.node(tell, {"v": chosen["v"]})
    assert await told(mainframe, flow) == NUMBERS


async def test_the_last_value_is_the_output_of_the_flow(mainframe: Mainframe) -> None:
    flow = Flow("last")
    flow.output("v", flow.node(many)["v"])
    found = [event async for event in await mainframe.start(flow)]
    sent = [event.output for event in all_of(found, events.BlockOutput)]
    assert end_of(found).outputs == {"v": sent[-1]}
    assert [(each["job_id"], each["handle"], each["attempt"], each["place"]) for each in sent] == [
        (event.job_id, "v", 1, place) for place, event in enumerate(all_of(found, events.BlockOutput))
    ]


@asyncblock.block(outputs=var("v"), retries=2)
async def at_the_third(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in NUMBERS:
        await ctx.output(Thing(number + 100 * (3 - ctx.attempt)), "v")
    if ctx.attempt < 3:
        raise ValueError("not yet")


async def test_values_of_attempts_that_failed_are_nobodys(mainframe: Mainframe) -> None:
    flow = Flow("retried")
    flow.node(tell, {"v": flow.node(at_the_third)["v"]})
    assert await told(mainframe, flow) == NUMBERS


async def test_a_reference_that_names_nothing_is_an_error(mainframe: Mainframe) -> None:
    key = StoreKey("asyncblock", "v", "no job", "no session", 1, 3)
    for forged in (
        key.to_json(),
        {name: key.to_json()[name] for name in ("executor", "handle", "job_id", "session_id")},
    ):
        flow = Flow("forged")
        flow.node(tell, {"v": forged})
        end = await (await mainframe.start(flow)).wait()
        assert "a var value of session no session can't be had in session" in str(end.error)


def test_keys_of_versions_before_are_known_and_what_is_like_them_is_not() -> None:
    old = {"executor": "asyncblock", "handle": "h", "job_id": "j", "session_id": "s"}
    key = StoreKey.match(old)
    assert key == StoreKey("asyncblock", "h", "j", "s")
    assert key.to_json() == old
    new = StoreKey("asyncblock", "h", "j", "s", 2, 7)
    assert StoreKey.match(orjson.loads(orjson.dumps(new.to_json()))) == new
    assert new.to_json().items() >= old.items()
    for odd in ({**old, "attempt": 1}, {**old, "attempt": "1", "place": 0}, {**old, "attempt": True, "place": 0}):
        assert StoreKey.match(odd) is None


# ---------------------------------------------------------------------- blocks that run blocks


@asyncblock.block(name="bump", inputs=var("v"), outputs=var("v"), retries=1)
async def bump(inputs: Mapping[str, Any], ctx: Context) -> None:
    """Its input and its output have one name; what came in is what comes in again."""
    number = inputs["v"].number
    await ctx.output(Thing(number + 1), "v")
    await ctx.output(Thing(number + 2), "v")
    if ctx.attempt == 1 and number == 5:
        raise ValueError("once more")


OUT = [{"handle": "out"}]


@asyncblock.block(outputs=OUT)
async def runs(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    jobs = [await ctx.run_block("self::bump", inputs={"v": Thing(number)}) for number in NUMBERS]
    last = [(await job)["v"].number for job in jobs]
    every = [[value.number async for _, value in job.outputs()] for job in jobs]
    heard = [[e async for e in job if isinstance(e, events.BlockOutput) and e.attempt == 1] for job in jobs]
    assert [[e.output["place"] for e in each] for each in heard] == [[0, 1]] * len(jobs)
    return {"out": [last, every]}


@asyncblock.block(outputs=OUT)
def runs_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    jobs = [ctx.run_block("self::bump", inputs={"v": Thing(number)}) for number in NUMBERS]
    last = [job.result()["v"].number for job in jobs]
    return {"out": [last, [[value.number for _, value in job.outputs()] for job in jobs]]}


@FORM
async def test_blocks_that_a_block_runs_take_and_give_var_values(mainframe: Mainframe, form: str) -> None:
    forms: dict[str, AnyBlock] = {"async": runs, "sync": runs_sync}
    plan = plan_of(forms[form], bump)
    end = await (await mainframe.start(plan)).wait()
    assert end.state == "succeeded", end.error
    last, every = end.outputs["out"]
    assert last == [number + 2 for number in NUMBERS]
    # What an attempt has told that failed (of 5) counts for nothing.
    assert every == [[n + 1, n + 2] for n in NUMBERS]


@asyncblock.block(outputs=[*var("out"), {"handle": "plain"}])
async def relays(inputs: Mapping[str, Any], ctx: Context) -> None:
    """Events tell of a var value by its reference, which may be handed on as it is."""
    job = await ctx.run_block("self::bump", inputs={"v": Thing(6)})
    told = [event.output async for event in job if isinstance(event, events.BlockOutput)]
    for reference in told:
        await ctx.outputs({"out": reference, "plain": reference})
    again = await ctx.run_block("self::bump", inputs={"v": told[0]})
    await ctx.output((await again)["v"], "out")


async def test_what_an_event_tells_of_a_var_value_may_be_handed_on(mainframe: Mainframe) -> None:
    plan = plan_of(relays, bump)
    flow = Flow("relayed")
    source = flow.node(relays, node_id="caller")
    for name in ("out", "plain"):
        flow.node(tell_of, {"v": source[name], "name": name})
    plan = dataclasses.replace(
        flow.plan(), scope="pack", catalog=plan.catalog, code_blocks=(*plan.code_blocks, tell_of)
    )
    found = await told(mainframe, plan)
    assert [number for name, number in found if name == "out"] == [7, 8, 9]
    assert [number for name, number in found if name == "plain"] == [7, 8]


# ---------------------------------------------------------------------- services

SERVICE = """
    class Thing:
        def __init__(self, number):
            self.number = number

    async def main(service):
        async def make(inputs, ctx):
            for number in range(20):
                await ctx.output(Thing(number), "out")

        async def take(inputs, ctx):
            await ctx.send_message(inputs["x"].number)
            await ctx.output(inputs["x"].number, "out")

        service.block_handler = {"make": make, "take": take}
    """


async def test_blocks_of_services_put_out_var_values(mainframe: Mainframe, tmp_path: Path) -> None:
    plan = ServicePackage(tmp_path / "pack", SERVICE).plan("make", "take")
    first, *others = plan.nodes
    first = dataclasses.replace(first, block={**first.block, "outputs_def": var("out")})
    plan = dataclasses.replace(plan, nodes=(first, *others))
    found = [event async for event in await mainframe.start(plan)]
    assert end_of(found).state == "succeeded", end_of(found).error
    assert [event.payload for event in all_of(found, events.BlockMessage)] == NUMBERS
