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
from asyncblock.children import Child

from ..flows import node, one_block, until, write_flow
from ..processes import start

TWO = """
import asyncio, os

async def main(inputs, ctx):
    print("pid", os.getpid())
    await asyncio.sleep(1.5)
    return {"out": "done"}
"""


async def test_sigterm_lets_an_executor_finish_its_job_and_leave_in_order(tmp_path: Path) -> None:
    nodes = [
        node("one", TWO, tmp_path / "f"),
        node(
            "two",
            "async def main(inputs, ctx):\n    return {'out': inputs['in']}\n",
            tmp_path / "f",
            inputs=[{"handle": "in"}],
            inputs_from=[{"handle": "in", "from_node": [{"node_id": "one", "output_handle": "out"}]}],
        ),
    ]
    outputs = [{"handle": "out", "from_node": [{"node_id": "two", "output_handle": "out"}]}]
    flow = write_flow(tmp_path / "f", nodes, outputs_from=outputs)
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
