"""Arrays that are in shared memory from the start: handed over without a copy, and each consumer's own."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import asyncblock
from asyncblock.shared import Memory, empty_in, hand_over, make_private, memory_of
from asyncblock.varvalues.depot import MEMORY, Depot
from asyncblock.varvalues.valueid import ValueId

from .flow.packages import block, write
from .processes import run

pytestmark = pytest.mark.timeout(120)

COUNT = 300_000
"""Numbers of 8 bytes: more than 1 MiB."""

SOURCE = f"""
import os
import numpy as np

async def main(inputs, ctx):
    array = ctx.empty(({COUNT},), "i8")
    part = array[:10]
    np.add(np.arange({COUNT}), 0, out=array)
    await ctx.send_message(os.getpid())
    await ctx.output(array, "v")
    part[:] = -1
    array[:] = 7
    assert array.sum() == 7 * {COUNT}
"""
SYNC_SOURCE = f"""
import os
import numpy as np

def main(inputs, ctx):
    array = ctx.empty({COUNT}, dtype="i8")
    array[:] = np.arange({COUNT})
    ctx.send_message(os.getpid())
    ctx.output(array, "v")
    array[:] = 7
"""
WORK = """
import os

def main(inputs, ctx):
    array, total = inputs["v"], 0
    before = int(array.sum())
    array[:] = os.getpid()
    for number in range(200_000):
        total += number & 3
    return {"n": [os.getpid(), before, int(array.sum())]}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: shared\nversion: 1.0.0\n")
    block(root, "work", "v:var", "n", WORK)
    taken = "inputs_from: [{handle: v, from_node: [{node_id: source, output_handle: v}]}]"
    nodes = "".join(f"  - {{node_id: w{n}, task: self::work, {taken}}}\n" for n in range(6))
    write(root / "flows/f/flow.oo.yaml", "nodes:\n  - {node_id: source, task: self::source}\n" + nodes)
    (tmp_path / "memory").mkdir()
    return root


async def outcome(package: Path, tmp_path: Path, **environ: str) -> list[dict[str, Any]]:
    environ = {"ASYNCBLOCK_MEMORY_DIR": f"/dev/shm/test-{os.getpid()}", **environ}
    command = await run("run", package / "flows/f", "--json", "--workers", "2", state=tmp_path, **environ)
    return command.events()


def results(events: list[dict[str, Any]]) -> list[Any]:
    assert (events[-1]["state"], events[-1]["error"]) == ("succeeded", None)
    return [event["result"]["n"] for event in events if event["type"] == "BlockFinished" and "n" in event["result"]]


@pytest.mark.parametrize("source", [SOURCE, SYNC_SOURCE], ids=["async", "sync"])
async def test_consumers_everywhere_have_what_it_was_and_no_export_is_needed(
    package: Path, tmp_path: Path, source: str
) -> None:
    block(package, "source", "", "v:var", source)
    memory = Path(f"/dev/shm/test-{os.getpid()}")
    memory.mkdir()
    try:
        events = await outcome(package, tmp_path)
        left = [path.name for path in memory.rglob("v-*")]
        left += [path.name for path in memory.rglob("*") if path.is_file() and path.name != "host"]
    finally:
        await asyncio.to_thread(__import__("shutil").rmtree, memory)
    found = results(events)
    total = COUNT * (COUNT - 1) // 2
    assert found == [[pid, total, pid * COUNT] for pid, _, _ in found]
    assert len({pid for pid, _, _ in found}) == 2
    assert not [event for event in events if event["type"] in ("ValueExported", "ValueStays")]
    [sent] = [event["output"] for event in events if event["type"] == "BlockOutput"]
    assert sent["file"].startswith("m.")
    assert left == []


@pytest.fixture
def depot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(MEMORY, f"/dev/shm/test-{os.getpid()}-{tmp_path.name}")
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "disk"))
    made = Depot()
    made.open()
    yield made
    made.close()
    __import__("shutil").rmtree(os.environ[MEMORY], ignore_errors=True)


ID = ValueId("s", "j", 1, 0)


def handed(array: Any, depot: Depot, id: ValueId = ID) -> Any:
    memory = memory_of(array, depot)
    assert memory is not None
    return hand_over(array, memory, id)


