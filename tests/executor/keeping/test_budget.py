"""Var values have a budget: who puts out more waits for the consumers, unless waiting can free nothing.

None goes to the disk here; ``test_spilling`` has that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.childprocesses.hostmemory import memory_limit, var_budget
from asyncblock.client import Mainframe
from asyncblock.varvalues.detached import size_of

from ...engine.blocks import plan_of
from ...flow.packages import block, write
from ...flows import all_of, end_of, until
from ...processes import run

pytestmark = pytest.mark.timeout(120)
VAR = {"contentMediaType": "oomol/var"}
OUT: list[dict[str, Any]] = [{"handle": "v", "json_schema": VAR}]
V = [{"handle": "v"}]
COUNT, MEGABYTES, BUDGET = 25, 40, 160
"""Arrays of more than 32 MB are mapped and unmapped, so that what is freed is seen."""

SOURCE = f"""
import numpy as np

async def main(inputs, ctx):
    with open("/proc/self/status") as status:
        await ctx.send_message([line for line in status if line.startswith("VmHWM")][0].split()[1])
    buffer = np.empty({MEGABYTES << 17})
    for number in range({COUNT}):
        buffer[:] = number
        await ctx.output(buffer, "frame")
"""
SHOW = """
import asyncio

async def main(inputs, ctx):
    await asyncio.sleep(0.005)
    with open("/proc/self/status") as status:
        peak = [line for line in status if line.startswith("VmHWM")][0].split()[1]
    return {"n": [float(inputs["frame"].min()), float(inputs["frame"].max()), peak]}
"""
FLOW = """
nodes:
  - {node_id: source, task: self::source}
  - node_id: show
    task: self::show
    inputs_from: [{handle: frame, from_node: [{node_id: source, output_handle: frame}]}]
