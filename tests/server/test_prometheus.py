"""A real Prometheus scrapes a served mainframe, in both formats, and answers what the dashboard and the page ask."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from asyncblock.server.reception.metrics import FIGURES, OPENMETRICS, TEXT, TIMES

from ..cli.test_serve import served
from ..processes import free_port, run

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus isn't here"),
]

DOCS = Path(__file__).parents[2] / "docs"
TOKEN = "observer-" + "o" * 32


class Way:
    """The way to a mainframe's metrics: counts the scrapes, and may ask for a format of its own."""

    def __init__(self, accept: str | None) -> None:
        self.accept = accept
        self.address = ""
        self.types: set[str] = set()
        """The formats of the answers."""
        self.scrapes = 0
        self._changed = threading.Condition()

    def scraped(self, content_type: str) -> None:
        with self._changed:
            self.types.add(content_type)
            self.scrapes += 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until a scrape that has begun after this is over: the one after it has come. On a worker thread."""
        with self._changed:
            wanted = self.scrapes + 3
            assert self._changed.wait_for(lambda: self.scrapes >= wanted, 60), "nobody scrapes"


@contextmanager
def way(port: int, accept: str | None) -> Iterator[Way]:
    """Pass scrapes on to a mainframe's port, for the duration of the block."""
    found = Way(accept)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {"Authorization": self.headers["Authorization"], "Accept": accept or self.headers["Accept"]}
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", headers=headers)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as answer:
                body, content_type = answer.read(), answer.headers["Content-Type"]
            with suppress(BrokenPipeError):  # it takes what is late for lost, and asks again
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                found.scraped(content_type)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def prometheus(directory: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus with the configuration of ``docs/deploy``; yields a client of its API."""
    token = directory / "observer"
    token.write_text(TOKEN)
    text = (DOCS / "deploy" / "prometheus.yml").read_text("utf-8")
    changes = {"/run/secrets/observer": str(token), "mainframe:7788": target, "15s": "2s"}
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (directory / "prometheus.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
    )
    assert process.stderr is not None
    lines: list[str] = []
    ready = asyncio.Event()

    async def read(stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            lines.append(line.decode())
            if "Server is ready" in lines[-1]:
                ready.set()
        ready.set()

    reading = asyncio.create_task(read(process.stderr))
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        assert process.returncode is None and not reading.done(), lines[-5:]
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def answer(client: httpx.AsyncClient, expression: str) -> list[dict[str, Any]]:
    """Return the samples that answer a query."""
    told = (await client.get("/api/v1/query", params={"query": expression})).json()
    assert told["status"] == "success", (expression, told)
    found: list[dict[str, Any]] = told["data"]["result"]
    return found


def expressions() -> list[str]:
    """Return what the dashboard's panels ask, as Grafana would fill them in."""
    dashboard = orjson.loads((DOCS / "dashboard.json").read_bytes())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m") for each in asked]


def alerts() -> list[str]:
    """Return what the page holds worth an alert."""
    page = (DOCS / "telemetry.md").read_text("utf-8")
    part = page.partition("Worth an alert:")[2].partition("\n\n")[0]
    found = [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", part)]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("accept", [None, "text/plain"], ids=["openmetrics", "text"])
async def test_prometheus_reads_all_of_it_and_answers_the_dashboard(tmp_path: Path, accept: str | None) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{TOKEN} observer\n")
    async with AsyncExitStack() as stack:
        _, port = await served(stack, tmp_path, "--workers", "1", "--token-file", tokens)
        found = stack.enter_context(way(port, accept))
        client = await stack.enter_async_context(prometheus(tmp_path, found.address))
        # Rates are of what has changed between two scrapes.
        started = 0
        for _ in range(2):
            done = await run("submit", "files", "--json", state=tmp_path)
            assert done.process.returncode == 0
            started += sum(event["type"] == "BlockStarted" for event in done.events())
            await asyncio.to_thread(found.wait)
        assert found.types == {TEXT if accept else OPENMETRICS}
        [target] = (await client.get("/api/v1/targets")).json()["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        [ended] = await answer(client, 'asyncblock_sessions{state="succeeded"}')
        assert ended["value"][1] == "2"
        [jobs] = await answer(client, 'sum(asyncblock_job_duration_seconds_count{outcome="succeeded"})')
        assert int(jobs["value"][1]) == started > 2
        unanswered = [each for each in expressions() if not await answer(client, each)]
        assert unanswered == []
        [wait] = await answer(client, expressions()[expressions().index(QUEUE_WAIT)])
        assert 0 <= float(wait["value"][1]) < 60
        for alert in alerts():
            assert await answer(client, alert) == [], f"nothing is wrong, and yet: {alert}"
        known = (await client.get("/api/v1/metadata")).json()["data"]
        for name, words in {**FIGURES, **TIMES}.items():
            # In OpenMetrics a counter's family has no ending.
            family = name.removesuffix("_total") if accept is None else name
            [said] = known[f"asyncblock_{family}"]
            kind = "histogram" if name in TIMES else "counter" if name.endswith("_total") else "gauge"
            assert (said["type"], said["help"]) == (kind, words)


QUEUE_WAIT = "histogram_quantile(0.95, sum by (le) (rate(asyncblock_job_queue_wait_seconds_bucket[1m])))"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't here")
async def test_promtool_finds_nothing_to_mend(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, port = await served(stack, tmp_path, "--workers", "1")
        assert (await run("submit", "files", "--json", state=tmp_path)).process.returncode == 0
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            text = (await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})).text
    done = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