@pytest.mark.parametrize(
    ("shape", "dtype", "order"),
    [
        (300_000, "f8", "C"),
        ((300, 1000), ">i8", "C"),
        ((500, 700), "c8", "F"),
        ((3, 400, 500), "M8[ns]", "C"),
        ((200_000,), [("a", "<i4"), ("b", "S7")], "C"),
        ((1 << 20,), "?", "C"),
    ],
)
def test_what_comes_out_is_what_went_in(depot: Depot, shape: Any, dtype: Any, order: str) -> None:
    array = empty_in(depot, shape, dtype, order)
    plain = np.empty(shape, dtype, order)  # type: ignore[call-overload]  # by parameters
    assert (array.dtype, array.shape, array.strides) == (plain.dtype, plain.shape, plain.strides)
    raw = np.random.default_rng(1).integers(0, 100, array.nbytes, "u1").tobytes()
    array[...] = np.frombuffer(raw, array.dtype).reshape(array.shape)
    before = array.copy(order="K")
    got = handed(array, depot).load()
    assert (got.dtype, got.shape, got.strides) == (array.dtype, array.shape, array.strides)
    assert got.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "part",
    [
        lambda array: array[100:],
        lambda array: array[::-1],
        lambda array: array.reshape(300, 2000).T,
        lambda array: array.reshape(300, 2000)[10:, ::3],
        lambda array: array.view("u1"),
    ],
)
def test_a_part_of_it_is_handed_over_as_well(depot: Depot, part: Any) -> None:
    array = empty_in(depot, 600_000, "f8", "C")
    array[:] = np.arange(600_000)
    view = part(array)
    got = handed(view, depot).load()
    assert (got.dtype, got.shape, got.strides) == (view.dtype, view.shape, view.strides)
    np.testing.assert_array_equal(got, view)


def test_later_writes_of_its_maker_and_of_each_consumer_are_their_own(depot: Depot) -> None:
    array = empty_in(depot, COUNT, "i8", "C")
    earlier = array[5:]
    array[:] = np.arange(COUNT)
    memory = memory_of(array, depot)
    assert isinstance(memory, Memory)
    value = hand_over(array, memory, ID)
    make_private(memory)
    earlier[:] = -1
    array[0] = -2
    one, two = value.load(), value.load()
    one[:] = 3
    np.testing.assert_array_equal(two, np.arange(COUNT))
    np.testing.assert_array_equal(value.load(), np.arange(COUNT))
    assert (array[0], int(array[1:6].sum())) == (-2, 4 + 3 + 2 + 1 - 1)
    # What it shows now isn't what is in the file: it is copied when it is put out again.
    assert memory_of(array, depot) is None


def test_its_memory_is_free_when_nobody_has_it(depot: Depot) -> None:
    place = os.environ[MEMORY]

    def used() -> int:
        room = os.statvfs(place)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    before = used()
    array = empty_in(depot, 8 << 20, "i8", "C")
    array[:] = 1
    assert used() - before >= 64 << 20
    value = handed(array, depot)
    consumer = value.load()
    value.remove()
    assert int(consumer.sum()) == 8 << 20
    del array, consumer, value
    assert used() - before < 16 << 20


def test_small_ones_and_objects_are_plain(depot: Depot) -> None:
    for shape, dtype in ((10, "f8"), ((0, 5), "i4"), (1 << 20, object)):
        array = empty_in(depot, shape, dtype, "C")
        assert memory_of(array, depot) is None
        assert array.shape == np.empty(shape, dtype).shape
    assert memory_of(empty_in(None, COUNT, "f8", "C"), depot) is None
    assert memory_of(np.empty(COUNT), depot) is None
    with pytest.raises(TypeError):
        empty_in(depot, COUNT, "no type", "C")
    with pytest.raises(ValueError, match="negative"):
        empty_in(depot, -COUNT, "f8", "C")


def test_without_room_it_is_a_plain_array_and_that_is_said_once(depot: Depot, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "asyncblock.shared")
    room = os.statvfs(os.environ[MEMORY])
    size = room.f_bavail * room.f_frsize
    for _ in range(2):
        array = empty_in(depot, size, "u1", "C")
        assert memory_of(array, depot) is None
        assert array.shape == (size,)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "isn't in shared memory" in caplog.text


def test_outside_of_an_executor_it_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncblock.shared._depots", [])
    array = asyncblock.shared.empty((2, COUNT), "f4")
    assert (array.shape, array.dtype, array.base) == ((2, COUNT), np.dtype("f4"), None)


@asyncblock.block(outputs=[{"handle": "v", "json_schema": {"contentMediaType": "oomol/var"}}])
async def makes(inputs: Any, ctx: asyncblock.Context) -> dict[str, Any]:
    array = await asyncio.to_thread(asyncblock.shared.empty, COUNT, "i8")
    assert isinstance(array.base, Memory)
    array[:] = 5
    await ctx.outputs({"v": array})
    # Put out again, it is another value.
    array[:] = 6
    return {"v": array}


@asyncblock.block(inputs=[{"handle": "v"}], outputs=[{"handle": "n"}])
async def takes(inputs: Any, ctx: asyncblock.Context) -> dict[str, Any]:
    inputs["v"] += 1
    return {"n": int(inputs["v"][-1])}


async def test_consumers_in_the_same_process_have_their_own_as_well(tmp_path: Path) -> None:
    flow = asyncblock.Flow("f")
    source = flow.node(makes)
    for name in ("one", "two"):
        taken = flow.node(takes, {"v": source["v"]}, node_id=name)
        flow.output(name, taken["n"])
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        session = await mainframe.start(flow)
        told = [event async for event in session]
    found = [
        event.result["n"]
        for event in told
        if isinstance(event, asyncblock.events.BlockFinished) and "n" in event.result
    ]
    assert sorted(found) == [6, 6, 7, 7]
