"""The event loops of ``async def`` blocks of ``oocana``: one for each attempt, in the job's own thread.

When the block's function has returned its end is told, and what it has started goes on: a block that returns
``keepAlive`` leaves its work to such tasks. They end with the session at the latest.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .needs_of_faces import OurContext

__all__ = ["OwnLoops"]

logger = logging.getLogger("asyncblock.executor")


class OwnLoops:
    """Those of one block's attempts in one session. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[_OwnLoop] = set()

    def run(self, call: Callable[[], Coroutine[Any, Any, Any]], ctx: OurContext) -> Any:
        """Run a coroutine function in this thread, and return what it returns; what it leaves goes on ``afterwards``.

        Raises what it raises.
        """
        loop = _OwnLoop(self._forget)
        with self._lock:
            self._running.add(loop)
        ctx.interrupt, ctx.afterwards = loop.interrupt, loop.rest
        return loop.run(call)

    def close(self) -> None:
        """Cancel what still runs: the session is over."""
        with self._lock:
            running = list(self._running)
        for each in running:
            each.interrupt("the session is over")

    def _forget(self, loop: _OwnLoop) -> None:
        with self._lock:
            self._running.discard(loop)


class _OwnLoop:
    """One of them. ``run`` and ``rest`` are called on the job's thread, in this order."""

    def __init__(self, forget: Callable[[_OwnLoop], None]) -> None:
        self._forget = forget
        self._runner = asyncio.Runner()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current: asyncio.Task[Any] | None = None
        """What ``interrupt`` cancels."""
        self._interrupted: str | None = None
        self._failed = True

    def run(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        returned = self._runner.run(self._main(call))
        self._failed = False
        return returned

    async def _main(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        self._note()
        return await call()

    def rest(self) -> None:
        """Wait for what the block has left behind; after a failure it is cancelled. Never raises."""
        try:
            if not self._failed:
                self._runner.run(self._others())
        except asyncio.CancelledError:
            logger.debug("what a block had left was cancelled: %s", self._interrupted)
        except BaseException as error:
            # SystemExit too: the block's end was told, and the thread is nobody else's.
            logger.warning("what a block has left behind raised %s: %s", type(error).__name__, error)
        finally:
            with self._lock:
                self._loop = None
            self._forget(self)
            self._runner.close()

    async def _others(self) -> None:
        me = asyncio.current_task()
        self._note()
        while others := asyncio.all_tasks() - {me}:
            await asyncio.wait(others)

    def _note(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            self._loop, self._current = asyncio.get_running_loop(), task
            interrupted = self._interrupted
        if interrupted is not None:
            task.cancel(interrupted)

    def interrupt(self, reason: str) -> None:
        """Cancel what runs. From any thread."""
        with self._lock:
            self._interrupted = reason
            if self._loop is not None:
                # While it isn't closed: that is done without the lock, but after it was taken away.
                self._loop.call_soon_threadsafe(self._cancel, reason)

    def _cancel(self, reason: str) -> None:
        if self._current is not None:
            self._current.cancel(reason)
