"""Behind a real nginx: prefixes, redirects, timeouts, reloads, logins and pages of its own; nothing of that ends a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import ConnectionLost, LocalProtocolError, Rejected, Unauthorized
from asyncblock.executor import Executor
from asyncblock.hosting import hosted_mainframe, listening
from asyncblock.iothread import shared
from asyncblock.server.settings import Settings

from .proxies import NGINX, Nginx, nginx

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx isn't installed: apt-get install nginx-light"),
]

ROOT = "location / { PASS }"
LOGIN = "location / { return 401 '<html><title>Log in please</title></html>'; }"
CLOSED = "location / { return 503 '<html><title>We are back soon</title></html>'; }"


@asynccontextmanager
async def served(stack: AsyncExitStack, directory: Path, body: str) -> AsyncIterator[tuple[Nginx, str]]:
    """Serve a mainframe behind nginx; yield both, the mainframe by its token."""
    io = await stack.enter_async_context(shared().lease())
    server = await stack.enter_async_context(hosted_mainframe(io, directory / "data", Settings(heartbeat=0.5)))
    url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
    async with nginx(directory / "nginx", int(url.rpartition(":")[2]), body) as proxy:
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


@pytest.mark.parametrize("path", ["/team", "/team/"])
async def test_a_prefix_works_with_and_without_a_final_slash(tmp_path: Path, path: str) -> None:
    """nginx redirects the one to the other, and that to http://."""
    async with AsyncExitStack() as stack, served(stack, tmp_path, "location /team/ { PASS }") as (proxy, token):
        async with asyncblock.connect(f"ws://127.0.0.1:{proxy.port}{path}", token) as mainframe:
            assert (await mainframe.info())["roles"]


async def test_a_job_goes_on_while_its_proxy_is_reloaded_asks_for_a_login_and_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack, served(stack, tmp_path, ROOT) as (proxy, token):
        mainframe = await stack.enter_async_context(asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", token))
        await stack.enter_async_context(Executor([ticks]).attached(mainframe))
        with caplog.at_level(logging.WARNING):
            running = asyncio.create_task(numbers(mainframe))
            for body, status in ((LOGIN, 401), (CLOSED, 503)):
                await proxy.configure(body)
                await proxy.until_answered(status)
                await proxy.configure(ROOT.replace("PASS", proxy.passing))
                async with asyncio.timeout(30):
                    while mainframe.link.away:  # noqa: ASYNC110  # nobody is told of it
                        await asyncio.sleep(0.02)
            async with asyncio.timeout(30):
                assert await running == list(range(60))
        assert not any("<html" in each.message for each in caplog.records)


async def test_a_proxy_that_cuts_what_is_silent_for_a_second_is_kept_awake_by_heartbeats(tmp_path: Path) -> None:
    body = "location / { proxy_read_timeout 2s; proxy_send_timeout 2s; PASS }"
    async with AsyncExitStack() as stack, served(stack, tmp_path, body) as (proxy, token):
        mainframe = await stack.enter_async_context(asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", token))
        await stack.enter_async_context(Executor([ticks]).attached(mainframe))
        generation = mainframe.link._generation
        async with asyncio.timeout(40):
            assert await numbers(mainframe) == list(range(60))
        assert mainframe.link._generation == generation


async def test_a_proxy_that_drops_the_upgrade_is_named_as_the_fault(tmp_path: Path) -> None:
    body = "location / { proxy_pass http://127.0.0.1:UPSTREAM/; }"
    async with AsyncExitStack() as stack, served(stack, tmp_path, ROOT) as (proxy, token):
        await proxy.configure(body.replace("UPSTREAM", str(proxy.upstream)))
        with pytest.raises(Rejected, match="a proxy on the way has dropped it"):
            async with asyncblock.connect(f"ws://127.0.0.1:{proxy.port}", token):
                pass


async def test_a_wrong_token_is_final_behind_a_proxy_too_and_a_proxys_own_login_is_tried_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, served(stack, tmp_path, ROOT) as (proxy, token):
        url = f"ws://127.0.0.1:{proxy.port}"
        with pytest.raises(Unauthorized, match="refused the token"):
            async with asyncblock.connect(url, "wrong", timeout=20):
                pass
        await proxy.configure(LOGIN)
        with pytest.raises(ConnectionLost, match="Log in please"):
            async with asyncblock.connect(url, token, timeout=0.5):
                pass


async def test_headers_reach_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = 'location / { if ($http_x_key != "open") { return 403; } PASS }'
    async with AsyncExitStack() as stack, served(stack, tmp_path, body) as (proxy, token):
        url = f"ws://127.0.0.1:{proxy.port}"
        with pytest.raises(ConnectionLost, match="HTTP 403"):
            async with asyncblock.connect(url, token, timeout=0.5):
                pass
        async with asyncblock.connect(url, token, headers={"X-Key": "open"}) as mainframe:
            assert await mainframe.info()
        monkeypatch.setenv("ASYNCBLOCK_HEADERS", "X-Key: open")
        async with asyncblock.connect(url, token) as mainframe:
            assert await mainframe.info()


async def test_an_address_with_a_password_is_refused_without_saying_it() -> None:
    with pytest.raises(LocalProtocolError, match="a mainframe takes a token") as caught:
        async with asyncblock.connect("ws://me:secret@127.0.0.1:1", "token"):
            pass
    assert "secret" not in str(caught.value)
