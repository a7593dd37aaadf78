"""A block that a block of ``oocana`` runs: callbacks for what it puts out, and a future for its end.

It is followed on the executor's loop; the callbacks are called on the loop that ``run_block`` was called on, in the
order in which things happened, all of them before ``finish()`` is done. So they may do there what they like. In a
``def`` block no loop runs: there a thread of the job's own calls them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import oocana

from .. import events
from ..errors import AsyncBlockError, LocalProtocolError

if TYPE_CHECKING:
    from .needs_of_faces import AskedBlock, FollowedBlock, OurContext

__all__ = ["OocanaBlockJob"]

logger = logging.getLogger("asyncblock.context")


class OocanaBlockJob(oocana.BlockJob):  # type: ignore[misc]  # the package has no types
    """A block that runs. Belongs to the event loop that it was asked for on, or to none."""

    def __init__(self, block: str) -> None:
        self._block = block
        self._calls = _calls(block)
        self._end: Future[None] = Future()
        # Whoever stops waiting for it cancels its own future, not this one.
        self._end.set_running_or_notify_cancel()
        self._futures: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}
        super().__init__(set(), set(), self._end)
        self._ordered = threading.Event()
        self._on_output: list[Callable[[dict[str, Any]], object]] = []
        self._on_progress: list[Callable[[float], object]] = []
        self._logger: logging.Logger = logger

    def add_output_callback(self, fn: Callable[[dict[str, Any]], object]) -> None:
        """Call a function with each output, a dict of handles and values. What it raises is logged."""
        if not callable(fn):
            raise ValueError("output_callback should be a callable function.")
        self._on_output.append(fn)

    def add_progress_callback(self, fn: Callable[[float], object]) -> None:
        """Call a function with how far the block is, from 0 to 100. What it raises is logged."""
        if not callable(fn):
            raise ValueError("progress_callback should be a callable function.")
        self._on_progress.append(fn)

    def finish(self) -> asyncio.Future[None]:
        """Return what is done when the block has ended; it raises ``BlockExecuteException`` when that failed.

        Raises ``RuntimeError`` where no event loop runs that could wait for it.
        """
        loop = asyncio.get_running_loop()
        future = self._futures.get(loop)
        if future is None or future.cancelled():
            future = self._futures[loop] = asyncio.wrap_future(self._end)
        return future

    def begin(self, ours: OurContext, order: Callable[[], AskedBlock]) -> None:
        """Ask for the block, and follow it."""
        self._logger = ours.logger
        try:
            ours.follow(self._follow(ours, order))
        except AsyncBlockError as error:
            self._ordered.set()
            self._settle(error)

    def wait_until_ordered(self) -> None:
        """Wait until the mainframe has the order, or has refused it. On the block's thread."""
        self._ordered.wait()

    # ------------------------------------------------------------------ on the executor's loop

    async def _follow(self, ours: OurContext, order: Callable[[], AskedBlock]) -> None:
        problem: Exception | None = LocalProtocolError("it isn't followed any more")
        try:
            try:
                job = (await ours.in_order(order, with_room=True)).inner
            finally:
                self._ordered.set()
            await self._tell(job)
            problem = None
        except Exception as error:
            # Whatever it is: the block waits for the end, and hears it there.
            problem = error
        finally:
            self._settle(problem)

    async def _tell(self, job: FollowedBlock) -> None:
        async for event in job:
            if isinstance(event, events.BlockProgress):
                self._call(self._on_progress, event.rate)
            elif not job.is_held and (values := await job.values(event)):
                self._call(self._on_output, values)
        await job.succeeded()
        if job.is_held:
            async for values in job.records():
                self._call(self._on_output, values)
        self._call(self._on_progress, 100.0)

    def _call(self, callbacks: list[Callable[[Any], object]], argument: object) -> None:
        self._calls.post(partial(self._call_each, callbacks, argument))

    def _settle(self, problem: Exception | None) -> None:
        self._calls.post(partial(self._set, problem))
        self._calls.end()

    # ------------------------------------------------------------------ on the block's loop, or the callbacks' thread

    def _call_each(self, callbacks: list[Callable[[Any], object]], argument: object) -> None:
        for callback in list(callbacks):
            try:
                callback(argument)
            except Exception:  # the author's: others, and the end, come all the same
                self._logger.exception("a callback for the block %r failed", self._block)

    def _set(self, problem: Exception | None) -> None:
        if problem is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(oocana.BlockExecuteException(f"run block {self._block} failed: {problem}"))


class _CallsOnLoop:
    """Calls on the event loop of the block."""

    def __init__(self, block: str, loop: asyncio.AbstractEventLoop) -> None:
        self._block = block
        self._loop = loop
        self._context = contextvars.copy_context()

    def post(self, call: Callable[[], object]) -> None:
        """Have it called after those before."""
        try:
            self._loop.call_soon_threadsafe(call, context=self._context)
        except RuntimeError:
            logger.debug("the loop that asked for block %s is closed", self._block)

    def end(self) -> None:
        """No more come: nothing to do, the loop is the block's."""


class _CallsOnThread:
    """Calls on a thread of its own, from the first one to the last."""

    def __init__(self, block: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        name = f"callbacks for {block}"
        self._thread = threading.Thread(target=context.run, args=(self._serve,), name=name, daemon=True)

    def post(self, call: Callable[[], object]) -> None:
        """Have it called after those before. By one thread only."""
        self._calls.put(call)
        if self._thread.ident is None:
            self._thread.start()

    def end(self) -> None:
        """No more come."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _calls(block: str) -> _CallsOnLoop | _CallsOnThread:
    try:
        return _CallsOnLoop(block, asyncio.get_running_loop())
    except RuntimeError:
        return _CallsOnThread(block)
