"""What blocks print, log and warn of, as OpenTelemetry's log records: each names the span of its attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from opentelemetry import trace as api
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider

from .._version import installed_version

__all__ = ["SAID", "BlockLogs"]

_MOST: Final = 16 * 1024
"""Characters of a line: the journal has all of it."""

_SEVERITIES: Final = {
    "BlockLog": SeverityNumber.INFO,
    "BlockLogJSON": SeverityNumber.INFO,
    "BlockWarning": SeverityNumber.WARN,
    "BlockError": SeverityNumber.ERROR,
}

SAID: Final = frozenset(_SEVERITIES)
"""The types of the records that become log records."""


class BlockLogs:
    """Makes log records of what blocks say."""

    def __init__(self, provider: LoggerProvider) -> None:
        self._logger = provider.get_logger("asyncblock", installed_version())

    def say(self, place: api.SpanContext, record: Mapping[str, Any], at: int, attributes: Mapping[str, Any]) -> None:
        """Make one, of a record that a block's attempt has sent."""
        kind = record["type"]
        more = dict(attributes)
        if kind == "BlockLog":
            more["log.iostream"] = record["stdio"]
        severity = _SEVERITIES[kind]
        made = LogRecord(
            timestamp=record["t"] * 1_000_000 if isinstance(record.get("t"), int) else at,
            observed_timestamp=at,
            context=api.set_span_in_context(api.NonRecordingSpan(place), Context()),
            severity_number=severity,
            severity_text=severity.name,
            body=_body(kind, record),
            attributes=more,
        )
        self._logger.emit(made)


def _body(kind: str, record: Mapping[str, Any]) -> str:
    match kind:
        case "BlockLog":
            text = record["log"]
        case "BlockWarning":
            text = record["warning"]
        case "BlockError":
            text = record["error"]
        case _:
            # As text: of the numbers of JSON some are too large for the protocol, and would lose the whole batch.
            text = orjson.dumps(record["json"]).decode() if "json" in record else "(a large value: the journal has it)"
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
