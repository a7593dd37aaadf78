"""Programs that blocks start and talk to, and pools that they await or leave behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, one_block, run_block
from ..processes import start

# Since 3.12: the test's own process forks in some of these, and has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_block_talks_to_a_program_in_text_line_by_line(kind: str, tmp_path: Path) -> None:
    source = f"""
import subprocess, sys

ECHO = "import sys\\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"

{kind} main(inputs, ctx):
    program = subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1
    )
    found = []
    for word in ("one", "zwölf"):
        print(word, file=program.stdin)
        found.append(program.stdout.readline())
    program.stdin.close()
    found.append(program.wait())
    with subprocess.Popen(["printf", "a\\\\nb\\\\n"], stdout=subprocess.PIPE, text=True) as program:
        for line in program.stdout:
            print("it says", line, end="")
    return {{"out": found}}
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": ["ONE\n", "ZWÖLF\n", 0]}
    assert [each.log for each in all_of(found, events.BlockLog)] == ["it says a", "it says b"]


TALKS = """
import asyncio
from asyncio.subprocess import DEVNULL, PIPE

async def talk():
    program = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    said, _ = await program.communicate(b"hello")
    found = [said.decode(), program.returncode]
    program = await asyncio.create_subprocess_exec("printf", "a\\\\nb\\\\n", stdout=PIPE)
    found.append([line.decode() async for line in program.stdout])
    program = await asyncio.create_subprocess_shell("cat; exit 3", stdout=PIPE)
    found += [(await program.communicate())[0].decode(), program.returncode]
    program = await asyncio.create_subprocess_exec("sleep", "60")
    program.terminate()
    found.append(await program.wait())
    program = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    try:
        async with asyncio.timeout(0.05):
            await program.wait()
    except TimeoutError:
        program.kill()
    found.append(await program.wait())
    many = await asyncio.gather(*(asyncio.create_subprocess_exec("true", stdout=DEVNULL) for _ in range(20)))
    found.append(sum(await asyncio.gather(*(each.wait() for each in many))))
    return found
"""


