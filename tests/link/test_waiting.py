"""More than a mainframe takes at once waits on this side, and is neither refused nor forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.client import Mainframe, Session
from asyncblock.link import questions
from asyncblock.server.settings import Settings

from ..disks import fill, small_disk
from ..flows import handle_def, node, one_block, write_flow
from ..peers import mainframe
from ..peers import node as bare_node
from ..peers import plan as bare_plan
from ..processes import free_port, start

pytestmark = pytest.mark.timeout(180)


async def begin(mainframe: Mainframe, count: int) -> list[Session]:
    """Start sessions that wait for an executor which never comes."""
    plan = bare_plan(bare_node("n"))
    ids = [secrets.token_hex(8) for _ in range(count)]
    await asyncio.gather(*(mainframe.link.request("start", {"session_id": id, "plan": plan}) for id in ids))
    return [mainframe.session(id) for id in ids]


async def test_more_sessions_than_the_mainframe_takes_reads_are_waited_for_on_one_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_TURN", 0.02)
    settings = Settings(no_executor_timeout=1000, max_reads=32)
    async with asyncblock.embedded(tmp_path, settings=settings) as mainframe:
        sessions = await begin(mainframe, 300)
        waits = [asyncio.create_task(session.wait()) for session in sessions]
        # The last ones first: those that were asked for first must not keep them from being heard of.
        for session in reversed(sessions[-30:]):
            await session.cancel("enough")
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*waits[-30:])
        assert {end.state for end in ends} == {"cancelled"}
        assert not any(wait.done() for wait in waits[:-30])
        # All at once, with places changing hands meanwhile.
        await asyncio.gather(*(session.cancel("enough") for session in sessions[:-30]))
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*waits[:-30])
        assert [end.session_id for end in ends] == [session.session_id for session in sessions[:-30]]


PROGRAM = """
import asyncio
import secrets
import sys

import asyncblock
from tests.peers import node, plan


async def main():
    async with asyncblock.connect() as mainframe:
        ids = [secrets.token_hex(8) for _ in range(4200)]
        made = plan(node("n"))
        start = mainframe.link.request
        await asyncio.gather(*(start("start", {"session_id": id, "plan": made}) for id in ids))
        waits = [asyncio.create_task(mainframe.session(id).wait()) for id in ids]
        await asyncio.gather(*(mainframe.session(id).cancel("enough") for id in ids))
        assert {end.state for end in await asyncio.gather(*waits)} == {"cancelled"}
        print("all of them")


asyncio.run(main())
"""


async def test_more_than_four_thousand_sessions_are_waited_for_on_one_link(tmp_path: Path) -> None:
    """A mainframe as it is takes 4096 reads of a connection at once. A program of its own, without debugging."""
    port, place = free_port(), tmp_path / "data"
    (tmp_path / "program.py").write_text(PROGRAM)
    async with start("serve", "--port", str(port), "--data-dir", place, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.getcwd(),
            "ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}",
            "ASYNCBLOCK_TOKEN": (place / "token").read_text().strip(),
        }
        program = await asyncio.create_subprocess_exec(
            sys.executable, tmp_path / "program.py", env=environment, stdout=-1, stderr=-1
        )
        async with asyncio.timeout(120):
            out, err = await program.communicate()
        assert (out, program.returncode) == (b"all of them\n", 0), err.decode()[-2000:]


@pytest.mark.parametrize("count", [200, 2000])
async def test_any_number_of_questions_at_once_is_answered(tmp_path: Path, count: int) -> None:
    async with asyncblock.embedded(tmp_path, settings=Settings(no_executor_timeout=1000)) as mainframe:
        [session] = await begin(mainframe, 1)
        asked = [asyncio.create_task(mainframe.info()) for _ in range(count)]
        await asyncio.sleep(0)
        await session.cancel("enough")
        assert {answer["version"] for answer in await asyncio.gather(*asked)} == {asyncblock.__version__}


async def test_peers_that_keep_no_surplus_are_answered_too(tmp_path: Path) -> None:
    """An earlier client sends whatever it is asked for."""
    async with mainframe(tmp_path, Settings(max_questions=4)) as host:
        peer = host.peer()
        await peer.hello()
        for n in range(200):
            await peer.say("request", id=f"r{n}", method="info", params={})
        replies = [await peer.until("reply") for _ in range(200)]
        assert {reply["id"] for reply in replies} == {f"r{n}" for n in range(200)}
        assert [reply["error"] for reply in replies] == [None] * 200


async def test_nothing_is_read_from_a_stranger_whose_questions_are_megabytes(tmp_path: Path) -> None:
    """They wait in its socket, not in the mainframe's memory; others are answered meanwhile."""
    async with mainframe(tmp_path, Settings(max_questions=1)) as host:
        held = asyncio.Event()
        stats = host.server.journal.stats

        async def slow() -> Any:
            await held.wait()
            return await stats()

        host.server.journal.stats = slow  # type: ignore[method-assign]
        peer = host.peer()
        await peer.hello()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for n in range(40):
                await peer.say("request", id=f"r{n}", method="info", params={"x": "x" * 1_000_000})
                sent += 1

        flooding = asyncio.create_task(flood())
        other = host.peer()
        await other.hello("other")
        for n in range(50):
            assert (await other.ask("cancel", f"c{n}", session_id="none"))["error"]["code"] == "unknown_session"
        assert sent < 20
        held.set()
        replies = [await peer.until("reply") for _ in range(40)]
        await flooding
        assert [reply["error"] for reply in replies] == [None] * 40


