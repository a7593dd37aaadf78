"""Very many label values through a served mainframe: what runs goes on, one warning, and a scrape stays small.

A twentieth of a hundred thousand by default, for each is a job of a block of its own; all of them by
``ASYNCBLOCK_LABELS=100000 python -m pytest -q -s tests/telemetry/test_label_values.py``.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from itertools import count, islice
from pathlib import Path

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncblock.server.histograms import OTHER
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from ..cli.test_serve import served
from ..peers import Peer, node, plan
from ..processes import run
from .receiving import Collector, collector

LABELS = int(os.environ.get("ASYNCBLOCK_LABELS", "5000"))
MOST = 200
"""Blocks that are told apart, as the documentation says."""
_EACH = 500
"""Jobs of a session."""

TOKEN = "all-" + "t" * 32

pytestmark = pytest.mark.timeout(180 + LABELS // 200)


async def executes(peer: Peer, jobs: int) -> None:
    """Begin and finish jobs as they come."""
    started, finished = {"type": "JobStarted", "t": 1}, {"type": "BlockFinished", "t": 1}
    numbers = count(1)
    done = 0
    while done < jobs:
        channels = [message["channel"] for message in await peer.everything() if message["op"] == "dispatch"]
        if channels:
            done += len(channels)
            header = {"op": "batch", "seq": next(numbers), "channels": channels}
            each = orjson.dumps([started, finished])
            await peer.transport.send(b"\n".join([orjson.dumps(header), *[each] * len(channels)]))


async def until_ended(peer: Peer, session_id: str) -> None:
    finished = await peer.until_row(session_id, "SessionFinished")
    assert finished.get("error") is None, finished


async def blocks_in(port: int) -> tuple[dict[str, float], int]:
    """Scrape; return how many jobs each block has had, and the bytes of the answer."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        text = (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).text
    [family] = [each for each in text_string_to_metric_families(text) if each.name == "asyncblock_job_duration_seconds"]
    jobs = {each.labels["block"]: each.value for each in family.samples if each.name.endswith("_count")}
    return jobs, len(text.encode())


def named_in(there: Collector) -> set[str]:
    points = there.metrics["asyncblock.job_duration"].histogram.data_points
    return {a.value.string_value for point in points for a in point.attributes if a.key == "block"}


async def test_blocks_of_very_many_names_run_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} executor,client,observer\n")
    tokens.chmod(0o600)
    async with AsyncExitStack() as stack:
        there = stack.enter_context(collector())
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        server, port = await served(stack, tmp_path, "--workers", "1", "--otel", "--token-file", str(tokens))
        url = f"ws://127.0.0.1:{port}"
        real = ["submit", "files", "--url", url, "--token", TOKEN]
        assert (await run(*real, state=tmp_path)).process.returncode == 0

        worker, client = [Peer(await connect_websocket(url, TOKEN, max_message=MAX_MESSAGE)) for _ in range(2)]
        assert (await worker.hello("worker", slots=_EACH))["op"] == "welcome"
        assert (await client.hello("client"))["op"] == "welcome"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(executes(worker, LABELS))
            names = (f"label{number}" for number in count())
            for number in range(LABELS // _EACH):
                nodes = [node(f"n{n}", block={"dir": name}) for n, name in enumerate(islice(names, _EACH))]
                reply = await client.ask("start", session_id=f"s{number}", plan=plan(*nodes))
                assert reply["error"] is None, reply
                await until_ended(client, f"s{number}")
        for peer in (worker, client):
            await peer.transport.close()

        assert (await run(*real, state=tmp_path)).process.returncode == 0
        jobs, size = await blocks_in(port)
        assert len(jobs) <= MOST + 1
        assert sum(jobs.values()) >= LABELS and jobs[OTHER] >= LABELS - MOST
        assert size < 1 << 20
        there.metrics.clear()
        await asyncio.to_thread(there.wait, "metrics")
        assert named_in(there) <= jobs.keys()
        print(f"{LABELS} labels: {len(jobs)} told apart, a scrape of {size:,} bytes")
    warned = [line for line in server.err if "apart" in line]
    assert len(warned) == 1, server.err
    assert not [line for line in server.err if "warning" in line.lower() and line not in warned], server.err
