"""Watches an event loop from outside: who holds it up, for how long, and at which line.

While somebody is in ``watching()``, the loop beats: a timer that notes when the next beat is due. A thread sleeps until
a beat is overdue by more than the threshold, then looks at what the loop's thread is doing. With nobody in
``watching()`` neither the timer nor the thread wakes up.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from .origin import Origins

__all__ = ["Stall", "Watchdog", "task_value", "usual_threshold"]

T = TypeVar("T")
logger = logging.getLogger("asyncblock.executor")

THRESHOLD = 0.1
"""Seconds that a beat may be overdue: as long as a person takes for immediate, and a tenth of what heartbeats allow."""

DEV_THRESHOLD = 0.02
"""Seconds, while a block is being written: what will add up to a stall in a busy process."""

REPEAT = 5.0
"""Seconds between two reports of a stall that lasts."""


def usual_threshold() -> float:
    """Return the threshold: the lower one with ``ASYNCBLOCK_DEV=1`` or ``python -X dev``."""
    dev = os.environ.get("ASYNCBLOCK_DEV", "") not in ("", "0") or sys.flags.dev_mode
    return DEV_THRESHOLD if dev else THRESHOLD


@dataclass(frozen=True, slots=True)
class Stall:
    """A time in which the loop didn't run. ``file``, ``line`` and ``function`` are the author's innermost frame."""

    seconds: float
    """How long, so far or in all: at least this much, and at most half the threshold more."""
    ended: bool
    job: str | None
    """Whose it was, in the words of the owner's ``job_of``; None when no task was running or the owner didn't know."""
    task: str | None
    """The running task's name."""
    file: str | None
    """None when no author was seen: an extension held the interpreter's lock as well, or the machine had no time."""
    line: int | None
    function: str | None

    def __str__(self) -> str:
        if self.task is None and self.file is None:
            return f"the event loop stood still for {self.seconds:.1f} s"
        whose = "a callback" if self.task is None else f"task {self.task}" if self.job is None else f"job {self.job}"
        verb = "blocked" if self.ended else "has blocked"
        place = f" in {self.function} ({self.file}:{self.line})" if self.file is not None else ""
        return f"{whose} {verb} the event loop for {self.seconds:.1f} s{place}"


@dataclass(slots=True)
class _Open:
    """The stall that lasts."""

    due: float
    """When the beat that it holds up was due."""
    seen: Stall
    report_at: float


class Watchdog:
    """Reports stalls of the loop that it is entered on. One for each executor.

    ``on_stall`` is called on the watchdog's thread: when a stall passes ``threshold`` seconds, every ``repeat`` seconds
    while it lasts, and once when it has ended, with its length. ``job_of`` tells whose a task is, on that thread too;
    ``task_value`` helps. ``roots`` are the directories of block packages.
    """

    def __init__(
        self,
        on_stall: Callable[[Stall], object],
        *,
        job_of: Callable[[asyncio.Task[Any]], str | None] | None = None,
        roots: Sequence[Path] = (),
        threshold: float = THRESHOLD,
        repeat: float = REPEAT,
    ) -> None:
        self._on_stall = on_stall
        self._sampler = _Sampler(Origins(roots), job_of)
        self._threshold = threshold
        self._interval = threshold / 2
        self._repeat = repeat
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        self._watchers = 0
        self._watching = _Watching(self)
        # Below: shared with the thread, under the condition's lock.
        self._changed = threading.Condition()
        self._due: float | None = None
        self._ended: deque[tuple[float, float]] = deque()
        self._closed = False
        self._sleeps = False
        """The thread waits for a beat, however long: it is woken only then, not for each job that follows another
        (dispatch)."""
        # Below: the thread's own.
        self._thread = threading.Thread(target=self._run, name="asyncblock-watchdog", daemon=True)
        self._open: _Open | None = None
        self._look_at = 0.0

    async def __aenter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        self._sampler.loop = self._loop
        self._sampler.thread = threading.get_ident()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch; wait for the thread and for an ``on_stall`` under way. **Cancellation** doesn't wait."""
        self._answer(None)
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    @property
    def lag(self) -> float:
        """How late the loop is now, in seconds; 0.0 when nobody is watching. Callable from any thread."""
        due = self._due
        return 0.0 if due is None else max(0.0, time.monotonic() - due)

    def watching(self) -> AbstractContextManager[None]:
        """Watch for the duration of the block, on the loop. Cheap to nest and to repeat: put it around each job."""
        return self._watching

    def _enter(self) -> None:
        self._watchers += 1
        if self._watchers == 1:
            self._answer(self._next())
            self._timer = self._loop.call_later(self._interval, self._beat)

    def _leave(self) -> None:
        self._watchers -= 1
        if self._watchers == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._answer(None)

    # ------------------------------------------------------------------ on the loop

    def _beat(self) -> None:
        self._answer(self._next())
        self._timer = self._loop.call_later(self._interval, self._beat)

    def _next(self) -> float:
        return time.monotonic() + self._interval

    def _answer(self, next_due: float | None) -> None:
        """Answer the beat that was due, and say when the next one is."""
        with self._changed:
            was_due, self._due = self._due, next_due
            late = 0.0 if was_due is None else time.monotonic() - was_due
            if was_due is not None and late > self._threshold:
                self._ended.append((was_due, late))
                self._changed.notify()
            elif self._sleeps and next_due is not None:
                self._changed.notify()

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._ended and not self._closed:
                    patience = self._patience()
                    self._sleeps = patience is None
                    self._changed.wait(patience)
                    self._sleeps = False
                ended = self._ended.popleft() if self._ended else None
                due = self._due
                if ended is None and self._closed:
                    return
            if ended is not None:
                self._end(*ended)
            elif due is not None:
                self._look(due, time.monotonic())

    def _patience(self) -> float | None:
        if self._due is None:
            return None
        overdue_at = self._due + self._threshold
        report_at = self._open.report_at if self._open is not None and self._open.due == self._due else 0.0
        return max(overdue_at, report_at, self._look_at) - time.monotonic()

    def _look(self, due: float, now: float) -> None:
        if now - due <= self._threshold or now < self._look_at:
            return
        if self._open is not None and self._open.due == due:
            if now >= self._open.report_at:
                self._open.report_at = now + self._repeat
                self._report(replace(self._sampled(due, now) or self._open.seen, seconds=now - due))
            return
        seen = self._sampled(due, now)
        if seen is None:
            # The loop stands at its selector, or logs: it runs again, or the whole process had no time.
            self._look_at = now + self._interval
            return
        self._open = _Open(due, seen, now + self._repeat)
        self._report(seen)

    def _sampled(self, due: float, now: float) -> Stall | None:
        seen = self._sampler.sample(now - due)
        with self._changed:
            # The loop may have come round meanwhile; then this is somebody else's frame.
            return seen if self._due == due else None

    def _end(self, due: float, seconds: float) -> None:
        seen, self._open = self._open, None
        if seen is not None and seen.due == due:
            self._report(replace(seen.seen, seconds=seconds, ended=True))
        else:
            self._report(Stall(seconds, True, None, None, None, None, None))

    def _report(self, stall: Stall) -> None:
        try:
            self._on_stall(stall)
        except Exception:
            logger.exception("a stall couldn't be reported: %s", stall)


