"""What all connections of a mainframe share: room on the way to the disk, answers that stay, links that are forgotten.

``gateway`` is this and accepts connections; ``incoming`` and ``answers`` serve one each, and know nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict

from ..jobstate.jobs import LinkState
from ..journal import BodyKey
from ..livesessions.sessions import Sessions
from ..peers.connection import Connection

__all__ = ["LinkServices"]

logger = logging.getLogger("asyncblock.server")

_MAX_IDLE = 10_000
"""Links without a connection that never had a job and are kept: each costs about 1 kB."""


class LinkServices:
    """One for each mainframe, on its loop."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.links = sessions.dispatch.links
        self.answers: dict[str, bytes] = {}
        """Answers that must stay the same, by link and request id, since the journal was last cleaned."""
        self.bytes_received = 0
        """Bytes of records and bodies so far."""
        self.acks = 0
        """Acknowledgements so far."""
        self._idle: OrderedDict[str, LinkState] = OrderedDict()
        """Links without a connection that never had a job, those that left last at the end."""
        self._has_room = asyncio.Event()
        sessions.on_stored = self.make_room

    # ------------------------------------------------------------------ room

    async def room(self, connection: Connection) -> None:
        """Wait while too much waits for the disk. Cancels come on other links and pass."""
        while self.sessions.journal.queued_bytes > self.sessions.settings.queue_bytes:
            connection.held = True
            self._has_room.clear()
            await self._has_room.wait()
        connection.held = False

    def make_room(self) -> None:
        """Let those go on who wait for the disk, if it has caught up."""
        if not self._has_room.is_set() and self.sessions.journal.queued_bytes <= self.sessions.settings.queue_bytes:
            self._has_room.set()

    # ------------------------------------------------------------------ links that are over

    def forget(self, link: LinkState) -> None:
        """Forget a link that won't come back: its row, its mark, and bodies that no record has named."""
        if link.greetings or any(not attempt.fenced for attempt in link.attempts.values()):
            return
        if self.links.get(link.link_id) is link:
            del self.links[link.link_id]
            self._idle.pop(link.link_id, None)
        if link.number:
            with self.sessions.new_transaction() as transaction:
                transaction.write.drop_link(link.number)
                if self.sessions.journal.bodies.under_way(link.link_id):
                    transaction.after(
                        lambda: self.sessions.supervisor.begin(self._drop_bodies(link.link_id), "deleting bodies")
                    )

    async def _drop_bodies(self, link_id: str) -> None:
        try:
            await self.sessions.journal.bodies.delete_unreferenced(link_id)
        except Exception as error:
            # As where the mainframe ends just before this.
            logger.warning("bodies of a link that is over stay until the mainframe starts anew: %s", error)

    def drop_answers(self) -> None:
        """Forget answers that were given so long ago that they won't be asked for again."""
        self.answers.clear()
        with self.sessions.new_transaction() as transaction:
            transaction.write.drop_requests(int((time.time() - self.sessions.settings.link_expiry) * 1000))

    def left(self, link: LinkState) -> None:
        """Keep few of the links that have left and never had a job: ever new ones don't fill the memory."""
        if link.given or link.bodies or self.links.get(link.link_id) is not link:
            return
        link.executor = None
        self._idle[link.link_id] = link
        while len(self._idle) > _MAX_IDLE:
            _, oldest = self._idle.popitem(last=False)
            self.forget(oldest)

    def returned(self, link: LinkState) -> None:
        """A link has a connection again."""
        self._idle.pop(link.link_id, None)

    async def expire(self) -> None:
        """Forget the links that have been away for too long and hold no jobs, one after the other."""
        limit = self.sessions.loop.time() - self.sessions.settings.link_expiry
        lease = self.sessions.loop.time() - self.sessions.settings.lease
        for link in list(self.links.values()):
            if _is_away(link, lease):
                self._drop_left(link)
            if _is_long_away(link, limit):
                await self._expire(link, limit)

    def _drop_left(self, link: LinkState) -> None:
        """Delete bodies that a link was sending when it went away: one that comes back then sends all of it."""
        left = {*link.bodies, *link.whole}
        link.bodies.clear()
        link.whole.clear()
        link.unnamed = 0
        for n in left:
            self.sessions.discard_soon(BodyKey(link.link_id, n))

    async def _expire(self, link: LinkState, limit: float) -> None:
        """Forget a link, unless values of it are still there: only its row proves that its id is its own."""
        try:
            taken = await self.sessions.journal.bodies.names_any(link.link_id)
        except Exception as error:
            # The disk's, or the journal's that is being closed; the link is looked at again.
            logger.warning("a link that is long away isn't forgotten yet: %s", error)
            return
        # It may have come back during the question.
        if not taken and _is_long_away(link, limit):
            self.forget(link)


def _is_long_away(link: LinkState, limit: float) -> bool:
    return not link.load and _is_away(link, limit)


def _is_away(link: LinkState, limit: float) -> bool:
    there = link.connection is not None or link.greetings
    return not there and max(link.seen, link.last_heard) < limit
