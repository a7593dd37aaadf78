"""BlockJob: a block that a block runs. Await it, iterate over it, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any, TypeVar

from .. import events
from .engine import Caller, Engine
from .jobevents import WatchedJob, events_of_job

__all__ = ["BlockJob", "SyncBlockJob"]

T = TypeVar("T")


class _Common:
    """What both forms know."""

    def __init__(self, engine: Engine, job: Caller, watch: WatchedJob, block: str) -> None:
        self.block = block
        """The block, as it was asked for."""
        self._engine = engine
        self._job = job
        self._watch = watch

    @property
    def job_id(self) -> str:
        """The job's id; its events in the session carry it."""
        return self._watch.job_id

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as is known here."""
        return self._watch.ended

    @property
    def rate(self) -> float:
        """How far it is, from 0 to 100, as far as is known here."""
        return self._watch.rate

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.block} {self.job_id}>"


class BlockJob(_Common):
    """A block that this job runs. You get one from ``ctx.run_block``; tasks of the job may share it.

    ``await job`` is the way to its outputs. Iterating gives all that it says, from its beginning, however late one
    begins; a block may send and run further blocks meanwhile.
    """

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self._result().__await__()

    async def _result(self) -> dict[str, Any]:
        """Wait for the end and return the last value of each output handle.

        **Cancellation** stops waiting; the block runs on until its caller ends. Raises ``BlockFailed`` with the block's
        error; ``ConnectionLost`` when the link is over.
        """
        await self.succeeded()
        return {handle: await self._engine.value(event, handle) for handle, event in self._watch.outputs.items()}

    async def succeeded(self) -> None:
        """Wait for the end, and fetch nothing. **Cancellation** and errors as ``await job``."""
        await self._watch.end()
        if self._watch.error is not None:
            raise self._watch.error

    @property
    def is_held(self) -> bool:
        """Whether its outputs count only when an attempt has finished: it may be tried again."""
        return self._watch.held

    async def values(self, event: events.BlockEvent) -> dict[str, Any]:
        """Return the values that one of its events holds, by handle; none for an event of another kind.

        **Cancellation** is safe. Raises ``LocalProtocolError`` for a var value that is in another process.
        """
        return {handle: await self._engine.value(event, handle) for handle in _handles(event)}

    async def __aiter__(self) -> AsyncIterator[events.BlockEvent]:
        """Iterate over the block's events, up to its end, whatever that is.

        Of a large or a var value they have the reference; ``outputs`` gives the value. The reference of a var value may
        be sent on, as an output or an input: it stands for the value.
        """
        watch, rows = self._watch, dict[int, list[bytes]]()
        seen = 0
        while True:
            while seen < len(watch.rows):
                offset = watch.rows[seen]
                seen += 1
                if offset not in rows:
                    rows = await self._engine.rows(self._job.session_id, offset)
                for event in events_of_job(self._job.session_id, offset, rows[offset], watch.job_id):
                    yield event
            if watch.ended:
                return
            await watch.change()

    async def outputs(self) -> AsyncIterator[tuple[str, Any]]:
        """Iterate over the block's outputs, ``(handle, value)`` each; raises ``BlockFailed`` when it has failed.

        Those of a block with retries come when an attempt has finished, and from that attempt alone.
        **Cancellation** is safe.
        """
        async for values in self.records():
            for item in values.items():
                yield item

    async def records(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the block's outputs as it put them out: a dict for each record, else as ``outputs``."""
        watch = self._watch
        if watch.held:
            await self.succeeded()
        async for event in self:
            if (not watch.held or event.attempt == watch.attempt) and (values := await self.values(event)):
                yield values
        await self.succeeded()

    async def progress(self) -> AsyncIterator[float]:
        """Iterate over how far the block is, from 0 to 100; 100 comes last, when it has succeeded.

        **Cancellation** is safe. Raises ``BlockFailed`` when it has failed.
        """
        last = -1.0
        while not self._watch.ended:
            if self._watch.rate > last:
                last = self._watch.rate
                yield last
            else:
                await self._watch.change()
        if self._watch.error is not None:
            raise self._watch.error
        if last < 100:
            yield 100.0

    async def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the block: it may clean up. One that has ended is left as it is.

        **Durability**: on return the mainframe has the cancel; ``await job`` raises when the block has ended.
        **Cancellation** leaves the cancel standing if it was sent.
        """
        if not self._watch.ended:
            await self._engine.ask(self._job, "cancel_block", block_job_id=self.job_id, reason=reason)


class SyncBlockJob(_Common):
    """As ``BlockJob``, for ``def`` blocks: its calls wait on the block's thread."""

    def __init__(self, engine: Engine, job: Caller, watch: WatchedJob, block: str) -> None:
        super().__init__(engine, job, watch, block)
        self.inner = BlockJob(engine, job, watch, block)
        """The same for a coroutine on the executor's loop."""

    def result(self) -> dict[str, Any]:
        """Wait for the end and return the last value of each output handle; raises as ``await job`` does."""
        return self._wait(self.inner._result())

    def __iter__(self) -> Iterator[events.BlockEvent]:
        return self._each(self.inner.__aiter__())

    def outputs(self) -> Iterator[tuple[str, Any]]:
        """As ``BlockJob.outputs``."""
        return self._each(self.inner.outputs())

    def progress(self) -> Iterator[float]:
        """As ``BlockJob.progress``."""
        return self._each(self.inner.progress())

    def cancel(self, reason: str = "cancelled") -> None:
        """As ``BlockJob.cancel``."""
        self._wait(self.inner.cancel(reason))

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        while True:
            item = self._wait(_next(items))
            if isinstance(item, _End):
                return
            yield item

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._engine.parked():
            return asyncio.run_coroutine_threadsafe(coroutine, self._engine.loop).result()


class _End:
    """Nothing comes any more."""


async def _next(items: AsyncIterator[T]) -> T | _End:
    return await anext(items, _End())


def _handles(event: events.BlockEvent) -> tuple[str, ...]:
    match event:
        case events.BlockOutput() | events.FlowJobOutput():
            return (event.handle,)
        case events.BlockOutputs():
            return (*event.outputs, *event.bodies)
        case events.BlockFinished():
            return (*event.result, *event.bodies)
    return ()