async def test_more_downloads_at_once_than_the_mainframe_allows_wait_for_each_other(tmp_path: Path) -> None:
    source = """
    async def main(inputs, ctx):
        for n in range(12):
            await ctx.output(bytes([n]) * 1_500_000, f"b{n}")
    """
    names = [f"b{n}" for n in range(12)]
    flow = one_block(tmp_path / "f", source, [handle_def(name, "oomol/bin") for name in names])
    async with asyncblock.embedded(settings=Settings(max_reads=2)) as mainframe:
        end = await (await mainframe.start(flow)).wait()
        session = mainframe.session(end.session_id)
        found = await asyncio.gather(*(session.fetch(end.bodies[name]) for name in names))
    assert [hashlib.sha256(each).digest() for each in found] == [
        hashlib.sha256(bytes([n]) * 1_500_000).digest() for n in range(12)
    ]


# ---------------------------------------------------------------------- the disk of large values

LARGE = """
    import pathlib

    async def main(inputs, ctx):
        for n in range(8):
            await ctx.output(bytes([n]) * 1_000_000, f"b{n}")
            with open(pathlib.Path(__file__).parent / "made", "ab") as file:
                file.write(b".")
"""
NAMES = [f"b{n}" for n in range(8)]


def large_flow(directory: Path) -> Path:
    return one_block(directory, LARGE, [handle_def(name, "oomol/bin") for name in NAMES])


async def test_blocks_wait_while_the_disk_of_large_values_is_full_until_the_mainframe_takes_them(
    tmp_path: Path,
) -> None:
    """Nobody makes room on the disk: what is in memory leaves when the mainframe is back."""
    directory = tmp_path / "f"
    flow = large_flow(directory)
    port = str(free_port())
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk"))
        fill(disk)
        server = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        sizes = {"ASYNCBLOCK_BODY_MEMORY": "2500000", "ASYNCBLOCK_BODIES_DIR": str(disk)}
        executor = await stack.enter_async_context(start("executor", "--package", directory, state=tmp_path, **sizes))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path))
        await submit.until_line("JobAssigned")
        server.kill(signal.SIGSTOP)
        line = await executor.until_line("a large value waits: there is no room on the disk of", err=True)
        assert str(disk) in line
        assert (directory / "made").stat().st_size < 8
        server.kill(signal.SIGCONT)
        assert await submit.wait() == 0, submit.err
    assert sorted(submit.events()[-1]["outputs"]) == NAMES


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_block_goes_on_when_somebody_makes_room_on_the_disk(tmp_path: Path, kind: str) -> None:
    source = "    def main(inputs, ctx):\n        ctx.output(bytes(3_000_000), 'bin')\n"
    if kind == "async def":
        source = source.replace("def main", "async def main").replace("ctx.output", "await ctx.output")
    flow = one_block(tmp_path / "f", source, [handle_def("bin", "oomol/bin")])
    with small_disk(tmp_path / "disk", "8m") as disk:
        filler = fill(disk)
        sizes = {"ASYNCBLOCK_BODY_MEMORY": "1000000", "ASYNCBLOCK_BODIES_DIR": str(disk)}
        async with start("run", flow, "--json", state=tmp_path, **sizes) as run:
            await run.until_line("there is no room on the disk of", err=True)
            filler.unlink()
            assert await run.wait() == 0, run.err
        assert any("the disk has room" in line for line in run.err)


async def test_a_disk_that_stays_full_fails_the_call_after_the_time_that_it_says(tmp_path: Path) -> None:
    source = "    async def main(inputs, ctx):\n        await ctx.output(bytes(3_000_000), 'bin')\n"
    flow = one_block(tmp_path / "f", source, [handle_def("bin", "oomol/bin")])
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        sizes = {
            "ASYNCBLOCK_BODY_MEMORY": "1000000",
            "ASYNCBLOCK_BODIES_DIR": str(disk),
            "ASYNCBLOCK_DISK_PATIENCE": "0.5",
        }
        async with start("run", flow, "--json", state=tmp_path, **sizes) as run:
            assert await run.wait() == 1
    assert any("fails after 0.5 s" in line for line in run.err), run.err
    error = run.events()[-1]["error"]
    assert "has to wait in a temporary file" in error
    assert "No space left on device" in error


async def test_an_input_that_comes_as_a_file_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    directory = tmp_path / "f"
    takes = """
    from dataclasses import dataclass

    import asyncblock

    @dataclass
    class Inputs:
        data: asyncblock.Body

    def main(inputs: Inputs, ctx):
        return {"size": inputs.data.size}
    """
    sends = "async def main(inputs, ctx):\n    await ctx.output(bytes(2_000_000), 'out')\n"
    nodes = [
        node("a", sends, directory, outputs=[handle_def("out", "oomol/bin")]),
        node(
            "b",
            takes,
            directory,
            inputs=[handle_def("data", "oomol/bin")],
            outputs=["size"],
            inputs_from=[{"handle": "data", "from_node": [{"node_id": "a", "output_handle": "out"}]}],
        ),
    ]
    flow = write_flow(
        directory,
        nodes,
        outputs_from=[{"handle": "size", "from_node": [{"node_id": "b", "output_handle": "size"}]}],
    )
    with small_disk(tmp_path / "disk", "8m") as disk:
        filler = fill(disk, leave=16 << 10)
        async with start("run", flow, "--json", state=tmp_path, ASYNCBLOCK_BODIES_DIR=str(disk)) as run:
            await run.until_line("input 'data' of 2000000 bytes waits: there is no room", err=True)
            filler.unlink()
            assert await run.wait() == 0, run.err
    assert run.events()[-1]["outputs"] == {"size": 2_000_000}
