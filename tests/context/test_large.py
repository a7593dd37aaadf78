"""Large values through a real mainframe: streamed while they are made, held within bounds, whole after every cut."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.childprocesses.workers import Workers
from asyncblock.client import Session
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy

from ..flows import all_of, end_of, handle_def, node, run_flow, started, until, write_flow
from ..processes import appears
from ..waits import until_called, until_files

BIN = "oomol/bin"
COUNT = 40
SIZE = 2_000_000

MANY = """
    import asyncio
    import os

    here = os.path.dirname(__file__)

    def status(name):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name)) << 10

    async def main(inputs, ctx):
        await ctx.output(0, "small")
        while not os.path.exists(os.path.join(here, "gate")):
            await asyncio.sleep(0.01)
        # What it takes to make one is no matter of the bound.
        await ctx.output(os.urandom(%(size)d), "bin")
        before = status("VmRSS")
        for number in range(%(count)d):
            await ctx.output(bytes([number]) * %(size)d, "bin")
            await ctx.output({"number": number, "texts": ["x" * 100] * (%(size)d // 103)}, "json")
        grown = status("VmHWM") - before
        with open(os.path.join(here, "sent"), "w") as file:
            file.write(str(grown))
        await ctx.flush()
    """

BESIDE = """
    import asyncio
    import os

    here = os.path.dirname(__file__)

    async def main(inputs, ctx):
        # Also while the other job's values wait in the file.
        number = 0
        while not os.path.exists(os.path.join(here, "sent")):
            await ctx.output(number, "small")
            number += 1
            await asyncio.sleep(0.02)
        with open(os.path.join(here, "passed"), "w") as file:
            file.write(str(number))
    """


class Stage:
    """A mainframe in this loop, and an executor process and a client behind a proxy."""

    def __init__(self, proxy: FaultProxy, session: Session, place: Path) -> None:
        self.proxy = proxy
        self.session = session
        self.place = place

    async def written(self, name: str) -> int:
        """Wait for a number in a file."""
        path = self.place / name
        await appears(path, 0)
        return int(path.read_text())


@asynccontextmanager
async def staged(tmp_path: Path, nodes: list[dict[str, Any]]) -> AsyncIterator[Stage]:
    flow = write_flow(tmp_path / "f", nodes)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(tmp_path / "data", Settings(heartbeat=1.0)))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", int(url.rpartition(":")[2])))
        through = f"ws://127.0.0.1:{proxy.port}"
        workers = await stack.enter_async_context(Workers(through, server.token, 1, [flow.parent]))
        await workers.ready()
        # The client goes straight: it is only there to see.
        mainframe = await stack.enter_async_context(asyncblock.connect(url, server.token))
        yield Stage(proxy, await mainframe.start(flow), flow.parent)


async def test_item_2_what_has_no_room_in_memory_is_in_a_file_and_nothing_is_lost_across_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mainframe is out of reach while 160 MB are put out; 4 MiB of them may be in memory."""
    monkeypatch.setenv("ASYNCBLOCK_BODY_MEMORY", str(4 << 20))
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "bodies"))
    place = tmp_path / "f"
    nodes = [
        node("n", MANY % {"size": SIZE, "count": COUNT}, place, outputs=["small", "json", handle_def("bin", BIN)]),
        node("beside", BESIDE, place, outputs=["small"]),
    ]
    async with staged(tmp_path, nodes) as stage:
        await until(stage.session, events.BlockOutput, lambda event: event.node_id == "n")
        stage.proxy.stall()
        stage.proxy.stall_new()
        (place / "gate").touch()
        grown = await stage.written("sent")
        assert await stage.written("passed") > 3
        # It made 160 MB; with what a value takes while it is made, and the allocator's share.
        assert grown < 40 << 20
        stage.proxy.cut()
        stage.proxy.resume()
        found = []
        cuts = 0
        async for event in stage.session:
            found.append(event)
            if isinstance(event, events.BlockOutput) and event.handle == "bin" and cuts < 5:
                cuts += 1
                stage.proxy.cut()
        assert end_of(found).state == "succeeded", end_of(found).error
        outputs = [event for event in all_of(found, events.BlockOutput) if event.node_id == "n"]
        assert [event.handle for event in outputs] == ["small", "bin", *["bin", "json"] * COUNT]
        for number, (raw, json) in enumerate(zip(outputs[2::2], outputs[3::2], strict=True)):
            assert raw.body is not None
            assert raw.body.sha256 == hashlib.sha256(bytes([number]) * SIZE).hexdigest()
            assert json.body is not None
        last = outputs[-1].body
        assert last is not None
        value = await stage.session.fetch(last)
        assert value == {"number": COUNT - 1, "texts": ["x" * 100] * (SIZE // 103)}
    # By the token of the depot processes of a host know each other.
    assert [path.name for path in (tmp_path / "bodies").rglob("*") if path.is_file()] == ["host"]


async def test_item_2_beyond_the_file_awaits_wait_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_BODY_MEMORY", str(1 << 20))
    monkeypatch.setenv("ASYNCBLOCK_BODY_FILE", str(2 << 20))
    source = """
    import asyncio

    {define} main(inputs, ctx):
        {body}
    """
    gathered = 'await asyncio.gather(*[ctx.output(["x" * 100] * 50_000, "out") for _ in range(8)])'
    one_by_one = 'for _ in range(8): ctx.output(["x" * 100] * 50_000, "out")'
    place = tmp_path / "f"
    nodes = [
        node("a", source.format(define="async def", body=gathered), place),
        node("b", source.format(define="async def", body=gathered), place),
        node("c", source.format(define="def", body=one_by_one), place),
    ]
    async with started(write_flow(place, nodes)) as session:
        found = [event async for event in session]
        assert end_of(found).state == "succeeded", end_of(found).error
        bodies = [event.body for event in all_of(found, events.BlockOutput)]
        assert len(bodies) == 24
        assert all(ref is not None and ref.length == bodies[0].length for ref in bodies if bodies[0] is not None)


async def test_a_disk_without_room_is_an_error_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_BODY_MEMORY", str(1 << 20))
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "file"))
    source = """
    from asyncblock.errors import Unavailable

    async def main(inputs, ctx):
        await ctx.output("small values need no disk", "out")
        try:
            await ctx.output(bytes(5_000_000), "bin")
        except Unavailable as error:
            await ctx.output(str(error), "out")
        await ctx.flush()  # by then what was kept of the large one has gone
        return {"out": "y" * 500_000}
    """
    flow = write_flow(tmp_path / "f", [node("n", source, tmp_path / "f", outputs=["out", handle_def("bin", BIN)])])
    async with started(flow) as session:
        found = [event async for event in session]
    assert end_of(found).state == "succeeded", end_of(found).error
    words = all_of(found, events.BlockOutput)[1].output
    assert words.startswith("the value for handle 'bin' has to wait in a temporary file")
    assert "ASYNCBLOCK_BODIES_DIR" in words


@pytest.mark.parametrize("define", ["async def", "def"])
async def test_what_is_returned_and_has_no_room_on_the_disk_fails_the_job(
    define: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_BODY_MEMORY", str(1 << 20))
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "file"))
    source = f"""
    {define} main(inputs, ctx):
        return {{"out": "y" * 5_000_000}}
    """
    async with started(write_flow(tmp_path / "f", [node("n", source, tmp_path / "f")])) as session:
        found = [event async for event in session]
    assert end_of(found).state == "failed"
    assert "has to wait in a temporary file" in str(end_of(found).error)


