"""Spans and metrics over OTLP/HTTP to a real receiver, and what becomes of runs when there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import asyncblock
from asyncblock.server.settings import Settings
from asyncblock.telemetry.exporting import over_otlp
from asyncblock.telemetry.traces import session_span

from ..cli.test_serve import served
from ..flows import one_block
from ..processes import run
from .receiving import Collector, collector

BLOCK = "async def main(inputs, ctx):\n  return {'out': 1}\n"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        yield there


async def runs(directory: Path, count: int = 1) -> list[str]:
    """Run flows on an embedded mainframe with telemetry over OTLP; return the sessions' ids."""
    path = one_block(directory / "f", BLOCK)
    telemetry = over_otlp()
    found = []
    async with asyncblock.embedded(directory / "data", settings=Settings(watch=telemetry)) as mainframe:
        for _ in range(count):
            session = await mainframe.start(path)
            finished = await session.wait()
            assert (finished.state, finished.outputs) == ("succeeded", {"out": 1})
            found.append(session.session_id)
    await asyncio.to_thread(telemetry.close)
    return found


async def test_serve_sends_spans_and_metrics_to_a_collector(tmp_path: Path, receiver: Collector) -> None:
    async with AsyncExitStack() as stack:
        await served(stack, tmp_path, "--workers", "1", "--otel")
        submitted = await run("submit", "files", "--json", state=tmp_path)
        assert submitted.process.returncode == 0
        session_id = submitted.events()[0]["session_id"]
        await asyncio.to_thread(receiver.wait, "metrics")
    by_id = {span.span_id.hex(): span for span in receiver.spans}
    root = by_id[session_span(session_id)]
    assert root.parent_span_id == b""
    assert {span.trace_id for span in receiver.spans} == {root.trace_id}
    assert all(span.parent_span_id.hex() in by_id for span in receiver.spans if span is not root)
    assert any(span.links for span in receiver.spans)
    assert receiver.services == {"asyncblock"}
    assert receiver.metrics["asyncblock.executors"].gauge.data_points[0].as_int in (0, 1)
    assert receiver.metrics["asyncblock.acks"].sum.is_monotonic
    [commits] = receiver.metrics["asyncblock.commit"].histogram.data_points
    assert commits.count == sum(commits.bucket_counts) > 0
    assert len(commits.bucket_counts) == len(commits.explicit_bounds) + 1
    assert not commits.HasField("max")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return all warnings but asyncio's, whosever they are."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and not record.name.startswith("asyncio")
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["down", "refuses", "slow"])
async def test_runs_go_on_without_a_collector_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics")
    logging.getLogger("asyncblock.telemetry").addFilter(only_spans := lambda r: "metrics" not in r.getMessage())
    try:
        with collector() as there, socket.create_server(("127.0.0.1", 0)) as deaf:
            there.answer = 404
            where = {
                "down": "http://127.0.0.1:1",
                "refuses": there.endpoint,
                "slow": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            }[kind]
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{where}/v1/traces")
            await runs(tmp_path, 30)
            if kind == "refuses":
                assert there.asked
    finally:
        logging.getLogger("asyncblock.telemetry").removeFilter(only_spans)
    [warning] = warnings_of(caplog)
    assert warning.startswith("spans can't be delivered to the collector")
    assert "runs go on" in warning


async def test_spans_that_come_too_fast_are_dropped_with_one_warning_and_nobody_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        await runs(tmp_path, 20)
    assert len([each for each in warnings_of(caplog) if "spans come faster" in each]) == 1


async def test_a_collector_that_comes_back_gets_what_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, receiver: Collector
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    receiver.answer = 404
    path = one_block(tmp_path / "f", BLOCK)
    telemetry = over_otlp()
    async with asyncblock.embedded(tmp_path / "data", settings=Settings(watch=telemetry)) as mainframe:
        await (await mainframe.start(path)).wait()
        await asyncio.to_thread(receiver.wait, "asked")
        receiver.answer = 200
        session = await mainframe.start(path)
        await session.wait()
        await asyncio.to_thread(receiver.wait, "spans")
    await asyncio.to_thread(telemetry.close)
    assert session_span(session.session_id) in {span.span_id.hex() for span in receiver.spans}


async def test_no_span_ends_before_it_begins_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Collector
) -> None:
    path = one_block(tmp_path / "f", BLOCK)
    real, shift = time.time_ns, threading.Event()
    monkeypatch.setattr(time, "time_ns", lambda: real() - (3_600_000_000_000 if shift.is_set() else 0))
    telemetry = over_otlp()
    async with asyncblock.embedded(tmp_path / "data", settings=Settings(watch=telemetry)) as mainframe:
        session = await mainframe.start(path)
        shift.set()
        assert (await session.wait()).state == "succeeded"
        await (await mainframe.start(path)).wait()
    await asyncio.to_thread(telemetry.close)
    assert len(receiver.spans) == 6
    for span in receiver.spans:
        assert 0 <= span.end_time_unix_nano - span.start_time_unix_nano < 600_000_000_000
