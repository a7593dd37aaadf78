"""Several fault proxies as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from ..proxy import FaultProxy

__all__ = ["FaultProxies"]


class FaultProxies:
    """Does to all what is done to it; see ``FaultProxy``. It owns none of them."""

    def __init__(self, proxies: Sequence[FaultProxy]) -> None:
        self._proxies = list(proxies)

    def __iter__(self) -> Iterator[FaultProxy]:
        return iter(self._proxies)

    @property
    def cuts(self) -> int:
        """Connections that were ended by a fault."""
        return sum(each.cuts for each in self)

    def cut(self) -> None:
        """End all connections with RST."""
        for each in self:
            each.cut()

    def cut_gently(self) -> None:
        """End all connections with FIN."""
        for each in self:
            each.cut_gently()

    def truncate(self) -> None:
        """Let each connection end in the middle of what comes next."""
        for each in self:
            each.truncate()

    def half_open(self, *, near: bool = False) -> None:
        """End all connections for one side only."""
        for each in self:
            each.half_open(near=near)

    def stall(self) -> None:
        """Swallow everything that is under way."""
        for each in self:
            each.stall()

    def stall_new(self) -> None:
        """Stall connections from their first byte when they come."""
        for each in self:
            each.stall_new()

    def resume(self) -> None:
        """Let everything flow again."""
        for each in self:
            each.resume()

    def drip(self, bytes_per_second: int | None) -> None:
        """Slow all connections down; None lifts it."""
        for each in self:
            each.drip(bytes_per_second)

    async def away(self, seconds: float) -> None:
        """Cut all connections, and refuse others for a while. **Cancellation** leaves all listening."""
        async with asyncio.TaskGroup() as tasks:
            for each in self:
                tasks.create_task(each.away(seconds))
