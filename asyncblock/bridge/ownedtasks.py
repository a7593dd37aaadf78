"""The bridge's tasks: owned by one group, and cancelled when that is left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Tasks"]

T = TypeVar("T")


class Tasks:
    """A task group that ends its tasks when it is left. What one of them raises ends the others."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None], *, name: str | None = None) -> None:
        """Start a task that isn't awaited; the owner ends it."""
        self._own(self._group.create_task(work, name=name))

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task."""
        task = self._group.create_task(work, name=name)
        self._own(task)
        return task

    def _own(self, task: asyncio.Task[Any]) -> None:
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def __aenter__(self) -> Tasks:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in list(self._running):
            task.cancel()
        await self._group.__aexit__(None, None, None)
