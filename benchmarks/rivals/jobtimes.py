"""When the jobs of a run began and ended, also of one that was ended before they had: the figures that follow."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import pairwise

__all__ = ["JobTimes", "figures"]


@dataclass(slots=True)
class JobTimes:
    """Seconds, by the jobs' ids."""

    wanted: int
    """So many jobs there are."""
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    over: float = 0.0
    """When nobody listened any more."""

    def begin(self, job: str, now: float) -> None:
        """Take note of a job; it may be said several times."""
        self.began.setdefault(job, now)

    def end(self, job: str, now: float) -> bool:
        """Take note of the end of a job that has begun; tell whether all have ended."""
        if job in self.began:
            self.ended.setdefault(job, now)
        return self.are_all

    @property
    def are_all(self) -> bool:
        """All have ended."""
        return len(self.ended) >= self.wanted

    @property
    def last(self) -> float:
        """When the last one ended; where some haven't, the run's end: the time counts in which none did."""
        return max(self.ended.values()) if self.are_all else self.over


def figures(many: JobTimes, alone: JobTimes, chain: JobTimes) -> dict[str, float]:
    """Return the cases of the benchmark. One of which nothing can be said isn't there: it is no zero."""
    found: dict[str, float] = {}
    if many.ended:
        found["in_flight_64"] = len(many.ended) / (many.last - min(many.began.values()))
    starts = sorted(alone.began[job] for job in alone.ended)
    if len(starts) > 1:
        found["one_at_a_time"] = statistics.median(later - earlier for earlier, later in pairwise(starts)) * 1000
    if len(chain.ended) > 1:
        # The first one waits for the executor.
        found["chain"] = (len(chain.ended) - 1) / (chain.last - min(chain.ended.values()))
    return found
