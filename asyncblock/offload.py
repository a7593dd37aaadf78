"""Work that would stall an event loop, on worker threads: at most two at once in a process, whatever the loops."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio.to_thread

__all__ = ["SLOTS", "run_in_thread"]

T = TypeVar("T")

SLOTS = 2
"""Conversions at once. They compete for the GIL: more would not be faster, and would slow the loops down."""


class _Slots:
    """A counting lock for tasks of any loop, first come first served. A slot is freed when its *thread* ends."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._free = total
        self._waiting: deque[Future[None]] = deque()

    async def acquire(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            granted: Future[None] = Future()
            self._waiting.append(granted)
        try:
            await asyncio.wrap_future(granted)
        except asyncio.CancelledError:
            # Granted and cancelled at once: hand it on.
            if not granted.cancel() and not granted.cancelled():
                self.release()
            raise

    def release(self) -> None:
        with self._lock:
            while self._waiting:
                granted = self._waiting.popleft()
                if granted.set_running_or_notify_cancel():
                    granted.set_result(None)
                    return
            self._free += 1


_slots = _Slots(SLOTS)


async def run_in_thread(fn: Callable[..., T], *args: Any) -> T:
    """Run a function on a worker thread, with the caller's context variables.

    **Cancellation** abandons it: the thread runs to its end and only then frees its slot, so that abandoned work can't
    pile up.
    """
    await _slots.acquire()
    context = contextvars.copy_context()
    # Whoever takes it frees the slot: the thread when it has begun, else the caller, cancelled before that.
    ticket = threading.Lock()

    def work() -> T:
        if not ticket.acquire(blocking=False):
            raise RuntimeError("nobody waits for this any more")
        try:
            return context.run(fn, *args)
        finally:
            _slots.release()

    try:
        # The limiter that counts is ours; this one only has to be out of the way.
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    finally:
        if ticket.acquire(blocking=False):
            _slots.release()
