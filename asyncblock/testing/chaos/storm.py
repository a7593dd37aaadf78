"""The storm: which harm comes when, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from ..proxy import FaultProxy

__all__ = ["Storm"]


class Storm:
    """Draws harms and does them, one after the other, until it is cancelled."""

    def __init__(
        self,
        seed: int,
        proxy: FaultProxy,
        kill_mainframe: Callable[[], Awaitable[None]],
        kill_executor: Callable[[random.Random], bool],
    ) -> None:
        self._chance = random.Random(seed)
        self._proxy = proxy
        self._kill_mainframe = kill_mainframe
        self._kill_executor = kill_executor
        self.kills = 0

    async def rage(self) -> None:
        """Go on until cancelled; on the way out connections flow again."""
        harms: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._mainframe, 3),
            (self._executor, 3),
            (self._cut, 6),
            (self._gentle, 3),
            (self._truncate, 4),
            (self._stall, 3),
            (self._drip, 2),
            (self._away, 2),
        ]
        acts, weights = [act for act, _ in harms], [weight for _, weight in harms]
        try:
            while True:
                await asyncio.sleep(self._chance.uniform(0.2, 2.0))
                [act] = self._chance.choices(acts, weights)
                await act()
        finally:
            self._proxy.resume()
            self._proxy.drip(None)

    async def _mainframe(self) -> None:
        self.kills += 1
        await self._kill_mainframe()

    async def _executor(self) -> None:
        self.kills += self._kill_executor(self._chance)

    async def _cut(self) -> None:
        self._proxy.cut()

    async def _gentle(self) -> None:
        self._proxy.cut_gently()

    async def _truncate(self) -> None:
        self._proxy.truncate()

    async def _stall(self) -> None:
        self._proxy.stall()
        await asyncio.sleep(self._chance.uniform(0.1, 3.0))
        if self._chance.random() < 0.5:
            self._proxy.cut()
        self._proxy.resume()

    async def _drip(self) -> None:
        self._proxy.drip(20_000)
        await asyncio.sleep(self._chance.uniform(0.1, 2.0))
        self._proxy.drip(None)

    async def _away(self) -> None:
        await self._proxy.away(self._chance.uniform(0.1, 3.0))
