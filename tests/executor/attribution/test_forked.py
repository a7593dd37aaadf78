"""Processes that a block forks: what they print is the job's, and nothing of the executor's is theirs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.runtime import forks

from ...flows import all_of, end_of, node, one_block, run_block, run_flow, warnings_of, write_flow
from ...processes import appears

# Since 3.12: the test's own process forks in some of these, and has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

FORK = """
import multiprocessing as mp, os, signal, sys, time

def forked(work, *args):
    process = mp.get_context("fork").Process(target=work, args=args)
    process.start()
    process.join(20)
    if process.is_alive():
        process.kill()
        return "hangs"
    return process.exitcode

"""


def lines(found: list[events.Event]) -> list[str]:
    return [each.log for each in all_of(found, events.BlockLog)]


@pytest.mark.parametrize("options", [{"workers": 1}, {"capture": True}])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_all_that_a_forked_process_prints_and_logs_comes_before_the_end_of_its_job(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    source = f"""{FORK}
import logging

def work():
    for i in range(3000):
        print("line", i)
    print("to stderr", file=sys.stderr)
    logging.getLogger("child").info("told")
    sys.stdout.buffer.write("bytes ä\\n".encode())
    print("no newline", end="")

{kind} main(inputs, ctx):
    print("before")
    return {{"out": forked(work)}}
"""
    found = await run_block(tmp_path, source, **options)
    assert end_of(found).outputs == {"out": 0}
    expected = ["before", *(f"line {i}" for i in range(3000)), "to stderr", "INFO child: told", "bytes ä", "no newline"]
    assert lines(found) == expected
    assert [each.log for each in all_of(found, events.BlockLog) if each.stdio == "stderr"] == ["to stderr"]


@pytest.mark.parametrize("waits", ["await asyncio.to_thread(process.join)", "process.join()"])
async def test_twenty_thousand_lines_of_a_process_that_an_async_block_forked_come_or_are_counted(
    waits: str, tmp_path: Path
) -> None:
    """A block that holds its loop up to wait for the process can't take the lines meanwhile: they don't wait for it."""
    source = f"""{FORK}
import asyncio

def work():
    for i in range(20_000):
        print("line", i, "x" * 200)

async def main(inputs, ctx):
    process = mp.get_context("fork").Process(target=work)
    process.start()
    {waits}
    return {{"out": process.exitcode}}
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": 0}
    dropped = [each for each in all_of(found, events.BlockWarning) if "dropped" in each.warning]
    assert len(lines(found)) + sum(int(each.warning.split()[0]) for each in dropped) == 20_000
    assert bool(dropped) == (waits == "process.join()")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_prints_where_it_has_pointed_its_descriptors(kind: str, tmp_path: Path) -> None:
    """At a pipe, as for a program that is started; at a file, as a daemon does; at a terminal that it is forked with."""
    source = f"""{FORK}
import pty

def text_of(fd):
    found = b""
    try:
        while data := os.read(fd, 100):
            found += data
    except OSError:
        pass  # so ends a terminal
    os.close(fd)
    return found.decode().replace("\\r", "")

{kind} main(inputs, ctx):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 1)
        print("into a pipe", flush=True)
        print("into the job", file=sys.stderr, flush=True)
        os._exit(0)
    os.close(writing)
    found = [text_of(reading)]
    os.waitpid(pid, 0)
    pid, terminal = pty.fork()
    if pid == 0:
        print("into a terminal", flush=True)
        os._exit(0)
    found.append(text_of(terminal))
    os.waitpid(pid, 0)
    return {{"out": found}}
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": ["into a pipe\n", "into a terminal\n"]}
    assert lines(found) == ["into the job"]


async def test_a_forked_process_that_closes_all_descriptors_writes_into_no_file_of_its_own(tmp_path: Path) -> None:
    source = """
import os
from pathlib import Path

import asyncblock

def main(inputs, ctx):
    path = Path(__file__).with_name("mine.txt")
    pid = os.fork()
    if pid == 0:
        # As daemons do.
        os.closerange(3, 1024)
        files = [path.open("a") for _ in range(60)]
        print("nobody reads this", flush=True)
        try:
            ctx.report_log("nor this")
        except asyncblock.Closed:
            files[0].write("refused, ")
        files[0].write("mine")
        files[0].flush()
        os._exit(0)
    os.waitpid(pid, 0)
    return {"out": path.read_bytes().decode("latin-1")}
"""
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": "refused, mine"}


async def test_lines_of_forked_processes_stay_whole_and_go_to_the_job_that_forked(tmp_path: Path) -> None:
    source = f"""{FORK}
def work(name):
    for i in range(200):
        print(name, "x" * 5000, i)
    return name

def main(inputs, ctx):
    with mp.get_context("fork").Pool(3) as pool:
        pool.map(work, [ctx.node_id] * 6, chunksize=1)
