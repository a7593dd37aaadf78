"""Session: one run of a flow, seen from outside; each iteration over its events is a cursor in its journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from .. import events
from ..errors import BlockFailed, ConnectionLost, FlowFailed, Rejected, ValueLost
from ..events import SessionFinished, TablePages
from ..link import Link
from ..looks import bundle_of, live
from ..runtime.offload import run_in_thread, wait_in_thread
from ..values import loads
from ..values.pieces import loads_blocks
from ..wire.bodies import BodyRef
from .encoding import encoded
from .listed import SessionInfo, session_info
from .resolving import plan_of_row

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["Session"]


class Session:
    """One run of a flow, seen from outside. Get one from ``Mainframe.start`` or ``Mainframe.session``.

    Iterating gives every event from the beginning, and ends after ``SessionFinished``; any number of iterations may
    run at once, each is a cursor of its own. Losing the connection is no end: the iteration goes on where it was.
    """

    def __init__(self, link: Link, session_id: str, journal: str | None = None) -> None:
        self._link = link
        self._journal = journal
        self.session_id = session_id

    def __aiter__(self) -> AsyncIterator[events.AnyEvent]:
        return self.events()

    async def events(
        self, offset: int = 0, *, latest: bool = False, follow: bool = True
    ) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the session's events from a journal offset, waiting for new ones until it ends.

        ``latest=True`` skips progress and previews that a later one in the same page supersedes. ``follow=False`` waits
        for nothing: it ends with what was in the journal at the beginning.
        **Cancellation** is safe: go on with ``offset`` one past the last event's.
        Raises ``Rejected`` when the mainframe doesn't know the session, ``Closed`` when the link is closed, and
        ``ConnectionLost`` when the mainframe came back with another journal, in which offsets mean something else.
        """
        epoch = self._link.epoch
        until = None if follow else await self._rows()
        while until is None or offset < until:
            page = await self._link.read(self.session_id, offset)
            if self._link.epoch != epoch:
                raise ConnectionLost(
                    f"session {self.session_id} was read up to row {offset}, and since then the mainframe at "
                    f"{self._link.address} has another journal; read the session from its start"
                )
            # Line by line, so that they are gone, and their memory is at hand, when the next are made (throughput).
            found = chain.from_iterable(events.events_of_row(self.session_id, *row) for row in page.rows)
            event: events.AnyEvent | None = None
            for event in _newest(list(found)) if latest else found:
                yield event
            if page.end or isinstance(event, events.SessionFinished):
                return
            offset = page.next

    async def _rows(self) -> int | None:
        """Return how many rows there are; None when there will be no more of them anyway."""
        info = await self.info()
        if info.rows is None and info.state == "running":
            raise Rejected(
                f"the mainframe at {self._link.address} is too old to say how far session {self.session_id} is; "
                "update it, or follow the session to its end",
                code="version",
            )
        return info.rows

    async def plan(self) -> Plan:
        """Return the plan that the session runs.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't know the session.
        """
        page = await self._link.read(self.session_id, 0, max_bytes=1)
        return await wait_in_thread(plan_of_row, page.rows[0][1] if page.rows else ())

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle_of(self)

    async def live(self) -> None:
        """Show the session in a notebook until it ends: drawn again as it goes on.

        **Cancellation**, an interrupt of the kernel, cancels the session. Raises as ``events``.
        """
        await live(self)

    async def info(self) -> SessionInfo:
        """Return how the session is: its state, times and size.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't know the session.
        """
        return session_info(await self._link.request("session", {"session_id": self.session_id}))

    async def wait(self) -> SessionFinished:
        """Wait until the session has ended, however it ended.

        **Cancellation** leaves the session running. Raises as ``events``.
        """
        page = await self._link.read(self.session_id, -1)
        for place, lines in page.rows:
            for event in events.events_of_row(self.session_id, place, lines):
                if isinstance(event, events.SessionFinished):
                    return event
        raise Rejected(f"session {self.session_id} has no end in the journal", code="read")

    async def outputs(self) -> dict[str, Any]:
        """Wait until the session has succeeded and return the last value of each output of the flow.

        **Cancellation** leaves the session running.
        Raises ``FlowFailed`` with the session's error when it failed or was cancelled, and with the author's traceback
        as its cause; it is a ``ValueLost`` where the memory of a process went that was needed.
        """
        end = await self.wait()
        if end.state != "succeeded":
            cause = await self._cause(end)
            more: dict[str, Any] = {
                "session_id": self.session_id,
                "state": end.state,
                "node_id": None if end.failed is None else end.failed.node_id,
                "journal": self._journal,
            }
            if end.failed is not None and (lost := end.failed.lost) is not None:
                raise ValueLost(end.error or end.state, producer=lost.node_id, handle=lost.handle, **more)
            raise FlowFailed(end.error or end.state, **more) from cause
        outputs = dict(end.outputs)
        for handle, ref in end.bodies.items():
            outputs[handle] = await self.fetch(ref)
        return outputs

    async def _cause(self, end: SessionFinished) -> BlockFailed | None:
        """Return what the block said that failed the session; None where no block did."""
        job = end.failed
        if job is None or job.offset is None:
            return None
        page = await self._link.read(self.session_id, job.offset)
        for event in chain.from_iterable(events.events_of_row(self.session_id, *row) for row in page.rows[:1]):
            if isinstance(event, events.BlockFinished) and (event.job_id, event.attempt) == (job.job_id, job.attempt):
                words = f"node {event.node_id}: {event.error}"
                failed = BlockFailed(words, node_id=event.node_id, traceback=event.traceback or "")
                if event.traceback:
                    # A note is printed with the error.
                    failed.add_note(event.traceback.rstrip())
                return failed
        return None

    async def fetch(self, ref: BodyRef) -> Any:
        """Fetch a large value that an event refers to.

        **Cancellation** is safe. Raises ``Rejected`` when it was pruned.
        """
        blocks = await self._link.io.run(self._link.downloads.fetch(ref))
        return await run_in_thread(b"".join if ref.encoding == "raw" else loads_blocks, blocks)

    async def page(self, pages: TablePages, number: int) -> list[list[Any]]:
        """Fetch a page of a table's rows, from 0; ``pages.index`` says which rows it has.

        **Cancellation** is safe. Raises ``IndexError`` for one that isn't there, ``Rejected`` when it was pruned.
        """
        _, offset, size = pages.index[number]
        text = await self._link.io.run(self._link.downloads.part(pages.body, offset, size))
        rows: list[list[Any]] = await run_in_thread(loads, text)
        return rows

    async def message_service(self, node_id: str, payload: object, *, job_id: str | None = None) -> int:
        """Say something to the service of a node, where it runs; return how many executors it was sent to.

        **Durability**: none; it reaches the callbacks of a service that runs and whose executor is connected.
        **Cancellation** may leave it sent. Raises ``Rejected`` when the session is over or has no such service node.
        """
        params = {"session_id": self.session_id, "node_id": node_id, "payload": await encoded(payload, "payload")}
        if job_id is not None:
            params["job_id"] = job_id
        answer = await self._link.request("message_service", params)
        return int(answer["executors"])

    async def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the session: waiting jobs are dropped, running ones may clean up.

        **Durability**: on return the cancel is in the journal; ``wait`` says when the session has ended.
        **Cancellation** leaves the cancel standing if it was sent. A session that has ended is left as it is.
        """
        await self._link.request("cancel", {"session_id": self.session_id, "reason": reason})


def _newest(found: list[events.AnyEvent]) -> list[events.AnyEvent]:
    seen: set[tuple[str, str, str]] = set()
    kept: list[events.AnyEvent] = []
    for event in reversed(found):
        if isinstance(event, events.BlockProgress):
            key = ("progress", event.job_id, "")
        elif isinstance(event, events.BlockPreview) and event.id is not None:
            key = ("preview", event.job_id, event.id)
        else:
            kept.append(event)
            continue
        if key not in seen:
            seen.add(key)
            kept.append(event)
    return kept[::-1]
