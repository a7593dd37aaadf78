"""What holds only in a process of the executor's own: capture, crashes, exits, reloading."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, node, one_block, run_block, write_flow


async def test_prints_and_logging_become_lines_of_the_job(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import logging
        import sys
        import threading

        async def main(inputs, ctx):
            print("plain", 1, sep="-")
            print("half ", end="")
            print("and half")
            print("to stderr", file=sys.stderr)
            sys.stdout.write("written\\n")
            logging.getLogger("mine").info("info")
            logging.warning("careful")
            thread = threading.Thread(target=lambda: print("from a thread"))
            thread.start()
            thread.join()
            await ctx.report_log("reported")
            print("no newline", end="")
        """,
        workers=1,
    )
    lines = [(e.log, e.stdio) for e in all_of(found, events.BlockLog)]
    assert [line for line in lines if line[0] != "from a thread"] == [
        ("plain-1", "stdout"),
        ("half and half", "stdout"),
        ("to stderr", "stderr"),
        ("written", "stdout"),
        ("INFO mine: info", "stdout"),
        ("WARNING root: careful", "stderr"),
        ("reported", "stdout"),
        ("no newline", "stdout"),
    ]
    assert ("from a thread", "stdout") in lines
    assert end_of(found).state == "succeeded"


async def test_prints_of_a_sync_block_become_lines_of_the_job(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path, "def main(inputs, ctx):\n    for i in range(1000):\n        print(i)\n", workers=1
    )
    assert [e.log for e in all_of(found, events.BlockLog)] == [str(i) for i in range(1000)]


