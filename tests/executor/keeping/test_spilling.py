"""Var values that have no room in memory are on the disk until somebody takes them; then they are what they were."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.childprocesses.hostmemory import memory_limit, var_disk_limit
from asyncblock.client import Mainframe

from ...disks import fill, remount, small_disk
from ...flow.packages import block, write
from ...flows import all_of, end_of
from ...processes import start
from ...waits import until_files

pytestmark = pytest.mark.timeout(180)
VAR = {"contentMediaType": "oomol/var"}
OUT: list[dict[str, Any]] = [{"handle": "v", "json_schema": VAR}]
V = [{"handle": "v"}]
COUNT = 12
"""Values of 1 MiB each, of which four have room in memory."""


def frame(number: int) -> pd.DataFrame:
    values = {"n": np.full(1 << 16, number), "x": np.full(1 << 16, number / 7)}
    return pd.DataFrame(values, index=pd.RangeIndex(5, 5 + (1 << 16), name="i"))


all_out: asyncio.Event


@asyncblock.block(outputs=OUT)
async def frames(inputs: Mapping[str, Any], ctx: Context) -> None:
    for number in range(COUNT):
        await ctx.output(frame(number), "v")
    all_out.set()


@asyncblock.block(inputs=V, outputs=[])
async def take(inputs: Mapping[str, Any], ctx: Context) -> None:
    """Take nothing before all is put out: what has no room would be waited for in vain."""
    await all_out.wait()
    got: pd.DataFrame = inputs["v"]
    number = int(got["n"].iloc[0])
    assert_frame_equal(got, frame(number))
    # A consumer may write into what it has.
    got.iloc[0, 0] = -1
    await ctx.send_message(number)


def stream(source: Any, consumer: Any = take) -> Flow:
    flow = Flow("stream")
    flow.node(consumer, {"v": flow.node(source)["v"]})
    return flow


@asynccontextmanager
async def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> AsyncIterator[Mainframe]:
    global all_out
    all_out = asyncio.Event()
    environment = {"ASYNCBLOCK_VAR_MEMORY": "4M", "ASYNCBLOCK_BODIES_DIR": str(tmp_path / "disk"), **settings}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def outcome(mainframe: Mainframe, flow: Any) -> list[Any]:
    """Run a flow; return what its consumers have said, in order. Nothing was exceeded."""
    found = [event async for event in await mainframe.start(flow)]
    assert end_of(found).state == "succeeded", end_of(found).error
    assert [event for event in all_of(found, events.BlockWarning) if "var values take" in event.warning] == []
    return [event.payload for event in all_of(found, events.BlockMessage)]


def files(tmp_path: Path) -> list[Path]:
    """Return the files of values: the token of the host is no value's."""
    return [path for path in (tmp_path / "disk").glob("asyncblock-values-*/v-*/*") if path.is_file()]


async def test_a_generator_that_outruns_its_consumer_goes_on_and_every_value_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seen_when_all_are_out() -> int:
        await all_out.wait()
        return len(files(tmp_path))

    async with serving(tmp_path, monkeypatch) as mainframe:
        seen = asyncio.create_task(seen_when_all_are_out())
        assert await outcome(mainframe, stream(frames)) == list(range(COUNT))
        # Three have room in memory, and one of them a job has.
        assert await seen == COUNT - 3
    assert files(tmp_path) == []


@asyncblock.block(outputs=OUT)
def mixed(inputs: Mapping[str, Any], ctx: SyncContext) -> None:
    for number in range(COUNT):
        made: list[Any] = [frame(number), np.full(1 << 17, number), {"a": [bytes([number]) * (1 << 20)], "n": number}]
        ctx.output(made[number % 3], "v")
    ctx.report_log("all out")
    _set_soon()


def _set_soon() -> None:
    loop.call_soon_threadsafe(all_out.set)


loop: asyncio.AbstractEventLoop


@asyncblock.block(inputs=V, outputs=[])
async def take_mixed(inputs: Mapping[str, Any], ctx: Context) -> None:
    await all_out.wait()
    got = inputs["v"]
    if isinstance(got, pd.DataFrame):
        number = int(got["n"].iloc[0])
        assert_frame_equal(got, frame(number))
    elif isinstance(got, np.ndarray):
        number = int(got[0])
        assert (got == number).all()
    else:
        number = got["n"]
        assert got == {"a": [bytes([number]) * (1 << 20)], "n": number}
    await ctx.send_message(number)


async def test_values_of_all_portable_kinds_go_to_the_disk_from_blocks_in_threads_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    global loop
    loop = asyncio.get_running_loop()
    async with serving(tmp_path, monkeypatch) as mainframe:
        assert await outcome(mainframe, stream(mixed, take_mixed)) == list(range(COUNT))
    assert files(tmp_path) == []


