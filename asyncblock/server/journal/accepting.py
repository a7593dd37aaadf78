"""What every journal does on its event loop before anything is stored: it refuses what can't be (``WriteChecks``),
counts what is queued, and gives out promises, which end with the journal at the latest.

``sqlite`` and ``memoryjournal`` add where the writes go and how they are read. Nothing here waits for a disk.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from ...errors import AsyncBlockError, Closed
from .contract import Opening, Write
from .diskerrors import DiskErrors
from .posting import settle
from .writechecks import WriteChecks

__all__ = ["AcceptingJournal"]


class AcceptingJournal(ABC):
    """The part of a journal that takes writes in. The ``Journal`` Protocol is its contract."""

    def __init__(
        self, opening: Opening, write_checks: WriteChecks, disk_errors: DiskErrors, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._opening = opening
        self._write_checks = write_checks
        self._disk_errors = disk_errors
        self._loop = loop
        self._queued_bytes = 0
        self._closed = False
        self._promises: set[asyncio.Future[Any]] = set()

    @property
    def opening(self) -> Opening:
        """What was found when it was opened."""
        return self._opening

    @property
    def epoch(self) -> str:
        """The journal's identity."""
        return self._opening.epoch

    @property
    def queued_bytes(self) -> int:
        """Bytes written and not stored yet, bodies not counted."""
        return self._queued_bytes

    @property
    def trouble(self) -> AsyncBlockError | None:
        """Why nothing is being stored at the moment; None when all is well."""
        return self._disk_errors.error

    def new_session_no(self) -> int:
        """Return a number that no session of this journal has had."""
        return self._write_checks.new_session_no()

    def new_link_no(self) -> int:
        """Return a number that no link of this journal has had."""
        return self._write_checks.new_link_no()

    def next_offset(self, session_no: int) -> int:
        """Return the offset that the session's next entry must carry."""
        return self._write_checks.next_offset(session_no)

    def retire(self, session_no: int) -> None:
        """Say that nothing more will be written to a session; see ``Journal.retire``."""
        self._write_checks.retire(session_no)

    def write(self, write: Write, *, urgent: bool = False) -> None:
        """Queue a write; see ``Journal.write``."""
        self.check_open()
        self._write_checks.enter(write)
        self._put(write, urgent=urgent)

    async def flush(self) -> None:
        """Wait until everything written before is stored; see ``Journal.flush``."""
        self.check_open()
        flushed = self.promise()
        self._put(Write(lambda: settle(flushed, None)))
        await flushed

    @abstractmethod
    def _put(self, write: Write, *, urgent: bool = False) -> None:
        """Count a write as queued, and queue it."""

    def check_open(self) -> None:
        """Raise ``Closed`` after the end."""
        if self._closed:
            raise Closed("the journal is closed")

    def promise(self) -> asyncio.Future[Any]:
        """Return a future that ends with the journal at the latest."""
        promise: asyncio.Future[Any] = self._loop.create_future()
        self._promises.add(promise)
        promise.add_done_callback(self._kept)
        return promise

    def _kept(self, promise: asyncio.Future[Any]) -> None:
        self._promises.discard(promise)
        # Read here, or asyncio logs it as never retrieved: a caller that was cancelled doesn't look.
        if not promise.cancelled():
            promise.exception()

    def _end_promises(self) -> None:
        for promise in list(self._promises):
            settle(promise, Closed("the journal is closed"))