async def test_too_many_prints_of_an_async_block_lose_the_oldest_and_say_how_many(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        async def main(inputs, ctx):
            for i in range(200_000):
                print("x" * 50, i)
        """,
        workers=1,
    )
    logs = all_of(found, events.BlockLog)
    dropped = [e for e in all_of(found, events.BlockWarning) if "dropped" in e.warning]
    assert dropped
    assert len(logs) + sum(int(e.warning.split()[0]) for e in dropped) == 200_000
    assert logs[-1].log.endswith(" 199999")
    assert end_of(found).state == "succeeded"


@pytest.mark.parametrize(
    ("crash", "words"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    ],
)
async def test_a_crash_of_the_process_fails_its_jobs_with_that_reason(tmp_path: Path, crash: str, words: str) -> None:
    crashing = one_block(tmp_path / "crashing", f"async def main(inputs, ctx):\n    await ctx.flush()\n    {crash}\n")
    fine = one_block(tmp_path / "fine", "async def main(inputs, ctx):\n    return {'out': 1}\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        end = await (await mainframe.start(crashing)).wait()
        assert end.state == "failed"
        assert words in str(end.error)
        assert "n" in str(end.error)
        assert await (await mainframe.start(fine)).outputs() == {"out": 1}


async def test_e4_a_process_that_leaves_with_0_fails_its_jobs_with_that_reason(tmp_path: Path) -> None:
    """Upstream, only an executor that left with another code failed its jobs; the others hung."""
    leaving = "async def main(inputs, ctx):\n    await ctx.flush()\n    import os; os._exit(0)\n"
    async with asyncblock.embedded(workers=1) as mainframe:
        end = await (await mainframe.start(one_block(tmp_path / "leaving", leaving))).wait()
    assert end.state == "failed"
    assert "exited with code 0" in str(end.error)


async def test_sys_exit_in_a_child_task_ends_the_job_and_not_the_loop(tmp_path: Path) -> None:
    exiting = one_block(
        tmp_path / "exiting",
        """
        import asyncio
        import sys

        async def leave():
            sys.exit(4)

        async def main(inputs, ctx):
            task = asyncio.create_task(leave())
            await asyncio.Event().wait()
        """,
    )
    fine = one_block(tmp_path / "fine", "import os\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        before = await (await mainframe.start(fine)).outputs()
        end = await (await mainframe.start(exiting)).wait()
        assert "sys.exit(4)" in str(end.error)
        assert await (await mainframe.start(fine)).outputs() == before


@pytest.mark.parametrize(("choice", "module"), [("asyncio", "asyncio"), ("", "uvloop")])
async def test_blocks_run_on_uvloop_where_it_is_installed_unless_told_otherwise(
    choice: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    asks = one_block(
        tmp_path / "asks",
        """
        import asyncio

        async def main(inputs, ctx):
            return {"out": type(asyncio.get_running_loop()).__module__.partition(".")[0]}
        """,
    )
    exits = one_block(
        tmp_path / "exits",
        """
        import asyncio
        import sys

        async def leave():
            sys.exit(4)

        async def main(inputs, ctx):
            await asyncio.create_task(leave())
            await asyncio.Event().wait()
        """,
    )
    async with asyncblock.embedded(workers=1) as mainframe:
        end = await (await mainframe.start(exits)).wait()
        assert "sys.exit(4)" in str(end.error)
        assert await (await mainframe.start(asks)).outputs() == {"out": module}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="collects more rarely by itself")
async def test_the_collector_comes_less_often_in_an_executor_process_and_not_in_its_parent(tmp_path: Path) -> None:
    asks = one_block(
        tmp_path, "import gc\nasync def main(inputs, ctx):\n    return {'out': list(gc.get_threshold()[:2])}\n"
    )
    before = gc.get_threshold()
    async with asyncblock.embedded(workers=1) as mainframe:
        assert await (await mainframe.start(asks)).outputs() == {"out": [5000, 2]}
    assert gc.get_threshold() == before


async def test_files_that_changed_are_loaded_again_for_a_new_session(tmp_path: Path) -> None:
    source = "from .helper import value\nasync def main(inputs, ctx):\n    return {'out': value()}\n"
    path = one_block(tmp_path, source)
    helper = tmp_path / "helper.py"
    async with asyncblock.embedded(workers=1) as mainframe:
        for expected in (1, 22):
            helper.write_text(f"def value():\n    return {expected}\n")
            assert await (await mainframe.start(path)).outputs() == {"out": expected}


async def test_a_failed_import_is_reported_each_time_with_its_own_error(tmp_path: Path) -> None:
    path = one_block(tmp_path, "import does_not_exist_anywhere\nasync def main(inputs, ctx):\n    pass\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        for _ in range(2):
            end = await (await mainframe.start(path)).wait()
            assert "does_not_exist_anywhere" in str(end.error)


async def test_nodes_joined_by_var_edges_run_in_one_process_where_the_value_has_to_stay_there(tmp_path: Path) -> None:
    var = {"handle": "frame", "json_schema": {"contentMediaType": "oomol/var"}}
    nodes = [
        node(
            "a",
            "import os\nasync def main(inputs, ctx):\n    await ctx.output({'pid': os.getpid(), 'stays': object()}, 'frame')\n",
            tmp_path,
            outputs=[var],
        )
    ]
    names = ["b", "c", "d"]
    nodes += [
        node(
            name,
            "import os\ndef main(inputs, ctx):\n    return {'out': os.getpid() == inputs['frame']['pid']}\n",
            tmp_path,
            inputs=[var],
            inputs_from=[{"handle": "frame", "from_node": [{"node_id": "a", "output_handle": "frame"}]}],
        )
        for name in names
    ]
    outputs = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in names]
    path = write_flow(tmp_path, nodes, outputs_from=outputs)
    async with asyncblock.embedded(workers=2) as mainframe:
        sessions = [await mainframe.start(path) for _ in range(6)]
        for session in sessions:
            assert await session.outputs() == {"b": True, "c": True, "d": True}


async def test_var_values_are_let_go_when_their_session_ends(tmp_path: Path) -> None:
    counting = """
        import gc

        class Thing:
            pass

        def count():
            gc.collect()
            return sum(type(each).__name__ == "Thing" for each in gc.get_objects())

        async def main(inputs, ctx):
            before = count()
            await ctx.output(Thing(), "thing")
            return {"out": before, "now": count()}
        """
    thing = {"handle": "thing", "json_schema": {"contentMediaType": "oomol/var"}}
    path = one_block(tmp_path, counting, [thing, "out", "now"])
    async with asyncblock.embedded(workers=1) as mainframe:
        for _ in range(3):
            end = await (await mainframe.start(path)).wait()
            assert (end.outputs["out"], end.outputs["now"]) == (0, 1)


async def test_a_worker_leaves_when_its_parent_is_gone(tmp_path: Path) -> None:
    """The parent is killed: nothing but the closed pipe tells the child."""
    import asyncio
    import os

    script = tmp_path / "parent.py"
    block = one_block(tmp_path, "import os\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n")
    script.write_text(
        "import asyncio, sys, asyncblock\n"
        "async def main():\n"
        "    async with asyncblock.embedded(workers=1) as mainframe:\n"
        f"        session = await mainframe.start({str(block)!r})\n"
        "        print((await session.outputs())['out'], flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    handle = os.pidfd_open(child)
    parent.kill()
    await parent.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(20):
            await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
