"""What the parent of an executor process sees of it while that can't speak, told over a link of the parent's own.

The link is opened when there is something to tell, and closed when there was nothing for a while.
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
from ..link import Link

__all__ = ["HangReports"]

logger = logging.getLogger("asyncblock.cli")

LINGER = 15.0
"""Seconds without a word before the link is closed: signs of life come each second while they are needed."""

MAX_SAID = 64
"""Words that wait to be told; the oldest go, for a sign of life gets old."""


class HangReports:
    """Tells the mainframe in order; ``held`` never waits. Make one with ``of``."""

    def __init__(self, open_link: Callable[[], AbstractAsyncContextManager[Link]]) -> None:
        self._open_link = open_link
        self._said: deque[dict[str, Any]] = deque(maxlen=MAX_SAID)
        self._something = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def of(cls, open_link: Callable[[], AbstractAsyncContextManager[Link]]) -> AsyncIterator[HangReports]:
        """Tell what is seen for the duration of the block."""
        hang_reports = cls(open_link)
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
                async with self._open_link() as link:
                    await self._tell_over(link)
            except AsyncBlockError as error:
                self._something.clear()
                logger.warning("the mainframe couldn't be told of an executor process that can't speak: %s", error)

    async def _tell_over(self, link: Link) -> None:
        """Tell what there is until there was nothing for a while."""
        while True:
            while self._said:
                await link.request("executor_held", self._said.popleft())
            self._something.clear()
            try:
                async with asyncio.timeout(LINGER):
                    await self._something.wait()
            except TimeoutError:
                return