class _Watching(AbstractContextManager[None]):
    """Counts who is watching: one for all of them, for it has nothing to remember."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def __enter__(self) -> None:
        self._watchdog._enter()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._watchdog._leave()


class _Sampler:
    """Finds out what the loop's thread is doing."""

    loop: asyncio.AbstractEventLoop
    thread: int

    def __init__(self, origins: Origins, job_of: Callable[[asyncio.Task[Any]], str | None] | None) -> None:
        self._origins = origins
        self._job_of = job_of

    def sample(self, seconds: float) -> Stall | None:
        """Describe a stall; None when the loop runs nobody's code."""
        places = _places(sys._current_frames().get(self.thread))
        task = _running_task(self.loop)
        file, line, function = self._author_s(places)
        if task is None and file is None:
            return None
        job = None if task is None else self._job(task)
        return Stall(seconds, False, job, None if task is None else task.get_name(), file, line, function)

    def _author_s(self, places: list[tuple[str, int, str]]) -> tuple[str | None, int | None, str | None]:
        """The author's innermost frame, or failing that a library's; the standard library is nobody's to mend."""
        for wanted in ("author", "library"):
            for place in places:
                if self._origins.of(place[0]) == wanted:
                    return place
        return None, None, None

    def _job(self, task: asyncio.Task[Any]) -> str | None:
        if self._job_of is None:
            return None
        try:
            return self._job_of(task)
        except Exception:
            logger.exception("the job of task %s couldn't be told", task.get_name())
            return None


_LOOP_FUNCTIONS = frozenset({"_run_once", "run_forever", "run_until_complete", "run"})
_ASYNCIO = asyncio.__file__.removesuffix("__init__.py")


def _places(frame: FrameType | None) -> list[tuple[str, int, str]]:
    """File, line and function from the innermost frame out to where the loop begins.

    No frame is kept: the thread goes on running, and its locals aren't ours.
    """
    places: list[tuple[str, int, str]] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name in _LOOP_FUNCTIONS and code.co_filename.startswith(_ASYNCIO):
            break
        places.append((code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_name))
        frame = frame.f_back
    return places


def _running_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None


def task_value(task: asyncio.Task[Any], variable: contextvars.ContextVar[T]) -> T | None:
    """Return a context variable's value as a task sees it, from any thread; None when it isn't set."""
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        context = get_context()
    else:
        # 3.11 has no accessor, but a task refers to its context.
        context = next((each for each in gc.get_referents(task) if isinstance(each, contextvars.Context)), None)
    return None if context is None else context.get(variable)
