"""A journal that queues its writes for others to store: a thread on SQLite, a task on a broker.

Here is what follows when those report: promises of prunings end, what was to follow a commit runs, and a close says
what was not stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ...errors import AsyncBlockError
from .accepting import AcceptingJournal
from .contract import BeginPrune, Opening, Write
from .diskerrors import DiskErrors, explain
from .posting import settle
from .writechecks import WriteChecks

__all__ = ["QueueingJournal"]

logger = logging.getLogger("asyncblock.server.journal")


class QueueingJournal(AcceptingJournal):
    """The part of it that is the same wherever the writes go."""

    def __init__(
        self, opening: Opening, write_checks: WriteChecks, disk_errors: DiskErrors, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(opening, write_checks, disk_errors, loop)
        self.on_defect: Callable[[str, Exception], None] = _log_defect
        """Told, on the event loop, of an error of ours that ends what stores or breaks what follows a commit."""
        self._prunes: dict[int, asyncio.Future[Any]] = {}

    async def prune(self, session_no: int) -> int:
        """Delete a session with everything of it; see ``Journal.prune``."""
        self.check_open()
        self._write_checks.prune(session_no)
        done = self._prunes[session_no] = self.promise()
        write = Write()
        write.rows.append(BeginPrune(session_no))
        self._put(write)
        return int(await asyncio.shield(done))

    def _pruned(self, session_no: int, outcome: int | AsyncBlockError) -> None:
        done = self._prunes.pop(session_no, None)
        # None when an earlier opening began the deletion.
        if done is not None:
            settle(done, outcome)

    def _follow(self, write: Write) -> None:
        """A write is stored: do what was to follow."""
        self._queued_bytes -= write.queued_bytes
        if write.stored is not None:
            try:
                write.stored()
            except Exception as error:
                # The others' must run all the same: their writes are stored.
                self.on_defect("what was to follow a commit", error)

    def _died(self, what: str, error: Exception) -> None:
        self._disk_errors.enter("journal", explain(error, "the journal"))
        self.on_defect(what, error)

    @staticmethod
    def _what_is_left(where: str, writes: list[Write], chunks: str, error: object) -> str:
        """Say what a close leaves unstored, and why; "" for nothing."""
        if not writes and not chunks:
            return ""
        size = sum(write.size for write in writes)
        lost = " and ".join([f"{len(writes)} writes ({size} bytes)"] * bool(writes) + [chunks] * bool(chunks))
        why = f": {error}" if writes else ""
        return (
            f"the journal in {where} was closed without storing {lost}{why}. None of it was "
            "acknowledged: its senders keep it and send it again"
        )


def _log_defect(what: str, error: Exception) -> None:
    logger.error("%s failed", what, exc_info=error)
