"""The state of a session, folded from its public events.

Any order that a journal can have is taken, and any beginning: what came before the first event is simply not known.
Events of rows that were taken already change nothing, so a second reading may begin earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

import orjson

from .. import events
from ..wire.bodies import BodyRef
from .jobviews import ENDED, AttemptView, JobView, NodeView
from .said import SAID, SESSION, SaidState
from .shown import Failure, StallView, StateLimits

__all__ = ["SESSION", "State"]

_KEPT: Final = (
    "session_id", "title", "path", "order", "offset", "within", "began", "now", "state", "error", "failed", "epoch",
    "outputs", "counted", "late", "failures_count", "stalls_count", "forgotten", "last_put", "flows", "executors",
)  # fmt: skip
"""What stands in a snapshot as it is."""

_MADE: Final = ("bodies", "nodes", "jobs", "failures", "stalls")
"""What is made of objects again."""


class State(SaidState):
    """A session as it is after the events that were taken. ``take`` and ``fold`` are all that changes it."""

    def __init__(self, limits: StateLimits | None = None, feeds: Mapping[str, Collection[str]] | None = None) -> None:
        super().__init__(limits or StateLimits(), feeds or {})
        self._again = 0
        """Events of the row ``offset`` that come once more."""
        self.session_id = ""
        self.title = ""
        self.path: str | None = None
        self.order: list[str] = []
        """The outermost flow's nodes, in the order of its file."""
        self.began: int | None = None
        self.now = 0
        """The latest time in any event."""
        self.state = "running"
        self.error: str | None = None
        self.failed: dict[str, Any] | None = None
        self.epoch: str | None = None
        """The journal's identity since it was broken."""
        self.outputs: dict[str, Any] = {}
        self.bodies: dict[str, BodyRef] = {}
        self.counted: dict[str, int] = {}
        """Events by type."""
        self.executors: dict[str, int] = {}
        """How many attempts each link was given."""
        self.late = 0
        """Records that came too late to count."""
        self.flows: dict[str, str] = {}
        """The path of the node by each run of a subflow."""

    # ------------------------------------------------------------------ taking events

    def fold(self, found: Iterable[events.Event]) -> State:
        """Take events in order; return itself."""
        for event in found:
            self.take(event)
        return self

    def take(self, event: events.Event) -> None:
        """Take one event."""
        if event.offset != self.offset:
            if event.offset < self.offset:
                return
            self.offset, self.within, self._again = event.offset, 0, 0
        elif self._again:
            self._again -= 1
            return
        self.within += 1
        if event.t > self.now:
            self.now = event.t
        name = event.type
        self.counted[name] = self.counted.get(name, 0) + 1
        taker = _TAKERS.get(name)
        if taker is not None:
            taker(self, event)

    def read_on(self) -> int:
        """Return the row to read on from; those of its events that were taken already are passed over."""
        self._again = self.within
        return max(self.offset, 0)

    @property
    def over(self) -> bool:
        """Tell whether the session has ended."""
        return self.state != "running"

    # ------------------------------------------------------------------ the session

    def _session_started(self, event: events.SessionStarted) -> None:
        self.session_id, self.title, self.path = event.session_id, event.title, event.path
        self.order = list(event.nodes)
        self.began = event.t
        for each in event.nodes:
            self.node(each)

    def _session_cancelled(self, event: events.SessionCancelled) -> None:
        self._notice(event.t, f"the session was cancelled: {event.reason}")

    def _session_finished(self, event: events.SessionFinished) -> None:
        self.state, self.error = event.state, event.error
        self.outputs, self.bodies = event.outputs, event.bodies
        if event.failed is not None:
            self.failed = {each.name: getattr(event.failed, each.name) for each in fields(event.failed)}
        for job in [each for each in self.jobs.values() if each.state not in ENDED]:
            self.end(job, "cancelled", event.t)

    def _journal_broken(self, event: events.JournalBroken) -> None:
        self.epoch = event.epoch
        self._notice(event.t, f"what followed here may be lost: {event.reason}")

    # ------------------------------------------------------------------ jobs

    def _job_created(self, event: events.JobCreated) -> None:
        self.create(event, event.stacks, "block")

    def _flow_started(self, event: events.FlowJobStarted) -> None:
        job = self.create(event, event.stacks, "flow")
        self.flows[event.job_id] = job.node
        self.move(job, "working")

    def _job_assigned(self, event: events.JobAssigned) -> None:
        job = self.known(event)
        attempt = self.attempt(job, event)
        attempt.assigned, attempt.link = event.t, event.link
        self.executors[event.link] = self.executors.get(event.link, 0) + 1
        node = self.node(job.node)
        node.attempts += 1
        job.reason = job.due = None
        self.move(job, "starting")

    def _job_released(self, event: events.JobReleased) -> None:
        job = self.known(event)
        self.attempt(job, event).assigned = None
        self.move(job, "queued")
        self._tell(event, "notice", f"given to another executor: {event.reason}")

    def _block_started(self, event: events.BlockStarted) -> None:
        job = self.known(event)
        self.attempt(job, event).started = event.t
        self.move(job, "working")

    def _job_waiting(self, event: events.JobWaiting) -> None:
        self.known(event).reason = event.reason
        self._tell(event, "notice", f"waiting: {event.reason}")

    def _version_accepted(self, event: events.VersionAccepted) -> None:
        there = ", ".join(each[:12] for each in event.instead)
        self._tell(event, "notice", f"goes on with version {there} in place of {event.version[:12]}")

    def _block_finished(self, event: events.BlockFinished) -> None:
        job = self.known(event)
        if event.cancelled:
            self.end(job, "cancelled", event.t, attempt=event.attempt)
        elif event.error is not None:
            self.fail(job, event, event.error, event.traceback)
        else:
            for handle in (*event.result, *event.bodies):
                self.count(job, handle)
            self.put(job)
            self.end(job, "finished", event.t, attempt=event.attempt)

    def _job_failed(self, event: events.JobFailed) -> None:
        self.fail(self.known(event), event, event.error, None)

    def _job_retrying(self, event: events.JobRetrying) -> None:
        job = self.known(event)
        attempt = self.attempt(job, event)
        if attempt.ended is None:
            attempt.ended, attempt.error = event.t, event.error
        for failure in reversed(self.failures):
            if (failure.job_id, failure.attempt) == (event.job_id, event.attempt):
                failure.retried = True
                break
        job.due = event.at
        self.move(job, "pausing")

    def _flow_finished(self, event: events.FlowJobFinished) -> None:
        job = self.jobs.get(event.job_id)
        if job is None:
            return
        if event.error is not None:
            job.error = event.error
        # What goes on from here was made by a job in it.
        node = self.nodes[job.node]
        node.put, node.putter = self.place(), self.last_put
        self.end(job, "finished" if event.error is None else "failed", event.t, event.error)

    def _other(self, event: events.Other) -> None:
        if event.name == "ConditionDecided":
            job = self.jobs.get(str(event.fields.get("job_id")))
            if job is None:
                return
            job.kind = self.node(job.node).kind = "condition"
            handle = event.fields.get("handle")
            if isinstance(handle, str):
                self.count(job, handle)
            # It is told right after what made it; a condition passes its cause on.
            self.put(job)
            self.end(job, "finished", event.t)

    # ------------------------------------------------------------------ what jobs put out and show

    def _output(self, event: events.BlockOutput) -> None:
        job = self.jobs.get(event.job_id) or self.known(event)
        self.count(job, event.handle)
        self.put(job)

    def _outputs(self, event: events.BlockOutputs) -> None:
        job = self.known(event)
        for handle in (*event.outputs, *event.bodies):
            self.count(job, handle)
        self.put(job)

    def _progress(self, event: events.BlockProgress) -> None:
        job = self.known(event)
        job.progress = event.rate
        node = self.node(job.node)
        if job.job_id in node.rates:
            node.rates[job.job_id] = event.rate

    def _late(self, event: events.LateRecords) -> None:
        self.late += len(event.records)

    # ------------------------------------------------------------------ keeping it

    def snapshot(self) -> bytes:
        """Return all of it as JSON, for ``restore``."""
        kept = {name: getattr(self, name) for name in (*_KEPT, *_MADE)}
        return orjson.dumps({**kept, "log": self.log.to_json(), "gallery": self.gallery.to_json()})

    @classmethod
    def restore(
        cls, data: bytes, limits: StateLimits | None = None, feeds: Mapping[str, Collection[str]] | None = None
    ) -> State:
        """Return the state of a snapshot; read on from ``read_on()``."""
        kept = orjson.loads(data)
        state = cls(limits, feeds)
        for name in _KEPT:
            setattr(state, name, kept[name])
        state.bodies = {handle: BodyRef(**each) for handle, each in kept["bodies"].items()}
        state.nodes = {path: NodeView(**each) for path, each in kept["nodes"].items()}
        state.jobs = {name: _job(each) for name, each in kept["jobs"].items()}
        state.failures = [Failure(**each) for each in kept["failures"]]
        state.stalls = [StallView(**each) for each in kept["stalls"]]
        state.log.restore(kept["log"])
        state.gallery.restore(kept["gallery"])
        return state


def _job(obj: dict[str, Any]) -> JobView:
    return JobView(**{**obj, "attempts": [AttemptView(**each) for each in obj["attempts"]]})


_TAKERS: Final[dict[str, Callable[[State, Any], None]]] = {
    **SAID,
    "SessionStarted": State._session_started,
    "SessionCancelled": State._session_cancelled,
    "SessionFinished": State._session_finished,
    "JournalBroken": State._journal_broken,
    "JobCreated": State._job_created,
    "FlowJobStarted": State._flow_started,
    "FlowJobFinished": State._flow_finished,
    "JobAssigned": State._job_assigned,
    "JobReleased": State._job_released,
    "JobWaiting": State._job_waiting,
    "JobRetrying": State._job_retrying,
    "JobFailed": State._job_failed,
    "VersionAccepted": State._version_accepted,
    "BlockStarted": State._block_started,
    "BlockOutput": State._output,
    "BlockOutputs": State._outputs,
    "BlockProgress": State._progress,
    "BlockFinished": State._block_finished,
    "LateRecords": State._late,
    "Other": State._other,
}
