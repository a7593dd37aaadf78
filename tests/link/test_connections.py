"""Item 1, resume: each kind of fault on real websockets is invisible to blocks, and loses, repeats, reorders nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.childprocesses.workers import Workers
from asyncblock.client import Mainframe, Session
from asyncblock.link import Link
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.server import MainframeServer
from asyncblock.server.jobstate.jobs import LinkState
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair

from ..flows import all_of, end_of, one_block
from ..server.test_greeting import WELCOME

HEARTBEAT = 0.3

NUMBERS = """
    import asyncio
    import os

    gate = os.path.join(os.path.dirname(__file__), "gate")

    async def main(inputs, ctx):
        number = 0
        while not os.path.exists(gate):
            for _ in range(20):
                await ctx.output({"number": number, "text": "x" * (90_000 if number % 500 == 250 else 50)}, "out")
                number += 1
            await ctx.report_log(f"line {number}")
            await asyncio.sleep(0.02)
        await ctx.flush()
        return {"count": number}
    """


@dataclass
class Stage:
    """A mainframe in this loop, an executor process and a client, both behind the proxy."""

    server: MainframeServer
    proxy: FaultProxy
    mainframe: Mainframe
    session: Session
    gate: Path

    def executor(self) -> LinkState:
        """Return the link of the executor process."""
        [link] = [link for link in self.server.sessions.dispatch.links.values() if link.executor is not None]
        return link


@asynccontextmanager
async def staged(tmp_path: Path) -> AsyncIterator[Stage]:
    """Start a session whose block sends numbers until it is let go."""
    flow = one_block(tmp_path / "f", NUMBERS, ("out", "count"))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MainframeServer(tmp_path / "data", Settings(heartbeat=HEARTBEAT)))
        url = await stack.enter_async_context(server.listen("127.0.0.1", 0))
        proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", int(url.rpartition(":")[2])))
        through = f"ws://127.0.0.1:{proxy.port}"
        workers = await stack.enter_async_context(Workers(through, server.token, 1, [flow.parent]))
        await workers.ready()
        mainframe = await stack.enter_async_context(asyncblock.connect(through, server.token))
        session = await mainframe.start(flow)
        yield Stage(server, proxy, mainframe, session, flow.parent / "gate")


async def reset(stage: Stage) -> None:
    stage.proxy.cut()


async def closed(stage: Stage) -> None:
    stage.proxy.cut_gently()


async def half_open_below(stage: Stage) -> None:
    """The mainframe sees the end of the connection; the executor takes it for open."""
    stage.proxy.half_open()


async def half_open_above(stage: Stage) -> None:
    stage.proxy.half_open(near=True)


async def black_hole(stage: Stage) -> None:
    """Both sides give the connection up; then what it had swallowed comes out, behind the newer one."""
    before = stage.proxy.accepted
    stage.proxy.stall()
    await stage.proxy.until_accepted(before + 2)
    stage.proxy.resume()


async def short_black_hole(stage: Stage) -> None:
    stage.proxy.stall()
    await asyncio.sleep(HEARTBEAT)
    stage.proxy.resume()


async def slow_drip(stage: Stage) -> None:
    """Less than one batch comes through in three heartbeats: each byte is life."""
    stage.proxy.drip(8_000)
    await asyncio.sleep(10 * HEARTBEAT)
    stage.proxy.drip(None)


async def truncated_frame(stage: Stage) -> None:
    stage.proxy.truncate()


async def proxy_away(stage: Stage) -> None:
    await stage.proxy.away(6 * HEARTBEAT)


async def handshake_stall(stage: Stage) -> None:
    """Who comes back isn't answered for a while."""
    before = stage.proxy.accepted
    stage.proxy.stall_new()
    stage.proxy.cut()
    await stage.proxy.until_accepted(before + 2)
    await asyncio.sleep(4 * HEARTBEAT)
    stage.proxy.resume()


Fault = Callable[[Stage], Awaitable[None]]
HARMLESS = (slow_drip, short_black_hole)


@pytest.mark.parametrize(
    "fault",
    [
        reset,
        closed,
        half_open_below,
        half_open_above,
        black_hole,
        short_black_hole,
        slow_drip,
        truncated_frame,
        proxy_away,
        handshake_stall,
    ],
    ids=lambda fault: fault.__name__,
)
async def test_numbered_outputs_arrive_once_and_in_order_and_no_lease_ends(fault: Fault, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        watching = asyncio.create_task(watch(stage, fault))
        async with asyncio.timeout(40):
            found = await watching
        generation = stage.executor().generation
    if fault in HARMLESS:
        assert generation == 1
    else:
        assert generation >= 2
    end = end_of(found)
    numbers = [event for event in all_of(found, events.BlockOutput) if event.handle == "out"]
    assert len(numbers) > 100
    assert [number_of(event) for event in numbers if event.body is None] == [
        n for n in range(end.outputs["count"]) if n % 500 != 250
    ]
    assert len(numbers) == end.outputs["count"]
    lines = [event.log for event in all_of(found, events.BlockLog)]
    assert lines == [f"line {n}" for n in range(20, end.outputs["count"] + 1, 20)]
    assert len(all_of(found, events.JobAssigned)) == 1
    for broken in (events.JobReleased, events.JobRetrying, events.JobFailed, events.LateRecords, events.BlockWarning):
        assert all_of(found, broken) == []


def number_of(event: events.BlockOutput) -> int:
    number: int = event.output["number"]
    return number


async def watch(stage: Stage, fault: Fault) -> list[events.Event]:
    """Follow the session through the proxy; harm it when it runs, and let the block go when it has gone on."""
    found: list[events.Event] = []
    harm: asyncio.Task[int] | None = None
    async for event in stage.session:
        found.append(event)
        if isinstance(event, events.BlockOutput) and len(found) > 60:
            if harm is None:
                harm = asyncio.create_task(harmed(stage, fault))
            elif harm.done() and event.t > harm.result() and len(found) > 200 and not stage.gate.exists():
                stage.gate.touch()
    assert harm is not None
    await harm
    return found


async def harmed(stage: Stage, fault: Fault) -> int:
    """Return when the harm was over, in ms since the epoch."""
    await fault(stage)
    return int(time.time() * 1000)


async def test_a_handshake_that_hangs_for_ever_is_given_up_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.transport.websocket._HANDSHAKE_TIMEOUT", 0.3)
    async with (
        asyncio.timeout(30),
        MainframeServer(tmp_path / "data") as server,
        server.listen("127.0.0.1", 0) as url,
        FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
        asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", server.token) as mainframe,
    ):
        before = proxy.accepted
        proxy.stall_new()
        proxy.cut()
        asking = asyncio.create_task(mainframe.info())
        await proxy.until_accepted(before + 2)
        # The second attempt hangs as well; only those that come from here on are let through.
        proxy.stall_new(False)
        assert (await asking)["roles"]


async def test_a_mainframe_that_accepts_and_says_nothing_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("asyncblock.link.connections._GREETING_TIMEOUT", 0.2)
    ends: list[Transport] = []

    async def dial() -> Transport:
        ours, theirs = memory_pair()
        ends.append(theirs)
        if len(ends) > 1:
            await theirs.send(b'{"op":"welcome",' + orjson.dumps(WELCOME)[1:])
        return ours

    async def made(io: IOThread) -> Link:
        return Link(io, dial, "ws://there")

    async with shared().lease() as io:
        link = await io.run(made(io))
        try:
            async with asyncio.timeout(20):
                await link.open()
        finally:
            await link.close()
    assert len(ends) == 2
