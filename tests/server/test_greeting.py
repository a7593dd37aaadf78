"""Item 1: promises that can't be kept are said by both sides, once; goodbyes and lost replies are no broken promises."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe, Session
from asyncblock.errors import ConnectionLost, Rejected
from asyncblock.executor import Executor
from asyncblock.link import Link
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair

from ..flows import all_of, node, until, write_flow
from ..processes import free_port

SENDS = """
    import asyncio
    import os

    async def main(inputs, ctx):
        number = 0
        try:
            while ctx.attempt == 1:
                await ctx.output(number, "out")
                await ctx.flush()
                number += 1
                await asyncio.sleep(0.01)
        except BaseException as error:
            try:
                await ctx.flush()
            except Exception as lost:
                error = lost
            # Beside the package: what is in it is part of its hash.
            with open(os.path.join(os.path.dirname(__file__), "..", "told"), "a") as told:
                told.write(f"{type(error).__name__}: {error}\\n")
            raise
        return {"out": "second"}
    """


def sending_flow(directory: Path, retries: int) -> Path:
    sends = node("n", SENDS, directory)
    sends["task"]["retries"] = {"retries": retries, "backoff": 0.01}
    outputs = [{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    return write_flow(directory, [sends], outputs_from=outputs)


def told(flow: Path) -> str:
    return (flow.parent.parent / "told").read_text()


@asynccontextmanager
async def served(data: Path, port: int) -> AsyncIterator[MainframeServer]:
    async with MainframeServer(data, Settings(heartbeat=0.3)) as server, server.listen("127.0.0.1", port):
        yield server


@asynccontextmanager
async def below(port: int, token: str, package: Path) -> AsyncIterator[Mainframe]:
    """A client and an executor on one link."""
    async with asyncblock.connect(f"ws://127.0.0.1:{port}", token) as mainframe:
        async with Executor(packages=[package]).attached(mainframe):
            yield mainframe


async def until_number(session: Session, number: int) -> None:
    await until(session, events.BlockOutput, lambda event: event.output == number)


async def follow(session: Session) -> list[events.Event]:
    return [event async for event in session]


Harm = Callable[[Path, Path], None]


def put_back(data: Path, copy: Path) -> None:
    """An older copy takes the directory's place."""
    token = (data / "token").read_bytes()
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    (data / "token").write_bytes(token)


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_restored_copy_is_said_to_block_client_log_and_journal(
    retries: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flow, data, copy, port = sending_flow(tmp_path / "f", retries), tmp_path / "data", tmp_path / "copy", free_port()
    async with served(data, port) as server:
        token, epoch = server.token, server.journal.epoch
    async with asyncio.timeout(30):
        async with served(data, port):
            lower = below(port, token, flow.parent)
            mainframe = await lower.__aenter__()
            session = await mainframe.start(flow)
            await until_number(session, 5)
        try:
            shutil.copytree(data, copy)
            async with served(data, port) as server:
                assert server.journal.epoch == epoch
                await until_number(session, 50)
                following = asyncio.create_task(follow(session))
                waiting = asyncio.create_task(session.wait())
            put_back(data, copy)
            caplog.clear()
            async with served(data, port) as server:
                assert server.journal.epoch != epoch
                for asked in (following, waiting):
                    with pytest.raises(ConnectionLost, match=f"another journal.*{epoch}|another journal than"):
                        await asked
                found = await follow(session)
                # The link lives on: what is asked of it from here on is answered by the journal that is there.
                assert (await session.wait()).state == ("succeeded" if retries else "failed")
                above = [record for record in caplog.records if record.name == "asyncblock.server"]
                here = [record for record in caplog.records if record.name == "asyncblock.link"]
        finally:
            await lower.__aexit__(None, None, None)
    [line] = told(flow).splitlines()
    assert line.startswith("ConnectionLost: ")
    assert "came back with another journal" in line
    [broken] = all_of(found, events.JournalBroken)
    assert broken.reason == "the journal was copied or restored"
    if retries:
        assert len(all_of(found, events.JobRetrying)) == 1
        assert [event.attempt for event in all_of(found, events.BlockStarted)] == [1, 2]
    else:
        [failed] = all_of(found, events.JobFailed)
        assert "journal was broken" in failed.error
    assert sum("came back with another journal" in record.message for record in here) == 1
    assert sum("may not hold everything that was acknowledged" in record.message for record in above) == 1
    assert sum("a link that this journal doesn't know" in record.message for record in above) == 1


def empty(data: Path, _: Path) -> None:
    """A directory with nothing but the token."""
    token = (data / "token").read_bytes()
    shutil.rmtree(data)
    data.mkdir()
    (data / "token").write_bytes(token)


async def test_an_empty_data_directory_is_said_and_the_link_lives_on(tmp_path: Path) -> None:
    flow, data, port = sending_flow(tmp_path / "f", 0), tmp_path / "data", free_port()
    async with asyncio.timeout(30):
        async with served(data, port) as server:
            lower = below(port, server.token, flow.parent)
            mainframe = await lower.__aenter__()
            session = await mainframe.start(flow)
            await until_number(session, 5)
            following = asyncio.create_task(follow(session))
        try:
            empty(data, data)
            async with served(data, port):
                with pytest.raises(ConnectionLost, match="another journal"):
                    await following
                with pytest.raises(Rejected, match=session.session_id):
                    await session.wait()
                again = await mainframe.start(flow)
                await until_number(again, 5)
                await again.cancel()
                await again.wait()
        finally:
            await lower.__aexit__(None, None, None)
    first, second = told(flow).splitlines()
    assert first.startswith("ConnectionLost: ")
    assert second.startswith("CancelledError")


async def test_a_mainframe_that_forgot_a_link_ends_its_jobs_with_a_typed_error(tmp_path: Path) -> None:
    """The journal is the same one; what it knew of the link is gone."""
    flow, data, port = sending_flow(tmp_path / "f", 0), tmp_path / "data", free_port()
    async with asyncio.timeout(30):
        async with served(data, port) as server:
            lower = below(port, server.token, flow.parent)
            mainframe = await lower.__aenter__()
            session = await mainframe.start(flow)
            await until_number(session, 5)
        try:
            with closing(sqlite3.connect(data / "journal.db")) as database, database:
                database.execute("DELETE FROM links")
            database.close()
            async with served(data, port):
                end = await session.wait()
                found = await follow(session)
        finally:
            await lower.__aexit__(None, None, None)
    assert end.state == "failed"
    assert "the journal doesn't know its link any more" in str(end.error)
    assert all_of(found, events.JournalBroken) == []
    assert told(flow).startswith("ConnectionLost: ")
    assert "doesn't know this link any more" in told(flow)


# ---------------------------------------------------------------------- goodbyes


class Dismissive:
    """A mainframe that welcomes, breaks the connection, sends who comes back away, twice, and welcomes again."""

    def __init__(self, retry_after: float) -> None:
        self._retry_after = retry_after
        self._tasks: list[asyncio.Task[None]] = []
        self.dialled: list[float] = []
        self.back = threading.Event()

    async def dial(self) -> Transport:
        ours, theirs = memory_pair()
        self.dialled.append(time.monotonic())
        self._tasks.append(asyncio.create_task(self._serve(theirs)))
        return ours

    async def _serve(self, transport: Transport) -> None:
        await transport.receive()
        if len(self.dialled) in (2, 3):
            bye = {"code": "trouble", "reason": "the disk is full", "stop": False, "retry_after": self._retry_after}
            await transport.send(orjson.dumps({"op": "bye", **bye}))
            return
        await transport.send(orjson.dumps({"op": "welcome", **WELCOME}))
        if len(self.dialled) == 4:
            self.back.set()
            return
        await transport.receive()
        transport.abort()


WELCOME: dict[str, Any] = {
    "version": 1, "epoch": "e", "token": "t", "resumed": True, "stored": 0, "bodies": {}, "windows": {}, "limits": {},
    "heartbeat": 5.0,
}  # fmt: skip


async def test_a_link_stays_away_for_as_long_as_it_was_asked_to_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    above = Dismissive(0.4)

    async def made(io: IOThread) -> Link:
        return Link(io, above.dial, "ws://there")

    async with shared().lease() as io:
        link = await io.run(made(io))
        try:
            async with asyncio.timeout(20):
                await link.open()
                asking = asyncio.create_task(link.request("info", {}))
                await asyncio.to_thread(above.back.wait)
                asking.cancel()
        finally:
            await link.close()
    pauses = [late - early for early, late in zip(above.dialled[1:], above.dialled[2:], strict=False)]
    assert len(pauses) == 2
    # Full jitter of the first pause (0.1 s) is added, or everybody who was sent away would come back at once.
    assert all(0.39 <= pause < 2.0 for pause in pauses)
    said = " ".join(record.message for record in caplog.records if record.levelno >= logging.WARNING)
    assert said.count("is lost, trying again until it is back") == 1


async def test_who_was_sent_away_before_the_first_welcome_is_told_why() -> None:
    above = Dismissive(0.2)
    above.dialled = [0.0]

    async def made(io: IOThread) -> Link:
        return Link(io, above.dial, "ws://there")

    async with shared().lease() as io:
        link = await io.run(made(io))
        with pytest.raises(ConnectionLost, match=r"asked to come back in 0\.2 s: the disk is full"):
            await link.open(timeout=0.1)


# ---------------------------------------------------------------------- a reply that was lost


async def test_a_start_whose_reply_was_cut_off_does_not_start_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = "async def main(inputs, ctx):\n    print('ran', flush=True)\n"
    flow = write_flow(tmp_path / "f", [node("n", block, tmp_path / "f")])
    async with (
        asyncio.timeout(30),
        MainframeServer(tmp_path / "data", Settings(heartbeat=0.3)) as server,
        server.listen("127.0.0.1", 0) as url,
        FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
        below(proxy.port, server.token, flow.parent) as mainframe,
    ):
        asked = 0
        start = server.sessions.start

        def start_and_cut(*arguments: Any) -> str:
            nonlocal asked
            asked += 1
            session_id = start(*arguments)
            if asked == 1:
                proxy.cut()
            return session_id

        monkeypatch.setattr(server.sessions, "start", start_and_cut)
        session = await mainframe.start(flow)
        assert (await session.wait()).state == "succeeded"
        found = await follow(session)
        listed = await mainframe.sessions()
    assert asked == 2
    assert proxy.cuts >= 1
    assert [each.session_id for each in listed] == [session.session_id]
    assert len(all_of(found, events.SessionStarted)) == len(all_of(found, events.BlockStarted)) == 1