"""
    nodes = [node(name, source, tmp_path, outputs=[]) for name in ("a", "b")]
    found = await run_flow(write_flow(tmp_path, nodes), workers=1)
    assert end_of(found).state == "succeeded"
    for name in ("a", "b"):
        mine = [each.log for each in all_of(found, events.BlockLog) if each.node_id == name]
        assert sorted(mine) == sorted(f"{name} {'x' * 5000} {i}" for i in range(200) for _ in range(6))


async def test_a_forked_process_that_outlives_its_job_goes_on_printing(tmp_path: Path) -> None:
    """It prints a lot more than a pipe holds after its job, and at last after the executor, and is hurt by neither."""
    done = tmp_path / "done"
    source = f"""{FORK}
def main(inputs, ctx):
    if os.fork() == 0:
        os.setsid()
        executor = os.getppid()
        for i in range(30_000):
            print("daemon", i)
        while os.getppid() == executor:
            time.sleep(0.01)
        print("alone")
        open({str(done)!r}, "w").close()
        os._exit(0)
    return {{"out": 1}}
"""
    found = await run_block(tmp_path / "f", source, workers=1)
    assert end_of(found).outputs == {"out": 1}
    # Nobody's child any more: its file is all that tells of it.
    await appears(done)


@pytest.mark.parametrize("options", [{"workers": 1}, {}])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_sends_small_values_and_reports_through_its_jobs_context(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    call = "asyncio.run({})" if kind == "async def" else "{}"
    source = f"""{FORK}
import asyncio

{kind} main(inputs, ctx):
    def work():
        {call.format('ctx.report_log("reported")')}
        ctx.logger.info("logged")
        {call.format('ctx.send_warning("careful")')}
        {call.format("ctx.report_progress(40)")}
        {call.format('ctx.output({"n": "y" * 20_000}, "out")')}
    return {{"code": forked(work)}}
"""
    found = await run_block(tmp_path, source, ["out", "code"], **options)
    assert end_of(found).outputs == {"out": {"n": "y" * 20_000}, "code": 0}
    assert lines(found) == ["reported", "INFO logged"]
    assert warnings_of(found) == ["careful"]


@pytest.mark.parametrize(
    "call",
    [
        "ctx.output('z' * 200_000, 'out')",
        "ctx.output(object(), 'var')",
        "ctx.flush()",
        "ctx.done()",
        "ctx.run_block('self::other')",
        "ctx.query_downstream()",
    ],
)
async def test_what_a_forked_process_cannot_do_with_the_context_is_an_error_at_its_call(
    call: str, tmp_path: Path
) -> None:
    source = f"""{FORK}
def main(inputs, ctx):
    def work():
        {call}
    return {{"out": forked(work)}}
"""
    var = {"handle": "var", "json_schema": {"contentMediaType": "oomol/var"}}
    found = await run_block(tmp_path, source, ["out", var], workers=1)
    assert end_of(found).outputs["out"] == 1
    assert any("Closed: " in line for line in lines(found))


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("way", "code", "words"),
    [
        ("return {'out': 7}", 0, []),
        ("sys.exit(3)", 3, []),
        ("sys.exit('words')", 1, ["words"]),
        ("raise ValueError('in the child')", 1, ["ValueError: in the child"]),
        ("os._exit(5)", 5, []),
    ],
)
async def test_a_forked_process_that_comes_out_of_its_block_ends_there(
    kind: str, way: str, code: int, words: list[str], tmp_path: Path
) -> None:
    source = f"""{FORK}
{kind} main(inputs, ctx):
    pid = os.fork()
    if pid == 0:
        {way}
    return {{"out": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}}
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": code}
    assert lines(found)[-1:] == words


SHOW = """
import json

def seen():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return {name: where for name, where in found.items() if int(name) > 2 and where.startswith(("socket:", "pipe:", "anon"))}
"""


