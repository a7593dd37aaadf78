"""Var values that cross processes, by ``asyncblock run --workers 2``: files in memory, mapped by who takes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from ..flow.packages import block, write
from ..processes import all_ended, run, start

pytestmark = pytest.mark.timeout(180)

FRAME = """
import os
import numpy as np, pandas as pd

async def main(inputs, ctx):
    await ctx.send_message(os.getpid())
    text = pd.array(["ab", None] * 100_000, dtype="string")  # with pandas 2 text is Python objects else
    frame = pd.DataFrame({"n": np.arange(200_000), "text": text})
    await ctx.output(frame, "frame")
"""
WORK = """
import os

def main(inputs):
    frame, total = inputs["frame"], 0
    for number in range(300_000):
        total += number & 3
    assert frame.text.isna().sum() == 100_000
    return {"n": [os.getpid(), int(frame.n.sum()), total]}
"""


def fan(count: int) -> str:
    taken = "inputs_from: [{handle: frame, from_node: [{node_id: source, output_handle: frame}]}]"
    nodes = [f"  - {{node_id: w{n}, task: self::work, {taken}}}\n" for n in range(count)]
    return "nodes:\n  - {node_id: source, task: self::source}\n" + "".join(nodes)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: crossing\nversion: 1.0.0\n")
    block(root, "source", "", "frame:var", FRAME)
    block(root, "work", "frame:var", "n", WORK)
    write(root / "flows/f/flow.oo.yaml", fan(8))
    (tmp_path / "memory").mkdir()
    return root


async def outcome(package: Path, tmp_path: Path, *how: str, **environ: str) -> list[dict[str, Any]]:
    environ = {"ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory"), **environ}
    command = await run("run", package / "flows/f", "--json", "--workers", "2", *how, state=tmp_path, **environ)
    return command.events()


def results(events: Sequence[dict[str, Any]]) -> list[Any]:
    assert (events[-1]["state"], events[-1]["error"]) == ("succeeded", None)
    return [event["result"]["n"] for event in events if event["type"] == "BlockFinished" and "n" in event["result"]]


def left_behind(tmp_path: Path) -> list[str]:
    """Return what is there of values: the token of the host is no value's."""
    found = (tmp_path / "memory").rglob("*")
    return [path.name for path in found if path.name != "host" and not path.name.startswith("asyncblock-values-")]


async def test_a_frame_that_many_blocks_take_is_worked_on_by_all_executors(package: Path, tmp_path: Path) -> None:
    events = await outcome(package, tmp_path)
    found = results(events)
    assert [each[1:] for each in found] == [[sum(range(200_000)), 450_000]] * 8
    [source] = [event["payload"] for event in events if event["type"] == "BlockMessage"]
    pids = [each[0] for each in found]
    assert len(set(pids)) == 2
    assert source in pids
    assert min(pids.count(pid) for pid in pids) >= 2
    # Written once, for all that have wanted it.
    [exported] = [event for event in events if event["type"] == "ValueExported"]
    assert exported["file"].startswith("m.")
    assert left_behind(tmp_path) == []


async def test_an_object_column_keeps_its_consumers_and_the_reference_says_why(package: Path, tmp_path: Path) -> None:
    block(package, "source", "", "frame:var", FRAME.replace("frame =", "odd =").replace(
        'await ctx.output(frame', 'frame = odd.assign(o=[{}] * len(odd))\n    await ctx.output(frame'))  # fmt: skip
    events = await outcome(package, tmp_path)
    found = results(events)
    [source] = [event["payload"] for event in events if event["type"] == "BlockMessage"]
    assert {each[0] for each in found} == {source}
    [sent] = [event["output"] for event in events if event["type"] == "BlockOutput"]
    assert sent["stays"] == "column 'o': it holds Python objects (dtype object)"
    assert "portable" not in sent


WRITES = """
import os

async def main(inputs, ctx):
    array = inputs["frame"]
    before = int(array.sum())
    array[:] = os.getpid()
    return {"n": [os.getpid(), before, int(array.sum())]}
"""
ARRAY = """
import numpy as np

async def main(inputs, ctx):
    array = np.arange(100_000)
    await ctx.output(array, "frame")
    array[:] = -1
"""