"""


async def test_a_stream_of_arrays_takes_no_more_memory_than_its_budget(tmp_path: Path) -> None:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: frames\nversion: 1.0.0\n")
    block(root, "source", "", "frame:var", SOURCE)
    block(root, "show", "frame:var", "n", SHOW)
    write(root / "flows/f/flow.oo.yaml", FLOW)
    command = await run(
        "run",
        root / "flows/f",
        "--json",
        state=tmp_path,
        **{"ASYNCBLOCK_VAR_MEMORY": f"{BUDGET}M", "ASYNCBLOCK_VAR_DISK": "0"},
    )
    found = command.events()
    assert (found[-1]["state"], found[-1]["error"]) == ("succeeded", None)
    assert [event for event in found if "var values take" in event.get("warning", "")] == []
    told = [event["result"]["n"] for event in found if event["type"] == "BlockFinished" and event["node_id"] == "show"]
    assert [(low, high) for low, high, _ in told] == [(n, n) for n in range(COUNT)]
    [before] = [int(event["payload"]) for event in found if event["type"] == "BlockMessage"]
    peak = max(int(peak) for _, _, peak in told)
    # The author's buffer, the copies of those that run, and one on its way, beside the budget.
    assert peak - before < (BUDGET + 5 * MEGABYTES) << 10


@pytest.fixture
async def mainframe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mainframe]:
    monkeypatch.setenv("ASYNCBLOCK_VAR_MEMORY", "4M")
    monkeypatch.setenv("ASYNCBLOCK_VAR_DISK", "0")
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def succeeded(mainframe: Mainframe, flow: Any) -> Sequence[events.Event]:
    found = [event async for event in await mainframe.start(flow)]
    assert end_of(found).state == "succeeded", end_of(found).error
    return found


def warnings_of(found: Sequence[events.Event]) -> list[str]:
    """Return the warnings of the budget; of a loop that is late on a busy machine there may be others."""
    told = [event.warning for event in all_of(found, events.BlockWarning)]
    return [words for words in told if words.startswith("var values take")]


def frame(number: int) -> np.ndarray[Any, Any]:
    return np.full(1 << 17, float(number))


@asyncblock.block(outputs=[*OUT, {"handle": "last"}])
async def joined_at_the_end(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(9):
        await ctx.output(frame(number), "v")
    for number in range(9):
        await ctx.output(number, "last")


@asyncblock.block(outputs=[*OUT, {"handle": "last"}])
def joined_at_the_end_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    for number in range(9):
        ctx.output(frame(number), "v")
    for number in range(9):
        ctx.output(number, "last")


@asyncblock.block(inputs=[*V, {"handle": "n"}], outputs=[])
async def joins(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.send_message([float(inputs["v"].max()), inputs["n"]])


@pytest.mark.parametrize("source", [joined_at_the_end, joined_at_the_end_sync], ids=["async", "sync"])
async def test_where_waiting_frees_nothing_the_budget_is_exceeded_with_a_warning(
    mainframe: Mainframe, source: Any
) -> None:
    flow = Flow("join")
    made = flow.node(source)
    flow.node(joins, {"v": made["v"], "n": made["last"]})
    found = await succeeded(mainframe, flow)
    assert [event.payload for event in all_of(found, events.BlockMessage)] == [[n, n] for n in range(9)]
    [warning] = warnings_of(found)
    assert "more than the 4 MiB that they may: every job here waits" in warning


@asyncblock.block(outputs=OUT, retries=1)
async def held_to_the_end(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(9):
        await ctx.output(frame(number), "v")


@asyncblock.block(inputs=V, outputs=[])
async def take(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.send_message(float(inputs["v"].max()))


async def test_outputs_that_go_on_when_an_attempt_ends_do_not_wait_for_it(mainframe: Mainframe) -> None:
    flow = Flow("held")
    flow.node(take, {"v": flow.node(held_to_the_end)["v"]})
    found = await succeeded(mainframe, flow)
    assert [event.payload for event in all_of(found, events.BlockMessage)] == list(range(9))
    assert warnings_of(found) == []


@asyncblock.block(name="gives_many", outputs=OUT)
async def gives_many(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(9):
        await ctx.output(frame(number), "v")


@asyncblock.block(outputs=[{"handle": "out"}])
async def asks(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::gives_many")
    return {"out": [float(value.max()) async for _, value in job.outputs()]}


async def test_a_block_that_another_one_runs_does_not_wait_for_it(mainframe: Mainframe) -> None:
    found = await succeeded(mainframe, plan_of(asks, gives_many))
    assert end_of(found).outputs["out"] == list(range(9))
    assert warnings_of(found) == []


@asyncblock.block(outputs=OUT)
def waits_for_ever(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    for number in range(9):
        if number == 4:
            ctx.report_log("full")
        ctx.output(frame(number), "v")


@asyncblock.block(inputs=V, outputs=[])
async def takes_for_ever(inputs: Mapping[str, Any], ctx: Context) -> None:
    await asyncio.Event().wait()


async def test_a_cancel_ends_the_wait(mainframe: Mainframe) -> None:
    flow = Flow("cancelled")
    flow.node(takes_for_ever, {"v": flow.node(waits_for_ever)["v"]})
    session = await mainframe.start(flow)
    await until(session, events.BlockLog)
    async with asyncio.timeout(8):
        await session.cancel("enough")
        assert (await session.wait()).state == "cancelled"


waits: asyncio.Event


@asyncblock.block(outputs=OUT)
async def told_of(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(9):
        sending = asyncio.create_task(_sent(ctx, number))
        await asyncio.wait([sending], timeout=0.2 if number >= 4 else None)
        if not sending.done():
            waits.set()
        await sending


async def _sent(ctx: Context, number: int) -> None:
    await ctx.output(frame(number), "v")


@asyncblock.block(inputs=V, outputs=[])
async def take_when_full(inputs: Mapping[str, Any], ctx: Context) -> None:
    await waits.wait()
    await ctx.send_message(float(inputs["v"].max()))


async def test_a_slow_consumer_is_waited_for(mainframe: Mainframe) -> None:
    """It begins when the producer waits; nothing is exceeded."""
    global waits
    waits = asyncio.Event()
    flow = Flow("slow")
    flow.node(take_when_full, {"v": flow.node(told_of)["v"]})
    found = await succeeded(mainframe, flow)
    assert [event.payload for event in all_of(found, events.BlockMessage)] == list(range(9))
    assert warnings_of(found) == []


def test_sizes_are_what_libraries_say() -> None:
    megabyte = np.zeros(1 << 17)
    for value in (
        megabyte,
        bytearray(1 << 20),
        memoryview(bytes(1 << 20)),
        pd.DataFrame({"a": megabyte}),
        pd.Series(megabyte),
        pl.DataFrame({"a": megabyte}),
        pa.table({"a": megabyte}),
        {"frame": megabyte, "t": 1},
        [megabyte],
    ):
        assert 1 << 20 <= size_of(value) < (1 << 20) + 1000, type(value)
    for value in (None, {1}, object(), {"a": "b"}, pd.DataFrame):
        assert size_of(value) < 1000


def test_the_setting_is_a_size_that_executors_share() -> None:
    for text, expected in (("1000", 1000), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("2 gb", 2 << 30)):
        assert var_budget({"ASYNCBLOCK_VAR_MEMORY": text}) == expected
    assert var_budget({"ASYNCBLOCK_VAR_MEMORY": "1000", "ASYNCBLOCK_EXECUTORS": "4"}) == 250
    assert var_budget({}) == memory_limit() // 4
    with pytest.raises(ValueError, match="ASYNCBLOCK_VAR_MEMORY='lots' is no size: write bytes, or 512M, 2GiB"):
        var_budget({"ASYNCBLOCK_VAR_MEMORY": "lots"})


def test_control_groups_bound_the_memory(tmp_path: Path) -> None:
    def limit(lines: str, **files: str) -> int:
        write(tmp_path / "proc/self/cgroup", lines)
        for name, text in files.items():
            write(tmp_path / "groups" / name.replace("__", "/").replace("_", "."), text)
        return memory_limit(tmp_path / "proc", tmp_path / "groups")

    machine = memory_limit(tmp_path / "nothing", tmp_path / "nothing")
    assert limit("0::/\n") == machine
    assert limit("0::/a/b\n", a__b__memory_max="max\n", a__memory_max="1000000\n") == 1000000
    assert limit("0::/elsewhere\n", memory_max="900000\n") == 900000
    (tmp_path / "groups/memory/job").mkdir(parents=True)
    (tmp_path / "groups/memory/job/memory.limit_in_bytes").write_text("700000\n")
    assert limit("4:memory:/job\n2:cpu:/x\n") == 700000
    (tmp_path / "groups/memory/job/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert limit("4:memory:/job\n") == machine
