"""The budget of var values: who puts out more than the process may hold waits until some of it is gone.

First values go to the disk that are portable and that no job has (``spilling``). Then there is no waiting where that
can free nothing. A value goes when a job that has it ends, so there is hope as long as another job runs here, one in
another process has a value of this one, or something has just begun, ended or gone; when every job here waits itself,
or nothing has happened for a minute, the budget is exceeded, with a warning.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from ...childprocesses.hostmemory import SETTING, var_budget
from ..environment import Environment
from .spilling import Spilling

__all__ = ["Budget", "limit_here"]

logger = logging.getLogger("asyncblock.executor")

_ALONE: Final = 1.0
"""Seconds without a change after which nobody comes any more, where every job waits: a dispatch takes milliseconds."""

_LONG: Final = 60.0
"""Seconds without a change after which one more value is let in, where others still run: they may need it."""


def limit_here() -> int:
    """Return the bytes of var values that this process may hold; a setting that says nothing is told and left out."""
    try:
        return var_budget()
    except ValueError as error:
        logger.warning("%s; var values may take a quarter of the memory", error)
        return var_budget({name: value for name, value in os.environ.items() if name != SETTING})


class Budget:
    """Says when a value has room. Lives on the executor's loop."""

    def __init__(self, environment: Environment, limit: int, spilling: Spilling) -> None:
        self.limit = limit
        self.spilling = spilling
        self._environment = environment
        self._waiting: dict[tuple[str, int], list[int]] = {}
        """The sizes of the values with which calls of each job wait."""
        self._changes = 0
        self._changed = asyncio.Event()
        self._moved = 0.0
        self._exceeded = -1
        """The count of changes at which it was exceeded last: until the next one nobody waits in vain again."""

    def change(self) -> None:
        """Take note that a job has begun or ended, or values have gone."""
        self._changes += 1
        if self._waiting:
            self._moved = self._environment.loop.time()
            self._changed.set()

    def has_room(self, size: int) -> bool:
        """Tell whether a value need not wait; one that is larger than everything may come alone."""
        held = self._environment.store.size
        return held == 0 or held + size <= self.limit

    async def room(self, key: tuple[str, int], size: int) -> str | None:
        """Wait until a job's value has room; return a warning if it has none. **Cancellation** is safe."""
        if self.has_room(size):
            return None
        self._waiting.setdefault(key, []).append(size)
        try:
            return await self._wait(key, size)
        finally:
            self._waiting[key].remove(size)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _wait(self, key: tuple[str, int], size: int) -> str | None:
        environment = self._environment
        began = environment.loop.time()
        while not self.has_room(size):
            job = environment.jobs.get(key)
            if job is None or job.is_ending:
                return None
            self.spilling.begin(self._is_wanted, self._spilled)
            others = any(other not in self._waiting for other in environment.jobs) or self._elsewhere
            if not others and self._exceeded == self._changes:
                return None
            if environment.links.away:
                # What it was sent hasn't been heard, so nobody has been given it.
                began = environment.loop.time()
            left = max(began, self._moved) + (_LONG if others else _ALONE) - environment.loop.time()
            if left <= 0:
                self._exceeded, self._moved = self._changes, environment.loop.time()
                return self._words(others)
            self._changed.clear()
            try:
                async with asyncio.timeout(left if (pause := self.spilling.pause) is None else min(left, pause)):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return None

    def _is_wanted(self) -> bool:
        return any(not self.has_room(size) for sizes in self._waiting.values() for size in sizes)

    def _spilled(self, more_room: bool) -> None:
        if more_room:
            self.change()
        else:
            # Whoever waits looks what there is to wait for now.
            self._changed.set()

    @property
    def _elsewhere(self) -> bool:
        """Tell whether values of this process are being written, or jobs of other processes have some of them."""
        return self.spilling.is_under_way or self._environment.store.shared > 0 or bool(self._environment.exporting)

    def _words(self, others: bool) -> str:
        why = "nothing has been let go for a minute" if others else "every job here waits, so nothing would be let go"
        held = self._environment.store.size
        words = f"var values take {held >> 20} MiB, more than the {self.limit >> 20} MiB that they may: {why}"
        logger.warning("%s", words)
        return words
