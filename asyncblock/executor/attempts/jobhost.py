"""JobHost: what a running job needs of the attachment that runs it; ``job`` knows no more of ``attachment`` than this.

All of it is on the executor's loop.
"""

from __future__ import annotations

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from ...context import Engine
from ...wire.windows import Window
from ..code.loading import Loading
from ..diagnosis.watchdog import Watchdog
from ..environment import Environment, OpenJob
from ..keeping.budget import Budget
from ..services import Services

__all__ = ["JobCounts", "JobHost"]


class JobCounts:
    """What an executor has done, for the line that it prints when it leaves."""

    def __init__(self) -> None:
        self.finished = 0
        self.failed = 0
        self.cancelled = 0
        self.unacknowledged = 0

    def count(self, ending: Mapping[str, Any]) -> None:
        """Count a job by the fields of its finish."""
        if ending.get("cancelled"):
            self.cancelled += 1
        elif "error" in ending:
            self.failed += 1
        else:
            self.finished += 1

    def __str__(self) -> str:
        jobs = f"{self.finished} jobs finished, {self.failed} failed, {self.cancelled} cancelled"
        return f"{jobs}, {self.unacknowledged} records unacknowledged"


class Options(Protocol):
    """What the executor was made with."""

    once: bool
    """Whether this process was started for one job."""
    report: JobCounts
    on_failure: Callable[[str, BaseException], None] | None
    """Told of each exception that ends an attempt, with the job's id."""


class JobHost(Environment, ABC):
    """An environment with what is asked for and told by each of its jobs."""

    options: Options
    budget: Budget
    services: Services
    loading: Loading
    engine: Engine
    watchdog: Watchdog
    threads: asyncio.Semaphore
    """The places for sync blocks."""
    contexts: dict[str, contextvars.Context]
    """The contexts that sessions were started in from this process: prints of a block go where its starter's go."""

    @abstractmethod
    def thread_port(self, session_id: str) -> Window:
        """Return the share of the window that sync blocks count on: of the link by which a session's jobs come."""

    @abstractmethod
    def ended(self, job: OpenJob) -> None:
        """Take note that a job's finish is in the journal, or never will be."""

    @abstractmethod
    def job_is_over(self, job: OpenJob) -> bool:
        """Tell whether a job's finish is in the journal, or never will be."""

    @abstractmethod
    def with_streams(self, but: Hashable) -> list[Hashable]:
        """Return the other jobs that may have put something in the place of ``sys.stdout``."""

    @abstractmethod
    def is_noted(self, kind: str) -> bool:
        """Tell whether a change of some kind is noted of a job that runs."""

    @abstractmethod
    async def left_behind(self, main: asyncio.Task[object], *, in_thread: bool) -> None:
        """Take note of a block that was given up."""

    @abstractmethod
    async def give_back(self, job: OpenJob, reason: str) -> bool:
        """Return a job that hasn't begun, for its code isn't here any more; tell whether that is done."""

    @abstractmethod
    def free_soon(self, values: list[Any]) -> None:
        """Free large values on a worker thread: on the loop they would stall it."""
