"""The process's I/O thread: one event loop that user code never runs on.

Every link lives here, and an embedded mainframe whole. User loops and worker threads reach it through one inbox
(an append and at most one wake-up for many) and are answered by ``call_soon_threadsafe``; so heartbeats go on while a
block blocks its own loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import Closed
from .offload import wait_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["IOThread", "Inbox", "inbox_of", "loop_class", "shared"]

T = TypeVar("T")
logger = logging.getLogger("asyncblock.iothread")

_lock = threading.Lock()
_shared: IOThread | None = None
_inboxes: dict[asyncio.AbstractEventLoop, Inbox] = {}
"""Inboxes by loop. Those of closed loops are let go when the next new loop asks for one."""


class Inbox:
    """Callbacks for an event loop, posted from any thread: one append, and one wake-up for many."""

    __slots__ = ("_entries", "_loop", "_signalled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._entries: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._signalled = False

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback on the loop, after those posted before. Dropped when the loop is closed."""
        self._entries.append((callback, args))
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._entries.clear()

    def _drain(self) -> None:
        # The flag falls first: what is appended later signals again.
        self._signalled = False
        entries = self._entries
        for _ in range(len(entries)):
            callback, args = entries.popleft()
            try:
                callback(*args)
            except Exception:
                logger.exception("a callback posted to an event loop failed")


def inbox_of(loop: asyncio.AbstractEventLoop) -> Inbox:
    """Return the loop's inbox; one for each loop."""
    inbox = _inboxes.get(loop)
    if inbox is None:
        # Each step is atomic. A lock would be held while what closed loops still had is freed, whatever that does.
        for each in list(_inboxes):
            if each.is_closed():
                _inboxes.pop(each, None)
        inbox = _inboxes.setdefault(loop, Inbox(loop))
    return inbox


class IOThread:
    """An event loop on a thread of its own. Get the process's one with ``shared()``; don't construct it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.forked = False
        self._ended = False
        self._inbox: Inbox
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asyncblock-io", daemon=True)
        self._users = 0
        self._tasks: asyncio.TaskGroup
        self._stop: asyncio.Event

    def _start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=loop_class()) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._inbox = inbox_of(self.loop)
        self._stop = asyncio.Event()
        async with asyncio.TaskGroup() as self._tasks:
            self._ready.set()
            await self._stop.wait()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback on the I/O thread, after those posted before. Never waits; callable from any thread."""
        if self.forked:
            raise Closed("this link belongs to the parent process; a forked child opens its own")
        self._inbox.post(callback, *args)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O thread and wait for its result from any event loop.

        **Cancellation** cancels the coroutine and doesn't wait for it.
        """
        if asyncio.get_running_loop() is self.loop and not self.forked:
            return await coroutine
        return await self._begun(coroutine)

    async def finish(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O thread, to its end, from any event loop.

        **Cancellation** only stops the waiting. A shielded task that awaits ``run`` isn't enough: ``asyncio.run``
        cancels every task of its loop when it ends, and what was to be closed here would live on.
        """
        return await asyncio.shield(self._begun(coroutine))

    def _begun(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        # What was asked for before the thread was told to end may still close what it closes.
        if self.forked or (self._ended and asyncio.get_running_loop() is not self.loop):
            coroutine.close()
            raise Closed(
                "this link belongs to the parent process; a forked child opens its own"
                if self.forked
                else "this link is closed: the 'async with' that opened it has ended"
            )
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that the I/O thread owns; its errors are logged. Call it on the I/O thread."""
        return self._tasks.create_task(_guard(coroutine, name), name=name)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O thread and block the calling thread until it is done."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[IOThread]:
        """Keep the thread alive for the duration; the last one to leave stops it and waits for its end."""
        try:
            yield self
        finally:
            thread = _release(self)
            if thread is not None:
                await asyncio.shield(wait_in_thread(thread.join, places=None))


def loop_class() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop where the extra ``fast`` has brought it, else None for the standard one.

    For the loops that are asyncblock's own: this thread's, and the blocks' in an executor process.
    ``ASYNCBLOCK_LOOP=asyncio`` in the environment chooses the standard one all the same.
    """
    if os.environ.get("ASYNCBLOCK_LOOP") == "asyncio":
        return None
    try:
        return cast("type[asyncio.AbstractEventLoop]", import_module("uvloop").Loop)
    except ImportError:
        return None


async def _guard(coroutine: Coroutine[Any, Any, None], name: str) -> None:
    # The task boundary: an error in one link must not cancel the others in the group.
    try:
        await coroutine
    except Exception:
        logger.exception("%s failed", name)


def shared() -> IOThread:
    """Return the process's I/O thread, started if need be, with one more user. Leave it through ``lease()``."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = IOThread()
            _shared._start()
        _shared._users += 1
        return _shared


def _release(io: IOThread) -> threading.Thread | None:
    global _shared
    with _lock:
        io._users -= 1
        if io._users or io.forked:
            return None
        if _shared is io:
            _shared = None
        io._ended = True
    io.loop.call_soon_threadsafe(io._stop.set)
    return io._thread


def _after_fork() -> None:
    global _shared, _lock
    _lock = threading.Lock()
    if _shared is not None:
        _shared.forked = True
        _shared = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
