"""The example service: a real uvicorn process and a real HTTP client, with a mainframe inside or elsewhere."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ..processes import Command, free_port, start, start_module

TEXT = "to be or not\nto be that is\nthe question"
COUNTS = {"to": 2, "be": 2, "or": 1, "not": 1, "that": 1, "is": 1, "the": 1, "question": 1}


@asynccontextmanager
async def service(
    state: Path, *options: str, ready: str = "Application startup complete", **environment: str
) -> AsyncIterator[tuple[Command, httpx.AsyncClient]]:
    """Run the service by the command that its page has."""
    port = free_port()
    arguments = ("asyncblock.examples.service:app", "--port", str(port), *options)
    async with start_module("uvicorn", *arguments, state=state, **environment) as server:
        await server.until_line(ready, err=True)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield server, client
    assert not any("Traceback" in line or "ERROR" in line for line in server.err), server.err
    # uvicorn ends in order and then raises the signal that it was sent; its supervisor of several doesn't.
    assert server.process.returncode == (0 if "--workers" in options else -signal.SIGTERM)
    assert server.family() == []


async def started(client: httpx.AsyncClient, name: str, inputs: dict[str, Any]) -> str:
    answer = await client.post(f"/flows/{name}", json=inputs)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


async def stream(
    client: httpx.AsyncClient, session_id: str, last_event_id: str = ""
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield (id, event) of a stream of server-sent events."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    async with client.stream("GET", f"/sessions/{session_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            event = orjson.loads(fields["data"])
            assert fields["event"] == event["type"]
            yield fields["id"], event


async def test_a_flow_is_started_streamed_and_its_outputs_returned(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        session_id = await started(client, "counting", {"text": TEXT})
        found = [event async for _, event in stream(client, session_id)]
        assert (found[0]["type"], found[-1]["type"]) == ("SessionStarted", "SessionFinished")
        assert found[-1]["outputs"] == {"counts": COUNTS}
        assert [event["rate"] for event in found if event["type"] == "BlockProgress"][-1] == 100
        assert (await client.get(f"/sessions/{session_id}/outputs")).json() == {"counts": COUNTS}
        assert (await client.get(f"/sessions/{session_id}")).json()["state"] == "succeeded"


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        session_id = await started(client, "counting", {"text": TEXT})
        everything = [pair async for pair in stream(client, session_id)]
        for index, (last_id, _) in enumerate(everything[:-1]):
            rest = [pair async for pair in stream(client, session_id, last_id)]
            assert rest == everything[index + 1 :]


async def test_many_listeners_see_the_same_and_one_that_leaves_harms_nobody(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        session_id = await started(client, "counting", {"text": TEXT, "pause": 0.1})

        async def leave() -> None:
            async for _ in stream(client, session_id):
                return

        async def stay() -> list[dict[str, Any]]:
            return [event async for _, event in stream(client, session_id)]

        first, second, _ = await asyncio.gather(stay(), stay(), leave())
        assert first == second
        assert first[-1]["state"] == "succeeded"


async def test_a_session_is_cancelled_while_it_is_streamed(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        session_id = await started(client, "counting", {"text": TEXT, "pause": 60})
        found = []
        async for _, event in stream(client, session_id):
            found.append(event)
            if event["type"] == "BlockProgress":
                assert (await client.delete(f"/sessions/{session_id}")).status_code == 202
        assert found[-1]["state"] == "cancelled"
        assert "cancelled by a request" in found[-1]["error"]
        answer = await client.get(f"/sessions/{session_id}/outputs")
        assert (answer.status_code, answer.json()["state"]) == (409, "cancelled")


async def test_bad_requests_are_answered_with_words(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        for path in ("/sessions/nosuch", "/sessions/nosuch/events", "/sessions/nosuch/outputs"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert "nosuch" in answer.json()["error"]
        answer = await client.post("/flows/nosuch", json={})
        assert answer.status_code == 422
        assert "there is no such flow" in answer.json()["problems"][0]
        assert (await client.post("/flows/counting", json=[1])).status_code == 422


async def test_shipped_examples_run_in_it_too(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, client):
        session_id = await started(client, "stocks", {})
        answer = await client.get(f"/sessions/{session_id}/outputs")
        assert len(answer.json()["summary"]["tickers"]) == 10


async def test_sessions_outlive_the_service_in_its_data_directory(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    async with service(tmp_path, SERVICE_DATA_DIR=data) as (_, client):
        session_id = await started(client, "counting", {"text": TEXT})
        assert (await client.get(f"/sessions/{session_id}/outputs")).status_code == 200
    async with service(tmp_path, SERVICE_DATA_DIR=data) as (_, client):
        assert (await client.get(f"/sessions/{session_id}/outputs")).json() == {"counts": COUNTS}


@pytest.mark.parametrize("count", [1, 2])
async def test_it_is_client_and_executor_of_a_mainframe_elsewhere_over_one_websocket(
    tmp_path: Path, count: int
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(start("serve", "--port", str(port), state=tmp_path))
        await mainframe.until_line("mainframe at", err=True)
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        environment = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": token}
        services = [await stack.enter_async_context(service(tmp_path, **environment)) for _ in range(count)]
        clients = [client for _, client in services]
        ids = [await started(client, "counting", {"text": TEXT}) for client in clients for _ in range(5)]
        answers = [await client.get(f"/sessions/{id}/outputs") for id in ids for client in clients]
        assert all(answer.json() == {"counts": COUNTS} for answer in answers)
        assert [server.sockets(port) for server, _ in services] == [1] * count


async def left(server: Command) -> float:
    """Tell the service to leave, and return how long it took."""
    began = asyncio.get_running_loop().time()
    server.kill(signal.SIGTERM)
    await server.wait()
    return asyncio.get_running_loop().time() - began


async def test_it_leaves_within_seconds_while_browsers_read_events(tmp_path: Path) -> None:
    async with service(tmp_path) as (server, client):
        session_id = await started(client, "counting", {"text": TEXT, "pause": 600})
        begun = [asyncio.Event() for _ in range(3)]

        async def read(seen: asyncio.Event) -> list[dict[str, Any]]:
            found = []
            async for _, event in stream(client, session_id):
                found.append(event)
                if event["type"] == "BlockProgress":
                    seen.set()
            return found

        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read(seen)) for seen in begun]
            waiting = tasks.create_task(client.get(f"/sessions/{session_id}/outputs"))
            for seen in begun:
                await seen.wait()
            assert await left(server) < 5
        # Each stream has ended in order: a broken one would have raised.
        assert all(reader.result()[-1]["type"] != "SessionFinished" for reader in readers)
        assert waiting.result().status_code in (409, 503)


async def test_a_browser_goes_on_at_the_service_that_comes_after(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    async with service(tmp_path, SERVICE_DATA_DIR=data) as (server, client):
        session_id = await started(client, "counting", {"text": TEXT, "pause": 600})
        seen = []

        async def read() -> None:
            async for pair in stream(client, session_id):
                seen.append(pair)
                if pair[1]["type"] == "BlockProgress" and server.process.returncode is None:
                    server.kill(signal.SIGTERM)

        await read()
        await server.wait()
    async with service(tmp_path, SERVICE_DATA_DIR=data) as (_, client):
        rest = [pair async for pair in stream(client, session_id, seen[-1][0])]
        everything = [pair async for pair in stream(client, session_id)]
        assert [*seen, *rest] == everything
        assert everything[-1][1]["type"] == "SessionFinished"


async def test_two_workers_share_a_mainframe_that_is_served(tmp_path: Path) -> None:
    port = free_port()
    async with start("serve", "--port", str(port), state=tmp_path) as mainframe:
        await mainframe.until_line("mainframe at", err=True)
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        environment = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": token}
        async with service(tmp_path, "--workers", "2", **environment) as (server, client):
            ids = [await started(client, "counting", {"text": TEXT}) for _ in range(4)]
            # A connection of its own for each: the workers take turns at them, and each knows every session.
            for session_id in ids * 2:
                async with httpx.AsyncClient(base_url=client.base_url, timeout=30, trust_env=False) as fresh:
                    assert (await fresh.get(f"/sessions/{session_id}/outputs")).json() == {"counts": COUNTS}
            assert await left(server) < 10


async def test_two_workers_of_gunicorn_share_a_mainframe_and_leave_while_browsers_read(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn_worker")
    port, own = free_port(), free_port()
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(start("serve", "--port", str(port), state=tmp_path))
        await mainframe.until_line("mainframe at", err=True)
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        environment = {"ASYNCBLOCK_URL": f"ws://127.0.0.1:{port}", "ASYNCBLOCK_TOKEN": token, "HOME": str(tmp_path)}
        command = ("-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{own}")
        arguments = (*command, "asyncblock.examples.service:app")
        server = await stack.enter_async_context(start_module("gunicorn", *arguments, state=tmp_path, **environment))
        await server.until_lines("Application startup complete", 2, err=True)
        url = f"http://127.0.0.1:{own}"
        ids: list[str] = []
        for _ in range(6):
            # A connection of its own for each: any of the workers may take it.
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as fresh:
                ids.append(await started(fresh, "counting", {"text": TEXT}))
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            for session_id in ids:
                assert (await client.get(f"/sessions/{session_id}/outputs")).json() == {"counts": COUNTS}
            session_id = await started(client, "counting", {"text": TEXT, "pause": 600})
            begun = asyncio.Event()

            async def read() -> list[str]:
                found = []
                async for _, event in stream(client, session_id):
                    found.append(event["type"])
                    if event["type"] == "BlockProgress":
                        begun.set()
                return found

            reading = asyncio.create_task(read())
            await begun.wait()
            assert await left(server) < 10
            assert "SessionFinished" not in await reading, "it has ended in order, before the session"
        assert server.process.returncode == 0
        assert server.family() == []


async def test_two_workers_with_a_mainframe_each_are_told_to_serve_and_connect(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("asyncblock.examples.service:app", "--port", str(free_port()), "--workers", "2")
    async with start_module("uvicorn", *arguments, state=tmp_path, SERVICE_DATA_DIR=str(data)) as server:
        line = await server.until_line("has a mainframe already", err=True)
        assert "serve + connect" in line
        assert f"asyncblock serve --data-dir {data}" in line
        assert "--data-dir or" not in line
    assert server.family() == []
