"""Whose code runs here, and what becomes of those whose code would end more than itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from .lines import Sink, current_sink

if TYPE_CHECKING:
    from .job import RunningJob
    from .service import RunningService

__all__ = ["ENDS", "blame", "context_for", "current_job", "current_service", "job_of_lines", "owner"]

logger = logging.getLogger("asyncblock.executor")

ENDS = (SystemExit, KeyboardInterrupt)
"""What ends an event loop when it leaves a task or a callback."""

current_job: ContextVar[RunningJob | None] = ContextVar("asyncblock_job", default=None)
"""The job whose block runs here; inherited by the tasks and callbacks that it starts."""

current_service: ContextVar[RunningService | None] = ContextVar("asyncblock_service", default=None)
"""The service whose ``main`` runs here, or that started this task."""

job_of_lines: dict[Callable[..., None], RunningJob] = {}
"""The jobs that run, by what takes their lines: the threads that a job has started know nothing else of it."""


def owner(context: Context | None = None) -> RunningJob | RunningService | None:
    """Return whose code runs here, or in a context; None for ours."""
    of: Callable[[ContextVar[Any]], Any] = ContextVar.get if context is None else context.get
    found = of(current_job) or of(current_service)
    if found is None and (sink := of(current_sink)) is not None:
        found = job_of_lines.get(sink.line)
    guilty: RunningJob | RunningService | None = found
    return guilty


def context_for(job: RunningJob | None, sink: Sink, base: Context | None) -> Context:
    """Return a context for a block's code: a copy of the one that its session was started in, or of this one."""
    context = copy_context() if base is None else base.copy()
    context.run(current_sink.set, sink)
    context.run(current_job.set, job)
    if context.get(current_service) is not None:
        # A service may have started the session; its block is no part of it.
        context.run(current_service.set, None)
    return context


def blame(error: BaseException, guilty: RunningJob | RunningService | None) -> None:
    """End the job, or the service, whose code raised what would have ended the event loop. Never raises."""
    if guilty is None:
        logger.error("%r was raised on the executor's event loop, and nobody's job ends with it", error, exc_info=error)
    else:
        guilty.exited(error)
