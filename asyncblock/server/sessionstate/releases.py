"""Releases: var values that can go, gathered for a moment and told to the executors that have them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ...wire.messages import Live, Release
from ...wire.ranges import Ranges
from ..committing.transactions import Transactions
from ..jobstate.jobs import JobOwner, LinkState
from ..jobstate.lives import Gone

__all__ = ["Releases"]

_GATHERING: Final = 0.02
"""Seconds that releases are gathered: what short jobs have had goes in one message, and large frames go soon."""

_MANY: Final = 1000
"""Attempts in a message."""

_Due = dict[tuple[str, int], Ranges]
"""Places by job and attempt."""


class Releases:
    """Tells executors which of their values can go."""

    def __init__(
        self, transactions: Transactions, links: Mapping[str, LinkState], running: Mapping[str, JobOwner]
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._running = running
        self._due: dict[tuple[str, str], _Due] = {}
        """By link and session."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, session_id: str, gone: Iterable[Gone]) -> None:
        """Tell soon of values that nothing holds any more; it stands in the journal why."""
        for link_id, job_id, attempt, place in gone:
            due = self._due.setdefault((link_id, session_id), {})
            due.setdefault((job_id, attempt), Ranges()).add(place)
        if self._timer is None and self._due:
            self._timer = self._transactions.supervisor.later(_GATHERING, self._tell, what="the release of var values")

    def _tell(self) -> None:
        due, self._due, self._timer = self._due, {}, None
        for (link_id, session_id), attempts in due.items():
            link = self._links.get(link_id)
            if link is None or not link.is_there:
                link = self._heir(session_id)
            if link is None or Release.op not in link.understands:
                continue
            entries = [[job_id, attempt, places.to_json()] for (job_id, attempt), places in attempts.items()]
            for start in range(0, len(entries), _MANY):
                link.send(Release(session_id, entries[start : start + _MANY]))

    def _heir(self, session_id: str) -> LinkState | None:
        """Return an executor that can remove files which one that has left has handed down."""
        session = self._running.get(session_id)
        places = set[str]() if session is None else session.lives.places
        return next((link for link in self._links.values() if link.connection and places & link.places), None)

    def restate(self, link: LinkState) -> None:
        """Tell an executor that has come back what lives: it may not have heard of what has gone."""
        if Live.op not in link.understands:
            return
        parts: list[dict[str, list[list[Any]] | None]] = [{}]
        room = _MANY
        for session, entry in self._of(link):
            if room == 0:
                parts.append({})
                room = _MANY
            room -= 1
            known = parts[-1].setdefault(session.session_id, [] if session.lives.complete else None)
            if entry is not None and known is not None:
                known.append(entry)
        for index, part in enumerate(parts):
            link.send(Live(part, more=index + 1 < len(parts)))

    def _of(self, link: LinkState) -> Iterator[tuple[JobOwner, list[Any] | None]]:
        for session in self._running.values():
            if link in session.links and not session.ended:
                yield session, None
                for entry in session.lives.of_link(link.link_id):
                    yield session, entry