class Heard(logging.Handler):
    """Events that are set when the executor says something."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._awaited: dict[str, asyncio.Event] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        for words, event in self._awaited.items():
            if words in self.said[-1]:
                event.set()

    async def until(self, words: str) -> None:
        event = self._awaited.setdefault(words, asyncio.Event())
        if not any(words in said for said in self.said):
            await event.wait()


@pytest.fixture
def heard() -> Any:
    handler = Heard()
    logger = logging.getLogger("asyncblock.executor")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@asyncblock.block(outputs=OUT)
async def sets(inputs: Mapping[str, Any], ctx: Context) -> None:
    """Values that can't leave their process."""
    for number in range(COUNT):
        await ctx.output({"n": {number}, "x": np.full(1 << 17, number)}, "v")
        if number == 2:
            all_out.set()


@asyncblock.block(inputs=V, outputs=[])
async def take_set(inputs: Mapping[str, Any], ctx: Context) -> None:
    await all_out.wait()
    assert inputs["v"]["x"][0] in inputs["v"]["n"]
    await ctx.send_message(int(inputs["v"]["x"][0]))


async def test_what_is_not_portable_never_goes_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spilled: list[Any] = []
    monkeypatch.setattr("asyncblock.varvalues.depot.Depot.spill", lambda *args: spilled.append(args))
    async with serving(tmp_path, monkeypatch) as mainframe:
        assert await outcome(mainframe, stream(sets, take_set)) == list(range(COUNT))
    assert spilled == []


async def end_of_waiting(heard: Heard, words: str) -> None:
    await heard.until(words)
    all_out.set()


async def test_without_a_place_on_the_disk_they_wait_for_their_consumers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    """The setting allows three: whoever wants room for more is told, and waits."""
    async with serving(tmp_path, monkeypatch, ASYNCBLOCK_VAR_DISK="3500K") as mainframe:
        waiting = asyncio.create_task(end_of_waiting(heard, "var values take 3 MiB of the disk, of 3 MiB"))
        assert await outcome(mainframe, stream(frames)) == list(range(COUNT))
        await waiting


async def test_a_full_disk_is_said_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        async with serving(tmp_path, monkeypatch) as mainframe:
            filler = fill(disk)

            async def make_room() -> None:
                await heard.until("the disk takes none (")
                filler.unlink()

            making = asyncio.create_task(make_room())
            # Nobody takes anything until all of it is put out: only the disk can have made the room.
            assert await outcome(mainframe, stream(frames)) == list(range(COUNT))
            await making
            assert [said for said in heard.said if "the disk takes" in said][-1].startswith("the disk takes var values")
            # Those that the last jobs had are given back behind the end of their session.
            await until_files(tmp_path / "disk", lambda: files(tmp_path) == [])


async def test_on_a_disk_that_is_read_only_they_wait_for_their_consumers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        async with serving(tmp_path, monkeypatch) as mainframe:
            remount(disk, "ro")
            waiting = asyncio.create_task(end_of_waiting(heard, "the disk takes none (Read-only file system)"))
            assert await outcome(mainframe, stream(frames)) == list(range(COUNT))
            await waiting
            remount(disk, "rw")


# ---------------------------------------------------------------------- processes

MEGABYTES, BUDGET = 40, 160
"""Arrays of more than 32 MB are mapped and unmapped, so that what is freed is seen."""

SOURCE = f"""
import numpy as np
from pathlib import Path

async def main(inputs, ctx):
    with open("/proc/self/status") as status:
        await ctx.send_message([line for line in status if line.startswith("VmHWM")][0].split()[1])
    for number in range({COUNT}):
        await ctx.output(np.full({MEGABYTES << 17}, number), "frame")
    Path(MARK).touch()
"""
SHOW = """
import asyncio
from pathlib import Path

async def main(inputs, ctx):
    while not Path(MARK).exists():
        await asyncio.sleep(0.02)
    with open("/proc/self/status") as status:
        peak = [line for line in status if line.startswith("VmHWM")][0].split()[1]
    frame = inputs["frame"]
    return {"n": [int(frame.min()), int(frame.max()), peak]}
"""
FLOW = """
nodes:
  - {node_id: source, task: self::source}
  - node_id: show
    task: self::show
    inputs_from: [{handle: frame, from_node: [{node_id: source, output_handle: frame}]}]
"""


def package(tmp_path: Path, source: str, show: str, manifest: str = "") -> Path:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: frames\nversion: 1.0.0\n")
    mark = repr(str(tmp_path / "mark"))
    block(root, "source", "", "frame:var", source.replace("MARK", mark), manifest)
    block(root, "show", "frame:var", "n", show.replace("MARK", mark), "retries: {retries: 2, backoff: 0.01}\n")
    write(root / "flows/f/flow.oo.yaml", FLOW)
    return root / "flows/f"


