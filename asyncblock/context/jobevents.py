"""Job events: what an executor hears of the jobs that its own jobs have asked for, one cursor for each session.

A row is read once, however many watch. Of a job only the places of its rows, its last values and its end are kept:
whoever wants all of its events reads those rows again. So nothing queues up, here or in the mainframe, and what came
before anybody looked isn't lost.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from .. import events
from ..errors import AsyncBlockError, BlockFailed
from ..link import Link

__all__ = ["JobEventReader", "Spawn", "WatchedJob", "any_change", "events_of_job"]

_JOB_ID: Final = re.compile(rb'"job_id":"([^"\\]*)"')
"""Every line about a job names it first in this way."""


_CHAIN: Final = re.compile(r"(?:BlockFailed: block '[^']*' failed: )+")


Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Starts a task that somebody owns."""


class WatchedJob:
    """What is known of one job that was asked for. On the executor's loop."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.rows = array("Q")
        """Offsets of the rows that say something about it."""
        self.outputs: dict[str, events.BlockEvent] = {}
        """The event that holds the last value of each handle."""
        self.rate = 0.0
        self.ended = False
        self.error: AsyncBlockError | None = None
        self.attempt = 1
        self.held = False
        """The block has retries: its outputs count only when their attempt has finished, for another may replace it."""
        self._failure: events.BlockFinished | None = None
        self._changed: set[asyncio.Future[None]] = set()

    async def change(self) -> None:
        """Wait until there is another row, or the end.

        **Cancellation** is safe.
        """
        await any_change([self])

    async def end(self) -> None:
        """Wait for the job's end. **Cancellation** is safe."""
        while not self.ended:
            await self.change()

    def settle(self, error: AsyncBlockError | None) -> None:
        """Take in the end; the first one counts."""
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    def take(self, offset: int, lines: list[bytes], session_id: str) -> None:
        """Take in a row's lines about this job."""
        self.rows.append(offset)
        for event in events_of_job(session_id, offset, lines, self.job_id):
            self._take(event)
        self._wake()

    def _take(self, event: events.BlockEvent) -> None:
        if event.attempt > self.attempt:
            # What an attempt has put out that came to nothing doesn't count.
            self.attempt, self.outputs, self._failure = event.attempt, {}, None
        match event:
            case events.BlockOutput() | events.FlowJobOutput():
                self.outputs[event.handle] = event
            case events.BlockOutputs():
                self.outputs.update(dict.fromkeys((*event.outputs, *event.bodies), event))
            case events.BlockFinished():
                self.outputs.update(dict.fromkeys((*event.result, *event.bodies), event))
                self._failure = event
            case events.BlockProgress():
                self.rate = event.rate
            case events.BlockJobFinished() | events.FlowJobFinished():
                self._finish(event.error, event.node_id)

    def _finish(self, error: str | None, node_id: str) -> None:
        if error is None:
            self.rate = 100.0
            self.settle(None)
            return
        traceback = (self._failure.traceback or "") if self._failure is not None else ""
        name = node_id.removeprefix("run_block::")
        # Through many levels only the last cause tells something.
        cause = _CHAIN.sub("", error)
        self.settle(BlockFailed(f"block {name!r} failed: {cause}", node_id=node_id, traceback=traceback))

    def _wake(self) -> None:
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)


async def any_change(watches: Sequence[WatchedJob]) -> None:
    """Wait until one of several has another row, or its end.

    **Cancellation** is safe.
    """
    changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for watch in watches:
        watch._changed.add(changed)
    try:
        await changed
    finally:
        for watch in watches:
            watch._changed.discard(changed)


class JobEventReader:
    """Reads one session's journal for the jobs that are watched, and only while any is."""

    def __init__(self, link: Link, session_id: str, spawn: Spawn) -> None:
        self._link = link
        self._session_id = session_id
        self._spawn = spawn
        self._watches: dict[str, WatchedJob] = {}
        self._offset = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, watch: WatchedJob) -> None:
        """Watch a job. Call it before the job is asked for, so that nothing is missed."""
        self._watches[watch.job_id] = watch

    def drop(self, watch: WatchedJob) -> None:
        """Watch a job no more; with the last one the reading ends."""
        self._watches.pop(watch.job_id, None)
        if not self._watches:
            self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def begin(self, offset: int) -> None:
        """Read from ``offset`` on, unless it reads already: then it is not beyond that."""
        if self._task is None:
            self._offset = offset
            self._task = self._spawn(self._read())

    async def _read(self) -> None:
        try:
            while self._watches:
                page = await self._link.read(self._session_id, self._offset)
                for offset, lines in page.rows:
                    self._take(offset, lines)
                self._offset = page.next
                if page.end:
                    self._settle_all(BlockFailed("the session ended before the block did"))
        except AsyncBlockError as error:
            self._settle_all(error)
        self._task = None

    def _take(self, offset: int, lines: list[bytes]) -> None:
        about: dict[str, list[bytes]] = {}
        for line in lines:
            found = _JOB_ID.search(line)
            if found is not None and (job_id := found.group(1).decode()) in self._watches:
                about.setdefault(job_id, []).append(line)
        for job_id, its in about.items():
            watch = self._watches[job_id]
            watch.take(offset, its, self._session_id)
            if watch.ended:
                del self._watches[job_id]

    def _settle_all(self, error: AsyncBlockError) -> None:
        for watch in self._watches.values():
            watch.settle(error)
        self._watches.clear()


def events_of_job(session_id: str, offset: int, lines: list[bytes], job_id: str) -> Iterator[events.BlockEvent]:
    """Return the events of a row that are about one job."""
    mine = [line for line in lines if (found := _JOB_ID.search(line)) is not None and found.group(1).decode() == job_id]
    for event in events.events_of_row(session_id, offset, mine):
        if isinstance(event, events.BlockEvent):
            yield event
