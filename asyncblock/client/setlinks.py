"""The links of a handle, to be asked as one: to a mainframe that stands alone, or to each partition of a set."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import Rejected
from ..link import PlacedLinks
from .joined import joined_info, joined_roster, newest_of

__all__ = ["SetLinks"]


class SetLinks(PlacedLinks):
    """Those of a client. What is asked of all partitions is answered as one mainframe would."""

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
