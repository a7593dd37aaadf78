"""Telemetry of a mainframe over OTLP: its sessions' spans, what their blocks say and its metrics go to a collector.

Where to is said by the environment, as for every program with OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_METRIC_EXPORT_INTERVAL and others. A collector
that is down, slow or somewhere else costs one warning and what wasn't delivered, and nothing waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .._version import installed_version
from ..errors import Unavailable
from .blocklogs import BlockLogs
from .outage import Outage, deliver, quiet
from .spans import GivenIds, SessionSpans, Spans, TracedSession

__all__ = ["Telemetry", "over_otlp"]

_THEIR_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
)
"""They say something for each batch that isn't delivered."""

_INTERVAL: Final = 60.0
_UNKNOWN: Final[Any] = None
"""The least and the most of a histogram: the protocol lets them out."""
_TOO_FAST: Final = "they come faster than it takes them"
_LEAVE: Final = 3.0
"""Seconds that what is left may take to be delivered when the mainframe ends."""


class _Times(Protocol):
    """A histogram as far as it is read here."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float


class Telemetry:
    """What a mainframe tells of: give it as ``Settings.watch``, and ``close`` it when the mainframe has ended."""

    def __init__(
        self,
        processor: SpanProcessor | None,
        exporter: MetricExporter | None = None,
        logs: LogRecordProcessor | None = None,
        outage: Outage | None = None,
    ) -> None:
        resource = Resource.create({} if _is_named() else {"service.name": "asyncblock"})
        ids = GivenIds()
        self._provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        if logs is not None:
            self._logs.add_log_record_processor(logs)
        self._spans: Spans | None = None
        if processor is not None:
            self._provider.add_span_processor(processor)
            self._spans = Spans(self._provider, ids, None if logs is None else BlockLogs(self._logs))
        self._pusher = None if exporter is None else _Pusher(exporter, resource, outage or Outage())
        self._measure: Callable[[], Measurement] | None = None

    def starting(self, session_id: str, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return a session's metadata with its own place in a trace."""
        return metadata if self._spans is None else self._spans.starting(session_id, title, metadata)

    def session(self, session: TracedSession) -> SessionSpans | None:
        """Return who makes a session's spans; None where its trace isn't recorded."""
        return None if self._spans is None else self._spans.session(session)

    def measured(self, measure: Callable[[], Measurement]) -> None:
        """Take the mainframe's figures, if some are due."""
        self._measure = measure
        if self._pusher is not None and self._pusher.due():
            self._pusher.take(measure())

    def close(self) -> None:
        """Deliver what is left, for some seconds at most. Blocks: call it on a worker thread."""
        if self._spans is not None:
            self._spans.close(_LEAVE)
        if self._pusher is not None and self._measure is not None:
            with suppress(RuntimeError):  # it still runs, and what is counted has changed meanwhile
                self._pusher.take(self._measure())
        # An exporter's wait can't be ended from here, so it is in a thread that isn't joined.
        ends = threading.Thread(target=self._shut_down, name="asyncblock-telemetry-end", daemon=True)
        ends.start()
        ends.join(_LEAVE)

    def _shut_down(self) -> None:
        # Begun at once: a collector that doesn't answer would use up the time of all with the first of them.
        ends = [self._provider.shutdown, self._logs.shutdown, *([] if self._pusher is None else [self._pusher.close])]
        threads = [threading.Thread(target=end, name="asyncblock-telemetry-end", daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


Measurement = tuple[Mapping[str, float], Mapping[str, int], Sequence[tuple[str, Mapping[str, str], _Times]]]
"""Figures by name, sessions by state, and histograms with their names and labels."""


def over_otlp() -> Telemetry:
    """Return telemetry that goes where the environment says. Raises ``Unavailable`` where that can't be understood."""
    for name in _THEIR_LOGGERS:
        # A filter that is there already isn't added again.
        logging.getLogger(name).addFilter(quiet)
    outage = Outage()
    try:
        spans = _Processor(BatchSpanProcessor(_Spans(OTLPSpanExporter(), outage)), outage) if _sends("TRACES") else None
        logs = (
            _LogProcessor(BatchLogRecordProcessor(_Logs(OTLPLogExporter(), outage)), outage) if _sends("LOGS") else None
        )
        return Telemetry(spans, OTLPMetricExporter() if _sends("METRICS") else None, logs, outage)
    except (ValueError, OSError) as error:
        names = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        words = f"telemetry can't be set up by what the environment says ({names}): {error}"
        raise Unavailable(words) from error


def _sends(signal: str) -> bool:
    """Tell whether the environment lets spans, metrics or log records be sent."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() != "none"


def _is_named() -> bool:
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )


class _Spans(SpanExporter):
    """An exporter of spans that says little."""

    def __init__(self, exporter: SpanExporter, outage: Outage) -> None:
        self._exporter = exporter
        self._outage = outage

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = SpanExportResult
        return deliver(self._outage, "spans", lambda: self._exporter.export(spans), results.SUCCESS, results.FAILURE)

    def shutdown(self) -> None:
        with quiet.listening():
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Processor(SpanProcessor):
    """Batches spans; that there is no room for some is an outage, too."""

    def __init__(self, inner: BatchSpanProcessor, outage: Outage) -> None:
        self._inner = inner
        self._outage = outage

    def on_end(self, span: ReadableSpan) -> None:
        with quiet.listening() as said:
            self._inner.on_end(span)
        if said:
            self._outage.failed("spans", _TOO_FAST)

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Logs(LogRecordExporter):
    """An exporter of log records that says little."""

    def __init__(self, exporter: LogRecordExporter, outage: Outage) -> None:
        self._exporter = exporter
        self._outage = outage

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        results = LogRecordExportResult
        return deliver(
            self._outage, "log records", lambda: self._exporter.export(batch), results.SUCCESS, results.FAILURE
        )

    def shutdown(self) -> None:
        with quiet.listening():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _LogProcessor(LogRecordProcessor):
    """Batches log records, as ``_Processor`` does spans."""

    def __init__(self, inner: BatchLogRecordProcessor, outage: Outage) -> None:
        self._inner = inner
        self._outage = outage

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        with quiet.listening() as said:
            self._inner.on_emit(log_record)
        if said:
            self._outage.failed("log records", _TOO_FAST)

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Pusher:
    """Pushes the figures that it was given last, on a thread of its own."""

    def __init__(self, exporter: MetricExporter, resource: Resource, outage: Outage) -> None:
        self._exporter = exporter
        self._resource = resource
        self._scope = InstrumentationScope("asyncblock", installed_version())
        self._began = time.time_ns()
        self._interval = _interval()
        self._due = 0.0
        self._given: Measurement | None = None
        self._wake = threading.Event()
        self._closed = False
        self._outage = outage
        self._thread = threading.Thread(target=self._run, name="asyncblock-metrics", daemon=True)
        self._thread.start()

    def due(self) -> bool:
        """Tell whether figures are wanted now."""
        return time.monotonic() >= self._due and not self._wake.is_set()

    def take(self, measurement: Measurement) -> None:
        """Take figures, to be pushed."""
        self._due = time.monotonic() + self._interval
        self._given = measurement
        self._wake.set()

    def close(self) -> None:
        """Push what was given last, for some seconds at most, and end."""
        self._closed = True
        self._wake.set()
        self._thread.join(_LEAVE)
        with quiet.listening():
            self._exporter.shutdown()

    def _run(self) -> None:
        while self._given is not None or not self._closed:
            self._wake.wait()
            # Before it is read, so that what is given meanwhile wakes it again.
            self._wake.clear()
            given, self._given = self._given, None
            if given is not None:
                results = MetricExportResult
                deliver(self._outage, "metrics", partial(self._export, given), results.SUCCESS, results.FAILURE)

    def _export(self, given: Measurement) -> MetricExportResult:
        return self._exporter.export(self._made(given))

    def _made(self, given: Measurement) -> MetricsData:
        figures, states, times = given
        began, now = self._began, max(time.time_ns(), self._began)
        metrics = []
        for name, value in figures.items():
            point = NumberDataPoint({}, began, now, value)
            counts = name.endswith("_total")
            data = Sum([point], AggregationTemporality.CUMULATIVE, True) if counts else Gauge([point])
            metrics.append(Metric(_dotted(name.removesuffix("_total")), "", _unit(name), data))
        points = [NumberDataPoint({"state": state}, began, now, count) for state, count in states.items()]
        metrics.append(Metric(_dotted("sessions"), "", "{session}", Gauge(points)))
        found: dict[str, list[HistogramDataPoint]] = {}
        for name, labels, each in times:
            counts_of = list(each.counts)
            found.setdefault(name, []).append(
                HistogramDataPoint(
                    dict(labels), began, now, sum(counts_of), each.sum, counts_of, each.bounds, _UNKNOWN, _UNKNOWN
                )
            )
        for name, made in found.items():
            metrics.append(Metric(_dotted(name), "", "s", Histogram(made, AggregationTemporality.CUMULATIVE)))
        scoped = ScopeMetrics(self._scope, metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scoped], "")])


def _dotted(name: str) -> str:
    """Return a figure's name as OpenTelemetry writes such; a collector makes the one under ``/metrics`` of it."""
    return "asyncblock." + name.removesuffix("_seconds").removesuffix("_bytes")


def _unit(name: str) -> str:
    bare = name.removesuffix("_total")
    return "s" if bare.endswith("_seconds") else "By" if bare.endswith("_bytes") else "1"


def _interval() -> float:
    """Return the seconds between two pushes, as the environment says in milliseconds."""
    try:
        return max(1.0, float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000)
    except ValueError:
        return _INTERVAL
