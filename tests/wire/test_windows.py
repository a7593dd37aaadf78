"""A sender keeps to the windows that its mainframe names."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from asyncblock.link import Link
from asyncblock.link.sender import JobSender
from asyncblock.runtime.iothread import shared
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.messages import Dispatch

pytestmark = pytest.mark.timeout(30)


class Host:
    """Takes one job and keeps its sender."""

    def __init__(self) -> None:
        self.sender: JobSender | None = None
        self.came = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def announcement(self) -> dict[str, Any]:
        return {"languages": [], "packages": {}, "slots": {"async": 1}}

    def lag(self) -> float:
        return 0.0

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        self.sender = sender
        self._loop.call_soon_threadsafe(self.came.set)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


async def test_the_windows_of_a_welcome_hold_for_all_jobs() -> None:
    serving: list[asyncio.Task[None]] = []
    async with shared().lease() as io:

        async def dial() -> Transport:
            ours, theirs = memory_pair()
            serving.append(io.spawn(serve(theirs), "a mainframe with small windows"))
            return ours

        async def serve(transport: Transport) -> None:
            await transport.receive()
            welcome = {
                "op": "welcome", "version": 1, "epoch": "e", "token": "t", "resumed": True, "stored": 0, "bodies": {},
                "windows": {"data": 5000, "telemetry": 700, "link": 6000}, "limits": {}, "heartbeat": 5.0,
            }  # fmt: skip
            await transport.send(orjson.dumps(welcome))
            await transport.receive()
            dispatch = {
                "op": "dispatch", "job_id": "s.0", "attempt": 1, "channel": 1, "session_id": "s", "node_id": "n",
                "stacks": [], "block": {}, "inputs": {},
            }  # fmt: skip
            await transport.send(orjson.dumps(dispatch))
            await transport.receive()

        async def make() -> Link:
            return Link(io, dial, "a mainframe with small windows")

        host = Host()
        link = await io.run(make())
        await link.open()
        await link.attach(host)
        await host.came.wait()
        assert host.sender is not None
        channel = host.sender.channel
        assert (channel.data.window.limit, channel.telemetry.window.limit, channel.port.limit) == (5000, 700, 6000)
        accepted = 0
        while host.sender.try_accept(channel.data, b"x" * 1000):
            accepted += 1
        assert accepted == 5
        await link.close()
