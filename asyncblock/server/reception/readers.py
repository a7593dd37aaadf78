"""Readers: pages of a session's journal and parts of bodies, made when the reader's socket can take them.

A reader is a cursor: it has no queue here, loses nothing, and slows down no other.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ...errors import AsyncBlockError, Rejected
from ...wire.bodies import CHUNK_SIZE, encode_chunk
from ...wire.frames import join_page
from ...wire.messages import Fetch, Fetched, Page, Read, encode
from ..committing.recentrows import Row
from ..journal import MAX_OFFSET, BodyKey, Journal
from ..livesessions.session import RunningSession
from ..livesessions.sessions import Sessions
from ..peers.connection import Connection
from ..serverlimits import MAX_PAGE, MAX_WORDS
from ..supervision import in_words

__all__ = ["NOT_ALLOWED", "BodyReader", "PageReader"]

logger = logging.getLogger("asyncblock.server")

NOT_ALLOWED = "this token may not read sessions"
"""The error for a reader without the necessary role."""


class PageReader:
    """Answers one Read: at once, or when the session has a row at its offset (-1: the last row, once it has ended)."""

    def __init__(
        self, sessions: Sessions, connection: Connection, request: Read, allowed: Callable[[str], bool]
    ) -> None:
        self._sessions = sessions
        self._connection = connection
        self._request = request
        self._allowed = allowed
        self._fed = False
        self._done = False

    @property
    def done(self) -> bool:
        """Tell whether it has answered or was withdrawn."""
        return self._done

    def begin(self) -> None:
        """Queue the page, or wait for the session to say more."""
        self._look()

    def end(self) -> None:
        """Answer no more."""
        self._done = True
        session = self._sessions.running.get(self._request.session_id)
        if session is not None:
            session.readers.discard(self._look)
        self._connection.withdraw(self.produce)

    def _look(self) -> None:
        """Queue the page if there is something to show; called again for each new row until then."""
        session = self._sessions.running.get(self._request.session_id)
        if session is not None:
            wanted = self._request.offset
            if not (session.end_stored if wanted < 0 else session.stored_offset > wanted):
                session.readers.add(self._look)
                return
            session.readers.discard(self._look)
            if wanted >= 0:
                self._sessions.recent_rows.follow(session.number)
        if not self._fed and not self._done:
            self._fed = True
            self._connection.feed(self.produce)

    async def produce(self) -> bytes | None:
        """Make the page; None when it was made. What goes wrong is the answer: the reader may ask again."""
        if self._done:
            return None
        self._done = True
        if not self._allowed(self._request.session_id):
            # It had a job of the session when it asked, and has none any more.
            return encode(Page(self._request.id, 0, 0, [], False, NOT_ALLOWED))
        try:
            return await self._page()
        except Exception as error:
            words = f"session {self._request.session_id!r} can't be read now: {in_words(error)}"
            logger.error("%s", words, exc_info=error)
            return encode(Page(self._request.id, 0, 0, [], False, words[:MAX_WORDS]))

    async def _page(self) -> bytes:
        request = self._request
        row = await self._sessions.find(request.session_id)
        if row is None:
            return encode(Page(request.id, 0, 0, [], False, f"no session {request.session_id!r} here"))
        offset = request.offset if request.offset >= 0 else row.rows - 1
        session = self._sessions.running.get(request.session_id)
        rows = await self._rows(row.session_no, session, offset)
        next_offset = rows[-1][0] + 1 if rows else offset
        now = await self._sessions.find(request.session_id)
        if now is None:
            return encode(Page(request.id, 0, 0, [], False, f"session {request.session_id!r} was pruned"))
        end = now.state != "running" and next_offset >= now.rows
        lines = sum(count for _, _, count in rows)
        header = Page(request.id, next_offset, lines, [[offset, count] for offset, _, count in rows], end)
        return join_page(encode(header), [payload for _, payload, _ in rows])

    async def _rows(self, session_no: int, session: RunningSession | None, offset: int) -> list[Row]:
        """Return rows that are in the journal, from memory where they are the newest."""
        limit = min(max(self._request.max_bytes, 1), MAX_PAGE)
        if session is not None:
            recent = self._sessions.recent_rows.page(session_no, offset, session.stored_offset, limit)
            if recent:
                return recent
        if offset > MAX_OFFSET:
            return []
        found = await self._sessions.journal.page(session_no, offset, limit)
        if session is not None:
            # What the transaction under way has written is not ours to show yet.
            found = [each for each in found if each[0] < session.stored_offset]
        return [(offset, payload, payload.count(b"\n") + 1) for offset, payload in found]


class BodyReader:
    """Answers one Fetch: chunks of a body from an offset, then a Fetched."""

    def __init__(
        self,
        journal: Journal,
        connection: Connection,
        request: Fetch,
        allowed: Callable[[BodyKey], Awaitable[bool]],
    ) -> None:
        self._journal = journal
        self._connection = connection
        self._request = request
        self._key = BodyKey(request.link, request.n)
        self._allowed = allowed
        self._sent = 0

    async def produce(self) -> bytes | None:
        """Make the next chunk; None after the last."""
        request = self._request
        offset = request.offset + self._sent
        try:
            if self._sent == 0 and not await self._allowed(self._key):
                raise Rejected("this token may read only bodies of sessions whose jobs its link has")
            if self._sent >= request.size:
                self._connection.send(Fetched(request.id))
                return None
            piece = await self._journal.bodies.read(self._key, offset, min(CHUNK_SIZE, request.size - self._sent))
        except Exception as error:
            if not isinstance(error, AsyncBlockError):
                logger.error("body %s-%s can't be read", request.link, request.n, exc_info=error)
            self._connection.send(Fetched(request.id, f"body {request.link}-{request.n}: {error}"))
            return None
        if not piece:
            self._connection.send(Fetched(request.id, f"body {request.link}-{request.n} ends at {offset}"))
            return None
        self._sent += len(piece)
        return encode_chunk(request.id, offset, piece)
