"""``embedded`` and ``connect``: what a service gets, and that it leaves the process as it was."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

import asyncblock
from asyncblock import events
from asyncblock.errors import (
    DataDirInUse,
    FlowFailed,
    Rejected,
)
from asyncblock.runtime.iothread import shared

from ..flows import all_of, end_of, one_block, until

PRINTS = """
async def main(inputs, ctx):
    print("hello")
    ctx.logger.info("logged")
"""


@asyncblock.block
async def double(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return twice the value."""
    return {"out": 2 * inputs["value"]}


@pytest.mark.parametrize("capture", [False, True])
async def test_prints_belong_to_the_process_unless_capture_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], capture: bool
) -> None:
    path = one_block(tmp_path, PRINTS)
    before = sys.stdout
    async with asyncblock.embedded(capture=capture) as mainframe:
        session = await mainframe.start(path)
        found = [event async for event in session]
    logs = [event.log for event in all_of(found, events.BlockLog)]
    assert logs == (["hello", "INFO logged"] if capture else ["INFO logged"])
    assert ("hello" in capsys.readouterr().out) is not capture
    assert sys.stdout is before


async def test_a_flow_in_python_code_runs_on_the_services_own_loop() -> None:
    flow = asyncblock.Flow("doubling")
    flow.output("doubled", flow.node(double, {"value": flow.input("number")})["out"])
    async with asyncblock.embedded(blocks=[double]) as mainframe:
        session = await mainframe.start(flow, {"number": 21})
        assert await session.outputs() == {"doubled": 42}


async def test_inputs_that_were_not_given_have_their_defaults(tmp_path: Path) -> None:
    """Of a flow in Python code and of one in a file; they are in the journal with the others."""
    flow = asyncblock.Flow("doubling")
    flow.output("doubled", flow.node(double, {"value": flow.input("number", value=4)})["out"])
    path = one_block(tmp_path, "def main(inputs, ctx):\n    return {'out': inputs}\n")
    fed = {"inputs_def": [{"handle": "a", "value": 1}, {"handle": "b", "nullable": True}, {"handle": "c"}]}
    spec = yaml.safe_load(path.read_text())
    spec["inputs_def"] = spec["nodes"][0]["task"]["inputs_def"] = fed["inputs_def"]
    spec["nodes"][0]["inputs_from"] = [{"handle": h, "from_flow": [{"input_handle": h}]} for h in "abc"]
    path.write_text(yaml.safe_dump(spec))
    async with asyncblock.embedded(blocks=[double]) as mainframe:
        assert await (await mainframe.start(flow)).outputs() == {"doubled": 8}
        assert await (await mainframe.start(flow, {"number": 1})).outputs() == {"doubled": 2}
        outputs = await (await mainframe.start(path, {"c": 3})).outputs()
        assert outputs == {"out": {"a": 1, "b": None, "c": 3}}


async def test_inputs_of_a_flow_in_python_code_are_checked_before_it_starts() -> None:
    flow = asyncblock.Flow("doubling")
    flow.output("doubled", flow.node(double, {"value": flow.input("number")})["out"])
    async with asyncblock.embedded(blocks=[double]) as mainframe:
        with pytest.raises(asyncblock.InvalidFlow) as caught:
            await mainframe.start(flow, {"nubmer": 1})
        assert [str(problem) for problem in caught.value.problems] == [
            "the flow has no input 'nubmer'; there is 'number'",
            "the flow's input 'number' is required",
        ]
        # The mainframe itself doesn't take the client's word for it.
        params = {"session_id": "5", "plan": flow.plan().to_json(), "inputs": {}, "title": ""}
        with pytest.raises(Rejected, match="'number' is required"):
            await mainframe.link.request("start", params)


