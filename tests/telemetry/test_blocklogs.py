"""What a block says as a log record, in the memory of OpenTelemetry's own exporter."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from asyncblock.telemetry.blocklogs import SAID, BlockLogs

PLACE = api.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED))


def said(record: dict[str, Any]) -> Any:
    """Return the one log record that is made of a record."""
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # it has no types
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    BlockLogs(provider).say(PLACE, record, 7_000_000, {"node_id": "n"})
    [found] = exporter.get_finished_logs()
    return found.log_record


@pytest.mark.parametrize(
    ("record", "severity", "body"),
    [
        ({"type": "BlockLog", "log": "printed", "stdio": "stdout", "t": 5}, "INFO", "printed"),
        ({"type": "BlockLogJSON", "json": {"n": 2**60}, "t": 5}, "INFO", f'{{"n":{2**60}}}'),
        ({"type": "BlockLogJSON", "t": 5}, "INFO", "(a large value: the journal has it)"),
        ({"type": "BlockWarning", "warning": "careful", "t": 5}, "WARN", "careful"),
        ({"type": "BlockError", "error": "no", "t": 5}, "ERROR", "no"),
    ],
)
def test_each_kind_has_its_severity_and_its_words(record: dict[str, Any], severity: str, body: str) -> None:
    assert record["type"] in SAID
    made = said(record)
    assert (made.severity_text, made.body) == (severity, body)
    assert (made.timestamp, made.observed_timestamp) == (5_000_000, 7_000_000)
    assert (made.trace_id, made.span_id) == (0xABC, 0xDEF)
    assert made.attributes["node_id"] == "n"


def test_a_stream_is_named_and_a_time_that_is_none_is_when_it_came() -> None:
    made = said({"type": "BlockLog", "log": "x", "stdio": "stderr", "t": "soon"})
    assert made.attributes["log.iostream"] == "stderr"
    assert made.timestamp == 7_000_000


def test_a_long_line_is_cut() -> None:
    made = said({"type": "BlockWarning", "warning": "x" * 100_000, "t": 5})
    assert made.body == "x" * 16 * 1024 + "..."
