"""What sessions share with all that writes into the journal: the journal itself, and its transactions.

``Sessions`` is one, and hands itself to dispatch and to each session as this: they need no more of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from ..histograms import Timings
from ..journal import BodyKey, Journal
from ..settings import Settings
from ..supervision import Supervisor
from .recentrows import RecentRows
from .transaction import Transaction
from .values import Values

__all__ = ["Transactions"]

logger = logging.getLogger("asyncblock.server")

_LINGER = 0.002
"""Seconds that a transaction may wait for another one when no peer waits for it: a short job ends within them."""


class Transactions:
    """Makes transactions, and joins those that follow each other closely. On the mainframe's loop."""

    def __init__(
        self,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        supervisor: Supervisor,
        settings: Settings,
        place: Path | None,
        *,
        alone: bool = True,
    ) -> None:
        self.journal = journal
        self.place = place
        """The directory of the journal, where other processes can read it; None where they have to ask this one."""
        self.alone = alone
        """No other process may be started."""
        self.supervisor = supervisor
        self.settings = settings
        self.loop = loop
        self.values = Values(journal)
        self.recent_rows = RecentRows()
        self.timings = Timings()
        self.on_stored: Callable[[], object] = _nothing
        """Called after each commit, before what follows from it."""
        self._lingering: Transaction | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    def new_transaction(self) -> Transaction:
        """Begin a transaction of its own, after what lingers."""
        self.settle()
        return Transaction(self.journal, self.recent_rows, self.on_stored, self.supervisor.broken, self.timings.commit)

    def next_transaction(self) -> Transaction:
        """Begin a transaction, or go on with the one that lingers.

        Commit it before anything is awaited.
        """
        transaction = self._take_lingering()
        return self.new_transaction() if transaction is None else transaction

    @property
    def lingers(self) -> bool:
        """Tell whether a transaction lingers."""
        return self._lingering is not None

    def linger(self, transaction: Transaction) -> None:
        """Commit a transaction with the next one, or after a moment: no peer waits for it.

        One commit less for each short job, and one acknowledgement less (dispatch).
        """
        self.settle()
        self._lingering = transaction
        self._linger_timer = self.supervisor.later(_LINGER, self.settle, what="the commit of a transaction")

    def discard_soon(self, key: BodyKey) -> None:
        """Delete a body that nothing names, or will name."""
        self.supervisor.begin(self._discard(key), "deleting a body")

    async def _discard(self, key: BodyKey) -> None:
        try:
            await self.journal.bodies.discard(key)
        except Exception as error:
            # It counts as one under way: the next Welcome tells of it, and its sender says that it isn't.
            logger.warning("a body that isn't needed any more stays for now: %s", error)

    def settle(self) -> None:
        """Commit the transaction that lingers."""
        transaction = self._take_lingering()
        if transaction is not None:
            transaction.commit()

    def _take_lingering(self) -> Transaction | None:
        transaction, self._lingering = self._lingering, None
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        return transaction


def _nothing() -> None:
    return