async def test_who_writes_into_a_mapped_array_harms_nobody(package: Path, tmp_path: Path) -> None:
    block(package, "source", "", "frame:var", ARRAY)
    block(package, "work", "frame:var", "n", WRITES)
    found = results(await outcome(package, tmp_path))
    assert len({pid for pid, _, _ in found}) == 2
    assert found == [[pid, sum(range(100_000)), pid * 100_000] for pid, _, _ in found]


KEEPS = """
import asyncio, os, gc

kept = []

async def main(inputs, ctx):
    kept.append(inputs["frame"])
    gc.collect()
    return {"n": [os.getpid(), [int(each.n.sum()) for each in kept]]}
"""


async def test_a_reference_that_is_kept_stays_valid_when_the_value_has_gone(package: Path, tmp_path: Path) -> None:
    block(package, "work", "frame:var", "n", KEEPS)
    found = results(await outcome(package, tmp_path))
    assert {total for _, totals in found for total in totals} == {sum(range(200_000))}
    assert len({pid for pid, _ in found}) == 2


NUMBERED = """
import numpy as np, pandas as pd

async def main(inputs, ctx):
    for number in range(60):
        await ctx.output(pd.DataFrame({"n": np.full(1000, number)}), "frame")
    await ctx.flush()
    await __import__("asyncio").sleep(0)
"""
SLEEPS = """
import asyncio, os

async def main(inputs, ctx):
    await asyncio.sleep(0.002)
    assert inputs["frame"].n.nunique() == 1
    return {"n": [os.getpid(), int(inputs["frame"].n[0])]}
"""


async def test_sixty_frames_come_to_a_consumer_in_another_process_in_order(package: Path, tmp_path: Path) -> None:
    block(package, "source", "", "frame:var", NUMBERED.replace("sleep(0)", "sleep(1)"))
    block(package, "work", "frame:var", "n", SLEEPS)
    write(package / "flows/f/flow.oo.yaml", fan(1))
    found = results(await outcome(package, tmp_path))
    assert [number for _, number in found] == list(range(60))
    assert left_behind(tmp_path) == []


async def test_a_consumer_that_is_killed_is_tried_again_with_the_same_value(package: Path, tmp_path: Path) -> None:
    """Whichever executor dies: the file of the value outlives the one, the value the other."""
    block(package, "work", "frame:var", "n", WORK.replace("def main", "async def main").replace(
        "    return {", "    if os.getpid() != int(frame.attrs['pid']) and ctx.attempt == 1:\n"
        "        await ctx.report_log(f'pid {os.getpid()}')\n"
        "        await __import__('asyncio').Event().wait()\n    return {").replace("(inputs)", "(inputs, ctx)"),
        "retries: {retries: 2, backoff: 0.01}\n")  # fmt: skip
    block(package, "source", "", "frame:var", FRAME.replace(
        "    await ctx.output", "    frame.attrs = {'pid': os.getpid()}\n    await ctx.output"))  # fmt: skip
    environ = {"ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory")}
    how = ("run", package / "flows/f", "--json", "--workers", "2")
    async with start(*how, state=tmp_path, **environ) as command:
        told = orjson.loads(await command.until_line('"log":"pid '))
        os.kill(int(told["log"].split()[1]), signal.SIGKILL)
        assert await command.wait() == 0
    assert [each[1] for each in results(command.events())] == [sum(range(200_000))] * 8
    assert left_behind(tmp_path) == []


async def test_the_file_of_a_value_outlives_the_process_that_made_it(package: Path, tmp_path: Path) -> None:
    """The maker is killed when another process has the value; a third node gets it from the file."""
    waits = """
import asyncio, os, pathlib

async def main(inputs, ctx):
    frame = inputs["frame"]
    if os.getpid() != int(frame.attrs["pid"]):
        await ctx.report_log(f"pid {frame.attrs['pid']}")
        while os.path.exists(f"/proc/{frame.attrs['pid']}"):
            await asyncio.sleep(0.01)
    else:
        await asyncio.Event().wait()
    return {"n": [os.getpid(), int(frame.n.sum())]}
"""
    block(package, "work", "frame:var", "n", waits, "retries: {retries: 2, backoff: 0.01}\n")
    block(package, "source", "", "frame:var", FRAME.replace(
        "    await ctx.output", "    frame.attrs = {'pid': os.getpid()}\n    await ctx.output"))  # fmt: skip
    write(package / "flows/f/flow.oo.yaml", fan(4))
    environ = {"ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory")}
    how = ("run", package / "flows/f", "--json", "--workers", "2")
    async with start(*how, state=tmp_path, **environ) as command:
        told = orjson.loads(await command.until_line('"log":"pid '))
        os.kill(int(told["log"].split()[1]), signal.SIGKILL)
        assert await command.wait() == 0
    assert [each[1] for each in results(command.events())] == [sum(range(200_000))] * 4


