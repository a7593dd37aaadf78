"""``serve``, ``executor``, ``submit``, ``watch`` and ``sessions`` together, each a process of its own."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import orjson
import pytest
import trustme
import websockets.asyncio.client
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from ..flows import one_block
from ..processes import Command, free_port, run, start

WAITS = """
import asyncio

async def main(inputs, ctx):
    print("holds on")
    await asyncio.Event().wait()
"""


async def served(stack: AsyncExitStack, state: Path, *arguments: str | Path) -> tuple[Command, int]:
    """Serve a mainframe and return it with its port."""
    port = free_port()
    server = await stack.enter_async_context(start("serve", "--port", str(port), *arguments, state=state))
    await server.until_line(f"mainframe at ws://127.0.0.1:{port}", err=True)
    return server, port


async def executing(stack: AsyncExitStack, state: Path, *arguments: str | Path) -> Command:
    """Start an executor."""
    executor = await stack.enter_async_context(start("executor", *arguments, state=state))
    await executor.until_line("executor for ws://", err=True)
    return executor


async def test_ten_submits_at_once_finish_on_two_executors_with_one_websocket_each(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server, port = await served(stack, tmp_path)
        executors = [await executing(stack, tmp_path) for _ in range(2)]
        submits = [
            await stack.enter_async_context(start("submit", "stocks", "--json", state=tmp_path)) for _ in range(10)
        ]
        for submit in submits:
            await submit.until_line('"BlockStarted"')
        assert [executor.sockets(port) for executor in executors] == [1, 1]
        assert [await submit.wait() for submit in submits] == [0] * 10
        assert [executor.sockets(port) for executor in executors] == [1, 1]
        links = Counter(
            event["link"] for submit in submits for event in submit.events() if event["type"] == "JobAssigned"
        )
        assert len(links) == 2
        assert sum(links.values()) == 60
        summaries = [submit.events()[-1]["outputs"]["summary"] for submit in submits]
        assert all(summary == summaries[0] for summary in summaries)
        listed = await run("sessions", "--json", state=tmp_path)
        assert [row["state"] for row in listed.events()] == ["succeeded"] * 10
        for executor in executors:
            executor.kill(signal.SIGTERM)
        assert [await executor.wait() for executor in executors] == [0, 0]
        done = [int(executor.out[-1].split()[0]) for executor in executors]
        assert sum(done) == 60
        assert all(
            executor.out[-1].endswith("0 failed, 0 cancelled, 0 records unacknowledged") for executor in executors
        )
        assert [executor.family() for executor in executors] == [[], []]
        server.kill(signal.SIGINT)
        assert await server.wait() == 0
        assert server.family() == []


async def test_one_session_submitted_detached_is_watched_listed_and_watched_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await served(stack, tmp_path, "--workers", "1")
        [session_id] = (await run("submit", "stocks", "--detach", state=tmp_path)).out
        [line] = (await run("submit", "stocks", "--detach", "--json", state=tmp_path)).out
        assert set(orjson.loads(line)) == {"session_id"}
        first = await run("watch", session_id, "--json", state=tmp_path)
        assert first.process.returncode == 0
        again = await run("watch", session_id, "--json", state=tmp_path)
        assert again.out == first.out
        found = first.events()
        tail = await run("watch", session_id, "--json", "--offset", str(found[5]["offset"] + 1), state=tmp_path)
        assert tail.events() == [event for event in found if event["offset"] > found[5]["offset"]]
        plain = await run("watch", session_id, state=tmp_path)
        assert plain.out[0] == f"session {session_id}: stocks"
        listed = await run("sessions", state=tmp_path)
        assert len(listed.out) == 2
        assert any(line.startswith(session_id) and line.endswith("succeeded  stocks") for line in listed.out)
        assert (await run("sessions", "--state", "failed", state=tmp_path)).out == []
        assert len((await run("sessions", "--limit", "1", state=tmp_path)).out) == 1


async def test_an_interrupted_submit_cancels_and_an_interrupted_watch_does_not(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with AsyncExitStack() as stack:
        await served(stack, tmp_path)
        await executing(stack, tmp_path, "--package", path.parent)
        submit = await stack.enter_async_context(start("submit", path, state=tmp_path))
        await submit.until_line("holds on")
        session_id = submit.out[0].split()[1].rstrip(":")
        watch = await stack.enter_async_context(start("watch", session_id, state=tmp_path))
        await watch.until_line("holds on")
        watch.kill(signal.SIGINT)
        assert await watch.wait() == 130
        [row] = (await run("sessions", "--json", state=tmp_path)).events()
        assert row["state"] == "running"
        submit.kill(signal.SIGINT)
        assert await submit.wait() == 130
        [row] = (await run("sessions", "--json", state=tmp_path)).events()
        assert row["state"] == "cancelled"
        assert (await run("watch", session_id, state=tmp_path)).process.returncode == 130


async def test_a_failed_flow_leaves_submit_and_watch_with_1(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", "def main(inputs, ctx):\n    raise ValueError('no luck')\n")
    async with AsyncExitStack() as stack:
        await served(stack, tmp_path)
        await executing(stack, tmp_path, "--package", path.parent)
        submit = await run("submit", path, "--json", state=tmp_path)
        assert submit.process.returncode == 1
        session_id = submit.events()[0]["session_id"]
        assert (await run("watch", session_id, state=tmp_path)).process.returncode == 1


async def test_healthz_answers_without_a_token_and_metrics_with_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, port = await served(stack, tmp_path, "--workers", "1")
        assert (await run("submit", "stocks", state=tmp_path)).process.returncode == 0
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            health = await client.get("/healthz")
            assert (health.status_code, health.json()) == (200, {"status": "ok", "trouble": None})
            assert health.headers["content-type"] == "application/json"
            assert (await client.get("/metrics")).status_code == 401
            metrics = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            assert 'asyncblock_sessions{state="succeeded"} 1' in metrics.text
            assert "asyncblock_executors 1" in metrics.text


async def test_a_web_page_connects_from_an_origin_that_was_allowed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, port = await served(stack, tmp_path, "--origin", "https://flows.example")
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()

        async def upgrade(origin: str) -> int:
            connect = websockets.asyncio.client.connect(
                f"ws://127.0.0.1:{port}",
                subprotocols=[Subprotocol("asyncblock.v1")],
                additional_headers={"Authorization": f"Bearer {token}"},
                origin=Origin(origin),
            )
            try:
                async with connect:
                    return 101
            except InvalidStatus as error:
                return error.response.status_code

        assert await upgrade("https://flows.example") == 101
        assert await upgrade("https://elsewhere.example") == 403


async def test_prune_deletes_what_has_ended_and_keeps_the_newest(tmp_path: Path) -> None:
    quick = one_block(tmp_path / "g", "def main(inputs, ctx): ...\n")
    slow = one_block(tmp_path / "f", WAITS)
    async with AsyncExitStack() as stack:
        await served(stack, tmp_path)
        await executing(stack, tmp_path, "--package", quick.parent, "--package", slow.parent, "--grace", "0.1")
        [running] = (await run("submit", slow, "--detach", state=tmp_path)).out
        ids = [(await run("submit", quick, "--json", state=tmp_path)).events()[0]["session_id"] for _ in range(4)]
        none = await run("sessions", "prune", "--older", "1h", state=tmp_path)
        assert none.out == ["0 sessions deleted, 0 bytes"]
        none = await run("sessions", "prune", "--older", "0s", "--keep", "4", state=tmp_path)
        assert none.out == ["0 sessions deleted, 0 bytes"]
        pruned = (await run("sessions", "prune", "--keep", "1", "--json", state=tmp_path)).events()[0]
        assert pruned["sessions"] == ids[:3]
        assert pruned["bytes"] > 0
        left = [row["session_id"] for row in (await run("sessions", "--json", state=tmp_path)).events()]
        assert left == [ids[3], running]
        gone = await run("watch", ids[0], state=tmp_path)
        assert gone.process.returncode == 2
        assert (await run("sessions", "prune", "--older", "0s", state=tmp_path)).out[0].startswith("1 sessions deleted")


async def test_a_mainframe_comes_back_with_its_sessions_and_token(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server, _ = await served(stack, tmp_path, "--workers", "1")
        assert (await run("submit", "stocks", state=tmp_path)).process.returncode == 0
        before = (await run("sessions", "--json", state=tmp_path)).out
        server.kill(signal.SIGTERM)
        assert await server.wait() == 0
        assert server.family() == []
        await served(stack, tmp_path)
        assert (await run("sessions", "--json", state=tmp_path)).out == before


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_local_commands_find_a_mainframe_that_listens_everywhere(tmp_path: Path, host: str) -> None:
    async with start("serve", "--host", host, "--port", "0", "--insecure", "--workers", "1", state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        assert (await run("submit", "stocks", state=tmp_path)).process.returncode == 0


async def test_a_token_of_this_machine_is_not_shown_to_another(tmp_path: Path) -> None:
    from asyncblock.cli.targets import Target

    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "address").write_bytes(orjson.dumps({"url": "ws://10.0.0.1:7788", "pid": 1}))

    async def of(url: str | None, data_dir: Path | None = None) -> str | None:
        return (await asyncio.to_thread(Target(url, None, data_dir).address))[1]

    assert await of(None, tmp_path) == "s3cret"
    assert await of("ws://elsewhere.example:1", tmp_path) == "s3cret"
    assert await of("ws://elsewhere.example:1") is None


async def test_a_certificate_that_is_renewed_is_shown_to_whoever_connects_from_then_on(tmp_path: Path) -> None:
    authority = trustme.CA()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def issued() -> tuple[bytes, bytes]:
        made = authority.issue_cert("127.0.0.1")
        return made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()

    async def shown(port: int) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        found = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.transport.abort()
        return found

    first, second = issued(), issued()
    for path, data in zip((chain, key), first, strict=True):
        path.write_bytes(data)
    port = free_port()
    options = ("--port", str(port), "--tls-cert", chain, "--tls-key", key)
    async with start("serve", *options, state=tmp_path) as server:
        await server.until_line(f"mainframe at wss://127.0.0.1:{port}", err=True)
        assert (await shown(port)).encode().split() == first[0].split()
        chain.write_bytes(second[0])
        # Half of it: nobody is shown a certificate whose key isn't there.
        assert (await shown(port)).encode().split() == first[0].split()
        await server.until_line("so the last one that could is shown", err=True)
        key.write_bytes(second[1])
        assert (await shown(port)).encode().split() == second[0].split()
        plain = await run("sessions", "--url", f"ws://127.0.0.1:{port}", state=tmp_path)
        assert "begins with wss://" in plain.err[0], "an address without TLS is told from a mainframe that is away"
    async with start("serve", "--port", "0", state=tmp_path) as server:
        address = (await server.until_line("mainframe at ws://", err=True)).split()[2].rstrip(",")
        secret = await run("sessions", "--url", address.replace("ws://", "wss://"), state=tmp_path)
        assert "begins with ws://" in secret.err[0], secret.err