CANCELS = """
    import asyncio
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    class Slow(Mapping):
        def __init__(self):
            self.go = threading.Event()
            self.waits = threading.Event()

        def __len__(self):
            return 4000

        def __getitem__(self, key):
            return "x" * 1000

        def __iter__(self):
            for number in range(4000):
                if number == 2000:
                    self.waits.set()
                    assert self.go.wait(30)
                yield str(number)

    def sizes():
        try:
            return [path.stat().st_size for path in Path({data!r}).glob("bodies/*/*")]
        except FileNotFoundError:
            # The directory goes with the last file.
            return []

    async def main(inputs, ctx):
        value = Slow()
        task = asyncio.create_task(ctx.output(value, "out"))
        await asyncio.to_thread(value.waits.wait, 30)
        # The first half of it is at the mainframe before the second half is made.
        while sum(sizes()) < 1_500_000:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        while sizes():
            await asyncio.sleep(0.01)
        value.go.set()
        await ctx.output(["y" * 1000] * 1000, "out")
        await ctx.flush()
        return {{"out": len(sizes())}}
    """


async def test_item_2_what_was_sent_of_a_value_goes_when_its_making_is_cancelled(tmp_path: Path) -> None:
    source = CANCELS.format(data=str(tmp_path / "data"))
    async with asyncio.timeout(60):
        flow = write_flow(tmp_path / "f", [node("n", source, tmp_path / "f")])
        found = await run_flow(flow, data_dir=tmp_path / "data")
    assert end_of(found).state == "succeeded", end_of(found).error
    [output] = all_of(found, events.BlockOutput)
    assert output.body is not None
    [finished] = all_of(found, events.BlockFinished)
    assert finished.result == {"out": 1}