async def test_nothing_is_left_when_it_ends(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    tasks = asyncio.all_tasks()
    async with asyncblock.embedded() as mainframe:
        await (await mainframe.start(one_block(tmp_path, PRINTS))).wait()
        assert any(thread.name == "asyncblock-io" for thread in threading.enumerate())
    after = {thread.name for thread in threading.enumerate()}
    assert not {name for name in after - before if name.startswith("asyncblock")}
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("workers", [0, 1])
async def test_an_embedded_executor_never_touches_signals(tmp_path: Path, workers: int) -> None:
    """Item 6: they are the service's own. SIGCHLD is asyncio's, for processes that are started."""
    numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
    before = [signal.getsignal(number) for number in numbers]
    # Python's own way to learn of signals in an event loop.
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    async with asyncblock.embedded(workers=workers) as mainframe:
        await (await mainframe.start(one_block(tmp_path, PRINTS))).wait()
        assert [signal.getsignal(number) for number in numbers] == before
        assert signal.set_wakeup_fd(-1) == wakeup
        signal.set_wakeup_fd(wakeup)
    assert [signal.getsignal(number) for number in numbers] == before


async def test_a_running_session_is_not_pruned_and_late_words_of_a_pruned_one_harm_nobody(tmp_path: Path) -> None:
    """A block that outlives its session by ignoring its cancel speaks when the session has been deleted."""
    path = one_block(
        tmp_path,
        """
        import asyncio

        async def main(inputs, ctx):
            await ctx.output(1, "out")
            await asyncio.Event().wait()
        """,
    )
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(path)
        await until(session, events.BlockOutput)
        assert (await mainframe.prune(keep=0)).sessions == ()
        await session.cancel()
        await session.wait()
        assert (await mainframe.prune(keep=0)).sessions == (session.session_id,)
        quick = one_block(tmp_path / "q", "def main(inputs, ctx):\n    return {'out': 1}\n")
        assert await (await mainframe.start(quick)).outputs() == {"out": 1}


async def test_jobs_of_a_process_that_ended_follow_their_policy_when_its_data_is_embedded_again(tmp_path: Path) -> None:
    """The journal knows an open job whose process is gone: its lease isn't waited for."""
    source = """
    import asyncio

    async def main(inputs, ctx):
        await ctx.output(ctx.attempt, "out")
        await ctx.flush()
        if ctx.attempt == 1:
            await asyncio.Event().wait()
    """
    path = one_block(tmp_path / "f", source)
    path.write_text(path.read_text().replace("task:\n", "task:\n    retries: {retries: 1, backoff: 0.01}\n"))
    script = f"""
import asyncio, os, asyncblock
async def main():
    async with asyncblock.embedded({str(tmp_path / "data")!r}) as mainframe:
        session = await mainframe.start({str(path)!r})
        async for event in session:
            if event.type == "BlockOutput":
                print(session.session_id, flush=True)
                os._exit(9)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    async with asyncio.timeout(20):
        async with asyncblock.embedded(tmp_path / "data", packages=[path.parent]) as mainframe:
            found = [event async for event in mainframe.session(out.decode().strip())]
    [failed] = all_of(found, events.JobFailed)
    assert (failed.node_id, failed.attempt) == ("n", 1)
    assert "the process that hosted its mainframe has ended" in failed.error
    assert end_of(found).outputs == {"out": 2}


@pytest.mark.parametrize("workers", [0, 1])
async def test_an_error_of_the_callers_passes_as_it_is(tmp_path: Path, workers: int) -> None:
    path = one_block(tmp_path, "def main(inputs, ctx):\n    raise ValueError('no luck')\n")
    with pytest.raises(FlowFailed, match="no luck"):
        async with asyncblock.embedded(workers=workers) as mainframe:
            await (await mainframe.start(path)).outputs()


async def test_the_io_thread_is_one_for_all(tmp_path: Path) -> None:
    async with shared().lease() as io:
        async with asyncblock.embedded() as first, asyncblock.embedded() as second:
            assert first.link.io is second.link.io is io


async def test_a_data_directory_in_use_is_told_in_words_for_a_library(tmp_path: Path) -> None:
    async with asyncblock.embedded(tmp_path):
        with pytest.raises(DataDirInUse, match=r"in this process\..*serve \+ connect.*connect\(url, token\)") as caught:
            async with asyncblock.embedded(tmp_path):
                raise AssertionError("it must not open")
    assert caught.value.path == str(tmp_path)
    assert "--data-dir or" not in str(caught.value)


async def test_a_program_that_ends_while_it_is_being_left_comes_to_its_end(tmp_path: Path) -> None:
    """``asyncio.run`` cancels at its end whatever still runs, the leaving of ``embedded`` too."""
    code = f"""if 1:
        import asyncio, asyncblock

        async def main():
            opened = asyncio.Event()

            async def use():
                async with asyncblock.embedded(data_dir={str(tmp_path / "data")!r}):
                    opened.set()
                    await asyncio.Event().wait()

            using = asyncio.create_task(use())
            await opened.wait()
            using.cancel()
            await asyncio.sleep(0)

        asyncio.run(main())
        """
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    async with asyncblock.embedded(data_dir=tmp_path / "data"):  # nobody has it any more
        pass