async def test_what_has_no_room_in_memory_goes_to_the_disk_with_a_word(package: Path, tmp_path: Path) -> None:
    events = await outcome(package, tmp_path, ASYNCBLOCK_VAR_MEMORY="2M", ASYNCBLOCK_BODIES_DIR=str(tmp_path / "disk"))
    assert len({each[0] for each in results(events)}) == 2
    [exported] = [event for event in events if event["type"] == "ValueExported"]
    assert exported["file"].startswith("d.")
    assert "is on the disk" in exported["note"]
    assert "has no room" in exported["note"]
    assert not list((tmp_path / "disk").rglob("v-*"))


async def test_files_of_a_command_that_was_killed_are_removed_by_the_next_one(package: Path, tmp_path: Path) -> None:
    waiting = WORK.replace("def main(inputs):", "async def main(inputs, ctx):").replace(
        "    return {", "    await ctx.report_log('here')\n    await __import__('asyncio').Event().wait()\n    return {"
    )
    block(package, "work", "frame:var", "n", waiting)
    environ = {"ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory")}
    how = ("run", package / "flows/f", "--json", "--workers", "2")
    async with start(*how, state=tmp_path, **environ) as command:
        await command.until_line('"type":"ValueExported"')
        family = command.family()
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        await all_ended(family)
    assert len(left_behind(tmp_path)) == 2
    block(package, "work", "frame:var", "n", WORK)
    results(await outcome(package, tmp_path))
    assert left_behind(tmp_path) == []


STREAM = """
import os
import numpy as np

async def main(inputs, ctx):
    for number in range(12):
        await ctx.output(np.full(1 << 17, number), "frame")
    await ctx.send_message(os.getpid())
"""
SLOW = """
import asyncio, os

async def main(inputs, ctx):
    number = int(inputs["frame"][0])
    if number == 0:
        # Longer than whoever waits for nobody in particular would wait.
        await asyncio.sleep(2.5)
    return {"n": [os.getpid(), number]}
"""


async def test_a_consumer_in_another_process_is_waited_for_when_values_take_all_they_may(
    package: Path, tmp_path: Path
) -> None:
    block(package, "source", "", "frame:var", STREAM)
    block(package, "work", "frame:var", "n", SLOW)
    write(package / "flows/f/flow.oo.yaml", fan(1))
    events = await outcome(package, tmp_path, ASYNCBLOCK_VAR_MEMORY="8M", ASYNCBLOCK_VAR_DISK="0")
    found = results(events)
    assert [number for _, number in found] == list(range(12))
    [source] = [event["payload"] for event in events if event["type"] == "BlockMessage"]
    assert found[0][0] != source
    assert [event for event in events if "var values take" in str(event.get("warning"))] == []


OWN = "executor: {name: python, options: {entry: main.py, spawn: true}}\n"


async def test_a_process_of_a_blocks_own_gets_frames_and_says_what_it_can_not_get(
    package: Path, tmp_path: Path
) -> None:
    manifest = package.joinpath("blocks", "work", "block.oo.yaml")
    manifest.write_text(OWN + manifest.read_text().partition("\n")[2])
    write(package / "flows/f/flow.oo.yaml", fan(2))
    events = await outcome(package, tmp_path)
    [source] = [event["payload"] for event in events if event["type"] == "BlockMessage"]
    found = results(events)
    assert [each[1] for each in found] == [sum(range(200_000))] * 2
    assert len({source, *(each[0] for each in found)}) == 3
    assert left_behind(tmp_path) == []
    block(package, "source", "", "frame:var", "async def main(inputs, ctx):\n    await ctx.output({1, 2}, 'frame')\n")
    end = (await outcome(package, tmp_path))[-1]
    assert (end["state"], "for the block's own process (spawn: true)" in end["error"]) == ("failed", True)
