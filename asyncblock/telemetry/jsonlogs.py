"""Logs as JSON lines, for programs that collect them. The names of the fields are structlog's.

``event``, ``level``, ``logger``, ``timestamp`` and, where they are known, ``exception``, ``trace_id`` and ``span_id``;
what a record brings as ``extra`` stands beside them.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final

import orjson

__all__ = ["JSON_LOGS", "JsonFormatter", "configure", "configured", "wanted"]

JSON_LOGS: Final = "ASYNCBLOCK_LOG_FORMAT"
"""What says to the processes of a command how it logs: ``json``."""

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Makes one JSON object, on one line, of each record."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields |= _trace()
        fields |= {name: value for name, value in record.__dict__.items() if name not in _OWN and name not in fields}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        try:
            return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError):
            # Lone surrogates, circles, numbers that are too large: a line is lost to nobody.
            return orjson.dumps({name: ascii(value) for name, value in fields.items()}).decode()


def configure() -> None:
    """Log as JSON lines on stderr, here and in the processes that are started from here."""
    os.environ[JSON_LOGS] = "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("asyncblock").setLevel(logging.INFO)
    logging.captureWarnings(True)


def configured() -> bool:
    """Tell whether this process logs as JSON lines."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def wanted() -> bool:
    """Tell whether the command that has started this process logs as JSON."""
    return os.environ.get(JSON_LOGS) == "json"


def _trace() -> dict[str, str]:
    """Return where the code stands in a trace, in a process that uses OpenTelemetry."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or not hasattr(api, "get_current_span"):
        return {}
    place = api.get_current_span().get_span_context()
    return {"trace_id": f"{place.trace_id:032x}", "span_id": f"{place.span_id:016x}"} if place.is_valid else {}
