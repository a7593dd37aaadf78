"""A close ends, whatever the other side does.

That it ends at all is what is held: without its bound each of these would wait for ever. How long it takes is the
machine's doing, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncblock.errors import ConnectionLost
from asyncblock.transport import Transport, websocket
from asyncblock.transport.websocket import connect_websocket, serve_websocket

MUCH = b'{"x":"' + b"x" * 1_000_000 + b'"}'


async def admit(path: str, headers: object) -> object:
    return "anybody"


@asynccontextmanager
async def pair(served: asyncio.Future[Transport]) -> AsyncIterator[Transport]:
    """Connect a transport to a server that hands its own end over and lets it be."""
    over = asyncio.Event()

    async def handle(transport: Transport, who: object) -> None:
        served.set_result(transport)
        await over.wait()

    async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=1 << 22) as port:
        transport = await connect_websocket(f"ws://127.0.0.1:{port}", None, max_message=1 << 22)
        try:
            yield transport
        finally:
            over.set()
            transport.abort()


async def send_until_nothing_is_taken(transport: Transport) -> None:
    with pytest.raises(TimeoutError):
        while True:
            # For each message anew: on a busy machine a whole second may pass while they are still taken.
            async with asyncio.timeout(0.5):
                await transport.send(MUCH)


@pytest.mark.parametrize("side", ["the client", "the server"])
async def test_closing_a_connection_whose_peer_reads_nothing_is_bounded(side: str) -> None:
    served: asyncio.Future[Transport] = asyncio.get_running_loop().create_future()
    async with pair(served) as client:
        transport = client if side == "the client" else await served
        await send_until_nothing_is_taken(transport)
        async with asyncio.timeout(40):
            await transport.close()
        with pytest.raises(ConnectionLost):
            await transport.receive()


async def test_a_server_ends_though_a_peer_reads_nothing_and_its_handler_waits_for_it() -> None:
    blocked = asyncio.Event()

    async def handle(transport: Transport, who: object) -> None:
        blocked.set()
        with pytest.raises(ConnectionLost):
            while True:
                await transport.send(MUCH)

    async with asyncio.timeout(40):
        async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=1 << 22) as port:
            transport = await connect_websocket(f"ws://127.0.0.1:{port}", None, max_message=1 << 22)
            await blocked.wait()
    transport.abort()


async def test_a_server_ends_though_somebody_connects_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It doesn't wait until the time for a handshake is over: here that is longer than the test."""
    monkeypatch.setattr(websocket, "_HANDSHAKE_TIMEOUT", 1000.0)

    async def handle(transport: Transport, who: object) -> None:
        transport.abort()

    async with asyncio.timeout(40):
        async with serve_websocket(handle, admit, "127.0.0.1", 0, max_message=1 << 22) as port:
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            silent.write(b"GET / HTTP/1.1\r\n")
            # One that comes behind it is served: so it was accepted, too.
            behind = await connect_websocket(f"ws://127.0.0.1:{port}", None, max_message=1 << 22)
            behind.abort()
    silent.close()