@pytest.mark.parametrize("choice", ["asyncio", ""])
@pytest.mark.parametrize(
    "main",
    [
        "async def main(inputs, ctx):\n    return {'out': await talk()}\n",
        "def main(inputs, ctx):\n    return {'out': asyncio.run(talk())}\n",
    ],
)
async def test_programs_are_awaited_in_blocks_of_both_kinds(
    main: str, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    end = end_of(await run_block(tmp_path, f"{TALKS}\n{main}", workers=1))
    assert end.outputs == {"out": ["hello", 0, ["a\n", "b\n"], "", 3, -15, -9, 0]}, end.error


async def test_an_async_block_awaits_pools_of_processes_however_they_are_started(tmp_path: Path) -> None:
    source = """
        import asyncio
        import multiprocessing as mp
        from concurrent.futures import ProcessPoolExecutor

        def square(n):
            return n * n

        async def main(inputs, ctx):
            loop, found = asyncio.get_running_loop(), []
            for method in ("fork", "spawn", "forkserver"):
                with ProcessPoolExecutor(2, mp_context=mp.get_context(method)) as pool:
                    squares = (loop.run_in_executor(pool, square, n) for n in range(4))
                    found.append(await asyncio.gather(*squares))
            return {"out": found}
        """
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": [[0, 1, 4, 9]] * 3}


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_worker_that_dies_is_the_pool_s_error_and_not_the_executor_s_end(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    source = f"""
import os
from concurrent.futures import ProcessPoolExecutor
from joblib.externals.loky import get_reusable_executor

{kind} main(inputs, ctx):
    found = []
    with ProcessPoolExecutor(2) as pool:
        found.append(type(pool.submit(os._exit, 3).exception()).__name__)
    with get_reusable_executor(max_workers=1) as pool:
        found.append(pool.submit(abs, -5).result())
        found.append(type(pool.submit(os._exit, 3).exception()).__name__)
    return {{"out": found}}
"""
    end = end_of(await run_block(tmp_path, source, workers=1))
    assert end.outputs == {"out": ["BrokenProcessPool", 5, "TerminatedWorkerError"]}


async def test_a_process_that_a_block_has_left_is_named_while_it_is_waited_for(tmp_path: Path) -> None:
    source = """
        import multiprocessing as mp
        import time

        def main(inputs, ctx):
            process = mp.get_context("fork").Process(target=time.sleep, args=(100,), name="idler")
            process.start()
            return {"out": process.pid}
        """
    async with start("run", one_block(tmp_path / "f", source), "--json", state=tmp_path) as command:
        await command.until_line("waiting up to 10 s for threads and processes that blocks have left: idler", err=True)
        os.kill(command.events()[-1]["outputs"]["out"], signal.SIGKILL)
        assert await command.wait() == 0


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_block_may_point_descriptors_elsewhere_and_back(kind: str, tmp_path: Path) -> None:
    """What programs write is caught so; Python's own output stays the job's."""
    source = f"""
import os, subprocess, sys, tempfile

{kind} main(inputs, ctx):
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        saved = [os.dup(sys.stdout.fileno()), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            os.system("echo from a shell; echo error >&2")
            subprocess.run(["echo", "from a program"], stdout=sys.stdout, stderr=subprocess.STDOUT, check=True)
            print("from Python")
        finally:
            for number, fd in enumerate(saved, 1):
                os.dup2(fd, number)
                os.close(fd)
        os.system("echo outside")
        file.seek(0)
        return {{"out": file.read().decode().splitlines()}}
"""
    async with start("run", one_block(tmp_path / "f", source), "--json", state=tmp_path) as command:
        assert await command.wait() == 0
        found = command.events()
        assert found[-1]["outputs"] == {"out": ["from a shell", "error", "from a program"]}
        assert [each["log"] for each in found if each["type"] == "BlockLog"] == ["from Python"]
        assert command.err == ["outside"]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_each_job_chooses_how_its_processes_are_started(kind: str, tmp_path: Path) -> None:
    """It can be done once in a process, and each job finds that nobody has done it."""
    # A child that is spawned reads the module again.
    source = f"""
import multiprocessing as mp
if mp.parent_process() is None:
    {{before}}

def method(_):
    return mp.get_start_method()

{kind} main(inputs, ctx):
    found = [mp.get_start_method(allow_none=True)]
    {{choose}}
    with mp.Pool(1) as pool:
        found += [mp.get_start_method(), pool.apply(method, (0,))]
    try:
        mp.set_start_method("fork")
    except RuntimeError as error:
        found.append(str(error))
    return {{{{"out": found}}}}
"""
    places = {
        "a": source.format(before="pass", choose="mp.set_start_method('spawn')"),
        "b": source.format(before="pass", choose="mp.set_start_method('forkserver')"),
        "c": source.format(before="pass", choose="pass"),
        "d": source.format(before="mp.set_start_method('spawn')", choose="pass"),
        "e": source.format(before="mp.set_start_method('spawn')", choose="mp.set_start_method('fork')"),
    }
    paths = [one_block(tmp_path / name, text) for name, text in places.items()]
    words = "context has already been set"
    async with asyncblock.embedded(workers=1) as mainframe:
        found = [(await (await mainframe.start(path)).outputs())["out"] for path in [*paths[:3], *paths]]
    usual = [None, "fork", "fork", words]
    first = [[None, "spawn", "spawn", words], [None, "forkserver", "forkserver", words]]
    assert found[:6] == [*first, usual, *first, usual]
    assert found[6:] == [["spawn", "spawn", "spawn"], ["spawn", "fork", "fork", words]]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_context_that_is_sent_to_another_process_says_what_to_send(kind: str, tmp_path: Path) -> None:
    source = f"""
import copy, multiprocessing as mp

def work(ctx):
    return 1

{kind} main(inputs, ctx):
    found = []
    for call in (lambda: mp.get_context("spawn").Process(target=work, args=(ctx,)).start(), lambda: copy.deepcopy(ctx)):
        try:
            call()
        except TypeError as error:
            found.append(str(error)[:36])
    return {{"out": found}}
"""
    end = end_of(await run_block(tmp_path, source, workers=1))
    assert end.outputs == {"out": ["a job's context can't be pickled: it"] * 2}


async def test_modules_whose_names_are_made_at_run_time_are_imported_from_the_block_s_package(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "first.py").write_text("NAME = 'first'\n")
    source = """
        from importlib import import_module

        def main(inputs, ctx):
            return {"out": import_module(".plugins." + "first", __package__).NAME}
        """
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": "first"}
