"""Several proxies as one."""

from __future__ import annotations

import asyncio

from asyncblock.testing import FaultProxy
from asyncblock.testing.chaos.proxies import FaultProxies


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_what_is_done_to_them_is_done_to_each() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultProxy("127.0.0.1", port) as one, FaultProxy("127.0.0.1", port) as other:
        both = FaultProxies([one, other])
        lines = [await asyncio.open_connection("127.0.0.1", each.port) for each in both]
        for proxy in both:
            await proxy.until_accepted(1)
        both.stall()
        for _, writer in lines:
            writer.write(b"a")
        both.resume()
        assert [await reader.readexactly(1) for reader, _ in lines] == [b"a", b"a"]
        both.cut()
        assert both.cuts == 2
        for reader, writer in lines:
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            writer.close()
