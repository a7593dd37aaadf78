"""Disks that fail under a mainframe that serves: the intake stops loudly, and what was acknowledged is there later."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from asyncblock.server.journal.ground import Ground

from ..disks import block_disk, small_disk
from ..flows import handle_def, node, write_flow
from ..processes import Command, appears, free_port, start
from .journal.test_ground import FLUSHES, health

pytestmark = pytest.mark.timeout(120)

LARGE = """
import pathlib

HERE = pathlib.Path(__file__).parent

async def main(inputs, ctx):
    count = 0
    with open(HERE / "flushed", "wb", buffering=0) as file:
        while not (HERE / "enough").exists():
            await ctx.output(bytes([count % 256]) * 70_000, "out")
            await ctx.flush()
            count += 1
            file.write(b".")
    return {"count": count}
"""


class System:
    """A mainframe on a disk, an executor, and a flow that counts its flushes."""

    def __init__(self, directory: Path, port: int, place: Path) -> None:
        self.file = directory / "flushed"
        self.enough = directory / "enough"
        self.port = port
        self.place = place
        self.server: Command
        self.executor: Command
        self.submit: Command

    def reach(self) -> dict[str, str]:
        token = (self.place / "token").read_text().strip()
        return {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{self.port}", "ASYNCBLOCK_TOKEN": token}


@asynccontextmanager
async def system(tmp_path: Path, place: Path, source: str = FLUSHES) -> AsyncIterator[System]:
    directory = tmp_path / "f"
    out = handle_def("out", "oomol/bin") if source is LARGE else handle_def("out")
    flow = write_flow(
        directory,
        [node("n", source, directory, outputs=[out, "count"])],
        outputs_from=[{"handle": "count", "from_node": [{"node_id": "n", "output_handle": "count"}]}],
    )
    made = System(directory, free_port(), place)
    async with AsyncExitStack() as stack:
        made.server = await stack.enter_async_context(serve(made, tmp_path))
        reach = made.reach()
        made.executor = await stack.enter_async_context(
            start("executor", "--package", directory, state=tmp_path, **reach)
        )
        await made.executor.until_line("executor for", err=True)
        made.submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path, **reach))
        try:
            yield made
        finally:
            # They may wait for a mainframe that doesn't come back.
            for pid in (*made.submit.family(), *made.executor.family()):
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def serve(made: System, tmp_path: Path) -> AsyncIterator[Command]:
    # What "normal" has committed survives its process, not a disk that loses what it hadn't written yet.
    options = ("--port", str(made.port), "--data-dir", made.place, "--synchronous", "full")
    async with start("serve", *options, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        yield server


def counted(submit: Command) -> list[int]:
    """Return what has arrived, in order."""
    return [each["output"] for each in submit.events() if each["type"] == "BlockOutput" and each["handle"] == "out"]


async def test_when_the_inodes_are_used_up_the_intake_stops_until_there_are_some(tmp_path: Path) -> None:
    """Large values are files: there is room for their bytes, and none for another file."""
    with small_disk(tmp_path / "disk", "64m", inodes=60) as disk:
        async with system(tmp_path, disk, LARGE) as made:
            await appears(made.file, 3)
            takes: list[Path] = []
            with pytest.raises(OSError, match="No space left"):
                while True:
                    takes.append(disk / f"taken{len(takes)}")
                    takes[-1].touch()
            words = await health(made.port, 503)
            assert "No space left on device" in words
            assert any("nothing is accepted until it can" in line for line in made.server.err)
            stood = made.file.stat().st_size
            for path in takes[:-1]:
                path.unlink()
            await health(made.port, 200)
            await appears(made.file, stood + 3)
            made.enough.touch()
            assert await made.submit.wait() == 0, made.submit.err
        sums = [each["body"]["length"] for each in made.submit.events() if each.get("handle") == "out"]
        assert sums == [70_000] * made.submit.events()[-1]["outputs"]["count"]


def test_a_disk_that_an_error_has_made_read_only_is_found_out_whatever_a_sync_said(tmp_path: Path) -> None:
    with block_disk(tmp_path / "disk") as disk:
        file = disk.path / "file"
        file.touch()
        ground = Ground([file], file)
        ground.check()
        disk.make_read_only()
        with pytest.raises(OSError, match="Read-only file system"):
            ground.check()


@pytest.mark.parametrize("how", ["fails", "becomes read-only"])
async def test_on_a_disk_that_fails_nothing_more_is_acknowledged_and_what_was_is_there_after_a_restart(
    tmp_path: Path, how: str
) -> None:
    with block_disk(tmp_path / "disk") as disk:
        place = disk.path / "data"
        async with system(tmp_path, place) as made:
            reach = made.reach()
            await appears(made.file, 20)
            disk.fail() if how == "fails" else disk.make_read_only()
            await made.server.until_line("nothing is accepted until it can", err=True)
            words = await health(made.port, 503)
            assert "can't be written" in words
            stood = made.file.stat().st_size
            made.server.kill(signal.SIGTERM)
            assert await made.server.wait() == 2
            assert any("was closed without storing" in line for line in made.server.err), made.server.err
            # A call that had been acknowledged just before may not have been counted yet.
            assert made.file.stat().st_size <= stood + 1
            disk.unmount()
            disk.mount()
            async with serve(made, tmp_path):
                await appears(made.file, stood + 20)
                made.enough.touch()
                assert await made.submit.wait() == 0, made.submit.err
                outputs = await asyncio.wait_for(listed(tmp_path, reach), 30)
        assert counted(made.submit) == list(range(made.submit.events()[-1]["outputs"]["count"]))
        assert outputs == ["succeeded"]


async def listed(tmp_path: Path, reach: dict[str, str]) -> list[str]:
    async with start("sessions", "--json", state=tmp_path, **reach) as command:
        await command.wait()
        return [each["state"] for each in command.events()]
