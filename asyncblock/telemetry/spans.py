"""Spans of sessions: one for the session, for each run of a subflow, each job and each attempt; and what blocks say.

What a mainframe tells of is put into a bounded queue, and made into spans by a thread of its own: the mainframe never
waits, and what is too much is dropped with one warning. Times are the mainframe's monotonic clock's, counted from the
session's beginning, so that no span ends before it begins whatever happens to the clock on the wall.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Full, Queue
from typing import Any, Final, Protocol

from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision

from .._version import installed_version
from .blocklogs import SAID, BlockLogs
from .traces import (
    Trace,
    attempt_span,
    job_span,
    metadata_of_session,
    parsed,
    session_trace,
    trace_of_session,
)

__all__ = ["GivenIds", "SessionSpans", "Spans", "TracedSession"]

logger = logging.getLogger("asyncblock.telemetry")

_QUEUED: Final = 20_000
"""Spans that wait to be made, some 1 kB each."""

_PLACES: Final = 50_000
"""How many lines of a session's journal are remembered with their attempts, for links between spans: the latest."""

_SAID: Final = 4000
"""Of what waits to be made, what blocks say goes no further than this: it is up to 64 kB each."""

_MAX_ERROR: Final = 1000
"""Characters of an error in a span's status: the journal has all of it."""


class Titled(Protocol):
    """A plan as far as it is read here."""

    @property
    def title(self) -> str:
        """What people call it."""
        ...


class TracedSession(Protocol):
    """A session as far as it is read here."""

    session_id: str
    created_at: int
    metadata: dict[str, Any]

    @property
    def plan(self) -> Titled:
        """What it runs."""
        ...


@dataclass(slots=True)
class _Made:
    """A span that is over."""

    name: str
    trace: Trace
    """Its own place."""
    above: str | None
    start: int
    end: int
    attributes: dict[str, Any]
    links: Mapping[str, list[str]] = field(default_factory=dict)
    """Spans that it took inputs from, with the handles."""
    error: str | None = None


@dataclass(slots=True)
class _Said:
    """A record by which a block has said something."""

    trace: Trace
    """The place of its attempt."""
    record: Mapping[str, Any]
    at: int
    attributes: Mapping[str, Any]


