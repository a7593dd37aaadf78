"""The data directory deleted, moved or replaced under a mainframe that serves: nothing is acknowledged into the void."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from ...flows import node as block_node
from ...flows import write_flow
from ...peers import Host, Peer, mainframe, node, plan
from ...processes import Command, appears, free_port, start

STARTED = {"type": "JobStarted", "t": 1}

FLUSHES = """
import pathlib

HERE = pathlib.Path(__file__).parent

async def main(inputs, ctx):
    count = 0
    with open(HERE / "flushed", "wb", buffering=0) as file:
        while not (HERE / "enough").exists():
            await ctx.output(count, "out")
            await ctx.flush()
            count += 1
            file.write(b".")
    return {"count": count}
"""


async def health(port: int, status: int) -> str:
    """Wait until the mainframe answers with a status; return its words."""
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            answer = await client.get(f"http://127.0.0.1:{port}/healthz")
            if answer.status_code == status:
                return str(answer.json()["trouble"])
            await asyncio.sleep(0.02)


async def running(stack: AsyncExitStack, tmp_path: Path, port: int) -> tuple[Command, Command, Command, Path]:
    """Serve a mainframe with an executor and start a flow that flushes; return all three and where it counts."""
    flow = write_flow(
        tmp_path / "f",
        [block_node("n", FLUSHES, tmp_path / "f", outputs=["out", "count"])],
        outputs_from=[{"handle": "count", "from_node": [{"node_id": "n", "output_handle": "count"}]}],
    )
    place = tmp_path / "data"
    server = await stack.enter_async_context(start("serve", "--port", str(port), "--data-dir", place, state=tmp_path))
    await server.until_line("mainframe at", err=True)
    reach = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": (place / "token").read_text().strip()}
    executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "f", state=tmp_path, **reach))
    await executor.until_line("executor for", err=True)
    submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path, **reach))
    return server, executor, submit, tmp_path / "f" / "flushed"


async def test_a_directory_that_is_moved_away_stops_the_intake_and_one_that_comes_back_lets_it_go_on(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        server, _, submit, file = await running(stack, tmp_path, port)
        await appears(file, 20)
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        words = await health(port, 503)
        assert "journal.db was deleted, moved or replaced while it was in use" in words
        assert any("nothing is accepted" in line for line in server.err)
        stood = file.stat().st_size
        (tmp_path / "elsewhere").rename(tmp_path / "data")
        await health(port, 200)
        assert file.stat().st_size == stood
        await appears(file, stood + 20)
        (tmp_path / "f" / "enough").touch()
        assert await submit.wait() == 0, submit.err
    found = submit.events()
    numbers = [each["output"] for each in found if each["type"] == "BlockOutput" and each["handle"] == "out"]
    assert numbers == list(range(found[-1]["outputs"]["count"]))


async def test_a_directory_that_is_deleted_and_made_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        server, executor, submit, file = await running(stack, tmp_path, port)
        await appears(file, 20)
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        (tmp_path / "data" / "bodies").mkdir(parents=True)
        for name in ("journal.db", "journal.db-wal"):
            (tmp_path / "data" / name).touch()
        assert "was deleted, moved or replaced" in await health(port, 503)
        server.kill(signal.SIGTERM)
        assert await server.wait() != 0
        assert any("closed without storing" in line for line in server.err), server.err
        # They wait for a mainframe that doesn't come back.
        for pid in (*submit.family(), *executor.family()):
            os.kill(pid, signal.SIGKILL)


async def begin(host: Host) -> tuple[Peer, int]:
    peer = host.peer()
    await peer.hello("peer", slots=1)
    assert (await peer.ask("start", session_id="s", plan=plan(node("n"))))["error"] is None
    channel = int((await peer.until("dispatch"))["channel"])
    await peer.batch(1, channel, STARTED)
    await peer.until("ack")
    return peer, channel


@pytest.mark.parametrize("gone", ["journal.db-wal", "journal.db"])
async def test_no_batch_is_acknowledged_after_a_file_of_the_journal_is_gone(tmp_path: Path, gone: str) -> None:
    async with mainframe(tmp_path) as host:
        peer, channel = await begin(host)
        (tmp_path / gone).rename(tmp_path / "aside")
        await peer.batch(2, channel, {"type": "BlockLog", "log": "x", "stdio": "stdout", "t": 1})
        bye = await peer.until("ack", "bye")
        assert bye["op"] == "bye"
        assert gone in bye["reason"]
        (tmp_path / "aside").rename(tmp_path / gone)
        async with asyncio.timeout(20):
            while host.server.trouble is not None:  # noqa: ASYNC110  # it is the server's own word
                await asyncio.sleep(0.02)


async def test_a_body_whose_file_is_gone_is_not_said_to_be_kept(tmp_path: Path) -> None:
    from asyncblock.wire.bodies import encode_chunk

    async with mainframe(tmp_path) as host:
        peer, _ = await begin(host)
        await peer.transport.send(encode_chunk(1, 0, b"abc"))
        path = tmp_path / "bodies" / "peer" / "1"
        await appears(path)
        path.rename(tmp_path / "aside")
        digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        await peer.say("whole", n=1, length=3, sha256=digest)
        bye = await peer.until("kept", "bye")
        assert bye["op"] == "bye"
        assert "was deleted, moved or replaced" in bye["reason"]
        (tmp_path / "aside").rename(path)
