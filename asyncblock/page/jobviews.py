"""Jobs, their attempts and nodes as one who watches sees them, and how long each of them waited for what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ENDED", "PHASES", "AttemptView", "JobView", "NodeView", "Span"]

PHASES: Final = ("value", "queue", "start", "work", "pause")
"""What time goes into: waiting for a value, for an executor, its start-up, the block's work, the pause of a retry."""

ENDED: Final = frozenset({"finished", "failed", "cancelled"})
"""States of jobs that are over; the others are ``queued``, ``starting``, ``working`` and ``pausing``."""

Span = tuple[str, int, int]
"""A phase, and when it began and ended, in ms since the epoch."""


@dataclass(slots=True)
class AttemptView:
    """One try of a job. Times are ms since the epoch."""

    number: int
    queued: int
    assigned: int | None = None
    started: int | None = None
    ended: int | None = None
    link: str = ""
    error: str | None = None

    def spans(self, now: int) -> Iterator[Span]:
        """Yield its phases in order. The clocks of executor and mainframe may differ: none is shorter than nothing."""
        end = self.ended if self.ended is not None else max(now, self.queued)
        assigned = self.assigned if self.assigned is not None else end
        started = self.started if self.started is not None else end
        begin = self.queued
        for phase, until in (("queue", assigned), ("start", started), ("work", end)):
            until = max(begin, min(until, end))
            if until > begin:
                yield phase, begin, until
            begin = until


@dataclass(slots=True)
class JobView:
    """One run of a block, of a condition, or of a subflow."""

    job_id: str
    node: str
    kind: str
    """``block``, ``flow`` for the run of a subflow, ``condition`` for what the mainframe decides."""
    created: int
    state: str = "queued"
    progress: float = 0.0
    outputs: int = 0
    cause: str | None = None
    """The job that let this one begin, by an output or its end, as far as the journal's order tells."""
    error: str | None = None
    reason: str | None = None
    """Why no executor takes it."""
    due: int | None = None
    """When the next attempt begins."""
    ended: int | None = None
    attempts: list[AttemptView] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)
    """ms by phase, as they are counted in its node's."""

    def spans(self, now: int) -> Iterator[Span]:
        """Yield the phases of its attempts, with the pauses between them."""
        before: int | None = None
        for attempt in self.attempts:
            if before is not None and attempt.queued > before:
                yield "pause", before, attempt.queued
            yield from attempt.spans(now)
            before = attempt.ended
        if self.state == "pausing" and before is not None and now > before:
            yield "pause", before, now

    @property
    def begun(self) -> int:
        """When it was first there."""
        return self.attempts[0].queued if self.attempts else self.created

    def lasted(self, now: int) -> int:
        """Return how long it is or was there, in ms."""
        return max((self.ended if self.ended is not None else now) - self.begun, 0)


@dataclass(slots=True)
class NodeView:
    """A node of the flow; one in a subflow has the way to it as its path, ``outer/inner``."""

    path: str
    kind: str = "block"
    jobs: int = 0
    open: dict[str, int] = field(default_factory=dict)
    """How many of its jobs are in each state that isn't an end."""
    ended: dict[str, int] = field(default_factory=dict)
    """The same for ``finished``, ``failed`` and ``cancelled``."""
    rates: dict[str, float] = field(default_factory=dict)
    """The progress of its open jobs."""
    attempts: int = 0
    outputs: int = 0
    handles: dict[str, int] = field(default_factory=dict)
    """Values by output handle."""
    previews: int = 0
    lines: int = 0
    warnings: int = 0
    errors: int = 0
    stalls: int = 0
    first: int | None = None
    last: int | None = None
    spent: dict[str, int] = field(default_factory=dict)
    """ms by phase, of the jobs that have ended."""
    put: int = 0
    """The place in the journal's order of its last output or end, for the causes of jobs."""
    putter: str | None = None
    error: str | None = None
    """The last error of a job that failed."""

    def state(self, over: bool) -> str:
        """Return how it is; ``over``: the session has ended."""
        for state in ("working", "starting", "pausing", "queued"):
            if self.open.get(state):
                return state
        for state in ("failed", "cancelled", "finished"):
            if self.ended.get(state):
                return state
        return "skipped" if over else "waiting"

    @property
    def progress(self) -> float:
        """How far its jobs are, from 0 to 100."""
        return (100.0 * sum(self.ended.values()) + sum(self.rates.values())) / self.jobs if self.jobs else 0.0

    def to_json(self, over: bool) -> dict[str, Any]:
        """Return it as a row for programs."""
        return {
            "node": self.path, "kind": self.kind, "state": self.state(over), "progress": round(self.progress, 1),
            "jobs": self.jobs, "attempts": self.attempts, "open": self.open, "ended": self.ended,
            "outputs": self.handles, "previews": self.previews, "lines": self.lines, "ms": self.spent,
            "error": self.error,
        }  # fmt: skip
