"""Watches an event loop from outside: who holds it up, for how long, and at which line.

While somebody is in ``watching()``, the loop beats: a timer that notes when the next beat is due. While a beat is
overdue, a thread looks again and again at what the loop's thread is doing, for several blocks may have their turns in
that time; who has one for longer than the threshold is told. With nobody in ``watching()`` neither the timer nor the
thread wakes up.
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

from ...runtime.offload import wait_in_thread
from .origin import Origins

__all__ = ["Stall", "Watchdog", "task_value", "usual_threshold"]

T = TypeVar("T")
logger = logging.getLogger("asyncblock.executor")

THRESHOLD = 0.1
"""Seconds that a beat may be overdue: as long as a person takes for immediate, and a tenth of what heartbeats allow."""

DEV_THRESHOLD = 0.02
"""Seconds, while a block is being written: what will add up to a stall in a busy process."""

_LOOKS = 4
"""Beats in the time of a threshold, and looks while one is overdue: a stall that is a fourth longer is always seen."""

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
    """How long, so far or in all; up to a fourth of the threshold more or less, for that is how often one looks."""
    ended: bool
    job: str | None
    """Whose it was, in the words of the owner's ``job_of``; None when the owner didn't know."""
    task: str | None
    """The running task's name; None for a callback."""
    file: str | None
    """None when no author was seen: an extension held the interpreter's lock as well, or the machine had no time."""
    line: int | None
    function: str | None

    def __str__(self) -> str:
        length = f"{self.seconds:.1f} s" if self.seconds >= 1 else f"{self.seconds * 1000:.0f} ms"
        if self.task is None and self.file is None:
            return f"the event loop stood still for {length}"
        whose = f"task {self.task}" if self.task is not None else "a callback"
        whose = f"job {self.job}" if self.job is not None else whose
        verb = "blocked" if self.ended else "has blocked"
        place = f" in {self.function} ({self.file}:{self.line})" if self.file is not None else ""
        return f"{whose} {verb} the event loop for {length}{place}"

    def goes_on_in(self, later: Stall) -> bool:
        """Whether it is the same turn of the same task, or of the same callback."""
        same = self.job == later.job and self.task == later.task
        return same and (self.task is not None or (self.file, self.function) == (later.file, later.function))


@dataclass(slots=True)
class _Turn:
    """Somebody's turn while a beat is overdue."""

    due: float
    """When the beat was due."""
    since: float
    """When the turn began, or the beat was due."""
    seen: Stall
    report_at: float
    told: bool = False
    """Whether a turn before this beat comes was told."""
    longest: Stall | None = None
    """The longest of the turns that were over before."""


