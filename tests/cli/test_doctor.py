"""``asyncblock doctor``: each finding, well and not, against real mainframes, certificates and proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets.asyncio.server
from websockets.typing import Subprotocol

import asyncblock
from asyncblock.cli import doctor

from ..processes import Command, free_port, run, start

NAMES = [
    "address", "tls", "health", "websocket", "version", "token", "clock", "limits", "disk", "journal", "executors",
    "values",
]  # fmt: skip


def findings(command: Command) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in command.events()}


def bad(command: Command) -> list[str]:
    return [finding["name"] for finding in command.events() if not finding["ok"]]


@asynccontextmanager
async def served(state: Path, *arguments: str | Path) -> AsyncIterator[str]:
    async with start("serve", "--port", "0", "--workers", "1", *arguments, state=state) as server:
        line = await server.until_line("mainframe at", err=True)
        # Its own executor has connected when a flow has run.
        yield line.split()[2].rstrip(",")


async def test_all_is_well(tmp_path: Path) -> None:
    async with served(tmp_path) as url:
        assert (await run("submit", "stocks", state=tmp_path)).process.returncode == 0
        plain = await run("doctor", state=tmp_path)
        assert plain.process.returncode == 0, plain.out
        assert [line.split()[:2] for line in plain.out] == [["ok", name] for name in NAMES]
        json = await run("doctor", "--json", state=tmp_path)
        found = findings(json)
        assert found["address"]["words"] == url
        assert "client, executor, observer" in found["token"]["words"]
        assert "epoch" in found["journal"]["words"]
        assert "synchronous=normal" in found["journal"]["words"]
        assert found["executors"]["words"].startswith("1 connected; they offer memory=")


async def test_nobody_there_is_the_only_finding(tmp_path: Path) -> None:
    unknown = await run("doctor", state=tmp_path)
    assert unknown.process.returncode == 1
    assert len(unknown.out) == 1
    assert unknown.out[0].startswith("BAD  address    no mainframe is served from")
    closed = await run("doctor", "--url", f"ws://127.0.0.1:{free_port()}", "--json", state=tmp_path)
    assert (closed.process.returncode, list(findings(closed))) == (1, ["address"])
    assert "asyncblock serve" in findings(closed)["address"]["words"]
    wrong = await run("doctor", "--url", "http://127.0.0.1", "--json", state=tmp_path)
    assert "ws://HOST:PORT" in findings(wrong)["address"]["words"]


async def test_a_wrong_token_and_its_roles(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sees observer\n")
    async with served(tmp_path, "--token-file", tokens):
        wrong = await run("doctor", "--token", "wr0ng", "--json", state=tmp_path)
        assert wrong.process.returncode == 1
        assert bad(wrong) == ["token"]
        assert "ASYNCBLOCK_TOKEN" in findings(wrong)["token"]["words"]
        assert "wr0ng" not in "\n".join(wrong.out + wrong.err)
        observer = await run("doctor", "--token", "sees", "--json", state=tmp_path)
        assert findings(observer)["token"]["words"] == "roles: observer"


async def test_no_executor_is_said_with_what_to_do(tmp_path: Path) -> None:
    async with start("serve", "--port", "0", state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        alone = await run("doctor", "--json", state=tmp_path)
    assert (alone.process.returncode, bad(alone)) == (1, ["executors"])
    assert "asyncblock executor" in findings(alone)["executors"]["words"]


@pytest.mark.timeout(180)  # a dozen commands, each of which starts a Python
async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    key, chain, ca = tmp_path / "key.pem", tmp_path / "chain.pem", tmp_path / "ca.pem"
    certificate.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(str(ca))
    async with served(tmp_path, "--tls-cert", chain, "--tls-key", key) as url:
        assert url.startswith("wss://127.0.0.1:")
        strange = await run("doctor", "--json", state=tmp_path)
        assert (strange.process.returncode, bad(strange)) == (1, ["tls"])
        assert "--tls-ca" in findings(strange)["tls"]["words"]
        submit = await run("submit", "stocks", "--tls-ca", ca, state=tmp_path)
        assert submit.process.returncode == 0, submit.err
        known = await run("doctor", "--json", "--tls-ca", ca, state=tmp_path)
        assert known.process.returncode == 0, known.out
        assert "certificate valid for" in findings(known)["tls"]["words"]
        for command in (("sessions",), ("sessions", "prune", "--keep", "5")):
            by_environment = await run(*command, state=tmp_path, ASYNCBLOCK_TLS_CA=str(ca))
            assert by_environment.process.returncode == 0, by_environment.err
            refused = await run(*command, state=tmp_path)
            assert refused.process.returncode == 2
            assert "TLS with" in refused.err[0]
        async with start("executor", "--tls-ca", ca, state=tmp_path) as executor:
            await executor.until_line(f"executor for {url}", err=True)
        plain = await run("doctor", "--json", "--url", url.replace("wss", "ws"), state=tmp_path)
        assert plain.process.returncode == 1


async def test_plain_ws_asked_for_tls(tmp_path: Path) -> None:
    async with served(tmp_path) as url:
        asked = await run("doctor", "--json", "--url", url.replace("ws", "wss", 1), state=tmp_path)
    assert bad(asked) == ["tls"]
    assert "does it serve ws:// instead?" in findings(asked)["tls"]["words"]


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def reverse_proxy(url: str, *, strip: bytes | None = None) -> AsyncIterator[str]:
    """A proxy before the mainframe; it may take a header away, as some do with ``Upgrade``."""
    host, port = url.removeprefix("ws://").split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if strip is None or not line.lower().startswith(strip)]
        back, forth = await asyncio.open_connection(host, int(port))
        forth.write(b"\r\n".join(lines))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, forth))
            tasks.create_task(copy(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def forward_proxy(*, tunnels: bool) -> AsyncIterator[str]:
    """A company's proxy: it passes requests on, and tunnels (CONNECT) if it is kind."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        if method == "CONNECT" and not tunnels:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        host, _, port = (target if method == "CONNECT" else target.split("/")[2]).partition(":")
        back, forth = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            forth.write(head.replace(f"http://{host}:{port}".encode(), b""))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, forth))
            tasks.create_task(copy(back, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def outward_address() -> str | None:
    """Return an address of this machine that isn't loopback: proxies are for others. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


@pytest.mark.skipif(outward_address() is None, reason="this machine has no address but loopback")
async def test_the_upgrade_through_a_proxy_that_the_environment_names(tmp_path: Path) -> None:
    address, port = outward_address(), free_port()
    async with AsyncExitStack() as stack:
        serve = ("serve", "--host", "0.0.0.0", "--port", str(port), "--insecure", "--workers", "1")
        server = await stack.enter_async_context(start(*serve, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        arguments = ("--url", f"ws://{address}:{port}", "--token", token)
        no_tls = await run("doctor", "--json", *arguments, state=tmp_path, NO_PROXY="*")
        assert "tls" in bad(no_tls)
        assert "--tls-cert" in findings(no_tls)["tls"]["words"]
        kind = await stack.enter_async_context(forward_proxy(tunnels=True))
        environment = {"http_proxy": kind, "NO_PROXY": "", "no_proxy": ""}
        assert (await run("submit", "stocks", *arguments, state=tmp_path, **environment)).process.returncode == 0
        through = await run("doctor", "--json", *arguments, state=tmp_path, **environment)
        assert bad(through) == ["tls"]
        assert f"through the proxy {kind}" in findings(through)["address"]["words"]
        unkind = await stack.enter_async_context(forward_proxy(tunnels=False))
        refused = await run("doctor", "--json", *arguments, state=tmp_path, **{**environment, "http_proxy": unkind})
        assert bad(refused) == ["tls", "websocket"]
        assert f"let the proxy {unkind} pass CONNECT" in findings(refused)["websocket"]["words"]


async def test_the_upgrade_through_a_reverse_proxy(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(tmp_path))
        through = await stack.enter_async_context(reverse_proxy(url))
        lame = await stack.enter_async_context(reverse_proxy(url, strip=b"upgrade:"))
        well = await run("doctor", "--json", "--url", through, state=tmp_path)
        assert "websocket" not in bad(well)
        found = await run("doctor", "--json", "--url", lame, state=tmp_path)
        assert found.process.returncode == 1
        assert bad(found) == ["websocket"]
        assert "pass 'Upgrade: websocket'" in findings(found)["websocket"]["words"]


async def test_a_mainframe_of_another_version(tmp_path: Path) -> None:
    async def nobody(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.wait_closed()

    serve = websockets.asyncio.server.serve(
        nobody,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("asyncblock.v2")],
        process_request=lambda connection, request: (
            connection.respond(200, '{"status": "ok"}') if request.path == "/healthz" else None
        ),
    )
    async with serve as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        found = await run("doctor", "--json", "--url", url, "--token", "t", state=tmp_path)
    assert bad(found) == ["websocket"]
    assert "install the same version at both ends" in findings(found)["websocket"]["words"]


INFO: dict[str, Any] = {
    "version": asyncblock.__version__,
    "now": 1_000_000_000,
    "roles": ["client"],
    "executors": 1,
    "sessions": {"known": 1, "running": 1},
    "limits": {"message": 4 << 20, "sessions": 10_000, "windows": {}},
    "journal": {
        "epoch": "e", "schema": 1, "synchronous": "full", "database_bytes": 1, "wal_bytes": 0, "session_bytes": 0,
        "free_bytes": 10 << 30, "trouble": None,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({}, None, ""),
        ({"version": "9.9"}, "version", "update the older one"),
        ({"now": 1_000_009_000}, "clock", "9.0 s ahead of this machine's; run a time service"),
        ({"now": 999_991_000}, "clock", "9.0 s behind this machine's"),
        ({"sessions": {"known": 9_999, "running": 9_999}}, "limits", "9999 of 10000 sessions run"),
        ({"journal": {**INFO["journal"], "free_bytes": 5 << 20}}, "disk", "5.0 MiB free; make room"),
        ({"journal": {**INFO["journal"], "trouble": "disk full"}}, "journal", "nothing is stored now: disk full"),
        ({"executors": 0}, "executors", "no job can run"),
        ({"var_values": {"held_bytes": 1 << 20, "limit_bytes": 2 << 20}}, None, ""),
        ({"var_values": {"held_bytes": 3 << 20, "limit_bytes": 2 << 20}}, "values", "3.0 MiB of 2.0 MiB of var values"),
        (
            {"var_values": {"held_bytes": 3, "limit_bytes": 2, "disk_bytes": 5 << 20, "disk_limit_bytes": 5 << 20}},
            "values",
            "memory, 5.0 MiB of 5.0 MiB on their disks; blocks wait to put out more",
        ),
    ],
)
def test_what_the_mainframe_says_is_judged(changes: dict[str, Any], name: str | None, words: str) -> None:
    found = list(doctor.findings_of({**INFO, **changes}, 1_000_000.0))
    wrong = [finding for finding in found if not finding.ok]
    assert [finding.name for finding in wrong] == ([] if name is None else [name])
    assert all(words in finding.words for finding in wrong)


@pytest.mark.parametrize(
    ("environment", "scheme", "host", "proxy"),
    [
        ({}, "wss", "far.example", None),
        ({"https_proxy": "http://p:1"}, "wss", "far.example", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "wss", "far.example", None),
        ({"http_proxy": "http://p:1"}, "ws", "far.example", "http://p:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "far.example"}, "wss", "far.example", None),
        ({"https_proxy": "http://p:1"}, "wss", "127.0.0.1", None),
    ],
)
def test_the_proxy_that_the_environment_asks_for(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], scheme: str, host: str, proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert doctor.proxy_of(scheme, host) == proxy


def test_a_certificate_near_its_end_is_told() -> None:
    soon = ssl.cert_time_to_seconds("Jan  5 09:34:43 2018 GMT")
    finding = doctor.validity({"notAfter": "Jan  5 09:34:43 2018 GMT"}, soon - 3 * 86400)
    assert (finding.ok, finding.words) == (False, "certificate valid for 3 more days; renew it")
