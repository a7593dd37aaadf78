"""Sessions by the command: listed, followed, cancelled, and their outputs; those of a mainframe and of local runs."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import Context

from ..flows import one_block
from ..processes import run, start

pytestmark = pytest.mark.timeout(180)  # many commands, each of which has to start

WAITS = """
import asyncio
async def main(inputs, ctx):
    await ctx.report_progress(40)
    print("here I am")
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")
"""
GIVES = "async def main(inputs, ctx):\n    await ctx.output({'n': 1}, 'out')\n"


async def test_a_local_run_is_listed_followed_cancelled_and_kept(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with start("run", path, state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        [row] = (await run("sessions", "--json", state=tmp_path)).events()
        assert (row["session_id"], row["state"]) == (session_id, "running") and row["data_dir"]
        async with start("watch", session_id[:6], state=tmp_path) as watching:
            await watching.until_line("here I am")
            cancelled = await run("cancel", session_id[:6], "--reason", "enough", state=tmp_path)
            assert cancelled.out == [f"session {session_id} is being cancelled"]
            await watching.until_line("cancelled: enough")
            assert await watching.wait() == 130
        assert await running.wait() == 130
        assert any("cleaned up" in line for line in running.out)
    listed = await run("sessions", state=tmp_path)
    assert listed.err[0].split() == ["SESSION", "BEGAN", "TIME", "DONE", "STATE", "TITLE"]
    assert listed.out[0].startswith(session_id) and "cancelled" in listed.out[0]
    again = await run("watch", session_id[:6], state=tmp_path)
    assert again.process.returncode == 130 and any("here I am" in line for line in again.out)
    ended = await run("cancel", session_id, state=tmp_path)
    assert (ended.process.returncode, ended.err) == (0, [f"session {session_id} has ended already: cancelled"])
    failed = await run("outputs", session_id, state=tmp_path)
    assert failed.process.returncode == 130 and "enough" in failed.err[0]


async def test_a_run_that_was_killed_is_interrupted_and_resumed_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with start("run", path, state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        running.kill(signal.SIGKILL)
        await running.process.wait()
    [row] = (await run("sessions", "--state", "interrupted", "--json", state=tmp_path)).events()
    assert row["session_id"] == session_id
    refused = await run("watch", session_id[:6], state=tmp_path)
    assert refused.process.returncode == 2 and f"asyncblock resume {session_id}" in refused.err[0]
    assert (await run("resume", session_id[:6], state=tmp_path)).process.returncode == 1


@pytest.mark.parametrize("command", ["outputs", "cancel", "watch", "retry"])
async def test_an_id_that_no_run_has_is_said_to_be_none(tmp_path: Path, command: str) -> None:
    refused = await run(command, "nope", state=tmp_path)
    [said] = refused.err
    assert refused.process.returncode == 2 and "a session 'nope'" in said and "last" in said, said


async def test_a_session_that_has_ended_is_shown_once_more_and_how_it_is_run_again(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    raise RuntimeError('boom')\n")
    session_id = (await run("run", path, "--json", state=tmp_path)).events()[0]["session_id"]
    shown = await run("resume", session_id[:6], state=tmp_path)
    text = "\n".join(shown.err)
    assert "has ended already (failed)" in text and f"asyncblock retry {session_id}" in text
    assert shown.process.returncode == 1


async def test_outputs_are_json_and_a_beginning_that_several_have_is_refused(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", GIVES)
    ids = []
    for _ in range(2):
        done = await run("run", path, "--json", state=tmp_path)
        ids.append(done.events()[0]["session_id"])
    found = await run("outputs", ids[0], state=tmp_path)
    assert orjson.loads("\n".join(found.out)) == {"out": {"n": 1}}, found.err
    refused = await run("outputs", "", state=tmp_path)
    assert refused.process.returncode == 2 and "several sessions begin with" in refused.err[0]
    assert len((await run("sessions", "--limit", "all", state=tmp_path)).out) == 2
    wrong = await run("sessions", "--limit", "many", state=tmp_path)
    assert wrong.process.returncode == 2 and "'all'" in "\n".join(wrong.err)


async def test_a_served_mainframes_sessions_are_named_by_their_beginning_too(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", "0", state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", path.parent, state=tmp_path))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", path, "--json", state=tmp_path))
        await submit.until_line("here I am")
        session_id = submit.events()[0]["session_id"]
        [row] = (await run("sessions", "--json", state=tmp_path)).events()
        assert (row["session_id"], row["progress"], row["data_dir"]) == (session_id, 40, None)
        assert "  40%  running" in (await run("sessions", state=tmp_path)).out[0]
        job_id = next(event["job_id"] for event in submit.events() if event["type"] == "JobCreated")
        cancelled = await run("cancel", session_id[:5], "--job", job_id[:8], state=tmp_path)
        assert cancelled.process.returncode == 0, cancelled.err
        assert await submit.wait() == 1
        refused = await run("cancel", "abc", "--job", "x", state=tmp_path)
        assert refused.process.returncode == 2
    wrong = await run("sessions", "--url", "ws://127.0.0.1:1", state=tmp_path)
    assert wrong.process.returncode == 2


async def test_more_sessions_than_fit_into_one_answer_are_listed() -> None:
    @asyncblock.block
    async def nothing(ctx: Context) -> None: ...

    flow = asyncblock.Flow("nothing")
    flow.node(nothing)
    async with asyncblock.embedded() as mainframe:
        started = [(await mainframe.start(flow)).session_id for _ in range(1003)]
        listed = [each.session_id for each in await mainframe.sessions(limit=None)]
        assert sorted(listed) == sorted(started)
        assert len(await mainframe.sessions(limit=1001)) == 1001
        one = started[500]
        assert [each.session_id for each in await mainframe.sessions(prefix=one[:12])] == [one]


async def test_a_wrong_token_says_where_another_one_may_be_given(tmp_path: Path) -> None:
    async with start("serve", "--port", "0", state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        refused = await run("sessions", "--token", "wrong", state=tmp_path)
    for words in ("refused the token", "--token", "ASYNCBLOCK_TOKEN", "--data-dir"):
        assert words in refused.err[0]