class Watchdog:
    """Reports stalls of the loop that it is entered on. One for each executor.

    ``on_stall`` is called on the watchdog's thread: when a stall passes ``threshold`` seconds, every ``repeat`` seconds
    while it lasts, and once when it has ended, with its length. ``job_of`` tells whose the context of a task or a
    callback is, on that thread too. ``roots`` are the directories of block packages.
    """

    def __init__(
        self,
        on_stall: Callable[[Stall], object],
        *,
        job_of: Callable[[contextvars.Context], str | None] | None = None,
        roots: Sequence[Path] = (),
        threshold: float = THRESHOLD,
        repeat: float = REPEAT,
    ) -> None:
        self._on_stall = on_stall
        self._sampler = _Sampler(Origins(roots), job_of)
        self._threshold = threshold
        self._interval = threshold / _LOOKS
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
        self._turn: _Turn | None = None
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
        await wait_in_thread(self._thread.join, places=None)

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
        return None if self._due is None else max(self._due + self._interval, self._look_at) - time.monotonic()

    def _look(self, due: float, now: float) -> None:
        if now - due <= self._interval or now < self._look_at:
            return
        self._look_at = now + self._interval
        seen = self._sampled(due)
        if seen is None:
            # The loop stands at its selector, or logs: it runs again, or the whole process had no time.
            return
        turn = self._turn
        if turn is None or turn.due != due:
            turn = self._turn = _Turn(due, due, seen, due + self._threshold)
        elif not turn.seen.goes_on_in(seen):
            self._end_turn(turn, now)
            turn.since, turn.seen, turn.report_at = now, seen, now + self._threshold
        if now > turn.report_at:
            turn.seen, turn.report_at = seen, now + self._repeat
            self._report(replace(seen, seconds=now - turn.since))

    def _sampled(self, due: float) -> Stall | None:
        seen = self._sampler.sample()
        with self._changed:
            # The loop may have come round meanwhile; then this is somebody else's frame.
            return seen if self._due == due else None

    def _end_turn(self, turn: _Turn, now: float) -> None:
        ended = replace(turn.seen, seconds=now - turn.since, ended=True)
        if ended.seconds > self._threshold:
            turn.told = True
            self._report(ended)
        if turn.longest is None or turn.longest.seconds < ended.seconds:
            turn.longest = ended

    def _end(self, due: float, seconds: float) -> None:
        turn, self._turn = self._turn, None
        if turn is None or turn.due != due:
            self._report(Stall(seconds, True, None, None, None, None, None))
            return
        self._end_turn(turn, due + seconds)
        if not turn.told and turn.longest is not None:
            # Many short ones in a row: the longest stands for all.
            self._report(turn.longest)

    def _report(self, stall: Stall) -> None:
        try:
            self._on_stall(stall)
        except Exception:
            # The watching goes on: the next stall may be the one that matters.
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

    def __init__(self, origins: Origins, job_of: Callable[[contextvars.Context], str | None] | None) -> None:
        self._origins = origins
        self._job_of = job_of

    def sample(self) -> Stall | None:
        """Describe a stall, without its length; None when the loop runs nobody's code."""
        places, context = _places(sys._current_frames().get(self.thread))
        task = _running_task(self.loop)
        file, line, function = self._author_s(places)
        if task is None and file is None:
            return None
        job = self._job(context if task is None else context_of(task))
        return Stall(0.0, False, job, None if task is None else task.get_name(), file, line, function)

    def _author_s(self, places: list[tuple[str, int, str]]) -> tuple[str | None, int | None, str | None]:
        """The author's innermost frame, or failing that a library's; the standard library is nobody's to mend."""
        for wanted in ("author", "library"):
            for place in places:
                if self._origins.of(place[0]) == wanted:
                    return place
        return None, None, None

    def _job(self, context: contextvars.Context | None) -> str | None:
        if self._job_of is None or context is None:
            return None
        try:
            return self._job_of(context)
        except Exception:
            logger.exception("couldn't tell which job has stalled")
            return None


_LOOP_FUNCTIONS = frozenset({"_run_once", "run_forever", "run_until_complete", "run"})
_ASYNCIO = asyncio.__file__.removesuffix("__init__.py")


def _places(frame: FrameType | None) -> tuple[list[tuple[str, int, str]], contextvars.Context | None]:
    """File, line and function from the innermost frame out to where the loop begins; a callback's context.

    No frame is kept: the thread goes on running, and its locals aren't ours.
    """
    places: list[tuple[str, int, str]] = []
    context = None
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_ASYNCIO):
            if code.co_name in _LOOP_FUNCTIONS:
                break
            if code.co_name == "_run":
                # A handle of asyncio's; uvloop has none that could be seen.
                context = getattr(frame.f_locals.get("self"), "_context", None)
        places.append((code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_name))
        frame = frame.f_back
    return places, context if isinstance(context, contextvars.Context) else None


def _running_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None


def task_value(task: asyncio.Task[Any], variable: contextvars.ContextVar[T]) -> T | None:
    """Return a context variable's value as a task sees it, from any thread; None when it isn't set."""
    context = context_of(task)
    return None if context is None else context.get(variable)


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """Return the context that a task runs in."""
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        context: contextvars.Context = get_context()
        return context
    # 3.11 has no accessor, but a task refers to its context.
    return next((each for each in gc.get_referents(task) if isinstance(each, contextvars.Context)), None)
