"""Spans and metrics over OTLP/HTTP to a real receiver, and what becomes of runs when there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import asyncblock
from asyncblock.errors import Unavailable
from asyncblock.server.settings import Settings
from asyncblock.telemetry.exporting import over_otlp
from asyncblock.telemetry.traces import session_span

from ..cli.test_serve import served
from ..flows import one_block
from ..processes import run
from .receiving import Collector, collector

OWN_SPAN = """
from opentelemetry import trace

async def main(inputs, ctx):
    with trace.get_tracer("block").start_as_current_span("inner"):
        return {"out": 1}
"""
BLOCK = "async def main(inputs, ctx):\n  ctx.logger.warning('said')\n  return {'out': 1}\n"


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
@pytest.mark.parametrize("kind", ["down", "400", "404", "429", "503", "slow", "nonsense", "nobody"])
async def test_runs_go_on_without_a_collector_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with collector() as there, socket.create_server(("127.0.0.1", 0)) as deaf:
        there.answer = int(kind) if kind.isdecimal() else 200
        where = {
            "down": "http://127.0.0.1:1",
            "slow": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            "nonsense": "collector:4318",
            "nobody": "http://collector.invalid:4318",
        }.get(kind, there.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", where)
        await runs(tmp_path, 10)
        if kind.isdecimal():
            assert there.paths >= {"/v1/traces", "/v1/logs"}
    # Spans, metrics and log records all are lost, which is one thing to say.
    [warning] = warnings_of(caplog)
    assert "can't be delivered to the collector: " in warning
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
    [warning] = warnings_of(caplog)
    assert "can't be delivered to the collector: " in warning


async def test_what_blocks_say_comes_as_log_records_of_their_attempts(tmp_path: Path, receiver: Collector) -> None:
    source = """
    import sys

    async def main(inputs, ctx):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        await ctx.log_json({"rows": 2**63})
        await ctx.send_warning("careful")
        await ctx.send_error("wrong")
        return {"out": 1}
    """
    telemetry = over_otlp()
    path = one_block(tmp_path / "f", source)
    async with asyncblock.embedded(tmp_path / "data", capture=True, settings=Settings(watch=telemetry)) as mainframe:
        session = await mainframe.start(path)
        await session.wait()
    await asyncio.to_thread(telemetry.close)
    [attempt] = [span for span in receiver.spans if "attempt" in span.name]
    found = {}
    for record in receiver.logs:
        assert (record.trace_id, record.span_id) == (attempt.trace_id, attempt.span_id)
        assert record.flags & 1
        assert attempt.start_time_unix_nano - 10**9 < record.time_unix_nano < attempt.end_time_unix_nano + 10**9
        attributes = {each.key: each.value.string_value for each in record.attributes}
        assert attributes["asyncblock.session"] == session.session_id
        found[record.body.string_value] = (record.severity_text, attributes.get("log.iostream"))
    assert found == {
        "to stdout": ("INFO", "stdout"),
        "to stderr": ("INFO", "stderr"),
        '{"rows":9223372036854775808}': ("INFO", None),
        "careful": ("WARN", None),
        "wrong": ("ERROR", None),
    }
    assert receiver.services == {"asyncblock"}


async def test_a_short_run_leaves_its_last_figures(tmp_path: Path, receiver: Collector) -> None:
    await runs(tmp_path, 3)
    if receiver.metrics:  # a mainframe is measured once a second
        points = receiver.metrics["asyncblock.job_duration"].histogram.data_points
        assert sum(point.count for point in points) == 3


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        ("OTEL_SDK_DISABLED", "true", set()),
        ("OTEL_TRACES_EXPORTER", "none", {"/v1/metrics"}),
        ("OTEL_LOGS_EXPORTER", "none", {"/v1/metrics", "/v1/traces"}),
        ("OTEL_METRICS_EXPORTER", "none", {"/v1/logs", "/v1/traces"}),
    ],
)
async def test_the_environment_says_what_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Collector, name: str, value: str, paths: set[str]
) -> None:
    monkeypatch.setenv(name, value)
    telemetry = over_otlp()
    path = one_block(tmp_path / "f", BLOCK)
    async with asyncblock.embedded(tmp_path / "data", settings=Settings(watch=telemetry)) as mainframe:
        await (await mainframe.start(path)).wait()
        if "/v1/metrics" in paths:
            await asyncio.to_thread(receiver.wait, "metrics")
    await asyncio.to_thread(telemetry.close)
    assert receiver.paths == paths


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable, match=name):
        over_otlp()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_processes_that_blocks_fork_and_spawn_send_nothing_twice(tmp_path: Path, receiver: Collector) -> None:
    source = """
    import multiprocessing, os, subprocess, sys

    def child(number):
        return number + 1

    def main(inputs, ctx):
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        found = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found.append(pool.apply(abs, (-3,)))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(abs, (-4,)))
        found.append(int(subprocess.check_output([sys.executable, "-c", "print(5)"])))
        return {"out": found}
    """
    telemetry = over_otlp()
    path = one_block(tmp_path / "f", source)
    async with asyncblock.embedded(tmp_path / "data", settings=Settings(watch=telemetry)) as mainframe:
        found = [(await (await mainframe.start(path)).wait()).outputs for _ in range(2)]
    await asyncio.to_thread(telemetry.close)
    assert found == [{"out": [7, 3, 4, 5]}] * 2
    ids = [span.span_id for span in receiver.spans]
    assert len(ids) == len(set(ids)) == 6


async def test_a_program_with_a_provider_of_its_own_keeps_it_and_gets_no_spans_of_ours(
    tmp_path: Path, receiver: Collector
) -> None:
    path = one_block(tmp_path / "f", OWN_SPAN)
    code = f"""
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import asyncblock
from asyncblock.server.settings import Settings
from asyncblock.telemetry.exporting import over_otlp

async def main():
    memory, own = InMemorySpanExporter(), TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(own)
    tracer, telemetry = trace.get_tracer("program"), over_otlp()
    with tracer.start_as_current_span("startup"):
        opened = asyncblock.embedded({str(tmp_path / "data")!r}, settings=Settings(watch=telemetry))
        mainframe = await opened.__aenter__()
    alone = await mainframe.start({str(path)!r})
    await alone.wait()
    with tracer.start_as_current_span("request"):
        asked = await mainframe.start({str(path)!r})
    await asked.wait()
    await opened.__aexit__(None, None, None)
    telemetry.close()
    assert trace.get_tracer_provider() is own
    made = {{}}
    for span in memory.get_finished_spans():
        made.setdefault(span.name, []).append(span)
    assert sorted(made) == ["inner", "request", "startup"], made
    first, second = made["inner"]
    assert second.context.trace_id == made["request"][0].context.trace_id
    assert first.context.trace_id not in (second.context.trace_id, made["startup"][0].context.trace_id)
    assert "attempt" not in made
    print(f"{{first.parent.span_id:016x}} {{second.parent.span_id:016x}}")

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert err.decode() == ""
    attempts = {span.span_id.hex() for span in receiver.spans if "attempt" in span.name}
    assert {*out.decode().split()} == attempts
    assert len(attempts) == 2


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
