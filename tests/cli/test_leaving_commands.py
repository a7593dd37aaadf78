"""That the commands leave, and what they tell: with a full disk, peers that read nothing, blocks that hang.

How long each takes on a quiet machine stands in docs/limits.md. Here each has to be gone before what it mustn't wait for
would be over, which a busy machine doesn't change.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from asyncblock.childprocesses import workers
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ..disks import fill, small_disk
from ..flows import handle_def, node, one_block, write_flow
from ..peers import Peer
from ..processes import Command, all_ended, appears, free_port, start

pytestmark = pytest.mark.timeout(120)


async def serving(stack: AsyncExitStack, state: Path, *arguments: str | Path) -> tuple[Command, int]:
    port = free_port()
    server = await stack.enter_async_context(start("serve", "--port", str(port), *arguments, state=state))
    await server.until_line("mainframe at", err=True)
    return server, port


# ---------------------------------------------------------------------- the disk of the mainframe is full

MANY = """
    import asyncio
    import pathlib

    HERE = pathlib.Path(__file__).parent

    async def main(inputs, ctx):
        for n in range(40):
            await ctx.output("x" * 50_000, f"o{n}")
        await ctx.flush()
        (HERE / "flushed").touch()
        while not (HERE / "enough").exists():
            await asyncio.sleep(0.01)
"""


async def test_a_mainframe_leaves_soon_while_the_end_of_a_session_waits_for_a_full_disk(tmp_path: Path) -> None:
    """Forty outputs of 50 kB are too large for the session's last row, and become files for which there is no room."""
    directory = tmp_path / "f"
    flow = one_block(directory, MANY, [f"o{n}" for n in range(40)])
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", "16m"))
        server, port = await serving(stack, tmp_path, "--data-dir", disk)
        reach = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": (disk / "token").read_text().strip()}
        executor = await stack.enter_async_context(
            start("executor", "--package", directory, "--grace", "1", state=tmp_path, **reach)
        )
        await executor.until_line("executor for", err=True)
        await stack.enter_async_context(start("submit", flow, "--detach", state=tmp_path, **reach))
        await appears(directory / "flushed")
        filler = fill(disk, leave=300 << 10)
        (directory / "enough").touch()
        await server.until_line("nothing is accepted until it can", err=True)
        await server.leaves(signal.SIGTERM)
        assert any("was closed without storing" in line for line in server.err), server.err
        # What wasn't stored is done again.
        filler.unlink()
        again = await stack.enter_async_context(start("serve", "--port", str(port), "--data-dir", disk, state=tmp_path))
        await again.until_line("mainframe at", err=True)
        watch = await stack.enter_async_context(start("sessions", "--json", state=tmp_path, **reach))
        await watch.wait()
        [row] = watch.events()
        end = await stack.enter_async_context(start("outputs", row["session_id"], state=tmp_path, **reach))
        assert await end.wait() == 0, end.err


async def test_a_run_whose_disk_is_full_leaves_soon_after_an_interrupt(tmp_path: Path) -> None:
    source = """
    async def main(inputs, ctx):
        while True:
            await ctx.output("x" * 50_000, "out")
    """
    flow = one_block(tmp_path / "f", source)
    with small_disk(tmp_path / "disk", "16m") as disk:
        async with start("run", flow, "--data-dir", disk, state=tmp_path) as run:
            await run.until_line("nothing is accepted until it can", err=True)
            # The cancel and the acknowledgements have 5 s each; a job in the grace of an executor would take 30 more.
            await run.leaves(signal.SIGINT, before=30)
            assert run.process.returncode in (2, 130)
            said = "\n".join([*run.out, *run.err])
            assert "didn't take the cancel within 5 s" in said
            assert "asyncblock resume" in said


# ---------------------------------------------------------------------- the mainframe is away


async def test_an_interrupted_submit_leaves_soon_though_the_mainframe_is_away(tmp_path: Path) -> None:
    flow = one_block(
        tmp_path / "f", "async def main(inputs, ctx):\n    print('here')\n    while True: await ctx.sleep\n"
    )
    source = "import asyncio\n\nasync def main(inputs, ctx):\n    print('here')\n    await asyncio.Event().wait()\n"
    (tmp_path / "f" / "n.py").write_text(source)
    async with AsyncExitStack() as stack:
        server, _ = await serving(stack, tmp_path)
        executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "f", state=tmp_path))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, state=tmp_path))
        await submit.until_line("here")
        server.kill(signal.SIGSTOP)
        try:
            # The cancel has 5 s; a session that took it would have 20 more to end.
            await submit.leaves(signal.SIGINT, before=25)
        finally:
            server.kill(signal.SIGCONT)
        assert submit.process.returncode == 130
        assert "didn't take the cancel within 5 s" in "\n".join([*submit.out, *submit.err])