class GivenIds(IdGenerator):
    """Gives a span the ids that are wanted for it; on the thread that makes spans."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Spans:
    """Makes the spans of a mainframe's sessions, with a provider that has these ids and whose processors get them."""

    def __init__(self, provider: TracerProvider, ids: GivenIds, logs: BlockLogs | None = None) -> None:
        self._ids = ids
        self._provider = provider
        self._tracer = provider.get_tracer("asyncblock", installed_version())
        self._logs = logs
        self._sampler_failed = False
        self._queue: Queue[_Made | _Said | None] = Queue(_QUEUED)
        self.dropped = 0
        """Spans for which there was no room."""
        self.dropped_words = 0
        """Log records for which there was none."""
        self._thread = threading.Thread(target=self._run, name="asyncblock-spans", daemon=True)
        self._thread.start()

    def starting(self, session_id: str, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return a session's metadata with its own place in a trace."""
        above = parsed(metadata)
        trace_id = session_trace(session_id) if above is None else above.trace_id
        sampled = self._is_sampled(above, trace_id, title or "session")
        return metadata_of_session(metadata, session_id, above, sampled=sampled)

    def _is_sampled(self, above: Trace | None, trace_id: str, title: str) -> bool:
        try:
            context = None if above is None else api.set_span_in_context(api.NonRecordingSpan(_place(above)))
            decided = self._provider.sampler.should_sample(context, int(trace_id, 16), title)
        except Exception as error:
            # It may be anybody's: OTEL_TRACES_SAMPLER names one.
            if not self._sampler_failed:
                self._sampler_failed = True
                words = "the sampler fails, and what it fails for isn't recorded (said once): %s: %s"
                logger.warning(words, type(error).__name__, error)
            return False
        return decided.decision is Decision.RECORD_AND_SAMPLE

    def session(self, session: TracedSession) -> SessionSpans | None:
        """Return who makes a session's spans; None where its trace isn't recorded."""
        found = trace_of_session(session.metadata, session.session_id)
        if found is None or not found[0].sampled:
            return None
        return SessionSpans(self, session, *found)

    def add(self, made: _Made | _Said) -> None:
        """Take a span that is over; never waits."""
        try:
            self._queue.put_nowait(made)
        except Full:
            if not self.dropped:
                logger.warning("more spans than can be made: some are dropped, and their traces have gaps")
            self.dropped += 1

    @property
    def wants_words(self) -> bool:
        """What blocks say is asked for."""
        return self._logs is not None

    def say(self, said: _Said) -> None:
        """Take what a block says; never waits."""
        if self._queue.qsize() < _SAID:
            self.add(said)
        elif not self.dropped_words:
            self.dropped_words = 1
            logger.warning("blocks say more than can be sent to the collector: some of it isn't (said once)")
        else:
            self.dropped_words += 1

    def close(self, timeout: float) -> None:
        """Make what waits, for so many seconds at most."""
        until = time.monotonic() + timeout
        try:
            self._queue.put(None, timeout=timeout)
        except Full:
            return
        self._thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        failed = False
        while (made := self._queue.get()) is not None:
            try:
                if isinstance(made, _Said):
                    self._log(made)
                else:
                    self._make(made)
            except Exception as error:
                if not failed:
                    failed = True
                    logger.warning(
                        "a span or a log record can't be made (said once): %s: %s", type(error).__name__, error
                    )

    def _log(self, said: _Said) -> None:
        if self._logs is not None:
            self._logs.say(_place(said.trace), said.record, said.at, said.attributes)

    def _make(self, made: _Made) -> None:
        self._ids.trace_id, self._ids.span_id = int(made.trace.trace_id, 16), int(made.trace.span_id, 16)
        context = None
        if made.above is not None:
            place = Trace(made.trace.trace_id, made.above, made.trace.sampled, made.trace.state)
            context = api.set_span_in_context(api.NonRecordingSpan(_place(place)))
        links = [
            api.Link(_place(Trace(made.trace.trace_id, span_id)), {"asyncblock.inputs": handles})
            for span_id, handles in made.links.items()
        ]
        span = self._tracer.start_span(
            made.name, context, attributes=made.attributes, links=links, start_time=made.start
        )
        if made.error is not None:
            span.set_status(api.Status(api.StatusCode.ERROR, made.error[:_MAX_ERROR]))
        span.end(max(made.start, made.end))


@dataclass(slots=True)
class _Open:
    """A job, or a run of a subflow, that isn't over."""

    name: str
    above: str
    start: int
    attributes: dict[str, Any]
    links: dict[str, list[str]]
    outcome: str = ""
    """Of its last attempt."""


class SessionSpans:
    """Makes the spans of one session."""

    def __init__(self, spans: Spans, session: TracedSession, own: Trace, above: str | None) -> None:
        self._spans = spans
        self._session = session
        self._own = own
        self._above = above
        self._start = session.created_at * 1_000_000
        # From here on time is counted by a clock that can't be set.
        self._anchor = max(time.time_ns(), self._start) - time.monotonic_ns()
        self._open: dict[str, _Open] = {}
        self._places: dict[tuple[int, int], str] = {}
        """The spans of the attempts with outputs in a line of a row."""

    def job_began(
        self,
        job_id: str,
        name: str,
        node_id: str,
        parent: tuple[str, int],
        inputs: Mapping[str, Any],
        since: int | None,
    ) -> None:
        """Take in a job, or a run of a subflow, that is to be done."""
        asker, attempt = parent
        if not asker:
            above = self._own.span_id
        else:
            above = attempt_span(asker, attempt) if attempt else job_span(asker)
        links: dict[str, list[str]] = {}
        for handle, ref in inputs.items():
            if ref is not None and ref[0] == "record" and (source := self._places.get((ref[1], ref[2]))) is not None:
                links.setdefault(source, []).append(handle)
        start = self._now() if since is None else since * 1_000_000
        attributes = {"asyncblock.session": self._session.session_id, "asyncblock.job": job_id}
        attributes |= {"asyncblock.node": node_id, "asyncblock.block": name}
        self._open[job_id] = _Open(node_id or name, above, start, attributes, links)

    def put_out(self, place: tuple[int, int], job_id: str, attempt: int) -> None:
        """Remember which attempt's records are in a line of a row."""
        if len(self._places) >= _PLACES:
            del self._places[next(iter(self._places))]
        self._places[place] = attempt_span(job_id, attempt)

    def took(self, job_id: str, attempt: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Send on what an attempt has said."""
        if not self._spans.wants_words or (job := self._open.get(job_id)) is None:
            return
        for record in records:
            if record["type"] in SAID:
                place = Trace(self._own.trace_id, attempt_span(job_id, attempt), True, self._own.state)
                attributes = {**job.attributes, "asyncblock.attempt": attempt}
                self._spans.say(_Said(place, record, self._now(), attributes))

    def attempt_over(
        self, job_id: str, attempt: int, seconds: float | None, link: str, outcome: str, error: str | None
    ) -> None:
        """Make the span of an attempt."""
        job = self._open.get(job_id)
        if job is None:
            return
        job.outcome = outcome
        end = self._now()
        more = {"asyncblock.attempt": attempt, "asyncblock.executor": link, "asyncblock.outcome": outcome}
        place = Trace(self._own.trace_id, attempt_span(job_id, attempt), True, self._own.state)
        start = job.start if seconds is None else end - int(max(0.0, seconds) * 1e9)
        name = f"{job.name} attempt {attempt}"
        words = error if outcome == "failed" else None
        self._spans.add(_Made(name, place, job_span(job_id), start, end, {**job.attributes, **more}, error=words))

    def job_over(self, job_id: str, error: str | None, *, told: bool = False) -> None:
        """Make the span of a job, or of a run of a subflow."""
        job = self._open.pop(job_id, None)
        if job is not None and not told:
            place = Trace(self._own.trace_id, job_span(job_id), True, self._own.state)
            end = self._now()
            words = None if job.outcome == "cancelled" else error
            self._spans.add(_Made(job.name, place, job.above, job.start, end, job.attributes, job.links, words))

    def session_over(self, state: str, error: str | None) -> None:
        """Make the span of the session, and of what was open in it."""
        for job_id in list(self._open):
            self.job_over(job_id, error)
        self._places.clear()
        attributes = {"asyncblock.session": self._session.session_id, "asyncblock.state": state}
        words = (error or state) if state == "failed" else None
        name = self._session.plan.title or "session"
        self._spans.add(_Made(name, self._own, self._above, self._start, self._now(), attributes, error=words))

    def _now(self) -> int:
        return self._anchor + time.monotonic_ns()


def _place(trace: Trace) -> api.SpanContext:
    flags = api.TraceFlags(api.TraceFlags.SAMPLED if trace.sampled else api.TraceFlags.DEFAULT)
    state = api.TraceState.from_header([trace.state]) if trace.state else None
    return api.SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, flags, state)
