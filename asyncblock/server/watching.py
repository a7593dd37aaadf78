"""Who is told of sessions while they run, to make spans of them. Nobody is, unless ``Settings.watch`` says so.

Told on the loop, and never waited for. What is told of a session is what its journal says; of what was over before the
mainframe began it has been told already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..flow.plan import Plan
from .histograms import Histogram

__all__ = ["Measurement", "MainframeWatch", "SessionWatch", "WatchedSession"]


Measurement = tuple[Mapping[str, float], Mapping[str, int], Sequence[tuple[str, Mapping[str, str], Histogram]]]
"""Figures by name, sessions by state, and histograms with their names and labels."""


class WatchedSession(Protocol):
    """A session as far as it is told of."""

    session_id: str
    created_at: int
    metadata: dict[str, Any]

    @property
    def plan(self) -> Plan:
        """What it runs."""
        ...


class SessionWatch(Protocol):
    """Hears of one session."""

    def job_began(
        self,
        job_id: str,
        name: str,
        node_id: str,
        parent: tuple[str, int],
        inputs: Mapping[str, Any],
        since: int | None,
    ) -> None:
        """Hear that a job, or a run of a subflow, is to be done.

        ``parent`` is the attempt that asked for it (its job and number), the run of the subflow that it is part of
        (number 0), or ``("", 0)`` for the flow itself. ``since`` is when, in ms, if that was before the mainframe.
        """
        ...

    def put_out(self, place: tuple[int, int], job_id: str, attempt: int) -> None:
        """Hear which attempt's records are in a line of a row."""
        ...

    def took(self, job_id: str, attempt: int, records: Sequence[Mapping[str, Any]]) -> None:
        """Hear what an attempt has sent that isn't outputs alone."""
        ...

    def attempt_over(
        self, job_id: str, attempt: int, seconds: float | None, link: str, outcome: str, error: str | None
    ) -> None:
        """Hear that an attempt is over, and how long it took, if that is known."""
        ...

    def job_over(self, job_id: str, error: str | None, *, told: bool) -> None:
        """Hear that a job, or a run of a subflow, is over with all its attempts; ``told`` of one of which that was said
        before the mainframe began."""
        ...

    def session_over(self, state: str, error: str | None) -> None:
        """Hear that the session is."""
        ...


class MainframeWatch(Protocol):
    """Hears of a mainframe."""

    def starting(self, session_id: str, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata that a session is to have."""
        ...

    def session(self, session: WatchedSession) -> SessionWatch | None:
        """Return what hears of a session that begins or goes on, if anything does."""
        ...

    def measured(self, measure: Callable[[], Measurement]) -> None:
        """Hear once a second that the mainframe can be measured."""
        ...
