"""Logs as JSON lines: what a line has, and that none is lost."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import orjson
import pytest
from opentelemetry import trace as api

from asyncblock.telemetry.jsonlogs import JsonFormatter


def line_of(*arguments: Any, **more: Any) -> dict[str, Any]:
    record = logging.getLogger("test").makeRecord("test", logging.WARNING, "file.py", 1, *arguments, **more)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    made = orjson.loads(text)
    assert isinstance(made, dict)
    return made


def test_a_line_has_structlogs_names_and_what_is_extra() -> None:
    made = line_of("it %s", ("works\nwell",), None, extra={"session": "s1", "count": 3})
    timestamp = made.pop("timestamp")
    assert timestamp.endswith("+00:00")
    assert made == {"level": "warning", "logger": "test", "event": "it works\nwell", "session": "s1", "count": 3}


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("no luck")
    except ValueError:
        made = line_of("it failed", (), sys.exc_info())
    assert made["exception"].startswith("Traceback")
    assert "no luck" in made["exception"]


def test_a_line_inside_of_a_trace_says_where() -> None:
    place = api.SpanContext(int("a" * 32, 16), int("b" * 16, 16), True, api.TraceFlags(1))
    with api.use_span(api.NonRecordingSpan(place)):
        made = line_of("here", (), None)
    assert (made["trace_id"], made["span_id"]) == ("a" * 32, "b" * 16)
    assert "trace_id" not in line_of("elsewhere", (), None)


@pytest.mark.parametrize(
    "value", ["\ud800", object(), 1 << 100, {1: {2}}, b"bytes"], ids=["half a pair", "object", "large", "set", "bytes"]
)
def test_what_json_has_no_form_for_costs_no_line(value: object) -> None:
    assert line_of("odd: %r", (value,), None, extra={"odd": value})["event"]


def test_warnings_and_logs_of_a_process_are_json_lines_and_so_are_its_childrens() -> None:
    code = """
import subprocess, sys, warnings, logging
from asyncblock.telemetry import jsonlogs
jsonlogs.configure()
warnings.warn("careful")
logging.getLogger("asyncblock.server").info("begun")
logging.getLogger("other").info("not told")
print(subprocess.run([sys.executable, "-c", "from asyncblock.telemetry import jsonlogs; print(jsonlogs.wanted())"],
                     capture_output=True, text=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    made = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert [each["logger"] for each in made] == ["py.warnings", "asyncblock.server"]
    assert done.stdout.strip() == "True"
