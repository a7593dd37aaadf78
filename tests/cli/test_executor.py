"""``asyncblock executor``: it drains on a signal, reports, is forced by a second one, and speaks for a silent child."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest

from asyncblock import connect

from ..flows import node, write_flow
from ..processes import Command, all_ended, free_port, start

WAITS = """
    import asyncio
    import os

    async def main(inputs, ctx):
        print("running", os.getpid())
        while not os.path.exists(inputs["gate"]):
            await asyncio.sleep(0.02)
        for number in range(100):
            await ctx.output(number, "out")
        return {"out": "last"}
    """


def waiting_flow(tmp_path: Path, source: str = WAITS) -> Path:
    gate = {"handle": "gate", "value": str(tmp_path / "gate")}
    return write_flow(tmp_path / "f", [node("waits", source, tmp_path / "f", inputs=[gate])])


@asynccontextmanager
async def running(
    tmp_path: Path, flow: Path, *options: str, command: Sequence[str] = ()
) -> AsyncIterator[tuple[Command, Command]]:
    """Serve, execute and submit; yields the executor and the submit once the block runs."""
    data = tmp_path / "data"
    async with AsyncExitStack() as stack:
        served = start("serve", "--data-dir", data, "--port", str(free_port()), state=tmp_path)
        serve = await stack.enter_async_context(served)
        await serve.until_line("mainframe at", err=True)
        common: tuple[str | Path, ...] = ("--data-dir", data, "--package", flow.parent, *options)
        executor = await stack.enter_async_context(start("executor", *common, state=tmp_path, under=command))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--data-dir", data, "--json", state=tmp_path))
        # Its path, which is in the first event, says "running" too.
        await submit.until_line('"log":"running')
        yield executor, submit


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_drain_lets_running_jobs_finish_flushes_and_reports(tmp_path: Path, number: int) -> None:
    async with running(tmp_path, waiting_flow(tmp_path)) as (executor, submit):
        executor.kill(number)
        (tmp_path / "gate").touch()
        assert await executor.wait() == 0
        assert await submit.wait() == 0
    assert executor.out == ["1 jobs finished, 0 failed, 0 cancelled, 0 records unacknowledged"]
    outputs = [event["output"] for event in submit.events() if event["type"] == "BlockOutput"]
    assert outputs == list(range(100))


async def test_jobs_that_outlast_the_grace_are_cancelled_may_clean_up_and_are_reported(tmp_path: Path) -> None:
    source = """
        import asyncio

        async def main(inputs, ctx):
            print("running")
            try:
                await asyncio.sleep(3600)
            finally:
                await ctx.output("cleaned up", "out")
        """
    async with running(tmp_path, waiting_flow(tmp_path, source), "--grace", "0.3") as (executor, submit):
        executor.kill(signal.SIGTERM)
        assert await executor.wait() == 0
        assert await submit.wait() == 1
    assert executor.out == ["0 jobs finished, 0 failed, 1 cancelled, 0 records unacknowledged"]
    assert '"cleaned up"' in "".join(submit.out)


async def test_no_new_jobs_come_while_it_drains(tmp_path: Path) -> None:
    second = node("second", "async def main(inputs, ctx):\n    return {'out': inputs['v']}\n", tmp_path / "f")
    second["task"]["inputs_def"] = [{"handle": "v"}]
    second["inputs_from"] = [{"handle": "v", "from_node": [{"node_id": "waits", "output_handle": "out"}]}]
    gate = {"handle": "gate", "value": str(tmp_path / "gate")}
    source = WAITS.replace("range(100)", "range(0)")
    flow = write_flow(tmp_path / "f", [node("waits", source, tmp_path / "f", inputs=[gate]), second])
    data = tmp_path / "data"
    async with running(tmp_path, flow) as (executor, submit):
        executor.kill(signal.SIGTERM)
        url = orjson.loads((data / "address").read_bytes())["url"]
        async with connect(url, (data / "token").read_text().strip()) as mainframe:
            while (await mainframe.info())["executors"]:  # noqa: ASYNC110  # that it drains is told to nobody else
                await asyncio.sleep(0.02)
        (tmp_path / "gate").touch()
        assert await executor.wait() == 0
        assert executor.out == ["1 jobs finished, 0 failed, 0 cancelled, 0 records unacknowledged"]
        async with start("executor", "--data-dir", data, "--package", flow.parent, state=tmp_path):
            assert await submit.wait() == 0


async def test_a_second_signal_ends_it_and_its_child_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, waiting_flow(tmp_path)) as (executor, _):
        family = executor.family()
        assert len(family) == 2
        executor.kill(signal.SIGTERM)
        await executor.until_line("leaving", err=True)
        executor.kill(signal.SIGTERM)
        assert await executor.wait() == 130
        await all_ended(family)


async def test_a_child_that_holds_its_interpreter_s_lock_is_spoken_for_while_it_lasts(tmp_path: Path) -> None:
    """The hold ends when it was told, and not before."""
    source = """
        import ctypes

        async def main(inputs, ctx):
            print("running")
            await ctx.flush()
            with open(inputs["gate"]) as gate:
                # PyDLL keeps the interpreter's lock: no thread of this process runs while this waits for the file's.
                assert ctypes.PyDLL(None).flock(gate.fileno(), 2) == 0
            return {"out": 1}
        """
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        async with running(tmp_path, waiting_flow(tmp_path, source)) as (_, submit):
            stalled = orjson.loads(await submit.until_line("JobStalled"))
            fcntl.flock(gate, fcntl.LOCK_UN)
            assert await submit.wait() == 0
    assert stalled["where"] == f"main ({tmp_path / 'f' / 'waits.py'}:9)"
    assert stalled["seconds"] >= 1.0
    [finished] = [event for event in submit.events() if event["type"] == "BlockFinished"]
    assert finished["result"] == {"out": 1}


UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def namespaces() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not namespaces(), reason="this system gives no process namespaces")
async def test_it_drains_as_the_first_process_of_a_container(tmp_path: Path) -> None:
    """The kernel gives process 1 no default handling of signals: without a handler they are lost."""
    source = WAITS.replace("os.getpid()", "os.getppid()")
    async with running(tmp_path, waiting_flow(tmp_path, source), command=UNSHARE) as (executor, submit):
        assert "running 1" in "".join(submit.out)
        [first] = children_of(executor.process.pid)
        os.kill(first, signal.SIGTERM)
        await executor.until_line("leaving", err=True)
        (tmp_path / "gate").touch()
        assert await executor.wait() == 0
        assert await submit.wait() == 0
    assert executor.out == ["1 jobs finished, 0 failed, 0 cancelled, 0 records unacknowledged"]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
