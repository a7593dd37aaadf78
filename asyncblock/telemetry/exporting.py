"""Telemetry of a mainframe over OTLP: its sessions' spans and its metrics go to a collector.

Where to is said by the environment, as for every program with OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_METRIC_EXPORT_INTERVAL and others. A collector
that is down, slow or somewhere else costs one warning and what wasn't delivered, and nothing waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
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

from .._version import __version__
from .spans import GivenIds, SessionSpans, Spans, TracedSession

__all__ = ["Telemetry", "over_otlp"]

logger = logging.getLogger("asyncblock.telemetry")

_THEIR_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
)
"""They say something for each batch that isn't delivered."""

_INTERVAL: Final = 60.0
_UNKNOWN: Final[Any] = None
"""The least and the most of a histogram: the protocol lets them out."""
_LEAVE: Final = 3.0
"""Seconds that what is left may take to be delivered when the mainframe ends."""


class _Times(Protocol):
    """A histogram as far as it is read here."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float


class Telemetry:
    """What a mainframe tells of: give it as ``Settings.watch``, and ``close`` it when the mainframe has ended."""

    def __init__(self, processor: SpanProcessor, exporter: MetricExporter | None = None) -> None:
        resource = Resource.create({} if _is_named() else {"service.name": "asyncblock"})
        ids = GivenIds()
        self._provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._spans = Spans(self._provider, ids)
        self._pusher = None if exporter is None else _Pusher(exporter, resource)

    def starting(self, session_id: str, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return a session's metadata with its own place in a trace."""
        return self._spans.starting(session_id, title, metadata)

    def session(self, session: TracedSession) -> SessionSpans | None:
        """Return who makes a session's spans; None where its trace isn't recorded."""
        return self._spans.session(session)

    def measured(self, measure: Callable[[], Measurement]) -> None:
        """Take the mainframe's figures, if some are due."""
        if self._pusher is not None and self._pusher.due():
            self._pusher.take(measure())

    def close(self) -> None:
        """Deliver what is left, for some seconds at most. Blocks: call it on a worker thread."""
        self._spans.close(_LEAVE)
        # What an exporter waits for isn't ours to end: a thread that nobody waits for has it.
        ends = threading.Thread(target=self._shut_down, name="asyncblock-telemetry-end", daemon=True)
        ends.start()
        ends.join(_LEAVE)

    def _shut_down(self) -> None:
        self._provider.shutdown()
        if self._pusher is not None:
            self._pusher.close()


Measurement = tuple[Mapping[str, float], Mapping[str, int], Sequence[tuple[str, Mapping[str, str], _Times]]]
"""Figures by name, sessions by state, and histograms with their names and labels."""


def over_otlp() -> Telemetry:
    """Return telemetry that goes where the environment says."""
    for name in _THEIR_LOGGERS:
        their = logging.getLogger(name)
        if not any(isinstance(each, _Quiet) for each in their.filters):
            their.addFilter(_quiet)
    processor = _Processor(BatchSpanProcessor(_Spans(OTLPSpanExporter(), _Outage("spans"))))
    return Telemetry(processor, OTLPMetricExporter())


def _is_named() -> bool:
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )


class _Quiet(logging.Filter):
    """Keeps to itself what the exporters say on threads of ours: it is told once, in our words."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self._here, "said", None)
        if said is None:
            return True
        said.append(record.getMessage())
        return False

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Collect what is said on this thread in the block."""
        said: list[str] = []
        self._here.said = said
        try:
            yield said
        finally:
            self._here.said = None


_quiet: Final = _Quiet()


class _Outage:
    """Warns once for each time that deliveries fail, and says when they go through again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lasts = False

    def failed(self, why: str) -> None:
        """A delivery has failed."""
        if not self._lasts:
            self._lasts = True
            words = "%s can't be delivered to the collector: %s. They are lost while that lasts; runs go on"
            logger.warning(words, self._what, why)

    def went(self) -> None:
        """A delivery has gone through."""
        if self._lasts:
            self._lasts = False
            logger.info("%s are delivered to the collector again", self._what)


class _Spans(SpanExporter):
    """An exporter of spans that says little."""

    def __init__(self, exporter: SpanExporter, outage: _Outage) -> None:
        self._exporter = exporter
        self._outage = outage

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with _quiet.listening() as said:
            try:
                result = self._exporter.export(spans)
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}")
                result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._outage.went()
        else:
            self._outage.failed(said[0] if said else "it refuses them")
        return result

    def shutdown(self) -> None:
        with _quiet.listening():
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Processor(SpanProcessor):
    """Batches spans; when there is no room it warns once."""

    def __init__(self, inner: BatchSpanProcessor) -> None:
        self._inner = inner
        self._full = False

    def on_end(self, span: ReadableSpan) -> None:
        with _quiet.listening() as said:
            self._inner.on_end(span)
        if said and not self._full:
            self._full = True
            logger.warning("spans come faster than they are delivered, some are dropped (said once): %s", said[0])

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Pusher:
    """Pushes the figures that it was given last, on a thread of its own."""

    def __init__(self, exporter: MetricExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource
        self._scope = InstrumentationScope("asyncblock", __version__)
        self._began = time.time_ns()
        self._interval = _interval()
        self._due = 0.0
        self._given: Measurement | None = None
        self._wake = threading.Event()
        self._closed = False
        self._outage = _Outage("metrics")
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
        """End."""
        self._closed = True
        self._wake.set()
        with _quiet.listening():
            self._exporter.shutdown()

    def _run(self) -> None:
        while self._wake.wait() and not self._closed:
            given, self._given = self._given, None
            if given is not None:
                self._push(given)
            self._wake.clear()

    def _push(self, given: Measurement) -> None:
        with _quiet.listening() as said:
            try:
                result = self._exporter.export(self._made(given))
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}")
                result = MetricExportResult.FAILURE
        if result is MetricExportResult.SUCCESS:
            self._outage.went()
        elif not self._closed:
            self._outage.failed(said[0] if said else "it refuses them")

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
