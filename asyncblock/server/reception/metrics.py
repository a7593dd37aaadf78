"""What ``/metrics`` says, in Prometheus's text format or in OpenMetrics, as whoever asks accepts it.

The names are promises: ``FIGURES`` and ``TIMES`` say what each of them is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from ..histograms import Histogram, HistogramFamily, Timings
from ..journal import RUNNING, Journal
from ..livesessions.sessions import Sessions
from ..watching import Measurement
from .gateway import Gateway

__all__ = [
    "FIGURES",
    "OPENMETRICS",
    "STANDING",
    "TEXT",
    "TIMES",
    "Measured",
    "histogram_lines",
    "measured",
    "metrics_text",
    "parts_text",
    "standing_text",
]

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_UNREADABLE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")

FIGURES: Final = {
    "loop_lag_seconds": "How late the event loop ran when it was last measured; once a second.",
    "connections": "Open connections.",
    "links": "Links that are remembered, connected or not.",
    "executors": "Connected executors.",
    "jobs_open": "Jobs that executors hold.",
    "jobs_waiting": "Jobs that wait for an executor.",
    "leases_running_out": "Executors that are away and hold jobs.",
    "journal_queued_bytes": "Bytes of records that wait for the disk.",
    "bodies_queued_bytes": "Bytes of large values that wait for the disk.",
    "var_values_bytes": "Bytes of var values in the memory of connected executors, as they said last.",
    "var_values_limit_bytes": "Bytes of var values that they may hold.",
    "var_values_disk_bytes": "Bytes of var values that connected executors have on the disk for want of memory.",
    "var_values_disk_limit_bytes": "Bytes of the disk that var values may take.",
    "values_bytes": "Bytes of recent values kept in memory for jobs that will take them.",
    "trouble": "1 while nothing is accepted because the disk refuses.",
    "received_bytes_total": "Bytes of records and large values taken in.",
    "acks_total": "Acknowledgements sent.",
}

TIMES: Final = {
    "job_queue_wait_seconds": "From a job's being ready to its being handed to an executor.",
    "job_duration_seconds": "From handing a job to an executor to the end of the attempt, by block and outcome.",
    "commit_seconds": "From handing a transaction to the journal to its being stored.",
    "acknowledgement_seconds": "From a batch's arrival to its acknowledgement.",
    "loop_delay_seconds": "How late the event loop ran, measured once a second.",
}

STANDING: Final = {
    "owner": "1 while this member of a set owns it, else 0.",
    "standby": "1 while this member of a set stands by, else 0.",
    "term": "The newest ownership of the set that this member knows of: later owners have higher ones.",
}
"""What members of a set say besides."""


class Measured(Protocol):
    """The mainframe whose figures these are: a ``mainframe.MainframeServer``, of which this is told."""

    @property
    def trouble(self) -> str | None:
        """Why nothing is accepted at the moment; None when all is well."""
        ...

    @property
    def lag(self) -> float:
        """Seconds by which the loop ran late when it was last measured."""
        ...

    @property
    def sessions(self) -> Sessions:
        """Its sessions."""
        ...

    @property
    def gateway(self) -> Gateway:
        """Its connections."""
        ...

    @property
    def journal(self) -> Journal:
        """Where it writes."""
        ...


def figures_of(server: Measured) -> dict[str, float]:
    """Return the figures of this moment, by name."""
    links = server.sessions.dispatch.links.values()
    return {
        "loop_lag_seconds": server.lag,
        "connections": server.gateway.connections,
        "links": len(links),
        "executors": sum(link.executor is not None and link.connection is not None for link in links),
        "jobs_open": sum(link.load for link in links),
        "jobs_waiting": server.sessions.dispatch.waiting,
        "leases_running_out": sum(link.lease_timer is not None for link in links),
        "journal_queued_bytes": server.journal.queued_bytes,
        "bodies_queued_bytes": server.journal.bodies.queued_bytes,
        "values_bytes": server.sessions.values.size,
        "var_values_bytes": sum(link.held for link in links if link.connection is not None),
        "var_values_limit_bytes": sum(link.may_hold for link in links if link.connection is not None),
        "var_values_disk_bytes": sum(link.on_disk for link in links if link.connection is not None),
        "var_values_disk_limit_bytes": sum(link.may_take for link in links if link.connection is not None),
        "trouble": int(server.trouble is not None),
        "received_bytes_total": server.gateway.bytes_received,
        "acks_total": server.gateway.acks,
    }


def states_of(server: Measured) -> dict[str, int]:
    """Return how many sessions are in each state."""
    return dict(sorted((server.sessions.ended_counts + Counter({RUNNING: len(server.sessions.rows)})).items()))


def times_of(timings: Timings) -> dict[str, Histogram | HistogramFamily]:
    """Return the histograms by name."""
    return {
        "job_queue_wait_seconds": timings.queue_wait,
        "job_duration_seconds": timings.job,
        "commit_seconds": timings.commit,
        "acknowledgement_seconds": timings.ack,
        "loop_delay_seconds": timings.loop_delay,
    }


def measured(server: Measured) -> Measurement:
    """Return everything at once, as it is at this moment."""
    times = [
        (name, dict(zip(each.labels, values, strict=True)), one)
        if isinstance(each, HistogramFamily)
        else (name, {}, one)
        for name, each in times_of(server.sessions.timings).items()
        for values, one in (each if isinstance(each, HistogramFamily) else [((), each)])
    ]
    return figures_of(server), states_of(server), times


def metrics_text(server: Measured, *, openmetrics: bool, standing: Mapping[str, int] | None = None) -> str:
    """Return what is to be scraped. ``standing`` has what ``STANDING`` names, of a member of a set."""
    return _text([({}, server, standing or {})], openmetrics)


def standing_text(standing: Mapping[str, int], *, openmetrics: bool) -> str:
    """Return what is to be scraped of a member that stands by."""
    return _text([({}, None, standing)], openmetrics)


def parts_text(parts: Mapping[str, tuple[Measured | None, Mapping[str, int]]], *, openmetrics: bool) -> str:
    """Return what is to be scraped of a member, by partition: who serves it here, if anybody, and its standing."""
    return _text([({"partition": name}, *part) for name, part in parts.items()], openmetrics)


def _text(parts: Sequence[tuple[Mapping[str, str], Measured | None, Mapping[str, int]]], openmetrics: bool) -> str:
    lines: list[str] = []
    for name, words in STANDING.items():
        said = [f"asyncblock_{name}{_labels(labels)} {standing[name]}" for labels, _, standing in parts if standing]
        lines += [*_head(name, "gauge", words, openmetrics), *said] if said else []
    serving = [(labels, server) for labels, server, _ in parts if server is not None]
    if serving:
        lines += _measured_lines(serving, openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _measured_lines(serving: Sequence[tuple[Mapping[str, str], Measured]], openmetrics: bool) -> Iterator[str]:
    figures = [(labels, figures_of(server)) for labels, server in serving]
    for name in figures[0][1]:
        counts = name.endswith("_total")
        yield from _head(name, "counter" if counts else "gauge", FIGURES[name], openmetrics)
        for labels, values in figures:
            yield f"asyncblock_{name}{_labels(labels)} {values[name]}"
    yield from _head("sessions", "gauge", "Sessions in the journal, by state.", openmetrics)
    for labels, server in serving:
        for state, count in states_of(server).items():
            yield f"asyncblock_sessions{_labels({**labels, 'state': state})} {count}"
    times = [(labels, times_of(server.sessions.timings)) for labels, server in serving]
    for name in times[0][1]:
        yield from _head(name, "histogram", TIMES[name], openmetrics)
        for labels, families in times:
            family = families[name]
            if isinstance(family, Histogram):
                yield from histogram_lines(name, labels, family)
            else:
                for texts, each in family:
                    yield from histogram_lines(name, {**labels, **dict(zip(family.labels, texts, strict=True))}, each)


def _head(name: str, kind: str, words: str, openmetrics: bool) -> Iterable[str]:
    full = f"asyncblock_{name}"
    if openmetrics:
        # There a counter's family is named without the ending of its samples, and words for units are lines.
        full = full.removesuffix("_total")
        unit = next((unit for unit in ("seconds", "bytes") if full.endswith(f"_{unit}")), None)
        return (f"# TYPE {full} {kind}", *([f"# UNIT {full} {unit}"] if unit else []), f"# HELP {full} {words}")
    return f"# HELP {full} {words}", f"# TYPE {full} {kind}"


def histogram_lines(name: str, labels: Mapping[str, str], times: Histogram) -> Iterator[str]:
    """Write the lines of one histogram."""
    counts = times.cumulated()
    for bound, count in zip([*map(str, times.bounds), "+Inf"], counts, strict=True):
        yield f"asyncblock_{name}_bucket{_labels({**labels, 'le': bound})} {count}"
    yield f"asyncblock_{name}_sum{_labels(labels)} {times.sum}"
    yield f"asyncblock_{name}_count{_labels(labels)} {counts[-1]}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    # What ends a line, or the answer, for some readers, and what can't be encoded.
    text = _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
