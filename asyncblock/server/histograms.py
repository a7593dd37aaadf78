"""Histograms: how long things take, counted as they happen. One addition and a search among a dozen bounds each.

Counted on the loop and read there; ``metrics`` puts them into words for whoever scrapes.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

__all__ = ["Histogram", "HistogramFamily", "Timings"]

logger = logging.getLogger("asyncblock.server")

_SHORT: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds in seconds for what takes less than a millisecond when all is well."""

_LONG: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""Bounds in seconds for jobs."""

_MOST_NAMES: Final = 200
"""Blocks that have a histogram of their own: each costs a scrape some 15 lines for each outcome."""

_MOST_LETTERS: Final = 200
"""Of a name; each of its lines has it."""

OTHER: Final = "other"
"""The label of blocks beyond those."""


class Histogram:
    """How many times something has taken up to each bound, and how long it took in all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bound by itself; the last is of what took longer than all of them."""
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; less than nothing is nothing."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def cumulated(self) -> list[int]:
        """Return how many took up to each bound; the last is how many there were."""
        return [*accumulate(self.counts)]


class HistogramFamily:
    """Histograms by labels, of which the first may have any text: only so many of those are told apart."""

    def __init__(self, labels: tuple[str, ...], bounds: tuple[float, ...], most: int = _MOST_NAMES) -> None:
        self.labels = labels
        self._bounds = bounds
        self._most = most
        self._names: set[str] = set()
        self._warned = False
        self._known: dict[tuple[str, ...], Histogram] = {}

    def observe(self, seconds: float, name: str, *more: str) -> None:
        """Count one under its labels."""
        name = name[:_MOST_LETTERS]
        known = self._known.get((name, *more))
        if known is None:
            known = self._begin(name, more)
        known.observe(seconds)

    def _begin(self, name: str, more: tuple[str, ...]) -> Histogram:
        if name not in self._names:
            if len(self._names) >= self._most:
                if not self._warned:
                    self._warned = True
                    words = "metrics tell %d values of %r apart; further ones, first %.100r, are counted as %r"
                    logger.warning(words, self._most, self.labels[0], name, OTHER)
                name = OTHER
            else:
                self._names.add(name)
        return self._known.setdefault((name, *more), Histogram(self._bounds))

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], Histogram]]:
        return iter(sorted(self._known.items()))


class Timings:
    """What is timed in a mainframe."""

    def __init__(self) -> None:
        self.queue_wait = Histogram(_LONG)
        """From a job's being ready to its being handed to an executor."""
        self.job = HistogramFamily(("block", "outcome"), _LONG)
        """From handing a job out to its attempt's end."""
        self.commit = Histogram(_SHORT)
        """From handing a transaction to the journal to its being stored."""
        self.ack = Histogram(_SHORT)
        """From a batch's arrival to its acknowledgement."""
        self.loop_delay = Histogram(_SHORT)
        """How late the loop ran, once a second."""
