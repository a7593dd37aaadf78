"""Tokens and addresses: who gets in, how tokens change while the mainframe runs, and where they never stand."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import stat
import traceback
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

import asyncblock
from asyncblock.errors import Unauthorized, Unavailable
from asyncblock.executor import Executor
from asyncblock.server import MainframeServer
from asyncblock.server.journal import BodyKey
from asyncblock.server.peers.access import Access
from asyncblock.server.settings import Settings
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ...flows import one_block
from ...peers import Peer

pytestmark = pytest.mark.timeout(60)


def replace(path: Path, text: str) -> None:
    """Put another token file in place of one, as an operator does."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def test_every_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor # the lab's\n\n# nobody\nbeta client,observer\n")
    access = Access("own", path)
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("asyncblock.server.peers.access.hmac", SimpleNamespace(compare_digest=compare))
    assert access.roles("own") == frozenset({"executor", "client", "observer"})
    assert access.roles("alpha") == frozenset({"executor"})
    assert access.roles("beta") == frozenset({"client", "observer"})
    assert access.roles("gamma") is None
    assert len(compared) == 4 * 3


@pytest.mark.parametrize("line", ["alpha", "alpha king", "alpha executor king"])
def test_a_token_file_with_a_mistake_is_refused_at_the_start_and_kept_out_later(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text(line)
    with pytest.raises(Unavailable, match="tokens:1: a token is followed by its roles") as caught:
        Access(None, path)
    assert "alpha" not in str(caught.value)
    path.write_text("alpha executor")
    access = Access(None, path)
    replace(path, f"beta client\n{line} # changed")
    assert access.roles("alpha") == frozenset({"executor"})
    assert "the tokens from before stay valid" in caplog.text
    assert "alpha" not in caplog.text


def test_the_own_token_is_random_and_readable_for_its_owner_only(tmp_path: Path) -> None:
    async def token_of(directory: Path) -> str:
        async with MainframeServer(directory) as server:
            return server.token

    first, second = asyncio.run(token_of(tmp_path / "a")), asyncio.run(token_of(tmp_path / "b"))
    assert first != second
    assert len(first) >= 32
    assert asyncio.run(token_of(tmp_path / "a")) == first
    assert stat.S_IMODE((tmp_path / "a" / "token").stat().st_mode) == 0o600


async def connected(url: str, token: str) -> Peer:
    return Peer(await connect_websocket(url, token, max_message=MAX_MESSAGE))


async def test_tokens_change_without_a_restart_and_end_the_connections_that_were_made_with_them(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor\nbeta client\ngamma client\n")
    settings = Settings(token_file=path, heartbeat=1.5)
    async with MainframeServer(tmp_path / "data", settings) as server, server.listen("127.0.0.1", 0) as url:
        alpha, beta, gamma = [await connected(url, name) for name in ("alpha", "beta", "gamma")]
        assert (await alpha.hello("a", slots=1))["op"] == "welcome"
        assert (await beta.hello("b"))["op"] == "welcome"
        assert (await gamma.hello("c"))["op"] == "welcome"
        replace(path, "beta observer\ngamma client\ndelta executor\n")
        bye = await alpha.until("bye")
        assert (bye["code"], bye["stop"], bye["reason"]) == ("unauthorized", True, "its token isn't valid any more")
        assert "have changed" in (await beta.until("bye"))["reason"]
        with pytest.raises(Unauthorized):
            await connected(url, "alpha")
        again = await connected(url, "beta")
        await again.hello("b2")
        assert (await again.ask("cancel", session_id="s"))["error"]["code"] == "unauthorized"
        assert (await (await connected(url, "delta")).hello("d", slots=1))["op"] == "welcome"
        assert (await gamma.ask("sessions"))["error"] is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_address_beyond_this_machine_needs_tls_or_the_word_of_the_operator(tmp_path: Path, host: str) -> None:
    async with MainframeServer(tmp_path / "a") as server:
        with pytest.raises(Unavailable, match="--insecure"):
            async with server.listen(host, 0):
                pass
    async with MainframeServer(tmp_path / "b", Settings(insecure=True)) as server, server.listen("0.0.0.0", 0) as url:
        assert url.startswith("ws://0.0.0.0:")


async def test_web_pages_connect_from_allowed_origins_only(tmp_path: Path) -> None:
    settings = Settings(origins=frozenset({"https://good.example"}))
    async with MainframeServer(tmp_path, settings) as server, server.listen("127.0.0.1", 0) as url:

        def dial(origin: str) -> Any:
            return websockets.asyncio.client.connect(
                url,
                origin=Origin(origin),
                subprotocols=[Subprotocol("asyncblock.v1")],
                additional_headers={"Authorization": f"Bearer {server.token}"},
                proxy=None,
            )

        async with dial("https://good.example"):
            pass
        for origin in ("https://evil.example", "http://good.example", "null"):
            with pytest.raises(InvalidStatus) as caught:
                await dial(origin)
            assert caught.value.response.status_code == 403


async def test_a_connection_that_sends_a_byte_at_a_time_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.transport.websocket._HANDSHAKE_TIMEOUT", 0.3)
    async with MainframeServer(tmp_path) as server, server.listen("127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        silent, other = await asyncio.open_connection("127.0.0.1", port)
        slow, writer = await asyncio.open_connection("127.0.0.1", port)

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 1000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(10):
            for reader in (silent, slow):
                with suppress(ConnectionResetError):
                    await reader.read()
        dripping.cancel()
        for each in (writer, other):
            each.close()
            with suppress(ConnectionResetError):
                await each.wait_closed()
        assert server.gateway.connections == 0


async def test_bodies_and_metrics_are_for_those_with_a_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor\nbeta observer\n")
    async with (
        MainframeServer(tmp_path / "data", Settings(token_file=path)) as server,
        server.listen("127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url.replace("ws", "http", 1), trust_env=False) as client,
    ):

        async def get(place: str, token: str | None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return (await client.get(place, headers=headers)).status_code

        assert await get("/metrics", None) == 401
        assert await get("/metrics", "wrong") == 401
        assert await get("/metrics", "beta") == 200
        for place in (
            "/bodies/../token",
            "/bodies/%2e%2e-1",
            "/bodies/a-\u00b2",
            "/bodies/..-1",
            "/bodies/x-1",
            "/bodies/x",
        ):
            assert await get(place, "beta") == 404
        assert await get("/bodies/x-1", None) == 401
        assert await get("/bodies/x-1", "alpha") == 404


async def test_large_bodies_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncblock.server.reception.http.MAX_HTTP_BODY", 100_000)
    async with (
        MainframeServer(tmp_path / "data") as server,
        server.listen("127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url.replace("ws", "http", 1), trust_env=False) as client,
    ):
        data = bytes(range(256)) * 1000
        await server.journal.bodies.write(BodyKey("link", 1), 0, data)

        async def get(part: str | None) -> httpx.Response:
            headers = {"Authorization": f"Bearer {server.token}"} | ({} if part is None else {"Range": part})
            return await client.get("/bodies/link-1", headers=headers)

        whole = await get(None)
        assert (whole.status_code, b"Range" in whole.content) == (413, True)
        found = b""
        while len(found) < len(data):
            answer = await get(f"bytes={len(found)}-")
            assert answer.status_code == 206
            last = len(found) + len(answer.content) - 1
            assert answer.headers["content-range"] == f"bytes {len(found)}-{last}/*"
            found += answer.content
        assert found == data
        assert (await get("bytes=5-9")).content == data[5:10]
        assert [(await get(part)).status_code for part in ("bytes=256000-", "bytes=9-5", "lines=1-2")] == [
            416,
            416,
            413,
        ]


async def test_bodies_that_nobody_takes_from_http_take_a_bounded_amount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.reception.http._UNDER_WAY", 9 << 20)
    data = bytes(4 << 20)
    async with MainframeServer(tmp_path / "data") as server, server.listen("127.0.0.1", 0) as url:
        await server.journal.bodies.write(BodyKey("link", 1), 0, data)
        port = int(url.rpartition(":")[2])
        request = f"GET /bodies/link-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        silent = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            writer.write(request)
            assert b"200" in await reader.readline()
            silent.append((reader, writer))
        async with httpx.AsyncClient(base_url=url.replace("ws", "http", 1), trust_env=False) as client:

            async def get(part: str | None = None) -> httpx.Response:
                headers = {"Authorization": f"Bearer {server.token}"} | ({} if part is None else {"Range": part})
                return await client.get("/bodies/link-1", headers=headers)

            refused = await get()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert (await get("bytes=0-99")).content == bytes(100)
            # Whoever takes its answer, or hangs up, makes room for others.
            rest = b""
            while piece := await silent[0][0].read(1 << 20):
                rest += piece
            assert rest.endswith(b"\r\n\r\n" + data)
            silent[1][1].transport.abort()
            answer = await get()
            while answer.status_code == 503:
                answer = await get()
            assert answer.content == data
        for _, writer in silent:
            writer.close()
        assert server.gateway.connections == 0


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_token_file_that_everybody_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor")
    path.chmod(mode)
    with pytest.raises(Unavailable, match="chmod o-w"):
        Access(None, path)


def test_a_token_file_that_becomes_writable_for_everybody_is_kept_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor")
    path.chmod(0o600)
    access = Access(None, path)
    assert caplog.text == ""
    path.write_text("alpha executor\nbeta client")
    path.chmod(0o666)
    assert access.roles("beta") is None
    assert access.roles("alpha") == frozenset({"executor"})
    assert "chmod o-w" in caplog.text


def test_a_token_file_that_everybody_may_read_is_told_and_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text("alpha executor")
    path.chmod(0o444)
    assert Access(None, path).roles("alpha") == frozenset({"executor"})
    assert "may be read by everybody" in caplog.text


async def test_metrics_have_the_names_that_are_documented(tmp_path: Path) -> None:
    async with MainframeServer(tmp_path) as server, server.listen("127.0.0.1", 0) as url:
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"Authorization": f"Bearer {server.token}"}
            text = (await client.get(url.replace("ws", "http", 1) + "/metrics", headers=headers)).text
    names = {line.split()[0] for line in text.splitlines() if not line.startswith("#")}
    for name in ("loop_lag_seconds", "jobs_waiting", "journal_queued_bytes", "acks_total", "received_bytes_total"):
        assert f"asyncblock_{name}" in names
    told = set(re.findall(r"^# HELP (\w+) .", text, re.MULTILINE))
    # A histogram is told of once for all its buckets, their count and their sum.
    families = {re.sub(r"_(bucket|count|sum)$", "", name.partition("{")[0]) for name in names}
    assert families <= told


async def test_no_token_stands_in_logs_errors_metrics_or_tracebacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything logs at DEBUG, on both sides; right and wrong tokens are used, and things fail."""
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("asyncblock", "websockets", "asyncio")) and "transport.websocket" not in name:
            caplog.set_level(logging.DEBUG, name)
    path = tmp_path / "tokens"
    secrets = ["s3cret-of-a-client", "s3cret-of-nobody"]
    path.write_text(f"{secrets[0]} client,executor,observer\n")
    flow = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    raise ValueError('no luck')\n")
    said = ""
    async with (
        MainframeServer(tmp_path / "data", Settings(token_file=path)) as server,
        server.listen("127.0.0.1", 0) as url,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        secrets.append(server.token)
        try:
            async with asyncblock.connect(url, token=secrets[1]):
                pass
        except Unauthorized as error:
            said += "".join(traceback.format_exception(error)) + repr(error)
        async with asyncblock.connect(url, token=secrets[0]) as mainframe:
            async with Executor(packages=[flow.parent]).attached(mainframe):
                session = await mainframe.start(flow)
                said += repr([event async for event in session])
            secrets += [link.token_hash for link in server.sessions.dispatch.links.values()]
            secrets.append(str(mainframe.link._token))
        for token in secrets[:3]:
            answer = await client.get(
                url.replace("ws", "http", 1) + "/metrics", headers={"Authorization": f"Bearer {token}"}
            )
            said += answer.text
    assert "no luck" in said
    assert len(caplog.records) > 10
    said += caplog.text
    assert [each for each in secrets if each in said] == []