async def events_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow: Path, memory: str) -> Sequence[events.Event]:
    monkeypatch.setenv("ASYNCBLOCK_VAR_MEMORY", memory)
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "disk"))
    async with asyncblock.embedded(tmp_path / "data", workers=1) as mainframe:
        found = [event async for event in await mainframe.start(flow)]
    assert end_of(found).state == "succeeded", end_of(found).error
    assert files(tmp_path) == []
    return found


def results_of(found: Sequence[events.Event]) -> list[Any]:
    finished = [event for event in all_of(found, events.BlockFinished) if event.node_id == "show"]
    return [event.result["n"] for event in finished]


async def test_memory_stays_within_the_budget_while_nobody_takes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await events_of(tmp_path, monkeypatch, package(tmp_path, SOURCE, SHOW), f"{BUDGET}M")
    assert [event for event in all_of(found, events.BlockWarning) if "var values take" in event.warning] == []
    told = results_of(found)
    assert [(low, high) for low, high, _ in told] == [(n, n) for n in range(COUNT)]
    [before] = [int(event.payload) for event in all_of(found, events.BlockMessage)]
    peak = max(int(peak) for _, _, peak in told)
    # The author's own, one that is being written, one on its way, and what its consumer maps, beside the budget.
    assert peak - before < (BUDGET + 4 * MEGABYTES) << 10


KILLED = """
import asyncio, os, signal
import numpy as np
from pathlib import Path

async def main(inputs, ctx):
    for number in range(12):
        if number == 8 and not Path(MARK).exists():
            # Four are on the disk, and the next is on its way there.
            Path(MARK).touch()
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)
        await ctx.output(np.full(1 << 17, number), "frame")
"""
SHOWS = """
def main(inputs, ctx):
    frame = inputs["frame"]
    return {"n": [int(frame.min()), int(frame.max())]}
"""


async def test_an_executor_that_is_killed_meanwhile_leaves_nothing_and_its_work_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = "retries: {retries: 2, backoff: 0.01, release: stream}\nrecompute: true\n"
    found = await events_of(tmp_path, monkeypatch, package(tmp_path, KILLED, SHOWS, manifest), "4M")
    assert (tmp_path / "mark").exists()
    told = results_of(found)
    assert {low for low, _ in told} == set(range(COUNT))
    assert all(low == high for low, high in told)


LEAVES_ITS_PID = f"""
import os
import numpy as np
from pathlib import Path

async def main(inputs, ctx):
    first = 100 if Path(MARK).exists() else 0
    for number in range({COUNT}):
        await ctx.output(np.full(1 << 17, first + number), "frame")
    print("pid", os.getpid())
"""


async def test_what_is_on_the_disk_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    """Of a maker that is killed when it has put out all, only what was in its memory is made again."""
    root = package(tmp_path, LEAVES_ITS_PID, SHOW.replace(", peak]", "]"), "recompute: true\n")
    environ = {
        "ASYNCBLOCK_VAR_MEMORY": "4M",
        "ASYNCBLOCK_BODIES_DIR": str(tmp_path / "disk"),
        "ASYNCBLOCK_MEMORY_DIR": str(tmp_path / "memory"),
    }
    async with start("run", root, "--json", state=tmp_path, **environ) as command:
        maker = int(json.loads(await command.until_line('"log":"pid '))["log"].split()[1])
        # A job has the first by now or it is on the disk, too, and four have room in memory.
        on_disk = range(1, COUNT - 4)
        for place in on_disk:
            await command.until_line(f'"place":{place},"host"')
        os.kill(maker, signal.SIGKILL)
        (tmp_path / "mark").touch()
        assert await command.wait() == 0
    ended = [event for event in command.events() if event["type"] == "BlockFinished" and event["node_id"] == "show"]
    shown = [event["result"]["n"] for event in ended]
    assert [low % 100 for low, _ in shown] == list(range(COUNT)) and all(low == high for low, high in shown)
    again = {low - 100 for low, _ in shown if low >= 100}
    assert {COUNT - 1} <= again and again.isdisjoint(on_disk), again
    assert files(tmp_path) == []


def test_the_setting_is_a_size_that_executors_share() -> None:
    assert var_disk_limit({"ASYNCBLOCK_VAR_DISK": "1G", "ASYNCBLOCK_EXECUTORS": "2"}) == 512 << 20
    assert var_disk_limit({"ASYNCBLOCK_VAR_DISK": "0"}) == 0
    assert var_disk_limit({}) == memory_limit()
    with pytest.raises(ValueError, match="ASYNCBLOCK_VAR_DISK='lots' is no size: write bytes, or 512M, 2GiB"):
        var_disk_limit({"ASYNCBLOCK_VAR_DISK": "lots"})
