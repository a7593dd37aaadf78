"""A close ends, whatever the other side does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncblock.errors import ConnectionLost
from asyncblock.transport import Transport
from asyncblock.transport.websocket import connect_websocket, serve_websocket


@asynccontextmanager
async def pair(served: asyncio.Future[Transport]) -> AsyncIterator[Transport]:
    """Connect a transport to a server that hands its own end over and lets it be."""
    over = asyncio.Event()

    async def handle(transport: Transport, who: object) -> None:
        served.set_result(transport)
        await over.wait()

    async def admit(path: str, headers: object) -> object:
        return "anybody"

    async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=1 << 22) as port:
        transport = await connect_websocket(f"ws://127.0.0.1:{port}", None, max_message=1 << 22)
        try:
            yield transport
        finally:
            over.set()
            transport.abort()


async def send_until_nothing_is_taken(transport: Transport) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            while True:
                await transport.send(b'{"x":"' + b"x" * 1_000_000 + b'"}')


@pytest.mark.parametrize("side", ["the client", "the server"])
async def test_closing_a_connection_whose_peer_reads_nothing_is_bounded(side: str) -> None:
    served: asyncio.Future[Transport] = asyncio.get_running_loop().create_future()
    async with pair(served) as client:
        transport = client if side == "the client" else await served
        await send_until_nothing_is_taken(transport)
        began = time.monotonic()
        await transport.close()
        assert time.monotonic() - began < 4
        with pytest.raises(ConnectionLost):
            await transport.receive()


async def test_a_server_ends_though_a_peer_reads_nothing_and_its_handler_waits_for_it() -> None:
    blocked = asyncio.Event()

    async def handle(transport: Transport, who: object) -> None:
        blocked.set()
        with pytest.raises(ConnectionLost):
            while True:
                await transport.send(b'{"x":"' + b"x" * 1_000_000 + b'"}')

    async def admit(path: str, headers: object) -> object:
        return "anybody"

    async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=1 << 22) as port:
        transport = await connect_websocket(f"ws://127.0.0.1:{port}", None, max_message=1 << 22)
        await blocked.wait()
        began = time.monotonic()
    assert time.monotonic() - began < 4
    transport.abort()