@pytest.mark.parametrize("choice", ["asyncio", ""])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_has_no_descriptor_of_ours_but_the_pipe_for_what_it_prints(
    kind: str, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    source = f"""{FORK}{SHOW}
{kind} main(inputs, ctx):
    mine = os.pipe()
    pid = os.fork()
    if pid == 0:
        # What the author has opened stays.
        os.fstat(mine[0])
        os.write(mine[1], json.dumps(seen()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return {{"out": json.loads(os.read(mine[0], 1 << 16)), "parent": seen(), "mine": os.readlink(f"/proc/self/fd/{{mine[0]}}")}}
"""
    outputs = end_of(await run_block(tmp_path, source, ["out", "parent", "mine"], workers=1)).outputs
    # libuv makes itself a new pipe in the child.
    others = set(outputs["out"].values()) & set(outputs["parent"].values()) - {outputs["mine"]}
    assert len(others) <= 1, outputs
    assert all(where.startswith("pipe:") for where in others)


async def test_what_a_block_starts_has_the_standard_descriptors_alone(tmp_path: Path) -> None:
    source = """
        import subprocess

        def main(inputs, ctx):
            names = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout.split()
            return {"out": names}
        """
    # The fourth is the directory that is listed.
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": ["0", "1", "2", "3"]}


SIGNALS = """
def told():
    sys.stdout.flush()
    names = {signal.SIG_DFL: "default", signal.SIG_IGN: "ignored", signal.default_int_handler: "interrupt"}
    handlers = [names.get(signal.getsignal(n), "other") for n in (signal.SIGTERM, signal.SIGINT)]
    print(*handlers, signal.set_wakeup_fd(-1))
"""


@pytest.mark.parametrize("choice", ["asyncio", ""])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_has_the_usual_signal_handlers(
    kind: str, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    found = await run_block(
        tmp_path, f"{FORK}{SIGNALS}\n{kind} main(inputs, ctx):\n    return {{'out': forked(told)}}\n", workers=1
    )
    assert end_of(found).outputs == {"out": 0}
    assert lines(found) == ["default interrupt -1"]


async def test_a_handler_that_the_author_has_set_is_inherited(tmp_path: Path) -> None:
    source = f"""{FORK}
def on_term(number, frame):
    print("asked to leave")
    sys.exit(9)

def idle(ready):
    ready.set()
    time.sleep(30)

async def main(inputs, ctx):
    before = signal.signal(signal.SIGTERM, on_term)
    try:
        ready = mp.get_context("fork").Event()
        process = mp.get_context("fork").Process(target=idle, args=(ready,))
        process.start()
        ready.wait()
        process.terminate()
        process.join()
        return {{"out": process.exitcode}}
    finally:
        signal.signal(signal.SIGTERM, before)
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": 9}
    assert lines(found) == ["asked to leave"]


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_may_end_itself_by_a_signal_and_by_its_own_handlers(kind: str, tmp_path: Path) -> None:
    source = f"""{FORK}
def killed():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

def raised():
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)

def leave(number, frame):
    sys.exit(4)

def timed():
    signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(30)

{kind} main(inputs, ctx):
    return {{"out": [forked(work) for work in (killed, raised, timed)]}}
"""
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": [-15, 1, 4]}


@pytest.mark.parametrize("choice", ["asyncio", ""])
async def test_a_forked_process_that_awaits_in_its_parents_loop_ends(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    source = f"""{FORK}
import asyncio

async def main(inputs, ctx):
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(0.01)
    return {{"out": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0}}
"""
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": True}


@pytest.mark.parametrize("options", [{"workers": 1}, {}])
async def test_a_signal_for_a_forked_process_ends_it_alone(options: dict[str, Any], tmp_path: Path) -> None:
    # There a process that another thread than the main one has forked finds its signals only when one interrupts a
    # system call (findings/): it may come just before.
    late = sys.version_info[:3] == (3, 13, 0)
    numbers = "(signal.SIGTERM,)" if late else "(signal.SIGTERM, signal.SIGINT)"
    source = f"""{FORK}
def idle(ready):
    ready.set()
    time.sleep(60)

def main(inputs, ctx):
    codes = []
    for number in {numbers}:
        ready = mp.get_context("fork").Event()
        process = mp.get_context("fork").Process(target=idle, args=(ready,))
        process.start()
        ready.wait()
        os.kill(process.pid, number)
        process.join()
        codes.append(process.exitcode)
    return {{"out": codes, "pid": os.getpid()}}
"""
    path = one_block(tmp_path, source, ["out", "pid"])
    async with asyncblock.embedded(**options) as mainframe:
        first = await (await mainframe.start(path)).outputs()
        second = await (await mainframe.start(path)).outputs()
    assert first["out"] == second["out"]
    assert first["out"][0] == -15
    if options and not late:
        assert first["out"][1] in (-2, 1)
    assert first["pid"] == second["pid"]


async def test_a_loop_of_its_own_and_another_mainframe_work_in_a_forked_process(tmp_path: Path) -> None:
    inner = one_block(tmp_path / "inner", "def main(inputs, ctx):\n    print('inner')\n    return {'out': 6}\n")
    source = f"""{FORK}
import asyncio
import asyncblock

async def nested():
    async with asyncblock.embedded() as mainframe:
        return await (await mainframe.start({str(inner)!r})).outputs()

def work():
    print(asyncio.run(nested()))

async def main(inputs, ctx):
    return {{"out": forked(work)}}
"""
    found = await run_block(tmp_path / "f", source, workers=1)
    assert end_of(found).outputs == {"out": 0}
    assert "{'out': 6}" in lines(found)


def test_a_descriptor_whose_number_was_used_again_is_not_ours(tmp_path: Path) -> None:
    ours = os.open(tmp_path, os.O_RDONLY)
    forks.claim(ours)
    os.close(ours)
    (tmp_path / "theirs").write_text("theirs")
    theirs = os.open(tmp_path / "theirs", os.O_RDONLY)
    try:
        assert theirs == ours
        pid = os.fork()
        if pid == 0:
            os._exit(0 if os.read(theirs, 6) == b"theirs" else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(theirs)
