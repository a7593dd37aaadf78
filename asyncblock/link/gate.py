"""A gate: a fixed number are in at once, and the others wait for a place, in the order of coming."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import AsyncBlockError

__all__ = ["Gate"]


class Gate:
    """Holds on this side what the other one would refuse. Used on one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        """Wait for a place. **Cancellation** gives it up."""
        if self._inside < self._limit and not self._waiting:
            self._inside += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._leave()

    def allow(self, limit: int) -> None:
        """Let another number in at once; those that are in stay."""
        self._limit = limit
        self._let_in()

    def end(self, error: AsyncBlockError) -> None:
        """Close: let no more in, and tell those that wait why."""
        waiting, self._waiting = self._waiting, deque()
        for place in waiting:
            if not place.done():
                place.set_exception(error)

    def _leave(self) -> None:
        self._inside -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._limit:
            place = self._waiting.popleft()
            # One that isn't wanted any more stands there until its turn.
            if not place.done():
                self._inside += 1
                place.set_result(None)
