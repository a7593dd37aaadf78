"""What an executor was made with, and what it reports to its maker. An attachment knows no more of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..block import AnyBlock
from .attempts.jobhost import JobCounts
from .code.catalog import Catalog, accepted
from .offering import checked_labels
from .spawner import Spawner

__all__ = ["ASYNC_SLOTS", "ExecutorOptions"]

ASYNC_SLOTS = 1000
"""Async jobs at once: they share one loop, and each costs a few kB."""


class ExecutorOptions:
    """Set by whoever has made the executor, before it is attached."""

    def __init__(
        self,
        blocks: Iterable[AnyBlock] = (),
        packages: Sequence[str | Path] = (),
        *,
        async_slots: int = ASYNC_SLOTS,
        sync_slots: int | None = None,
        capture: bool = False,
        accept: Iterable[str] = (),
        offers: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
    ) -> None:
        self.offers = dict(offers or {})
        self.labels = checked_labels(self.offers, labels)
        self.pool: str | None = None
        """Which executor processes have what they offer together with this one."""
        self.catalog = Catalog(blocks, packages)
        self.catalog.accepts = accepted(accept)
        self.report = JobCounts()
        self.capture = capture
        """Whether what blocks print and log is theirs; whoever asks for it has installed ``attribution.capture``."""
        self.on_retire: Callable[[], None] | None = None
        """Called when this process should be replaced, because a thread of it can't be stopped. None where the process
        isn't the executor's own: then the thread is left, and jobs go on coming."""
        self.on_outdated: Callable[[], None] | None = None
        """Called when files that this process has loaded were edited, for another process to take its place. None where
        that can't be: then it has several readings of a file at once."""
        self.on_failure: Callable[[str, BaseException], None] | None = None
        """Told of each exception that ends an attempt, with the job's id. On the executor's loop."""
        self.on_edited: Callable[[], None] | None = None
        """Called when a package was edited under this process, for another one to take its place. None where the
        process isn't the executor's own: then it loads what is there now, beside what it has loaded."""
        self.on_announced: Callable[[], None] | None = None
        """Called when the mainframe was told of what ``add_known_soon`` has added."""
        self.spawner: Spawner | None = None
        """Starts processes for blocks with ``spawn: true``. None where this executor can't."""
        self.once = False
        """Whether this process was started for one job."""
        self.values_of: str | None = None
        """The owner in whose directory the files of var values stand: the command that has started this process."""
        self.trace_fd: int | None = None
        """Where tracebacks go while the interpreter's lock is held; only a process of its own has that."""
        self.stuck = 0
        """Blocks that were given up and still run."""
        self.async_slots = async_slots
        self.sync_slots = sync_slots or 2 * (os.cpu_count() or 1)
