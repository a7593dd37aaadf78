"""What blocks of one process share, and what they may do to it."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from asyncblock import events

from ..flows import all_of, end_of, node, one_block, run_block, run_flow, write_flow
from ..processes import appears, start, start_module


async def test_what_started_programs_write_goes_to_the_command_s_standard_error(tmp_path: Path) -> None:
    source = """
        import multiprocessing as mp
        import os
        import subprocess

        def main(inputs, ctx):
            subprocess.run(["echo", "from a program"])
            os.system("echo from a shell")
            os.write(1, b"from a descriptor\\n")
            process = mp.get_context("spawn").Process(target=print, args=("from a spawned process",), kwargs={"flush": True})
            process.start()
            process.join()
            return {"out": 1}
        """
    async with start("run", one_block(tmp_path / "f", source), "--json", state=tmp_path) as command:
        assert await command.wait() == 0
        assert command.events()[-1]["outputs"] == {"out": 1}
        said = ["from a program", "from a shell", "from a descriptor", "from a spawned process"]
        assert [line for line in command.err if line.startswith("from")] == said


async def test_a_program_may_outlive_its_block_and_the_executor(tmp_path: Path) -> None:
    done, gate = tmp_path / "done", tmp_path / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.05; done; touch {done}"
    source = f"""
        import subprocess

        def main(inputs, ctx):
            subprocess.Popen(["sh", "-c", {script!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        """
    async with start("run", one_block(tmp_path / "f", source, []), state=tmp_path) as command:
        assert await command.wait() == 0
    gate.touch()
    # Nobody's child: its file is all that tells of it.
    await appears(done)


async def test_an_async_block_may_set_signal_handlers_and_timers_of_its_own(tmp_path: Path) -> None:
    source = """
        import asyncio
        import signal

        async def main(inputs, ctx):
            seen, rung = [], asyncio.Event()
            before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, rung.set)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while not seen:
                await asyncio.sleep(0.01)
            signal.raise_signal(signal.SIGUSR1)
            await rung.wait()
            signal.signal(signal.SIGALRM, before)
            asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
            return {"out": seen}
        """
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": [14]}


async def test_a_def_block_runs_on_a_thread_and_can_set_no_signal_handler(tmp_path: Path) -> None:
    source = """
        import signal

        def main(inputs, ctx):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        """
    end = end_of(await run_block(tmp_path, source, workers=1))
    assert "signal only works in main thread" in str(end.error)


MARKS = """
import os

def main(inputs, ctx):
    before = [os.environ.get("MARK"), os.path.basename(os.getcwd())]
    os.environ["MARK"] = "set"
    os.chdir("/")
    return {"out": before}
"""


async def test_environment_and_directory_are_one_for_the_process_and_spawn_has_its_own(tmp_path: Path) -> None:
    nodes = [node("a", MARKS, tmp_path), node("b", MARKS, tmp_path), node("c", MARKS, tmp_path)]
    for earlier, later in itertools.pairwise(nodes):
        later["task"]["inputs_def"] = [{"handle": "in"}]
        later["inputs_from"] = [
            {"handle": "in", "from_node": [{"node_id": earlier["node_id"], "output_handle": "out"}]}
        ]
    nodes[2]["task"]["executor"]["options"]["spawn"] = True
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in "abc"]
    path = write_flow(tmp_path, nodes, outputs_from=outputs)
    async with start("run", path, "--json", state=tmp_path, MARK="given") as command:
        assert await command.wait() == 0
        found = command.events()[-1]["outputs"]
    assert found["a"][0] == "given"
    assert found["b"] == ["set", ""]
    # A copy of what the executor's process has at that moment.
    assert found["c"] == ["set", ""]


async def test_files_beside_a_block_are_found_by_its_file_and_may_be_written(tmp_path: Path) -> None:
    source = """
        from pathlib import Path

        HERE = Path(__file__).parent

        def main(inputs, ctx):
            (HERE / "written.txt").write_text((HERE / "given.txt").read_text() + "!")
            return {"out": (HERE / "written.txt").read_text()}
        """
    place = tmp_path / "f"
    path = one_block(place, source)
    (place / "given.txt").write_text("given")
    for _ in range(2):
        assert end_of(await run_flow(path, workers=1)).outputs == {"out": "given!"}


async def test_threads_of_a_block_print_for_it_and_may_outlive_it(tmp_path: Path) -> None:
    source = """
        import threading

        def main(inputs, ctx):
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            return {"out": 1}
        """
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": 1}
    assert [each.log for each in all_of(found, events.BlockLog)] == ["from a thread"]


async def test_blocks_in_the_command_s_process_have_its_standard_input(tmp_path: Path) -> None:
    """``exit()`` closes what it finds as ``sys.stdin``; the next block has its input all the same."""
    nodes = [
        node(
            "a",
            "def main(inputs, ctx):\n    try:\n        exit()\n    finally:\n        print('leaving')\n",
            tmp_path / "f",
        ),
        node("b", "def main(inputs, ctx):\n    return {'out': [input(), input()]}\n", tmp_path / "f"),
    ]
    nodes[0]["task"]["outputs_def"] = []
    outputs = [{"handle": "out", "from_node": [{"node_id": "b", "output_handle": "out"}]}]
    path = write_flow(tmp_path / "f", nodes, outputs_from=outputs)
    text = tmp_path / "text"
    text.write_text("first\nsecond\n")
    under = ["sh", "-c", f'exec "$@" < {text}', "sh"]
    async with start_module(
        "asyncblock", "run", path, "--in-process", "--json", state=tmp_path, under=under
    ) as command:
        assert await command.wait() == 0, (sys.executable, os.getcwd(), command.err)
        assert command.events()[-1]["outputs"] == {"out": ["first", "second"]}