# ---------------------------------------------------------------------- peers that read nothing


async def test_a_mainframe_leaves_soon_though_a_reader_stalls(tmp_path: Path) -> None:
    """It has asked for megabytes and reads none of them: nothing more can be said to it, not even goodbye."""
    source = """
    async def main(inputs, ctx):
        for _ in range(400):
            await ctx.output("x" * 60_000, "out")
    """
    flow = one_block(tmp_path / "f", source)
    async with AsyncExitStack() as stack:
        server, port = await serving(stack, tmp_path, "--data-dir", tmp_path / "data")
        token = (tmp_path / "data" / "token").read_text().strip()
        reach = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": token}
        executor = await stack.enter_async_context(
            start("executor", "--package", tmp_path / "f", state=tmp_path, **reach)
        )
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path, **reach))
        assert await submit.wait() == 0, submit.err
        session_id = submit.events()[0]["session_id"]
        peer = Peer(await connect_websocket(f"ws://127.0.0.1:{port}", token, max_message=MAX_MESSAGE))
        await peer.hello()
        for n in range(20):
            await peer.say("read", id=n, session_id=session_id, offset=n, max_bytes=1 << 20)
        # Answered, though what was asked for before can't be sent: it has come that far.
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        await asyncio.sleep(0.5)
        executor.kill(signal.SIGTERM)
        await executor.wait()
        await server.leaves(signal.SIGTERM)
        assert server.process.returncode == 0
        peer.transport.abort()


async def test_a_mainframe_leaves_soon_though_somebody_connects_and_says_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server, port = await serving(stack, tmp_path)
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        silent.write(b"GET / HTTP/1.1\r\n")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        # That it doesn't wait until the handshake's time is over either: tests/transport/test_websocket.py.
        await server.leaves(signal.SIGTERM)
        silent.close()


# ---------------------------------------------------------------------- blocks and children that hang


async def test_a_run_whose_block_hangs_while_it_is_imported_leaves_in_time(tmp_path: Path) -> None:
    source = """
    import pathlib
    import time

    (pathlib.Path(__file__).parent / "importing").touch()
    time.sleep(1000)

    async def main(inputs, ctx):
        pass
    """
    flow = one_block(tmp_path / "f", source)
    async with start("run", flow, state=tmp_path) as run:
        await appears(tmp_path / "f" / "importing")
        # Its clean-up has 10 s, and 5 to tell of it; in the grace of an executor it would have 30 more.
        await run.leaves(signal.SIGINT, before=40)
        assert run.process.returncode == 130
        assert any("session cancelled" in line for line in run.out), run.out


async def test_a_child_that_is_stopped_is_killed_when_its_time_to_leave_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    patience = workers._CHILD_PATIENCE
    monkeypatch.setattr(workers, "_CHILD_PATIENCE", 1.0)
    one_block(tmp_path / "f", "async def main(inputs, ctx):\n    pass\n")
    async with AsyncExitStack() as stack:
        _, port = await serving(stack, tmp_path, "--data-dir", tmp_path / "data")
        token = (tmp_path / "data" / "token").read_text().strip()
        pool = workers.Workers(f"ws://127.0.0.1:{port}", token, 1, [tmp_path / "f"], grace=0.5)
        async with pool:
            await pool.ready(30)
            [pid] = pool.pids()
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
        assert time.monotonic() - began < patience
        await all_ended([pid])
    assert "1 executor processes didn't leave when they were told to; they are killed" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6, 1.2])
async def test_a_run_leaves_soon_whenever_it_is_interrupted(tmp_path: Path, delay: float, number: int) -> None:
    """While modules are imported, while executors start: any moment may be the one."""
    source = "import asyncio\n\nasync def main(inputs, ctx):\n    await asyncio.Event().wait()\n"
    flow = write_flow(tmp_path / "f", [node("n", source, tmp_path / "f", outputs=[handle_def("out")])])
    async with start("run", flow, "--workers", "2", state=tmp_path) as run:
        await run.until_signals_are_handled()
        await asyncio.sleep(delay)
        # What is still being started would try for 30 s to connect, or have as long to end its jobs.
        await run.leaves(number, before=28)
        assert run.process.returncode == 130
        assert "Traceback" not in "\n".join(run.err)
