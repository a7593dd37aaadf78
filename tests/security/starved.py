"""How long threads that could have run had no processor: what a busy machine adds to everybody's waits.

A wait of an innocent counts less that. So the bound is the same on a quiet machine and on a busy one, and an attack is
seen on both: whoever waits for the mainframe's loop, a lock or the disk isn't starved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["BOUND", "Starved"]

BOUND = 0.5
"""Seconds that an innocent may have to wait."""


class Starved:
    """Sums up the seconds in which threads of some processes were ready and didn't run.

    With ``apart`` the mainframe is none of this process's, and what the thread that waits computes itself doesn't count
    either: it makes the messages of an attack, say, and nobody would have let it go on sooner.
    """

    def __init__(self, *pids: int, apart: bool = False) -> None:
        self._computed = time.thread_time if apart else lambda: 0.0
        self._tasks = [Path(f"/proc/{pid}/task") for pid in (os.getpid(), *pids)]
        if not Path("/proc/self/schedstat").exists():
            # Where nobody says it, the machine's load has to do: as if it had been so all the time.
            self._tasks = []
        self._before: dict[str, int] = {}
        self._sum = 0

    def seconds(self) -> float:
        """Return the sum so far."""
        for tasks in self._tasks:
            for task in _listed(tasks):
                waited = _run_delay(task)
                self._sum += max(waited - self._before.get(str(task), waited), 0)
                self._before[str(task)] = waited
        return self._sum / 1e9

    def watch(self, clock: Callable[[], float]) -> Callable[[], float]:
        """Return what tells how long it is since it was asked last, but for what the machine has added."""
        last, computed, starved = clock(), self._computed(), self.seconds()

        def waited() -> float:
            nonlocal last, computed, starved
            before, last = last, clock()
            before_computed, computed = computed, self._computed()
            before_starved, starved = starved, self.seconds()
            wait = last - before - (computed - before_computed)
            if not self._tasks:
                return max(wait, 0.0) / max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            return max(wait - (starved - before_starved), 0.0)

        return waited


def _listed(tasks: Path) -> list[Path]:
    try:
        return list(tasks.iterdir())
    except OSError:
        return []  # its process has ended


def _run_delay(task: Path) -> int:
    """Return for how many ns a thread has waited for a processor, all its life."""
    try:
        return int((task / "schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # it has just ended
