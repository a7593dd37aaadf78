"""What becomes of errors that nothing expected: a session, a request or the server ends of them, and says so then."""

from __future__ import annotations

import ast
import asyncio
import logging
import signal
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.errors import FlowFailed, MainframeFailed
from asyncblock.server.livesessions import session as session_module
from asyncblock.server.supervision import Supervisor

from ..flows import one_block
from ..peers import mainframe, node, plan
from ..processes import Command, free_port, start, start_module

SERVER = Path(session_module.__file__).parents[1]
OTHERS = {"journal", "cluster", "jetstream"}
"""These begin their own."""

OWNERS = {
    "supervision.py",
    # In the task group of a connection, whose errors the gateway decides about.
    "gateway.py",
    "answers.py",
    "uploads.py",
    # In a group of its own, whose first error is that of the snapshot.
    "refolding.py",
}


def test_tasks_and_timers_of_the_mainframe_are_begun_by_its_supervisor() -> None:
    begun = {"create_task", "ensure_future", "call_later", "call_at", "call_soon"}
    found = {
        (path.name, call.func.attr)
        for path in SERVER.rglob("*.py")
        if path.parent.name not in OTHERS
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in begun
    }
    assert {name for name, _ in found} <= OWNERS
    assert {(name, what) for name, what in found if what != "create_task"} == {
        ("supervision.py", "call_later"),
        ("supervision.py", "call_soon"),
    }


async def test_a_chore_that_fails_begins_again(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    from asyncblock.server import supervision

    monkeypatch.setattr(supervision, "_PAUSES", (0.001, 0.01))
    runs: list[int] = []
    enough = asyncio.Event()

    async def chore() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise sqlite3.OperationalError("disk I/O error")
        enough.set()

    with caplog.at_level(logging.ERROR):
        async with asyncio.TaskGroup() as tasks:
            kept = Supervisor(tasks, lambda what, error: None).keep(chore, "counting")
            await enough.wait()
            await kept
    assert [record.message.split(",")[0] for record in caplog.records] == ["counting failed"] * 2


# ---------------------------------------------------------------------- a session's own


@asyncblock.block(inputs=[], outputs=[{"handle": "n"}])
async def count(ctx: asyncblock.Context) -> dict[str, int]:
    for n in range(5):
        await ctx.output(n, "n")
    return {"n": 5}


def counting(title: str) -> asyncblock.Flow:
    flow = asyncblock.Flow(title)
    flow.output("n", flow.node(count)["n"])
    return flow


async def test_a_session_that_breaks_fails_with_the_reason_and_the_one_beside_it_does_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    fold = session_module.RunningSession._fold_finish

    def broken(self: Any, *args: Any) -> None:
        if self.plan.title == "breaks":
            raise RuntimeError("a defect")
        fold(self, *args)

    monkeypatch.setattr(session_module.RunningSession, "_fold_finish", broken)
    async with asyncblock.embedded(tmp_path, blocks=[count]) as here:
        one, other = await here.start(counting("breaks")), await here.start(counting("works"))
        async with asyncio.timeout(10):
            with pytest.raises(FlowFailed, match=r"the mainframe failed at it .*a defect"):
                await one.outputs()
            assert await other.outputs() == {"n": 5}
    assert any("taking records in of session" in record.message for record in caplog.records)


async def test_a_session_whose_journal_cannot_be_folded_fails_after_a_restart_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    async with mainframe(tmp_path) as host:
        client = host.peer()
        await client.hello("client")
        for name in ("harmed", "fine"):
            await client.ask("start", id=name, session_id=name, plan=plan(node("a")))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        [number] = database.execute("SELECT session_no FROM sessions WHERE session_id = 'harmed'").fetchone()
        [payload] = database.execute("SELECT payload FROM entries WHERE id = ?", (number << 32,)).fetchone()
        first, *rest = bytes(payload).split(b"\n")
        harmed = b"\n".join([first, *(b'{"type":"Unheard"}'.ljust(len(line)) for line in rest)])
        assert rest and len(harmed) == len(payload)
        database.execute("UPDATE entries SET payload = ? WHERE id = ?", (harmed, number << 32))
    database.close()
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello("executor", slots=1)
        dispatch = await peer.until("dispatch")
        assert dispatch["session_id"] == "fine"
        rows = await peer.rows("harmed")
        assert rows[-1]["type"] == "SessionFinished"
        assert rows[-1]["state"] == "failed"
        assert "the mainframe failed at its journal" in rows[-1]["error"]
    # It has ended for good.
    async with mainframe(tmp_path) as host:
        row = await host.server.sessions.find("harmed")
        assert row is not None
        assert row.state == "failed"


# ---------------------------------------------------------------------- the server's


async def test_embedded_tells_those_who_wait_that_its_mainframe_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module.RunningSession, "row_stored", _fails)
    told = False
    with pytest.raises(MainframeFailed, match="a defect"):
        async with asyncblock.embedded(tmp_path, blocks=[count]) as here:
            async with asyncio.timeout(10):
                try:
                    await (await here.start(counting("any"))).outputs()
                except MainframeFailed as error:
                    told = True
                    assert isinstance(error.__cause__, RuntimeError)
            # The directory is free at once.
            monkeypatch.undo()
            async with asyncblock.embedded(tmp_path, blocks=[count]) as again:
                [row] = await again.sessions()
                async with asyncio.timeout(10):
                    assert await again.session(row.session_id).outputs() == {"n": 5}
    assert told


def _fails(self: Any) -> None:
    raise RuntimeError("a defect")


async def test_serve_ends_with_a_code_of_its_own_and_its_sessions_go_on_when_it_is_started_again(
    tmp_path: Path,
) -> None:
    flow = one_block(tmp_path / "package", "async def main(inputs, ctx):\n    return {'out': 1}\n")
    port = str(free_port())
    async with AsyncExitStack() as stack:
        broken: Command = await stack.enter_async_context(
            start_module("tests.server.faults.broken_serve", "serve", "--port", port, state=tmp_path)
        )
        await broken.until_line("mainframe at", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path))
        assert await broken.wait() == 70
        assert any("has ended" in line and "a defect" in line for line in broken.err)
        server = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "package", state=tmp_path))
        assert await submit.wait() == 0
        [end] = [event for event in submit.events() if event["type"] == "SessionFinished"]
        assert end["outputs"] == {"out": 1}, orjson.dumps(end)
        for command in (executor, server):
            command.kill(signal.SIGTERM)
            await command.wait()
