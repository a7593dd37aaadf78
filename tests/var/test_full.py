"""Disks and memory that are full where a value is to go: it waits, or stays with a word, and others go on."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from asyncblock import events

from ..disks import fill, small_disk
from ..executor.keeping.test_carriage import (
    LARGE,
    ONE,
    SUM,
    TOTAL,
    connected,
    flow_of,
    on_host,
    rows_of,
    served,
    serving,
    until_executors,
    until_gone,
    until_no_body,
)
from ..flow.packages import block, write
from ..processes import free_port, run

pytestmark = pytest.mark.timeout(240)
"""Each test starts up to four processes."""

SMALL = sum(range(100_000))


async def test_a_value_for_another_host_waits_for_room_on_the_disk_of_the_mainframe(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    with small_disk(tmp_path / "data", "128m") as disk:
        async with AsyncExitStack() as stack:
            serve = await stack.enter_async_context(served(tmp_path, free_port()))
            mainframe = await stack.enter_async_context(connected(tmp_path))
            await on_host(stack, tmp_path, package, "one")
            await on_host(stack, tmp_path, package, "two")
            await until_executors(mainframe, 2)
            filler = fill(disk, leave=8 << 20)
            session = await mainframe.start(flow)
            await serve.until_line("nothing is accepted until it can", err=True)
            filler.unlink()
            assert (await session.outputs())["out0"][1] == TOTAL
            assert len(await rows_of(session, "ValueCarried")) == 1
            await until_no_body(tmp_path)
            await until_gone(tmp_path)


async def test_a_value_that_has_no_room_in_memory_where_it_comes_to_is_on_the_disk_there(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    with small_disk(tmp_path / "two" / "memory", "40m"):
        async with AsyncExitStack() as stack:
            mainframe = await stack.enter_async_context(serving(tmp_path))
            await on_host(stack, tmp_path, package, "one")
            await on_host(stack, tmp_path, package, "two")
            session = await mainframe.start(flow)
            assert (await session.outputs())["out0"][1] == TOTAL
            [copied] = await rows_of(session, "ValueCopied")
            assert copied["file"].startswith("d.")
            await until_gone(tmp_path)


async def test_where_neither_memory_nor_disk_has_room_for_a_value_that_is_said_and_other_jobs_go_on(
    tmp_path: Path,
) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",), retries=20)
    small = package.write("flows/small/flow.oo.yaml", flow.read_text().replace("self::made", "self::little"))
    package.block(
        "little",
        ONE,
        outputs_def=[{"handle": "v", "json_schema": {"contentMediaType": "oomol/var"}}],
        needs={"labels": ["one"]},
    )
    with small_disk(tmp_path / "two" / "memory", "40m"), small_disk(tmp_path / "two" / "disk", "60m") as disk:
        filler = fill(disk, leave=20 << 20)
        async with AsyncExitStack() as stack:
            mainframe = await stack.enter_async_context(serving(tmp_path))
            await on_host(stack, tmp_path, package, "one")
            await on_host(stack, tmp_path, package, "two")
            await until_executors(mainframe, 2)
            session = await mainframe.start(flow)
            error = await first_error(session)
            assert "that another host has can't be kept here" in error, error
            assert (
                f"{tmp_path}/two/memory has no room" in error and f"{tmp_path}/two/disk has too little room" in error
            ), error
            assert (await (await mainframe.start(small)).outputs())["out0"][1] == SMALL
            # Each attempt asks for it again, and the mainframe has it.
            filler.unlink()
            assert (await session.outputs())["out0"][1] == TOTAL
            assert len(await rows_of(session, "ValueCarried")) == 1
            await until_gone(tmp_path)


async def first_error(session: Any) -> str:
    """Return the words of the first attempt of a block that has failed."""
    async for event in session:
        if isinstance(event, events.BlockFinished) and event.error:
            return str(event.error)
    raise AssertionError("no attempt has failed")


FRAME = """
import os
import numpy as np
async def main(inputs, ctx):
    await ctx.send_message(os.getpid())
    await ctx.output(np.arange(4_000_000), "v")
"""
WORK = """
import os
def main(inputs):
    total = 0
    for number in range(300_000):
        total += number & 3
    return {"n": [os.getpid(), int(inputs["v"].sum())]}
"""


async def test_a_value_that_has_no_room_for_others_of_its_host_stays_and_its_consumers_come_to_it(
    tmp_path: Path,
) -> None:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: full\nversion: 1.0.0\n")
    block(root, "source", "", "v:var", FRAME)
    block(root, "work", "v:var", "n", WORK)
    taken = "inputs_from: [{handle: v, from_node: [{node_id: source, output_handle: v}]}]"
    nodes = [f"  - {{node_id: w{n}, task: self::work, {taken}}}\n" for n in range(6)]
    write(root / "flows/f/flow.oo.yaml", "nodes:\n  - {node_id: source, task: self::source}\n" + "".join(nodes))
    with small_disk(tmp_path / "memory", "30m"), small_disk(tmp_path / "disk", "20m"):
        places = {"ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory"), "ASYNCBLOCK_BODIES_DIR": str(tmp_path / "disk")}
        command = await run("run", root / "flows/f", "--json", "--workers", "2", state=tmp_path, **places)
        found = command.events()
        assert (found[-1]["state"], found[-1]["error"]) == ("succeeded", None)
        [source] = [event["payload"] for event in found if event["type"] == "BlockMessage"]
        ends = [event["result"]["n"] for event in found if event["type"] == "BlockFinished" and "n" in event["result"]]
        assert ends == [[source, TOTAL]] * 6
        [stays] = [event for event in found if event["type"] == "ValueStays"]
        assert "can't be put into a file for another process" in stays["reason"]
        assert list(tmp_path.glob("*/asyncblock-values-*/v-*/*")) == []
