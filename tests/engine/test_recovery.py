"""Orders of jobs survive the mainframe, are carried out once, and are only taken from whoever holds the job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import Context, Executor, SyncContext, events
from asyncblock.block import AnyBlock
from asyncblock.client import Mainframe
from asyncblock.errors import Rejected
from asyncblock.inprocess.hosting import hosted_mainframe
from asyncblock.link import Link
from asyncblock.runtime.iothread import shared
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair

from ..flows import all_of, end_of, until
from ..processes import free_port, start
from .blocks import OUT, X, plan_of

pytestmark = pytest.mark.timeout(60)

COUNT = 12


class Gates:
    """What the blocks of one test wait for, and what they have done."""

    def __init__(self, steps: int = 0) -> None:
        self.ran: Counter[int] = Counter()
        self.steps = asyncio.Semaphore(steps)
        self.release = asyncio.Event()


gates: Gates


def new_gates(steps: int = 0) -> Gates:
    global gates
    gates = Gates(steps)
    return gates


@asyncblock.block(name="counted_block", inputs=X, outputs=OUT)
async def counted_block(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    gates.ran[inputs["x"]] += 1
    await gates.steps.acquire()
    return {"out": inputs["x"] * 10}


@asyncblock.block(name="asks_many", inputs=[], outputs=OUT)
async def asks_many(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    found = []
    for number in range(COUNT):
        job = await ctx.run_block("self::counted_block", inputs={"x": number})
        await ctx.report_progress(number)
        found.append((await job)["out"])
    return {"out": found}


@asyncblock.block(name="asks_many_sync", inputs=[], outputs=OUT)
def asks_many_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return {"out": [ctx.run_block("self::counted_block", inputs={"x": n}).result()["out"] for n in range(COUNT)]}


@pytest.mark.parametrize("caller", [asks_many, asks_many_sync], ids=["async", "sync"])
async def test_a_killed_mainframe_comes_back_and_each_block_runs_once(tmp_path: Path, caller: AnyBlock) -> None:
    new_gates()
    plan = plan_of(caller, counted_block)
    data, port = tmp_path / "data", str(free_port())
    serve = ("serve", "--data-dir", data, "--port", port)
    async with start(*serve, state=tmp_path) as first:
        await first.until_line("mainframe at", err=True)
        token = (data / "token").read_text().strip()
        async with asyncblock.connect(f"ws://127.0.0.1:{port}", token) as mainframe:
            executor = Executor(blocks=[block for block in plan.code_blocks if isinstance(block, AnyBlock)])
            async with executor.attached(mainframe):
                session = await mainframe.start(plan)
                async for event in session:
                    if isinstance(event, events.BlockStarted) and event.node_id.startswith("run_block"):
                        if len(gates.ran) == 4:
                            break
                        gates.steps.release()
                first.kill()
                await first.wait()
                # It ends while nobody is there to hear of it.
                gates.steps.release()
                async with start(*serve, state=tmp_path) as second:
                    for _ in range(COUNT):
                        gates.steps.release()
                    found = [event async for event in session]
                    assert second.process.returncode is None
    assert end_of(found).state == "succeeded", end_of(found).error
    assert end_of(found).outputs == {"out": [10 * number for number in range(COUNT)]}
    assert gates.ran == dict.fromkeys(range(COUNT), 1)
    assert len(all_of(found, events.BlockJobFinished)) == COUNT


# ---------------------------------------------------------------------- orders that come twice, and from others


@asyncblock.block(name="holds", inputs=[], outputs=OUT)
async def holds(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.report_log("here")
    await gates.release.wait()


@asynccontextmanager
async def held(tmp_path: Path) -> AsyncIterator[tuple[Mainframe, dict[str, Any], asyncblock.Session]]:
    """A job that is held open; who it is, as an order says it."""
    new_gates()
    async with asyncblock.embedded(tmp_path) as mainframe:
        session = await mainframe.start(plan_of(holds))
        event = await until(session, events.BlockLog)
        yield mainframe, {"session_id": session.session_id, "job_id": event.job_id, "attempt": 1}, session


async def test_an_order_that_comes_twice_is_carried_out_once(tmp_path: Path) -> None:
    async with held(tmp_path) as (mainframe, who, session):
        order = {**who, "block_job_id": f"{who['job_id']}.1.1", "block": "self::double", "inputs": {"x": 1}}
        first = await mainframe.link.request("run_block", order, id="the order")
        await until(session, events.BlockJobFinished)
        assert await mainframe.link.request("run_block", order, id="the order") == {"offset": first["offset"]}
        gates.release.set()
        found = [event async for event in session]
    assert len([e for e in all_of(found, events.JobCreated) if e.node_id.startswith("run_block")]) == 1
    assert end_of(found).state == "succeeded"


@pytest.mark.parametrize(
    "method", ["run_block", "query_block", "query_downstream", "update_node_weight", "cancel_block"]
)
@pytest.mark.parametrize("other", [{"attempt": 2}, {"job_id": "another"}, {"session_id": "another"}, {"attempt": None}])
async def test_only_who_holds_the_open_attempt_may_ask(tmp_path: Path, method: str, other: dict[str, Any]) -> None:
    async with held(tmp_path) as (mainframe, who, _):
        with pytest.raises(Rejected, match="holds no open attempt") as caught:
            await mainframe.link.request(method, {**who, **other})
        assert caught.value.code == "not_held"


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("run_block", {"block_job_id": "s.0", "block": "self::double"}, "begins with the caller's job and attempt"),
        # Ids of the engine's own form, of a job of its block's, and of none.
        ("run_block", {"block_job_id": "S.1", "block": "self::double"}, "begins with the caller's job and attempt"),
        ("run_block", {"block_job_id": "J.1.1.1.1", "block": "self::double"}, "ends with a name without dots"),
        ("run_block", {"block_job_id": "J.1.", "block": "self::double"}, "ends with a name without dots"),
        ("run_block", {"block_job_id": 1, "block": "self::double"}, "'block_job_id' must be str"),
        ("run_block", {"block_job_id": "J.1.1"}, "'block' must be there"),
        ("run_block", {"block_job_id": "J.1.1", "block": "self::double", "inputs": []}, "'inputs' must be dict"),
        (
            "run_block",
            {"block_job_id": "J.1.1", "block": "self::double", "additional_inputs_def": [1]},
            "additional_inputs_def",
        ),
        ("cancel_block", {"block_job_id": "J.1.1", "reason": "x"}, "has asked for no job"),
        ("query_block", {"block": None}, "'block' must be str"),
        ("query_downstream", {"handles": "a"}, "'handles' must be list"),
        ("update_node_weight", {"node_id": "holds", "weight": "1"}, "'weight' must be a number"),
    ],
)
async def test_a_malformed_order_is_refused_and_changes_nothing(
    tmp_path: Path, method: str, params: dict[str, Any], words: str
) -> None:
    async with held(tmp_path) as (mainframe, who, session):
        if str(params.get("block_job_id", "")).startswith("J"):
            params = {**params, "block_job_id": who["job_id"] + params["block_job_id"][1:]}
        elif str(params.get("block_job_id", "")).startswith("S"):
            params = {**params, "block_job_id": session.session_id + params["block_job_id"][1:]}
        with pytest.raises(Rejected, match=words):
            await mainframe.link.request(method, {**who, **params})
        gates.release.set()
        found = [event async for event in session]
    assert end_of(found).state == "succeeded"
    assert len(all_of(found, events.JobCreated)) == 1


@asynccontextmanager
async def link_with(roles: set[str], tmp_path: Path) -> AsyncIterator[tuple[Mainframe, Mainframe]]:
    """A mainframe with a client that may do everything, and a link with some roles only."""
    async with shared().lease() as io, hosted_mainframe(io, tmp_path) as server:

        def dial_as(granted: frozenset[str] | None) -> Any:
            async def dial() -> Transport:
                ours, theirs = memory_pair()
                if granted is None:
                    server.accept_soon(theirs)
                else:
                    server.accept_soon(theirs, granted)
                return ours

            return dial

        async def make(granted: frozenset[str] | None) -> Link:
            return Link(io, dial_as(granted), "the mainframe")

        client, other = await io.run(make(None)), await io.run(make(frozenset(roles)))
        try:
            await client.open()
            await other.open()
            yield Mainframe(client), Mainframe(other)
        finally:
            await other.close()
            await client.close()


async def test_an_executor_that_may_do_nothing_else_hears_of_what_it_asked_for(tmp_path: Path) -> None:
    new_gates(COUNT)
    plan = plan_of(asks_many, counted_block)
    async with link_with({"executor"}, tmp_path) as (client, other):
        executor = Executor(blocks=[block for block in plan.code_blocks if isinstance(block, AnyBlock)])
        async with executor.attached(other):
            session = await client.start(plan)
            found = [event async for event in session]
            assert end_of(found).outputs == {"out": [10 * number for number in range(COUNT)]}, end_of(found).error
        with pytest.raises(Rejected, match="may not read"):
            await other.link.read(session.session_id, 0)


@asyncblock.block(name="asks_holds", inputs=[], outputs=OUT)
async def asks_holds(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return await (await ctx.run_block("self::holds"))


@asyncblock.block(name="asks_holds_sync", inputs=[], outputs=OUT)
def asks_holds_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return ctx.run_block("self::holds").result()


@pytest.mark.parametrize("caller", [asks_holds, asks_holds_sync], ids=["async", "sync"])
async def test_an_executor_leaves_while_a_block_waits_for_its_block(tmp_path: Path, caller: AnyBlock) -> None:
    new_gates()
    async with asyncblock.embedded(tmp_path) as mainframe:
        session = await mainframe.start(plan_of(caller, holds))
        await until(session, events.BlockLog)
        left = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - left < 10
