"""Reports of executor processes that can't speak for themselves because something holds their interpreter's lock.

Their parent tells the mainframe, over links of its own. It opens them with the first report, and closes them when there
was none for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ..childprocesses.lifesigns import Held
from ..errors import AsyncBlockError
from ..link import PlacedLinks

__all__ = ["HangReports"]

logger = logging.getLogger("asyncblock.cli")

LINGER = 15.0
"""Seconds without a word before they are closed: signs of life come each second while they are needed."""

MAX_SAID = 64
"""Reports that wait to be sent. The oldest are dropped: a sign of life is worth nothing later."""


class HangReports:
    """Tells the mainframe in order; ``held`` never waits. Make one with ``of``."""

    def __init__(self, open_links: Callable[[], AbstractAsyncContextManager[PlacedLinks]]) -> None:
        self._open_links = open_links
        self._said: deque[dict[str, Any]] = deque(maxlen=MAX_SAID)
        self._something = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def of(cls, open_links: Callable[[], AbstractAsyncContextManager[PlacedLinks]]) -> AsyncIterator[HangReports]:
        """Tell what is seen for the duration of the block."""
        hang_reports = cls(open_links)
        teller = asyncio.create_task(hang_reports._tell())
        try:
            yield hang_reports
        finally:
            teller.cancel()
            await asyncio.wait([teller])

    def held(self, link_id: str, secret: str, held: Held) -> None:
        """A child can't speak: the interpreter's lock is held in it."""
        self._said.append({"link": link_id, "secret": secret, **held.to_json()})
        self._something.set()

    async def _tell(self) -> None:
        while True:
            await self._something.wait()
            try:
                async with self._open_links() as links:
                    await self._tell_over(links)
            except AsyncBlockError as error:
                self._something.clear()
                logger.warning("the mainframe couldn't be told of an executor process that can't speak: %s", error)

    async def _tell_over(self, links: PlacedLinks) -> None:
        """Tell what there is until there was nothing for a while."""
        while True:
            while self._said:
                said = self._said.popleft()
                for link in links:
                    await link.request("executor_held", said)
            self._something.clear()
            try:
                async with asyncio.timeout(LINGER):
                    await self._something.wait()
            except TimeoutError:
                return
