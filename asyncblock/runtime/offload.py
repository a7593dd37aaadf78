"""Work that would stall an event loop, on worker threads of our own, in places that are counted for the whole process.

Conversions have two places, and previews two others: what an author's ``repr`` does must not keep data from leaving.
What waits for a disk or a lock has more. None of it is ever in the event loop's default executor: that is the author's,
who may fill it, replace it or shut it down.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio.to_thread

from .forks import fresh_lock

__all__ = ["READS", "SLOTS", "Abandoned", "TooLong", "run_in_thread", "show_in_thread", "wait_in_thread"]

T = TypeVar("T")

SLOTS = 2
"""Conversions at once. They compete for the GIL: more would not be faster, and would slow the loops down."""

_WAITING = 32
"""Threads at once that wait for a disk: most of the time they don't run."""

_LOST = 8
"""Threads that may hang without a place, so that others get on; the ninth keeps its place."""


class Abandoned(BaseException):
    """Raised in the thread of a sync block whose time to clean up is over. Whoever runs an author's code there lets it
    pass."""


class TooLong(Exception):
    """The work took longer than it may. Its thread can't be stopped, and isn't waited for any more."""


class _Slots:
    """A counting lock for tasks of any loop, first come first served."""

    def __init__(self, total: int) -> None:
        self._lock = fresh_lock()
        self._total = total
        self.renew()

    def renew(self) -> None:
        """Let all be free."""
        self._free = self._total
        self._lost = 0
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
            self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting:
            granted = self._waiting.popleft()
            if granted.set_running_or_notify_cancel():
                granted.set_result(None)
                return
        self._free += 1

    def lose(self, place: _Place) -> None:
        """Hand a place on although its thread goes on, unless too many do so already."""
        with self._lock:
            if place.held and self._lost < _LOST:
                place.held, place.lost = False, True
                self._lost += 1
                self._hand_on()

    def free(self, place: _Place) -> None:
        """Give a place back: its thread has ended, or never began."""
        with self._lock:
            if place.lost:
                place.lost = False
                self._lost -= 1
            elif place.held:
                place.held = False
                self._hand_on()


class _Place:
    """A slot that is taken."""

    __slots__ = ("held", "lost")

    def __init__(self, *, held: bool = True) -> None:
        self.held = held
        """Not held: it never was, or was handed on already."""
        self.lost = False


_slots = _Slots(SLOTS)
_shown = _Slots(SLOTS)
_waits = _Slots(_WAITING)
READS = _Slots(_WAITING)
"""For files that authors name: one may be a pipe with a silent other end, which mustn't hold up our own work."""


def _after_fork() -> None:
    # The threads that would free them aren't in the child.
    for slots in (_slots, _shown, _waits, READS):
        slots.renew()


os.register_at_fork(after_in_child=_after_fork)


async def run_in_thread(fn: Callable[..., T], *args: Any) -> T:
    """Run a function on a worker thread, with the caller's context variables.

    **Cancellation** abandons it: the thread runs to its end and only then frees its slot, so that abandoned work can't
    pile up.
    """
    await _slots.acquire()
    return await _run(_slots, _Place(), fn, *args)


async def wait_in_thread(fn: Callable[..., T], *args: Any, places: _Slots | None = _waits) -> T:
    """Run what waits for a file, a lock or another thread, as ``run_in_thread`` does; in places of its own.

    ``places=None`` is for callers who may wait for long, and of whom there are few by construction: one for a job that
    has a thread anyhow, one for a block, one for an executor.
    **Cancellation** abandons it.
    """
    if places is None:
        return await _run(_waits, _Place(held=False), fn, *args)
    await places.acquire()
    return await _run(places, _Place(), fn, *args)


async def show_in_thread(seconds: float, fn: Callable[..., T], *args: Any) -> T:
    """Run an author's code, for a preview, as ``run_in_thread`` does; in slots that only previews have.

    **Cancellation** abandons it. Raises ``TooLong`` after ``seconds``. A thread that goes on longer loses its slot.
    """
    await _shown.acquire()
    place = _Place()
    # Not ended with this call: one that was cancelled has its thread still.
    clock = asyncio.get_running_loop().call_later(seconds, _shown.lose, place)
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await _run(_shown, place, fn, *args)
    except TimeoutError:
        if limit.expired():
            _shown.lose(place)
            raise TooLong(f"it took longer than {seconds:g} s") from None
        raise
    finally:
        if not place.held:
            clock.cancel()


async def _run(slots: _Slots, place: _Place, fn: Callable[..., T], *args: Any) -> T:
    context = contextvars.copy_context()
    # The one that takes it frees the slot: the thread once it has begun, else the caller that was cancelled before.
    ticket = threading.Lock()

    def work() -> T:
        if not ticket.acquire(blocking=False):
            raise RuntimeError("nobody waits for this any more")
        try:
            return context.run(fn, *args)
        finally:
            slots.free(place)

    try:
        # The limiter that counts is ours; this one only has to be out of the way.
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    finally:
        if ticket.acquire(blocking=False):
            slots.free(place)
