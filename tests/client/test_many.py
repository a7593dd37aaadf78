"""``Mainframe.map``: many runs of one flow, bounded, whose failures keep nothing from the others."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.client.grouped import cancel_group
from asyncblock.client.many import MapResult
from asyncblock.errors import FlowFailed, InvalidFlow, LocalProtocolError, MapFailed

from ..flow.packages import block

running = 0
most = 0
arrived = asyncio.Semaphore(0)
"""Has one more for each job that runs."""


@asyncblock.block
async def work(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Wait a moment, and count how many do so at once."""
    global running, most
    arrived.release()
    running += 1
    most = max(most, running)
    try:
        await asyncio.sleep(inputs.get("pause", 0.01))
    finally:
        running -= 1
    if inputs["n"] == 13:
        raise ValueError("thirteen")
    return {"out": inputs["n"] * 2}


@asyncblock.block(inputs=[{"handle": "n"}, {"handle": "pause", "value": 0.0}], outputs=[{"handle": "out"}])
async def alone(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """A block that is no flow."""
    return await work(inputs, ctx)


def doubling() -> asyncblock.Flow:
    flow = asyncblock.Flow("doubling")
    node = flow.node(work, {"n": flow.input("n"), "pause": flow.input("pause", value=0.01)})
    flow.output("out", node["out"])
    return flow


@pytest.fixture(autouse=True)
def fresh() -> None:
    global running, most, arrived
    running = most = 0
    arrived = asyncio.Semaphore(0)


@pytest.mark.parametrize("what", ["flow", "block", "file"])
async def test_outputs_come_in_the_order_of_the_items(tmp_path: Path, what: str) -> None:
    path = block(tmp_path, "double", "n", "out", "def main(inputs, ctx):\n    return {'out': inputs['n'] * 2}\n")
    flow: Any = {"flow": doubling(), "block": alone, "file": path}[what]
    async with asyncblock.embedded() as mainframe:
        outputs = await mainframe.map(flow, [{"n": n} for n in range(12)], limit=5)
    assert outputs == [{"out": 2 * n} for n in range(12)]


async def test_no_more_run_at_once_than_the_limit(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        await mainframe.map(doubling(), [{"n": n} for n in range(14, 34)], limit=3)
        assert most == 3
        # An endless source is asked for no more than what runs.
        asked = 0

        def endless() -> Any:
            nonlocal asked
            while True:
                asked += 1
                yield {"n": 14}

        async with aclosing(aiter(mainframe.map(doubling(), endless(), limit=3))) as results:  # type: ignore[type-var]
            async for _ in results:
                break
        assert asked <= 6


async def test_results_come_as_they_are_there(tmp_path: Path) -> None:
    items: list[dict[str, Any]] = [{"n": 0, "pause": 0.5}, {"n": 1, "pause": 0}, {"n": 2, "pause": 0.1}]
    async with asyncblock.embedded() as mainframe:
        found = [result async for result in mainframe.map(doubling(), items)]
    assert found[-1].index == 0
    assert sorted(each.index for each in found) == [0, 1, 2]
    assert all(each.outputs == {"out": each.inputs["n"] * 2} for each in found)


async def test_those_that_fail_are_told_and_the_others_kept(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        items: list[dict[str, Any]] = [{"n": 12}, {"n": 13}, {"n": 14}, {"m": 1}]
        many = mainframe.map(doubling(), items)
        with pytest.raises(MapFailed, match="2 of 4 runs failed: item 1: node work: ValueError: thirteen") as caught:
            await many
        results: list[MapResult] = list(caught.value.results)
        assert [each.outputs for each in results] == [{"out": 24}, {}, {"out": 28}, {}]
        failed = results[1].error
        assert isinstance(failed, FlowFailed)
        assert failed.node_id == "work"
        assert isinstance(results[3].error, InvalidFlow)
        # They are sessions as others are, listed under their group.
        listed = await mainframe.sessions(prefix=many.group)
        assert {each.state for each in listed} == {"succeeded", "failed"}
        assert {each.group for each in listed} == {many.group}
        assert (await mainframe.start(doubling(), {"n": 1})).session_id.startswith(many.group) is False


async def test_one_cancel_ends_all(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        many = mainframe.map(doubling(), [{"n": n, "pause": 600} for n in range(20)], limit=4)

        async def cancel() -> None:
            for _ in range(4):
                await arrived.acquire()
            await many.cancel("enough")

        cancelling = asyncio.create_task(cancel())
        async with asyncio.timeout(10):
            found = [result async for result in many]
        await cancelling
        assert len(found) == 4
        assert all("enough" in str(each.error) for each in found)
        assert {each.state for each in await mainframe.sessions(prefix=many.group)} == {"cancelled"}


@pytest.mark.parametrize("how", ["cancelled", "left"])
async def test_whoever_stops_waiting_leaves_nothing_running(tmp_path: Path, how: str) -> None:
    async with asyncblock.embedded() as mainframe:
        many = mainframe.map(doubling(), [{"n": n, "pause": 600 if n else 0} for n in range(8)], limit=8)

        async def wait() -> None:
            if how == "cancelled":
                await many
            else:
                async with aclosing(aiter(many)) as results:  # type: ignore[type-var]
                    async for _ in results:
                        break

        waiting = asyncio.create_task(wait())
        for _ in range(8):
            await arrived.acquire()
        if how == "cancelled":
            waiting.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(waiting, return_exceptions=True)
            for each in await mainframe.sessions(prefix=many.group):
                end = await mainframe.session(each.session_id).wait()
                assert end.state == ("succeeded" if each.session_id.endswith("n00000") else "cancelled")


async def test_what_is_wrong_with_the_flow_is_said_once(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        with pytest.raises(InvalidFlow, match="there is no such flow"):
            await mainframe.map("nosuch", [{}, {}])
        with pytest.raises(LocalProtocolError, match="limit is how many run at once"):
            await mainframe.map(doubling(), [], limit=0)
        assert await mainframe.map(doubling(), []) == []
        assert await mainframe.sessions() == []


async def test_a_group_that_somebody_else_cancels_begins_no_further_runs() -> None:
    async with asyncblock.embedded() as mainframe:
        many = mainframe.map(doubling(), [{"n": n, "pause": 600} for n in range(14, 24)], limit=3)
        waiting = asyncio.ensure_future(many)
        for _ in range(3):
            await arrived.acquire()
        assert await cancel_group(mainframe, many.group, "no longer wanted") == 3
        with pytest.raises(MapFailed) as failed:
            await waiting
        members = await mainframe.sessions(prefix=many.group)
        assert [each.state for each in members] == ["cancelled"] * len(members)
        assert 3 <= len(members) < 10
        assert "no longer wanted" in str(failed.value)


async def test_one_of_a_group_may_be_cancelled_alone() -> None:
    async with asyncblock.embedded() as mainframe:
        items = [{"n": 14, "pause": 600}, *({"n": n, "pause": 0} for n in range(15, 20))]
        many = mainframe.map(doubling(), items, limit=1)
        waiting = asyncio.ensure_future(many)
        await arrived.acquire()
        [one] = await mainframe.sessions(prefix=many.group)
        await mainframe.session(one.session_id).cancel("only this one")
        with pytest.raises(MapFailed) as failed:
            await waiting
        assert [each.error is None for each in failed.value.results] == [False, *[True] * 5]
