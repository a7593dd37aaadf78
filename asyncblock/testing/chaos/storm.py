"""The storm: which fault comes when, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from .faults import FAULTS
from .system import System

__all__ = ["Storm"]


class Storm:
    """Draws faults and does them, one after the other, until it is cancelled."""

    def __init__(self, seed: int, system: System, kinds: Sequence[str]) -> None:
        self._chance = random.Random(seed)
        self._system = system
        self._kinds = list(kinds)
        self.done: Counter[str] = Counter()
        """How often each kind came."""

    async def rage(self) -> None:
        """Go on until cancelled; on the way out connections flow again."""
        weights = [FAULTS[kind].weight for kind in self._kinds]
        # Each of them once, before chance decides.
        first = self._chance.sample(self._kinds, len(self._kinds))
        try:
            if not self._kinds:
                await asyncio.Event().wait()
            while True:
                await asyncio.sleep(self._chance.uniform(0.2, 2.0))
                kind = first.pop() if first else self._chance.choices(self._kinds, weights)[0]
                self.done[kind] += await FAULTS[kind].act(self._system, self._chance)
        finally:
            self._system.proxy.resume()
            self._system.proxy.drip(None)
