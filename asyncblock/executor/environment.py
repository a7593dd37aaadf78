"""Environment: what all parts of one attachment work with. It decides nothing; an ``Attachment`` is one.

The parts (``budget``, ``valuewriter``, ``services``, ``upkeep``, ``inputs``, ``caching``) know it, and not the
attachment that they are parts of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..context import JobDirectories
from ..link import PlacedLinks
from ..runtime.forks import fresh_lock
from ..runtime.iothread import inbox_of
from ..runtime.offload import wait_in_thread
from ..runtime.scratch import Scratch
from ..store import Store, StoreKey
from ..varvalues.depot import Depot
from ..varvalues.filed import Filed
from ..varvalues.valueid import ValueId
from ..wire.bodies import BodyRef
from .code.catalog import Catalog

__all__ = ["Environment", "OpenJob"]


class OpenJob(Hashable, Protocol):
    """A job that runs here, as others look at it and end it: a ``RunningJob``."""

    key: tuple[str, int]
    """Job and attempt."""
    channel: int
    task: asyncio.Task[None] | None

    @property
    def session_id(self) -> str:
        """The job's session."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""
        ...

    @property
    def code_over(self) -> asyncio.Future[None] | None:
        """Done when the block's own code has ended, or is waited for no longer; None before it begins."""
        ...

    @property
    def may_hold_streams(self) -> bool:
        """Whether its code runs, and may have put something in the place of ``sys.stdout``."""
        ...

    def has_noted(self, kind: str) -> bool:
        """Tell whether a change of some kind is noted of it."""
        ...

    def once_in_journal(self, then: Callable[[BaseException | None], None]) -> None:
        """Call ``then`` once, on the I/O thread, when what the job has sent is in the journal, or never will be."""
        ...

    def stall_began(self) -> None:
        """Take note of a stall of its."""
        ...

    def stall_ended(self, words: str) -> None:
        """Tell of the stall."""
        ...

    def cancel(self, reason: str, grace: float) -> None:
        """Cancel the block; it may clean up for ``grace`` seconds."""
        ...

    def fence(self, reason: str) -> None:
        """Stop the block: what it still sends isn't wanted."""
        ...


class Environment:
    """One for each attachment of an executor to a mainframe, or a set. Made on the executor's loop."""

    def __init__(self, links: PlacedLinks, catalog: Catalog, tasks: asyncio.TaskGroup, values_of: str | None) -> None:
        self.links = links
        self.io = links.io
        self.catalog = catalog
        self.tasks = tasks
        """Owns what is started on the loop; it ends when the attachment does."""
        self.loop = asyncio.get_running_loop()
        self.inbox = inbox_of(self.loop)
        """The way to the loop from the I/O thread and from blocks' threads."""
        self.store = Store()
        self.directories = JobDirectories()
        self.scratch = Scratch()
        self.depot = Depot(values_of)
        self.jobs: dict[tuple[str, int], OpenJob] = {}
        """Those that run, by job and attempt."""
        self.sessions: set[str] = set()
        """Those that have had a job here and haven't ended."""
        self.exporting: dict[ValueId, asyncio.Task[None]] = {}
        """Values that are being written for other processes. The I/O thread's; others only look whether it is empty."""
        self.thread_lock = fresh_lock()
        """Sync blocks' turn at the link's thread share."""

    async def fetch_value(self, key: StoreKey, ref: BodyRef) -> Filed:
        """Fetch the file of a value that another host has: the attachment's ``Carriage`` does."""
        raise NotImplementedError

    def start(self, work: Callable[..., object], *args: object) -> None:
        """Do something on a worker thread, without waiting for it. On the loop."""
        self.tasks.create_task(wait_in_thread(work, *args))

    def remove_soon(self, paths: list[Path]) -> None:
        """Remove files: a large one takes the disk a while."""
        self.start(_remove, paths)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        # It has gone already, or its directory has with the session.
        with suppress(OSError):
            path.unlink()
