"""Keeps a ``SystemExit`` in a child task of a block from ending the executor's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import RunningJob

__all__ = ["current_job", "install_exit_guard"]

current_job: ContextVar[RunningJob | None] = ContextVar("asyncblock_job", default=None)
"""The job whose block runs here; inherited by the tasks that it starts."""


def install_exit_guard(loop: asyncio.AbstractEventLoop) -> None:
    """Let ``SystemExit`` in a block's own tasks end the job. Only for a loop that belongs to the executor."""

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        job = current_job.get()
        if job is not None and asyncio.iscoroutine(coro):
            coro = _guarded(coro, job)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)


async def _guarded(coro: Coroutine[Any, Any, Any], job: RunningJob) -> Any:
    try:
        return await coro
    except SystemExit as exit:
        job.exited(exit.code)
        return None
