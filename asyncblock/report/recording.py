"""Where a session is read from: a mainframe, or rows of a journal that no mainframe has open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from .. import events
from ..client import Session, plan_of_row
from ..errors import Unavailable
from ..flow.plan import Plan
from ..runtime.offload import run_in_thread
from ..values.pieces import loads_blocks
from ..wire.bodies import BodyRef

__all__ = ["Followed", "RecordedSession", "Recording"]


class Recording(Protocol):
    """A session up to now. Reading changes nothing of it."""

    @property
    def session_id(self) -> str:
        """The session's id."""
        ...

    @property
    def interrupted(self) -> bool:
        """The process that ran it was killed before its end."""
        ...

    def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events that there are."""
        ...

    async def plan(self) -> Plan:
        """Return what it runs."""
        ...

    async def fetch(self, ref: BodyRef) -> Any:
        """Return a large value. Raises ``AsyncBlockError`` when it isn't there."""
        ...


class Followed:
    """A session of a mainframe."""

    interrupted = False

    def __init__(self, session: Session) -> None:
        self._session = session
        self.session_id = session.session_id

    def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events that there are."""
        return self._session.events(offset, follow=False)

    async def plan(self) -> Plan:
        """Return what it runs."""
        return await self._session.plan()

    async def fetch(self, ref: BodyRef) -> Any:
        """Return a large value."""
        return await self._session.fetch(ref)


class RecordedSession:
    """A session in a journal: ``rows`` reads some rows from an offset on, ``body`` a body by link and number."""

    def __init__(
        self,
        session_id: str,
        rows: Callable[[int], list[tuple[int, list[bytes]]]],
        body: Callable[[str, int], bytes],
        *,
        interrupted: bool,
    ) -> None:
        self.session_id = session_id
        self.interrupted = interrupted
        self._rows = rows
        self._body = body

    async def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events that there are."""
        while found := await run_in_thread(self._rows, offset):
            for place, lines in found:
                for event in events.events_of_row(self.session_id, place, lines):
                    yield event
            offset = found[-1][0] + 1

    async def plan(self) -> Plan:
        """Return what it runs."""
        found = await run_in_thread(self._rows, 0)
        if not found:
            raise Unavailable(f"the journal has no row of session {self.session_id}")
        return await run_in_thread(plan_of_row, found[0][1])

    async def fetch(self, ref: BodyRef) -> Any:
        """Return a large value."""
        data = await run_in_thread(self._body, ref.link or "", ref.n)
        if len(data) != ref.length:
            raise Unavailable(f"body {ref.link}-{ref.n} has {len(data)} of its {ref.length} bytes")
        return data if ref.encoding == "raw" else await run_in_thread(loads_blocks, [data])
