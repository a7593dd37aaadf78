"""Processes that were started for one job each, as this executor is asked for them and speaks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from ..childprocesses.lifesigns import Held
from ..errors import AsyncBlockError
from ..link import Link
from .executoroptions import ExecutorOptions

__all__ = ["OwnProcesses"]

logger = logging.getLogger("asyncblock.executor")


class OwnProcesses:
    """Those of one attachment; none where its executor can't start any. On the executor's loop."""

    def __init__(self, executor: ExecutorOptions, tasks: asyncio.TaskGroup, found_edit: Callable[[], None]) -> None:
        self._executor = executor
        self._tasks = tasks
        self._found_edit = found_edit
        """Called when one of them sees that its package was edited."""
        self._telling: asyncio.Task[None] | None = None
        """Speaks for a process that can't."""

    @property
    def telling(self) -> list[asyncio.Task[None]]:
        """What still waits for the mainframe to hear of a process."""
        return [] if self._telling is None else [self._telling]

    async def dismiss_all(self) -> None:
        """End them all. **Cancellation** leaves those that haven't ended."""
        if self._executor.spawner is not None:
            await self._executor.spawner.dismiss_all()

    def start(self, link: Link, partition: int, link_id: str, secret: str) -> None:
        """Start one that shows itself by this id and secret to the partition that has asked for it."""
        if self._executor.spawner is not None:
            held = partial(self._held, link, link_id, secret)
            life = self._executor.spawner.live(
                link_id, secret, link.process_gone, held, self._found_edit, partition=partition
            )
            self._tasks.create_task(life)

    def end(self, link_id: str) -> None:
        """End one."""
        if self._executor.spawner is not None:
            self._tasks.create_task(self._executor.spawner.end(link_id))

    def _held(self, link: Link, link_id: str, secret: str, held: Held) -> None:
        """Speak for a process of a block's own that can't: it comes each second, so what can't be told now isn't."""
        if self._telling is None or self._telling.done():
            self._telling = self._tasks.create_task(
                self._tell_held(link, {"link": link_id, "secret": secret, **held.to_json()})
            )

    async def _tell_held(self, link: Link, seen: dict[str, Any]) -> None:
        try:
            await link.request("executor_held", seen)
        except AsyncBlockError as error:
            logger.warning("the mainframe couldn't be told of a process that can't speak: %s", error)
