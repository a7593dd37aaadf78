"""What sessions share with all that writes into the journal: the journal itself, and turns, one transaction each.

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
from .turn import Turn
from .values import Values

__all__ = ["Transactions"]

logger = logging.getLogger("asyncblock.server")

_LINGER = 0.002
"""Seconds that a turn for which nobody waits may wait for another one: a short job ends within them."""


class Transactions:
    """Makes turns, and joins those that follow each other closely. On the mainframe's loop."""

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
        self._lingering: Turn | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    def turn(self) -> Turn:
        """Begin a turn of its own, after what lingers."""
        self.settle()
        return Turn(self.journal, self.recent_rows, self.on_stored, self.supervisor.broken, self.timings.commit)

    def next_turn(self) -> Turn:
        """Begin a turn, or go on with the one that lingers: both become one transaction.

        Commit it before anything is awaited.
        """
        turn = self._take_lingering()
        return self.turn() if turn is None else turn

    @property
    def lingers(self) -> bool:
        """Tell whether a turn lingers."""
        return self._lingering is not None

    def linger(self, turn: Turn) -> None:
        """Commit a turn with the next one, or after a moment: nobody waits for it.

        One commit less for each short job, and one acknowledgement less (dispatch).
        """
        self.settle()
        self._lingering = turn
        self._linger_timer = self.supervisor.later(_LINGER, self.settle, what="the commit of a turn")

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
        """Commit the turn that lingers."""
        turn = self._take_lingering()
        if turn is not None:
            turn.commit()

    def _take_lingering(self) -> Turn | None:
        turn, self._lingering = self._lingering, None
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        return turn


def _nothing() -> None:
    return
