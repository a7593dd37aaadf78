"""The links of a handle: one to a mainframe that stands alone, or one to each partition of a set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..errors import Rejected
from ..link import Link
from ..wire.placement import partition_of
from .joined import joined_info, joined_roster, newest_of

__all__ = ["SetLinks"]


class SetLinks:
    """Links by their partitions' numbers. What is asked of all of them is answered as one mainframe would."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = links

    @property
    def alone(self) -> bool:
        """Tell whether there is one partition."""
        return len(self._links) == 1

    @property
    def away(self) -> bool:
        """Tell whether a connection is missing at the moment. It may be back before the answer is read."""
        return any(link.away for link in self._links)

    def of(self, session_id: str) -> Link:
        """Return the link to the partition that a session is in."""
        return self._links[0] if self.alone else self._links[partition_of(session_id, len(self._links))]

    async def info(self) -> dict[str, Any]:
        """Ask how the mainframe is. **Cancellation** is safe. Raises as ``Link.request``."""
        return joined_info(await self.ask_all("info", {}))

    async def executors(self) -> dict[str, Any]:
        """Ask which executors are there. **Cancellation** is safe. Raises as ``Link.request``."""
        return joined_roster(await self.ask_all("executors", {}))

    async def sessions(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask for some of the newest sessions. **Cancellation** is safe. Raises as ``Link.request``."""
        pages = [answer["sessions"] for answer in await self.ask_all("sessions", params)]
        return pages[0] if self.alone else newest_of(pages, params["limit"])

    async def drain(self, params: dict[str, Any]) -> None:
        """Give the order to all partitions. **Cancellation** leaves it standing where it was sent.

        Raises ``Rejected`` when none of them has that executor.
        """
        unknown: list[Rejected] = []
        for link in self._links:
            try:
                await link.request("drain", params)
            except Rejected as error:
                if error.code != "unknown_executor":
                    raise
                unknown.append(error)
        if len(unknown) == len(self._links):
            raise unknown[0]

    async def ask_all(self, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask each partition the same, and return the answers by their numbers.

        **Cancellation** leaves orders standing where they arrived. Raises as ``Link.request``, once any of them fails.
        """
        if self.alone:
            return [await self._links[0].request(method, params)]
        try:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(link.request(method, params)) for link in self._links]
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [each.result() for each in asked]
