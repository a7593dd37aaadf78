"""``page`` and ``run --page``: sessions of runs that go on, have ended, or were killed, and what can't be served."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncblock.cli.kept import KeptRuns
from asyncblock.server.journal.peek import peek_sessions

from ..flows import one_block
from ..processes import Command, all_ended, run, start

pytestmark = pytest.mark.timeout(180)  # several commands, each of which has to start

WAITS = """
import asyncio, pathlib
async def main(inputs, ctx):
    await ctx.preview({"type": "text", "data": "a word"})
    await ctx.flush()
    print("here I am")
    while not pathlib.Path(HERE).exists():
        await asyncio.sleep(0.02)
    return {"out": 42}
"""


def waits(directory: Path) -> Path:
    """Write a flow whose block waits for a file."""
    return one_block(directory / "f", WAITS.replace("HERE", repr(str(directory / "end"))))


@asynccontextmanager
async def into(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """Go in by an address that a command has printed."""
    base = address.partition("enter?")[0]
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        assert (await client.get(address)).status_code == 200
        yield client


async def address_of(command: Command, *, err: bool = False) -> str:
    """Return the address that a command prints."""
    return (await command.until_line("page: ", err=err)).split()[1]


async def state_of(client: httpx.AsyncClient, session_id: str, wanted: str) -> dict[str, Any]:
    """Ask for a session until it is in a state."""
    async with asyncio.timeout(40):
        while True:
            answer = (await client.get(f"api/sessions/{session_id}")).json()
            # A page that has just begun to read knows of no node yet.
            if answer.get("nodes") and answer["session"]["state"] == wanted:
                found: dict[str, Any] = answer
                return found
            await asyncio.sleep(0.1)


async def test_a_killed_run_is_seen_and_doesnt_go_on_for_that(tmp_path: Path) -> None:
    async with start("run", waits(tmp_path), state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        async with start("page", session_id[:6], "--no-browser", state=tmp_path) as page:
            address = await address_of(page)
            assert address.endswith(f"&to={session_id}")
            async with into(address) as client:
                found = await state_of(client, session_id, "running")
                assert [each["state"] for each in found["nodes"]] == ["working"]
                running.kill(signal.SIGKILL)
                found = await state_of(client, session_id, "interrupted")
                assert found["session"]["previews"] == 1, "what it showed is there still"
                lines = (await client.get(f"api/sessions/{session_id}/log")).json()["lines"]
                assert lines[-1]["text"] == "here I am"
    async with start("page", "--no-browser", state=tmp_path) as page, into(await address_of(page)) as client:
        [listed] = (await client.get("api/sessions")).json()["sessions"]
        assert (listed["id"], listed["state"]) == (session_id, "interrupted")
        await state_of(client, session_id, "interrupted")
        refused = await client.post(
            f"api/sessions/{session_id}/cancel", headers={"origin": str(client.base_url).rstrip("/")}
        )
        assert refused.status_code == 403
    [directory] = (tmp_path / "asyncblock" / "runs").iterdir()
    assert [each.state for each in peek_sessions(directory)] == ["running"], "nobody went on with it, nor ended it"


async def test_a_run_has_its_page_as_long_as_it_runs(tmp_path: Path) -> None:
    async with start("run", waits(tmp_path), "--page", state=tmp_path) as running:
        address = await address_of(running, err=True)
        session_id = address.partition("to=")[2]
        async with into(address) as client:
            await running.until_line("here I am")
            await state_of(client, session_id, "running")
            (tmp_path / "end").touch()
        assert await running.wait() == 0
    assert running.family() == []


async def test_the_death_of_a_page_is_nothing_to_its_run(tmp_path: Path) -> None:
    async with start("run", waits(tmp_path), "--page", state=tmp_path) as running:
        await address_of(running, err=True)
        await running.until_line("here I am")
        [page] = [pid for pid in running.family() if b"--until-eof" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(page, signal.SIGKILL)
        (tmp_path / "end").touch()
        assert await running.wait() == 0
    assert running.family() == []


async def test_a_page_ends_with_the_process_that_has_started_it(tmp_path: Path) -> None:
    async with start("run", waits(tmp_path), "--page", state=tmp_path) as running:
        await address_of(running, err=True)
        await running.until_line("here I am")
        running.kill(signal.SIGKILL)
        await running.process.wait()
        await all_ended(running.family())


async def test_what_cant_be_served_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = await run("page", "--port", str(port), "--no-browser", state=tmp_path)
    assert busy.process.returncode == 2
    assert f"can't listen on 127.0.0.1:{port}: Address already in use; give another --port" in busy.err[0]
    unknown = await run("page", "nothing", state=tmp_path)
    assert unknown.process.returncode == 2 and "have a session 'nothing'" in unknown.err[0]
    bare = await run("page", "--host", "0.0.0.0", state=tmp_path)
    assert bare.process.returncode == 2 and "--tls-cert" in bare.err[0]
    nowhere = await run("page", "--flows", str(tmp_path / "none"), state=tmp_path)
    assert nowhere.process.returncode == 2 and f"there is no directory {tmp_path / 'none'}" in nowhere.err[0]
    unserved = await run("page", "--flows", str(tmp_path), state=tmp_path)
    assert unserved.process.returncode == 2 and "--flows needs a mainframe" in unserved.err[0]
    alone = await run("run", waits(tmp_path), "--page", "--in-process", state=tmp_path)
    assert alone.process.returncode == 2 and "--page needs executor processes" in alone.err[0]


async def test_flows_of_a_directory_are_started_where_a_mainframe_is_served(tmp_path: Path) -> None:
    path = one_block(tmp_path / "mine", "async def main(inputs, ctx):\n    return {'out': 42}\n")
    async with start("serve", "--port", "0", state=tmp_path) as served:
        await served.until_line("mainframe at ws://", err=True)
        async with start("executor", "--package", path.parent, state=tmp_path) as executor:
            await executor.until_line("executor for ws://", err=True)
            async with start("page", "--flows", path.parent, "--no-browser", state=tmp_path) as page:
                async with into(await address_of(page)) as client:
                    offers = (await client.get("api/flows")).json()["flows"]
                    [mine] = [each["key"] for each in offers if each["place"] == str(path.parent)]
                    own = {"origin": str(client.base_url).rstrip("/")}
                    answer = await client.post(f"api/flows/{mine}", json={}, headers=own)
                    await state_of(client, answer.json()["session"], "succeeded")


async def test_a_list_of_kept_runs_is_read_again_when_a_journal_was_written(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    return {'out': 1}\n")
    kept = KeptRuns(tmp_path / "data", local=False)
    assert await kept.sessions() == []
    for count in (1, 2):
        assert (await run("run", path, "--data-dir", tmp_path / "data", state=tmp_path)).process.returncode == 0
        found = await kept.sessions()
        assert [each.state for each in found] == ["succeeded"] * count
        assert await kept.sessions() == found
