"""Plain HTTP on the mainframe's port: health, metrics, bodies, and who is turned away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import orjson
import pytest

import asyncblock
from asyncblock import events
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.server import MainframeServer

from ...flows import all_of, one_block

LARGE = """
async def main(inputs, ctx):
    return {"out": "x" * 200_000}
"""


class Served:
    def __init__(self, io: IOThread, server: MainframeServer, url: str, client: httpx.AsyncClient) -> None:
        self.io = io
        self.server = server
        self.url = url
        self.client = client
        self.known = {"Authorization": f"Bearer {server.token}"}

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={**self.known, **headers})


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        io = await stack.enter_async_context(shared().lease())
        server = await stack.enter_async_context(hosted_mainframe(io, tmp_path / "data"))
        url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
        base = url.replace("ws", "http", 1)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, trust_env=False))
        yield Served(io, server, url, client)


async def test_healthz_needs_no_token_and_tells_of_trouble_and_its_end(served: Served) -> None:
    async def health() -> tuple[int, object]:
        answer = await served.client.get("/healthz")
        return answer.status_code, answer.json()

    async def troubled(error: Exception | None) -> None:
        if error is not None:
            served.server._on_trouble(error)
        else:
            served.server._on_recovered()

    assert await health() == (200, {"status": "ok", "trouble": None})
    await served.io.run(troubled(OSError("no space left on device")))
    status, said = await health()
    assert status == 503
    assert said == {"status": "trouble", "trouble": "the journal can't be written: no space left on device"}
    await served.io.run(troubled(None))
    assert await health() == (200, {"status": "ok", "trouble": None})


async def test_everything_else_needs_a_token(served: Served) -> None:
    for path in ("/", "/metrics", "/bodies/a-1", "/nothing"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {served.server.token}"}):
            assert (await served.client.get(path, headers=headers)).status_code == 401
    answer = await served.get("/nothing")
    assert answer.status_code == 404
    assert "/healthz" in answer.text


async def test_a_page_of_another_origin_may_not_connect(served: Served) -> None:
    answer = await served.get(
        "/",
        Connection="Upgrade",
        Upgrade="websocket",
        Origin="https://elsewhere.example",
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
    )
    assert answer.status_code == 403
    assert "--origin" in answer.text


async def test_bodies_are_fetched_with_a_token(served: Served, tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", LARGE)
    async with asyncblock.connect(served.url, served.server.token) as mainframe:
        async with asyncblock.Executor(packages=[path.parent]).attached(mainframe):
            session = await mainframe.start(path)
            found = [event async for event in session]
    [finished] = all_of(found, events.BlockFinished)
    ref = finished.bodies["out"]
    answer = await served.get(f"/bodies/{ref.link}-{ref.n}")
    assert answer.status_code == 200
    assert orjson.loads(answer.content) == "x" * 200_000
    for name in (f"{ref.link}-{ref.n + 1}", "nothing", "..%2Fjournal.db-1", f"{ref.link}-x"):
        assert (await served.get(f"/bodies/{name}")).status_code == 404


async def test_metrics_are_prometheus_text(served: Served) -> None:
    answer = await served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split()[0].partition("{")[0] for line in answer.text.splitlines() if not line.startswith("#")}
    assert {"asyncblock_connections", "asyncblock_executors", "asyncblock_jobs_open"} <= names
    assert {f"asyncblock_var_values_{each}bytes" for each in ("", "limit_", "disk_", "disk_limit_")} <= names
