"""Behind real proxies: prefixes, TLS, timeouts, reloads, logins and pages of their own; nothing of that ends a job."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trustme

import asyncblock
from asyncblock import events
from asyncblock.errors import ConnectionLost, Rejected, Unauthorized
from asyncblock.executor import Executor
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared
from asyncblock.server.settings import Settings

from ..processes import run
from ..waits import until_called
from .proxies import PROXIES, Nginx, Proxy, proxied

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "kind",
        [
            pytest.param(
                each,
                id=each.__name__,
                marks=pytest.mark.skipif(not each.installed(), reason=f"not there: apt-get install {each.package}"),
            )
            for each in PROXIES
        ],
    ),
]


@asynccontextmanager
async def served(
    kind: type[Proxy], directory: Path, word: str = "passing", certificate: Path | None = None
) -> AsyncIterator[tuple[Proxy, str]]:
    """Serve a mainframe behind a proxy; yield the proxy and the mainframe's token."""
    async with (
        shared().lease() as io,
        hosted_mainframe(io, directory / "data", Settings(heartbeat=0.5)) as server,
        listening(io, server, "127.0.0.1", 0) as url,
        proxied(kind, directory / "proxy", int(url.rpartition(":")[2]), word, certificate) as proxy,
    ):
        yield proxy, server.token


@asyncblock.block(inputs=[], outputs=[{"handle": "n"}])
async def ticks(ctx: asyncblock.Context) -> None:
    for n in range(60):
        await ctx.output(n, "n")
        await ctx.flush()
        await asyncio.sleep(0.05)


def flow() -> asyncblock.Flow:
    made = asyncblock.Flow("ticks")
    made.output("n", made.node(ticks)["n"])
    return made


async def numbers(mainframe: asyncblock.Mainframe, **_: Any) -> list[int]:
    session = await mainframe.start(flow())
    return [
        event.output
        async for event in session
        if isinstance(event, events.BlockOutput) and isinstance(event.output, int)
    ]


async def back(mainframe: asyncblock.Mainframe) -> None:
    """Wait until there is a connection again."""
    await until_called(mainframe.link._connections, "_receive", lambda: not mainframe.link.away)


@pytest.mark.parametrize("path", ["/team", "/team/"])
async def test_a_prefix_works_with_and_without_a_final_slash(kind: type[Proxy], tmp_path: Path, path: str) -> None:
    """They redirect the one to the other, and that to http://."""
    async with served(kind, tmp_path, "prefix") as (proxy, token):
        async with asyncblock.connect(proxy.url + path, token) as mainframe:
            assert (await mainframe.info())["roles"]


async def test_tls_ends_at_the_proxy_and_an_unknown_authority_is_named(kind: type[Proxy], tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with served(kind, tmp_path, certificate=certificate) as (proxy, token):
        async with (
            asyncblock.connect(proxy.url, token, tls=trusting) as mainframe,
            Executor([ticks]).attached(mainframe),
        ):
            async with asyncio.timeout(40):
                assert await numbers(mainframe) == list(range(60))
        with pytest.raises(asyncblock.AsyncBlockError, match="certificate"):
            async with asyncblock.connect(proxy.url, token, timeout=5):
                pass


async def test_a_job_goes_on_while_its_proxy_is_replaced_asks_for_a_login_and_is_closed(
    kind: type[Proxy], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        proxy, token = await stack.enter_async_context(served(kind, tmp_path))
        mainframe = await stack.enter_async_context(asyncblock.connect(proxy.url, token))
        await stack.enter_async_context(Executor([ticks]).attached(mainframe))
        with caplog.at_level(logging.WARNING):
            running = asyncio.create_task(numbers(mainframe))
            for word, status in (("login", 401), ("forbidding", 403), ("closed", 503)):
                await proxy.become(word)
                await proxy.until_answered(status)
                await proxy.become("passing")
                await back(mainframe)
            async with asyncio.timeout(30):
                assert await running == list(range(60))
        assert not any("<html" in each.message for each in caplog.records)


async def test_a_reload_cuts_a_connection_and_the_job_goes_on(kind: type[Proxy], tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        proxy, token = await stack.enter_async_context(served(kind, tmp_path))
        mainframe = await stack.enter_async_context(asyncblock.connect(proxy.url, token))
        await stack.enter_async_context(Executor([ticks]).attached(mainframe))
        connections = mainframe.link._connections
        generation = connections.generation
        running = asyncio.create_task(numbers(mainframe))
        await proxy.reload()
        await until_called(connections, "_greet", lambda: connections.generation != generation)
        async with asyncio.timeout(30):
            assert await running == list(range(60))


async def test_a_proxy_that_cuts_what_is_silent_for_two_seconds_is_kept_awake_by_heartbeats(
    kind: type[Proxy], tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        proxy, token = await stack.enter_async_context(served(kind, tmp_path, "impatient"))
        mainframe = await stack.enter_async_context(asyncblock.connect(proxy.url, token))
        await stack.enter_async_context(Executor([ticks]).attached(mainframe))
        connections = mainframe.link._connections
        generation = connections.generation
        async with asyncio.timeout(40):
            assert await numbers(mainframe) == list(range(60))
        assert mainframe.link._connections.generation == generation


@pytest.mark.parametrize("word", ["dropping", "plain"])
async def test_a_proxy_that_drops_the_upgrade_is_named_as_the_fault_by_connect_executor_and_doctor(
    kind: type[Proxy], tmp_path: Path, word: str
) -> None:
    if word == "plain" and kind is Nginx and version("websockets") < "17":
        pytest.skip("nginx speaks HTTP/1.0 then, which websockets 16 doesn't answer")
    async with served(kind, tmp_path, word) as (proxy, token):
        with pytest.raises(Rejected, match="a proxy on the way has dropped 'Upgrade: websocket'"):
            async with asyncblock.connect(proxy.url, token):
                pass
        at = ("--url", proxy.url, "--token", token)
        executor = await run("executor", *at, state=tmp_path)
        assert executor.process.returncode == 2
        assert "a proxy on the way has dropped 'Upgrade: websocket'" in "".join(executor.err)
        doctor = await run("doctor", *at, state=tmp_path)
        assert doctor.process.returncode == 1
        assert "a proxy on the way has dropped 'Upgrade: websocket'" in "".join(doctor.out)


async def test_a_wrong_token_is_final_behind_a_proxy_too_and_a_proxys_own_login_is_tried_again(
    kind: type[Proxy], tmp_path: Path
) -> None:
    async with served(kind, tmp_path) as (proxy, token):
        with pytest.raises(Unauthorized, match="refused the token"):
            async with asyncblock.connect(proxy.url, "wrong", timeout=20):
                pass
        await proxy.become("login")
        with pytest.raises(ConnectionLost, match=r"Log in please.*--header"):
            async with asyncblock.connect(proxy.url, token, timeout=0.5):
                pass


async def test_headers_reach_the_proxy(kind: type[Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(kind, tmp_path, "key") as (proxy, token):
        with pytest.raises(ConnectionLost, match="HTTP 403"):
            async with asyncblock.connect(proxy.url, token, timeout=0.5):
                pass
        async with asyncblock.connect(proxy.url, token, headers={"X-Key": "open"}) as mainframe:
            assert await mainframe.info()
        monkeypatch.setenv("ASYNCBLOCK_HEADERS", "X-Key: open")
        async with asyncblock.connect(proxy.url, token) as mainframe:
            assert await mainframe.info()
