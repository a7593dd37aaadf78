"""The links of a process: one for each address, and none of them waits for another's."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

import asyncblock
from asyncblock.client import connecting
from asyncblock.errors import AsyncBlockError, ConnectionLost
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared

from ..waits import until_called


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Listen, take connections in and never say a word; the event tells that somebody came."""
    came = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", came


@asynccontextmanager
async def served(directory: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, str]]:
    async with shared().lease() as io, hosted_mainframe(io, directory) as server:
        async with listening(io, server, "127.0.0.1", 0, tls=tls) as url:
            yield url, server.token


async def hold(url: str, timeout: float | None) -> None:
    async with asyncblock.connect(url, "any", timeout=timeout):
        await asyncio.Event().wait()


async def test_an_address_that_says_nothing_holds_up_no_other_one(tmp_path: Path) -> None:
    async with silent() as (dead, came), served(tmp_path) as (url, token):
        waiting = asyncio.create_task(hold(dead, None))
        await came.wait()
        # Joining, leaving and joining again, while the other one waits for as long as it takes.
        async with asyncio.timeout(10):
            for _ in range(2):
                async with asyncblock.connect(url, token) as mainframe:
                    await mainframe.info()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_each_waits_for_an_address_as_long_as_it_wants_to() -> None:
    async with silent() as (dead, came):
        patient = asyncio.create_task(hold(dead, None))
        await came.wait()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match=r"no answer from ws://127.0.0.1:\d+ within 0.2 s"):
                await hold(dead, 0.2)
        assert not patient.done()
        patient.cancel()
        await asyncio.wait([patient])
        # The last one to leave closes it: nothing tries that address any more.
        assert all(not links._links for links in connecting._shared_links.values())


async def test_those_who_come_later_share_a_link_that_is_still_being_opened(tmp_path: Path) -> None:
    async with silent() as (dead, came):
        first = asyncio.create_task(hold(dead, None))
        await came.wait()
        second = asyncio.create_task(hold(dead, None))
        [(links, held)] = [
            (links, held) for links in connecting._shared_links.values() for held in links._links.values()
        ]
        async with asyncio.timeout(10):
            await until_called(links, "join", lambda: held.users == 2)
            first.cancel()
            await asyncio.wait([first])
            assert not held.link.over
            second.cancel()
            await asyncio.wait([second])
        assert held.link.over


async def test_who_trusts_nobody_gets_no_link_of_somebody_who_does(tmp_path: Path) -> None:
    authority = trustme.CA()
    context, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    async with served(tmp_path, context) as (url, token):
        assert url.startswith("wss:")
        async with asyncblock.connect(url, token, tls=trusting) as mainframe:
            with pytest.raises(AsyncBlockError, match="certificate"):
                async with asyncblock.connect(url, token, timeout=5):
                    pass
            async with asyncblock.connect(url, token, tls=trusting) as again:
                assert again.link is mainframe.link


async def test_a_program_that_ends_while_a_link_is_being_closed_comes_to_its_end(tmp_path: Path) -> None:
    """``asyncio.run`` cancels at its end whatever still runs, the closing of links too."""
    async with served(tmp_path) as (url, token):
        code = f"""if 1:
            import asyncio, asyncblock

            async def main():
                opened = asyncio.Event()

                async def use():
                    async with asyncblock.connect({url!r}, {token!r}):
                        opened.set()
                        await asyncio.Event().wait()

                using = asyncio.create_task(use())
                await opened.wait()
                using.cancel()
                await asyncio.sleep(0)

            asyncio.run(main())
            """
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        try:
            async with asyncio.timeout(30):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
