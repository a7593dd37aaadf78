"""Whose code runs here, and keeping a ``SystemExit`` in a child task of it from ending the executor's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import RunningJob
    from .service import RunningService

__all__ = ["current_job", "current_service", "install_exit_guard"]

current_job: ContextVar[RunningJob | None] = ContextVar("asyncblock_job", default=None)
"""The job whose block runs here; inherited by the tasks that it starts."""

current_service: ContextVar[RunningService | None] = ContextVar("asyncblock_service", default=None)
"""The service whose ``main`` runs here, or that started this task."""


def install_exit_guard(loop: asyncio.AbstractEventLoop) -> None:
    """Let ``SystemExit`` in a block's own tasks end the job, and in a service's the service.

    Only for a loop that belongs to the executor.
    """

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        owner = current_job.get() or current_service.get()
        if owner is not None and asyncio.iscoroutine(coro):
            coro = _guarded(coro, owner)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)


async def _guarded(coro: Coroutine[Any, Any, Any], owner: RunningJob | RunningService) -> Any:
    try:
        return await coro
    except SystemExit as exit:
        owner.exited(exit.code)
        return None
