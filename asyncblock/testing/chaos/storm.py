"""The storm: which fault comes when, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from .faults import FAULTS, Fault
from .system import System

__all__ = ["Storm", "raging"]


class Storm:
    """Draws faults and does them, one after the other, until it is cancelled."""

    def __init__(
        self,
        seed: int,
        system: System,
        kinds: Sequence[str],
        faults: Mapping[str, Fault] = FAULTS,
        *,
        pauses: tuple[float, float] = (0.2, 2.0),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``pauses`` are the shortest and the longest between two faults, in seconds; ``tell`` is told of each."""
        self._chance = random.Random(seed)
        self._system = system
        self._kinds = list(kinds)
        self._faults = faults
        self._pauses = pauses
        self._tell = tell
        self.done: Counter[str] = Counter()
        """How often each kind came."""

    async def rage(self) -> None:
        """Go on until cancelled; on the way out everything flows and runs again."""
        weights = [self._faults[kind].weight for kind in self._kinds]
        # Each of them once, before chance decides.
        first = self._chance.sample(self._kinds, len(self._kinds))
        try:
            if not self._kinds:
                await asyncio.Event().wait()
            while True:
                await asyncio.sleep(self._chance.uniform(*self._pauses))
                kind = first.pop() if first else self._chance.choices(self._kinds, weights)[0]
                self._tell(kind)
                self.done[kind] += await self._faults[kind].act(self._system, self._chance)
        finally:
            self._system.calm()


async def raging(storm: Storm, seconds: float) -> None:
    """Let a storm rage for some seconds. **Cancellation** ends it, too."""
    task = asyncio.create_task(storm.rage())
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
