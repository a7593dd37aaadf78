"""Whose code runs here, and what becomes of those whose code would end more than itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Protocol

from .jobstreams import Sink, current_sink

__all__ = [
    "ENDS",
    "CodeOwner",
    "OwningJob",
    "blame",
    "context_for",
    "current_job",
    "current_service",
    "job_of_lines",
    "owner",
]

logger = logging.getLogger("asyncblock.executor")

ENDS = (SystemExit, KeyboardInterrupt)
"""What ends an event loop when it leaves a task or a callback."""


class CodeOwner(Protocol):
    """Whose code runs on the executor's loop: a ``RunningJob`` or a ``RunningService``."""

    def exited(self, error: BaseException) -> None:
        """End with what would have ended the event loop."""
        ...

    def task_begun(self, task: asyncio.Task[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
        """Take note of a task that its code has started."""
        ...

    def task_failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        """Tell of a task's error that nobody has asked for."""
        ...


class OwningJob(CodeOwner, Protocol):
    """A ``RunningJob``, as those see it whose functions its code calls."""

    key: tuple[str, int]
    """Job and attempt."""

    @property
    def node_id(self) -> str:
        """The node of the flow that it runs for."""
        ...

    def note(self, words: str) -> None:
        """Tell something at the job's end, once. From any thread."""
        ...


current_job: ContextVar[OwningJob | None] = ContextVar("asyncblock_job", default=None)
"""The job whose block runs here; inherited by the tasks and callbacks that it starts."""

current_service: ContextVar[CodeOwner | None] = ContextVar("asyncblock_service", default=None)
"""The service whose ``main`` runs here, or that started this task."""

job_of_lines: dict[Callable[..., None], OwningJob] = {}
"""The jobs that run, by what takes their lines: the threads that a job has started know nothing else of it."""


def owner(context: Context | None = None) -> CodeOwner | None:
    """Return whose code runs here, or in a context; None for ours."""
    of: Callable[[ContextVar[Any]], Any] = ContextVar.get if context is None else context.get
    found = of(current_job) or of(current_service)
    if found is None and (sink := of(current_sink)) is not None:
        found = job_of_lines.get(sink.line)
    guilty: CodeOwner | None = found
    return guilty


def context_for(job: OwningJob | None, sink: Sink, base: Context | None) -> Context:
    """Return a context for a block's code: a copy of the one that its session was started in, or of this one."""
    context = copy_context() if base is None else base.copy()
    context.run(current_sink.set, sink)
    context.run(current_job.set, job)
    if context.get(current_service) is not None:
        # A service may have started the session; its block is no part of it.
        context.run(current_service.set, None)
    return context


def blame(error: BaseException, guilty: CodeOwner | None) -> None:
    """End the job, or the service, whose code raised what would have ended the event loop. Never raises."""
    if guilty is None:
        logger.error("%r was raised on the executor's event loop, and belongs to no job", error, exc_info=error)
    else:
        guilty.exited(error)