async def test_a_value_that_turns_out_too_large_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncblock.context.payloads.MAX_VALUE", 1_000_000)
    source = """
    from asyncblock import PayloadTooLarge

    async def main(inputs, ctx):
        try:
            # Nobody can tell before it is made.
            await ctx.output([["x" * 100] * 100] * 300, "out")
        except PayloadTooLarge as error:
            return {"out": str(error)}
    """
    flow = write_flow(tmp_path / "f", [node("n", source, tmp_path / "f")])
    async with started(flow, data_dir=tmp_path / "data") as session:
        found = [event async for event in session]
        [finished] = all_of(found, events.BlockFinished)
        assert "handle 'out'" in finished.result["out"]
        link = session._link
        await until_called(link._link_sender, "next_message", lambda: not link._link_sender.outbox.bodies)
        await until_files(tmp_path / "data", lambda: not list((tmp_path / "data").glob("bodies/*/*")))


async def test_telemetry_passes_a_large_output_that_is_being_made(tmp_path: Path) -> None:
    source = """
    import asyncio
    import threading
    from collections.abc import Mapping

    class Slow(Mapping):
        def __init__(self):
            self.go = threading.Event()

        def __len__(self):
            return 2000

        def __getitem__(self, key):
            return "x" * 1000

        def __iter__(self):
            for number in range(2000):
                if number == 1000:
                    assert self.go.wait(30)
                yield str(number)

    async def main(inputs, ctx):
        value = Slow()
        task = asyncio.create_task(ctx.output(value, "out"))
        await ctx.report_log("meanwhile")
        await ctx.flush()
        assert not task.done()
        value.go.set()
        await task
    """
    found = await run_flow(write_flow(tmp_path, [node("n", source, tmp_path)]))
    assert end_of(found).state == "succeeded", end_of(found).error
    kinds = [type(event).__name__ for event in found]
    assert kinds.index("BlockLog") < kinds.index("BlockOutput")


async def test_item_2_other_jobs_go_on_while_the_mainframe_s_disk_hangs_on_a_large_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go = threading.Event(), threading.Event()
    real = os.fsync

    def fsync(fd: int) -> None:
        if threading.current_thread().name == "asyncblock-bodies" and stat.S_ISREG(os.fstat(fd).st_mode):
            hangs.set()
            assert go.wait(30)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    large = """
    async def main(inputs, ctx):
        await ctx.output("x" * 1_000_000, "out")
        await ctx.output("behind it", "out")
    """
    small = """
    import asyncio

    async def main(inputs, ctx):
        number = 0
        while True:
            await ctx.output(number, "out")
            await ctx.flush()
            number += 1
            await asyncio.sleep(0.005)
    """
    nodes = [node("large", large, tmp_path / "f"), node("small", small, tmp_path / "f")]
    settings = Settings(synchronous="full")
    async with started(write_flow(tmp_path / "f", nodes), data_dir=tmp_path / "d", settings=settings) as session:
        try:
            assert await asyncio.to_thread(hangs.wait, 20)
            count = 0
            async for event in session:
                assert not (isinstance(event, events.BlockOutput) and event.node_id == "large")
                if isinstance(event, events.BlockOutput):
                    count += 1
                    if count == 50:
                        break
            await session.cancel("enough")
            await until(session, events.BlockFinished, lambda event: event.node_id == "small")
        finally:
            go.set()
        found = [event async for event in session]
    outputs = [event for event in all_of(found, events.BlockOutput) if event.node_id == "large"]
    assert [event.output for event in outputs if event.body is None] in ([], ["behind it"])
    assert end_of(found).state == "cancelled"
