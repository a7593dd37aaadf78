from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncblock.testing import FaultProxy


@asynccontextmanager
async def echo() -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that sends back what comes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy, asyncio.timeout(20):
        yield proxy


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_what_goes_in_comes_out_whole() -> None:
    async with echo() as proxy, connected(proxy) as (reader, writer):
        data = bytes(range(256)) * 4096
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert proxy.connections == 1


async def test_a_cut_resets_connections_and_spares_later_ones() -> None:
    async with echo() as proxy:
        async with connected(proxy) as (reader, _):
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
        async with connected(proxy):
            assert proxy.cuts == 1


async def test_a_gentle_cut_ends_the_stream() -> None:
    async with echo() as proxy, connected(proxy) as (reader, _):
        proxy.cut_gently()
        assert await reader.read(1) == b""


async def test_truncation_lets_one_half_through() -> None:
    async with echo() as proxy, connected(proxy) as (reader, writer):
        proxy.truncate()
        writer.write(b"x" * 1000)
        got = b""
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            while True:
                got += await reader.readexactly(1)
        assert len(got) <= 500


async def test_a_black_hole_says_nothing_and_loses_nothing_when_it_ends() -> None:
    async with echo() as proxy, connected(proxy) as (reader, writer):
        proxy.stall()
        writer.write(b"later")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        proxy.resume()
        assert await reader.readexactly(5) == b"later"


@pytest.mark.parametrize("near", [False, True])
async def test_a_half_open_connection_has_ended_for_one_side_only(near: bool) -> None:
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except OSError:
            pass
        ended.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        await proxy.until_accepted(1)
        proxy.half_open(near=near)
        one, other = (reader.read(1), ended.wait()) if near else (ended.wait(), reader.read(1))
        try:
            await one
        except ConnectionResetError:
            assert near
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other, 0.1)
        writer.transport.abort()
        if not near:
            await ended.wait()


async def test_a_stall_from_the_beginning_lasts_until_it_is_resumed() -> None:
    async with echo() as proxy:
        proxy.stall_new()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        proxy.resume()
        assert await reader.readexactly(5) == b"hello"
        writer.transport.abort()
        async with connected(proxy):
            assert proxy.accepted == 2


async def test_a_drip_is_slow_and_whole() -> None:
    async with echo() as proxy, connected(proxy) as (reader, writer):
        proxy.drip(10_000)
        began = asyncio.get_running_loop().time()
        writer.write(b"x" * 1000)
        assert await reader.readexactly(1000) == b"x" * 1000
        assert asyncio.get_running_loop().time() - began >= 0.07


async def test_away_refuses_and_comes_back_on_the_same_port() -> None:
    async with echo() as proxy:
        port = proxy.port
        absence = asyncio.create_task(proxy.away(0.2))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await absence
        async with connected(proxy):
            assert proxy.port == port


async def test_nothing_behind_it_ends_the_connection() -> None:
    async with echo() as proxy:
        pass
    async with FaultProxy("127.0.0.1", proxy.port) as before_nothing:
        reader, writer = await asyncio.open_connection("127.0.0.1", before_nothing.port)
        try:
            data = await reader.read(1)
        except ConnectionResetError:
            data = b""
        assert data == b""
        writer.transport.abort()
