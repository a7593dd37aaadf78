"""How an executor process ends, and that whoever waits for it sees that at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events
from asyncblock.childprocesses.children import Child

from ..flows import node, one_block, until, write_flow
from ..processes import start

TWO = """
import asyncio, os

async def main(inputs, ctx):
    print("pid", os.getpid())
    await asyncio.sleep(1.5)
    return {"out": "done"}
"""


def and_another(directory: Path, source: str) -> Path:
    """Write a flow of a block and one after it, which the next process runs."""
    nodes = [
        node("one", source, directory),
        node(
            "two",
            "async def main(inputs, ctx):\n    return {'out': inputs['in']}\n",
            directory,
            inputs=[{"handle": "in"}],
            inputs_from=[{"handle": "in", "from_node": [{"node_id": "one", "output_handle": "out"}]}],
        ),
    ]
    outputs = [{"handle": "out", "from_node": [{"node_id": "two", "output_handle": "out"}]}]
    return write_flow(directory, nodes, outputs_from=outputs)


async def test_sigterm_lets_an_executor_finish_its_job_and_leave_in_order(tmp_path: Path) -> None:
    flow = and_another(tmp_path / "f", TWO)
    async with start("run", flow, "--json", state=tmp_path) as command:
        line = await command.until_line('"pid ')
        os.kill(int(line.split('"pid ')[1].split('"')[0]), signal.SIGTERM)
        assert await command.wait() == 0
        assert command.events()[-1]["outputs"] == {"out": "done"}
        assert command.err == ["the executor process exited with code 0; a new one takes its place"]


@pytest.mark.parametrize(
    "leave_one",
    [
        "pid = os.fork()\n    if pid == 0:\n        time.sleep(60)\n        os._exit(0)",
        "pid = subprocess.Popen(['sleep', '60']).pid",
        "process = mp.get_context('fork').Process(target=time.sleep, args=(60,))\n    process.start()\n    pid = process.pid",
        "process = mp.get_context('spawn').Process(target=time.sleep, args=(60,))\n    process.start()\n    pid = process.pid",
    ],
)
@pytest.mark.parametrize("spawn", [False, True])
async def test_the_death_of_an_executor_is_seen_though_what_it_started_lives_on(
    leave_one: str, spawn: bool, tmp_path: Path
) -> None:
    source = f"""
import multiprocessing as mp, os, subprocess, time

def main(inputs, ctx):
    {leave_one}
    ctx.send_message([os.getpid(), pid])
    time.sleep(60)
"""
    made = node("n", source, tmp_path)
    made["task"]["executor"]["options"]["spawn"] = spawn
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(write_flow(tmp_path, [made]))
        executor, grandchild = (await until(session, events.BlockMessage)).payload
        try:
            os.kill(executor, signal.SIGKILL)
            async with asyncio.timeout(5):
                end = await session.wait()
            assert "killed by SIGKILL" in str(end.error)
            os.kill(grandchild, 0)
        finally:
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize("choice", ["asyncio", ""])
async def test_an_author_who_ignores_the_ends_of_children_hides_none_of_ours(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    ignoring = "import signal\n\nasync def main(inputs, ctx):\n    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n    return {'out': 1}\n"
    crashing = node("n", "import os\n\nasync def main(inputs, ctx):\n    os.kill(os.getpid(), 9)\n", tmp_path / "c")
    crashing["task"]["executor"]["options"]["spawn"] = True
    async with asyncblock.embedded(workers=1) as mainframe:
        assert await (await mainframe.start(one_block(tmp_path / "i", ignoring))).outputs() == {"out": 1}
        session = await mainframe.start(write_flow(tmp_path / "c", [crashing]))
        async with asyncio.timeout(20):
            assert (await session.wait()).state == "failed"


async def test_a_child_says_its_last_words_though_a_grandchild_holds_its_socket() -> None:
    said: list[str] = []
    script = (
        "import os, socket, sys, time\n"
        "talk = socket.socket(fileno=int(sys.argv[2]))\n"
        "assert talk.recv(100) == b'orders\\n'\n"
        "pid = os.fork()\n"
        "if pid == 0: time.sleep(60)\n"
        "talk.sendall(f'first\\n{pid}\\nlast'.encode())\n"
        "os._exit(3)\n"
    )
    child = Child([sys.executable, "-c", script], said.append, env=os.environ)
    await child.tell(b"orders\n")
    async with asyncio.timeout(20):
        assert await child.wait() == 3
    first, pid, last = said
    os.kill(int(pid), signal.SIGKILL)
    assert (first, last) == ("first", "last")
    assert child.ended
    child.kill()
    await child.tell(b"nobody hears\n")


@pytest.mark.parametrize("loop", ["asyncio", ""])
@pytest.mark.parametrize(
    "line",
    [
        "signal.signal(signal.SIGTERM, lambda number, frame: loop.call_later(0.5, told.set))",
        "loop.add_signal_handler(signal.SIGTERM, loop.call_later, 0.5, told.set)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); loop.call_later(0.5, told.set)",
    ],
)
async def test_an_executor_leaves_on_sigterm_whatever_a_block_sets_and_the_block_is_told(
    line: str, loop: str, tmp_path: Path
) -> None:
    source = f"""
