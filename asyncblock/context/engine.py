"""Engine: what an executor's jobs ask the mainframe for, and how the answers come back. One for each executor."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from .. import events
from ..errors import Closed, InvalidInputs, LocalProtocolError, Rejected, UnknownBlock
from ..link import PlacedLinks
from ..runtime.forks import generation
from ..runtime.offload import run_in_thread
from ..store import Store, StoreKey
from ..values.pieces import loads_blocks
from ..varvalues.detached import detached, is_quick
from ..wire.bodies import BodyRef
from .jobevents import JobEventReader, Spawn, WatchedJob

__all__ = ["MAX_BLOCKS", "Caller", "Engine"]

MAX_BLOCKS = 1000
"""Blocks that one job may have running at once; the next call waits. As many as an executor runs async jobs."""

_READS = 64
"""Rows that are read again at once for those who iterate."""

_REMEMBERED = 1000
"""Descriptions of blocks that are kept: a session's plan doesn't change."""


class Caller(Protocol):
    """The job that asks: a ``JobInfo``, of which this is what the mainframe is told."""

    session_id: str
    job_id: str
    attempt: int
    stacks: tuple[Mapping[str, Any], ...]


class Engine:
    """Asks for jobs and watches what was asked for. Lives on the executor's loop."""

    def __init__(
        self,
        links: PlacedLinks,
        store: Store,
        spawn: Spawn,
        parked: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._born = generation()
        self.parked = parked
        """Gives the worker thread's place to others while a job waits for another one."""
        self._links = links
        self._store = store
        self._spawn = spawn
        self._reading = asyncio.Semaphore(_READS)
        self._readers: dict[str, JobEventReader] = {}
        self._described: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The executor's loop. Raises ``Closed`` in a forked process, where it doesn't run."""
        if generation() != self._born:
            raise Closed("a forked process can't ask the mainframe; let the block do it")
        return self._loop

    async def ask(self, job: Caller, method: str, id: str | None = None, **params: Any) -> dict[str, Any]:
        """Ask for a job that holds an open attempt here; the same ``id`` gets the same answer.

        **Cancellation** leaves the order standing if it arrived.
        Raises ``UnknownBlock``, ``InvalidInputs``, or ``Rejected`` with the mainframe's reason.
        """
        link = self._links.of(job.session_id)
        who = {"session_id": job.session_id, "job_id": job.job_id, "attempt": job.attempt}
        try:
            return await link.request(method, {**who, **params}, id=id or secrets.token_hex(8))
        except Rejected as error:
            if error.code == UnknownBlock.CODE:
                raise UnknownBlock(str(error)) from None
            if error.code == InvalidInputs.CODE:
                raise InvalidInputs(str(error), problems={}) from None
            raise

    async def describe(self, job: Caller, block: str) -> dict[str, Any]:
        """Return what a block is, as ``query_block`` tells it. **Cancellation** is safe. Raises as ``ask``."""
        if not isinstance(block, str):
            raise LocalProtocolError(f"a block is named by a text such as 'self::name', not by {type(block).__name__}")
        key = (job.session_id, job.stacks[-1].get("flow") or "" if job.stacks else "", block)
        known = self._described.get(key)
        if known is None:
            known = self._described[key] = await self.ask(job, "query_block", block=block)
            if len(self._described) > _REMEMBERED:
                self._described.popitem(last=False)
        return known

    async def start(self, job: Caller, block_job_id: str, **params: Any) -> WatchedJob:
        """Ask for a block to be run, and watch it from its beginning. Raises as ``ask``.

        **Cancellation** leaves the block running if the order arrived; it is cancelled when its caller ends.
        """
        reader = self._readers.get(job.session_id)
        if reader is None:
            link = self._links.of(job.session_id)
            reader = self._readers[job.session_id] = JobEventReader(link, job.session_id, self._spawn)
        watch = WatchedJob(block_job_id)
        reader.add(watch)
        try:
            answer = await self.ask(job, "run_block", id=block_job_id, block_job_id=block_job_id, **params)
        except BaseException:
            # A cancel too: a job that isn't watched any more would keep the reader going.
            reader.drop(watch)
            raise
        watch.held = answer.get("held") is True
        reader.begin(int(answer["offset"]))
        return watch

    def end_job(self, session_id: str, watches: list[WatchedJob], why: str) -> None:
        """Stop watching what a job has asked for that has ended itself; those that wait get ``Closed``."""
        reader = self._readers.get(session_id)
        for watch in watches:
            if reader is not None:
                reader.drop(watch)
            watch.settle(Closed(f"the job that asked for this block {why}"))

    def end_session(self, session_id: str) -> None:
        """Let go of a session."""
        reader = self._readers.pop(session_id, None)
        if reader is not None:
            reader.close()
        for key in [key for key in self._described if key[0] == session_id]:
            del self._described[key]

    def close(self) -> None:
        """Stop listening."""
        for reader in self._readers.values():
            reader.close()

    # ------------------------------------------------------------------ values

    async def rows(self, session_id: str, offset: int) -> dict[int, list[bytes]]:
        """Read a row of a session's journal, and those after it that come along.

        **Cancellation** is safe. Raises as ``Link.read``.
        """
        async with self._reading:
            page = await self._links.of(session_id).read(session_id, offset)
        return dict(page.rows)

    async def value(self, event: events.BlockEvent, handle: str) -> Any:
        """Return the value that an event holds for a handle: fetched, decoded, and out of the store.

        **Cancellation** is safe. Raises ``Rejected`` when it was pruned, ``LocalProtocolError`` for a var value of
        another process.
        """
        if isinstance(event, events.FlowJobOutput):
            return await self._referred(event)
        if isinstance(event, events.BlockOutput):
            inline, body = event.output, event.body
        elif isinstance(event, events.BlockOutputs):
            inline, body = event.outputs.get(handle), event.bodies.get(handle)
        elif isinstance(event, events.BlockFinished):
            inline, body = event.result.get(handle), event.bodies.get(handle)
        else:
            raise LocalProtocolError(f"a {event.type} holds no value")
        return await self._whole(inline, body, event.session_id)

    async def _whole(self, inline: Any, body: BodyRef | None, session_id: str) -> Any:
        if body is not None:
            link = self._links.of(session_id)
            blocks = await link.io.run(link.downloads.fetch(body))
            return await run_in_thread(b"".join if body.encoding == "raw" else loads_blocks, blocks)
        key = StoreKey.match(inline)
        if key is None:
            return inline
        value = self._store.look(key)
        return detached(value) if is_quick(value) else await run_in_thread(detached, value)

    async def _referred(self, output: events.FlowJobOutput) -> Any:
        """Find the value that a flow has put out: it stands in the row where a job has sent it."""
        if output.ref is None:
            return await self._whole(output.value, None, output.session_id)
        offset, line, index, handle = output.ref
        rows = await self.rows(output.session_id, offset)
        inline, body = events.value_in_row(rows[offset][line], index, handle)
        return await self._whole(inline, body, output.session_id)