import asyncio, os, signal

async def main(inputs, ctx):
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    {line}
    print("pid", os.getpid())
    await told.wait()
    return {{"out": "told"}}
"""
    flow = and_another(tmp_path / "f", source)
    async with start("run", flow, "--json", state=tmp_path, ASYNCBLOCK_LOOP=loop) as command:
        said = await command.until_line('"pid ')
        os.kill(int(said.split('"pid ')[1].split('"')[0]), signal.SIGTERM)
        assert await command.wait() == 0
        assert command.events()[-1]["outputs"] == {"out": "told"}
        assert command.err == ["the executor process exited with code 0; a new one takes its place"]


SEES = """
import asyncio, signal

async def main(inputs, ctx):
    seen = []
    before = signal.getsignal(signal.SIGTERM)
    mine = lambda number, frame: seen.append(number)
    assert signal.signal(signal.SIGTERM, mine) is before
    assert signal.getsignal(signal.SIGTERM) is mine
    signal.raise_signal(signal.SIGTERM)
    assert signal.signal(signal.SIGTERM, before) is mine
    assert signal.getsignal(signal.SIGTERM) is before
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, seen.append, "loop")
    signal.raise_signal(signal.SIGINT)
    assert loop.remove_signal_handler(signal.SIGINT) and not loop.remove_signal_handler(signal.SIGINT)
    for wrong in ("no handler", None):
        try:
            signal.signal(signal.SIGTERM, wrong)
        except TypeError:
            seen.append("refused")
    return {"out": seen}
"""


async def test_a_block_finds_the_handlers_that_it_has_set_and_its_own_signals_reach_them(tmp_path: Path) -> None:
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(one_block(tmp_path / "f", SEES))
        assert await session.outputs() == {"out": [15, "loop", "refused", "refused"]}


WAITS = """
import os, subprocess
import matplotlib
from matplotlib.figure import Figure

{kind} main(inputs, ctx):
    # From here on the executor has a child that draws, and doesn't end.
    {preview}
    found = []
    mine = []
    for code in (3, 4):
        pid = os.fork()
        if pid == 0:
            os._exit(code)
        mine.append(pid)
    program = subprocess.Popen(["true"], start_new_session=True)
    mine.append(program.pid)
    try:
        while True:
            found.append({wait})
    except ChildProcessError:
        return {{"out": [sorted(found) == sorted(mine), len(found)]}}
"""


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    "wait",
    [
        "os.wait()[0]",
        "os.waitpid(-1, 0)[0]",
        "os.wait3(0)[0]",
        "os.wait4(-1, 0)[0]",
        "os.waitid(os.P_ALL, 0, os.WEXITED).si_pid",
    ],
)
async def test_a_block_that_waits_for_any_child_finds_its_own(kind: str, wait: str, tmp_path: Path) -> None:
    await_ = "await " if kind.startswith("async") else ""
    source = WAITS.format(kind=kind, wait=wait, preview=f"{await_}ctx.preview(Figure(figsize=(1, 1)))")
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(one_block(tmp_path / "f", source))
        async with asyncio.timeout(30):
            assert await session.outputs() == {"out": [True, 3]}


async def test_a_block_that_asks_for_any_child_without_waiting_is_told_that_none_has_ended(tmp_path: Path) -> None:
    source = """
import os, subprocess

def main(inputs, ctx):
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    before = os.waitpid(-1, os.WNOHANG)
    child.stdin.close()
    after = os.wait()
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return {"out": [before, after == (child.pid, 0)]}
"""
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(one_block(tmp_path / "f", source))
        assert await session.outputs() == {"out": [[0, 0], True]}
