"""Capture of what blocks print and log, for a process that belongs to the executor.

``install`` puts this in place, ``uninstall`` takes it away:

* ``sys.stdout`` and ``sys.stderr``: what a job writes goes to its sink line by line, and not to the real stream unless
  ``echo`` is asked for;
* a handler on the root logger: records logged in a job go to its sink, below WARNING as stdout, from there on as
  stderr. The handlers that the root logger had before don't see them. Its level falls to INFO if it was higher, and
  those handlers go on dropping what the former level dropped. asyncblock's own loggers are never captured;
* ``plt.show()`` and plotly's ``fig.show()`` in a job become previews of it (``plothooks``);
* what a job changes that all jobs of the process have in common is told of it (``commons``);
* ``contextlib.redirect_stdout`` in a job is that job's, and what else a job leaves in the place of a stream is put back
  (``streams``);
* threads that a job starts, and calls that it submits to a ``ThreadPoolExecutor``, belong to the job;
* so do processes that it forks (``forked``).

What is not captured: programs that a job starts, and extensions, which write to the file descriptors
(``subprocess.run`` with ``capture_output=True`` and a ``print`` does it); ``multiprocessing.pool.ThreadPool`` and other
pools with workers of their own, whose threads belong to the job that made them; streams that were bound before the
installation.

In a process that isn't the executor's nothing of this is installed: there a block has ``ctx.logger``. In that of ``run
--in-process``, where a debugger has the streams, ``install`` leaves those and logging alone.
"""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
from collections.abc import Callable, Collection, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from ...runtime.forks import fresh_lock
from .commons import Commons
from .jobstreams import (
    JobStream,
    Sink,
    Stdio,
    active_sink,
    beneath,
    current_sink,
    deliver,
    flush_job,
    past_capture,
    unwrap_streams,
)
from .plothooks import PlotHooks
from .streams import Redirects, StreamPlaces

__all__ = [
    "Sink",
    "current_sink",
    "flush_job",
    "has_lost_handler",
    "install",
    "job_ends",
    "lost_handler_is_told",
    "shows_of_jobs",
    "streams_stand",
    "uninstall",
    "unwrap_streams",
]

P = ParamSpec("P")
T = TypeVar("T")

_lock = fresh_lock()
_installed: _Installation | None = None
_users = 0


def install(*, echo: bool = False, level: int = logging.INFO, lines: bool = True) -> None:
    """Capture what jobs print and log from here on. Each call needs one ``uninstall``; the first one's options count.

    With ``echo`` every captured line is written to the real stream as well. ``level`` is the highest level that the
    root logger keeps. Without ``lines`` streams and logging stay as they are; what jobs show is captured all the same.
    Set up the process's own logging before: handlers that are made later write to the captured streams, and
    asyncblock's records with them.
    """
    global _installed, _users
    with _lock:
        if _installed is None:
            _installed = _Installation(echo, level, lines)
        _users += 1


def uninstall() -> None:
    """Undo an ``install``. What somebody else has replaced since stays replaced."""
    global _installed, _users
    with _lock:
        if _installed is not None:
            _users -= 1
            if _users == 0:
                _installed.undo()
                _installed = None


@contextmanager
def shows_of_jobs(wanted: bool = True) -> Iterator[None]:
    """Capture what jobs show, and leave what they print and log alone, for the duration of the block."""
    if not wanted:
        yield
        return
    install(lines=False)
    try:
        yield
    finally:
        uninstall()


def has_lost_handler() -> bool:
    """Tell whether somebody has taken away by which jobs have what they log, as ``handlers.clear()`` does."""
    return _installed is not None and _installed.logging is not None and _installed.logging.is_lost()


def lost_handler_is_told() -> None:
    """Say no more of it."""
    if _installed is not None and _installed.logging is not None:
        _installed.logging.told = True


def streams_stand() -> bool:
    """Tell whether the streams that capture stand in their places; True where there are none."""
    return _installed is None or not _installed.places.foreign()


def job_ends(job: Hashable | None, running: Collection[Hashable]) -> list[str]:
    """Look after the streams at a job's end, as ``StreamPlaces.job_ends``."""
    return [] if _installed is None else _installed.places.job_ends(job, running)


class _Installation:
    """Everything that is replaced in the process, and what was there before."""

    def __init__(self, echo: bool, level: int, lines: bool) -> None:
        self._streams: dict[Stdio, JobStream] = {}
        self.logging: _LoggingCapture | None = None
        if lines:
            for stdio in ("stdout", "stderr"):
                stream = self._streams[stdio] = JobStream(getattr(sys, stdio), stdio, echo=echo)
                setattr(sys, stdio, stream)
            self.logging = _LoggingCapture(level, self._streams)
        self.places = StreamPlaces(self._streams)
        self._redirects = Redirects() if lines else None
        self._plot_hooks = PlotHooks()
        self._commons = Commons()
        self._patched: list[tuple[type, str, Any, Any]] = []
        for owner, name, wrap in _PATCHES:
            original = getattr(owner, name)
            replacement = wrap(original)
            setattr(owner, name, replacement)
            self._patched.append((owner, name, original, replacement))

    def undo(self) -> None:
        unwrap_streams()
        if self._redirects is not None:
            self._redirects.undo()
        self._commons.undo()
        self._plot_hooks.undo()
        for owner, name, original, replacement in self._patched:
            if getattr(owner, name) is replacement:
                setattr(owner, name, original)
        if self.logging is not None:
            self.logging.undo()
        for stdio, stream in self._streams.items():
            if getattr(sys, stdio) is stream:
                setattr(sys, stdio, stream.real)


# ---------------------------------------------------------------------- logging


class _JobHandler(logging.Handler):
    """On the root logger: sends a record of a job to its sink; the others fare as if the handler weren't there."""

    def __init__(self, streams: dict[Stdio, JobStream]) -> None:
        super().__init__()
        self._streams = streams
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the handler's lock: a sink may wait for room, and no other job may wait for that.
        passed: object = self.filter(record)
        if passed:
            # A filter may return a record to take the place of this one (3.12).
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        sink = _sink_for(record)
        if sink is not None:
            if not self._is_told(record):
                self._send(sink, record)
        elif self._is_alone(record):
            with past_capture():
                _last_resort(record)

    def _send(self, sink: Sink, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        stdio: Stdio = "stderr" if record.levelno >= logging.WARNING else "stdout"
        deliver(sink, [text], stdio, self._streams[stdio].echo)

    def _is_told(self, record: logging.LogRecord) -> bool:
        """Tell whether a handler of an author's writes the record into the job, by a captured stream."""
        return any(
            handler is not self and record.levelno >= handler.level and _leads_here(handler) and handler.filter(record)
            for each in _lineage(record.name)
            for handler in each.handlers
        )

    def _is_alone(self, record: logging.LogRecord) -> bool:
        return all(handler is self for each in _lineage(record.name) for handler in each.handlers)


def _leads_here(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    if stream is None:
        # rich's
        stream = getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and beneath(stream) is not None


def _last_resort(record: logging.LogRecord) -> None:
    if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
        logging.lastResort.handle(record)


class _LoggingCapture:
    """The root logger's part of an installation."""

    def __init__(self, level: int, streams: dict[Stdio, JobStream]) -> None:
        root = logging.getLogger()
        self._former = root.level
        self._level = min(root.level, level)
        self._others = list(root.handlers)
        self._filter = _OutsideJobs(self._former)
        self._handler = _JobHandler(streams)
        for handler in self._others:
            handler.addFilter(self._filter)
        self.told = False
        """Somebody was told that the handler is gone."""
        root.addHandler(self._handler)
        root.setLevel(self._level)

    def is_lost(self) -> bool:
        """Tell whether the handler is gone, and nobody knows."""
        if self._handler in logging.root.handlers:
            self.told = False
            return False
        return not self.told

    def undo(self) -> None:
        root = logging.getLogger()
        root.removeHandler(self._handler)
        for handler in self._others:
            handler.removeFilter(self._filter)
        if root.level == self._level:
            root.setLevel(self._former)


class _OutsideJobs(logging.Filter):
    """Lets through, on a handler of the process, what it would have seen without capture and what no job takes."""

    def __init__(self, root_level: int) -> None:
        super().__init__()
        self._root_level = root_level

    def filter(self, record: logging.LogRecord) -> bool:
        if _sink_for(record) is not None:
            return False
        if record.levelno >= self._root_level:
            return True
        # A logger with a level of its own was never subject to the root's.
        return any(each.level for each in _lineage(record.name) if each is not logging.root)


def _sink_for(record: logging.LogRecord) -> Sink | None:
    return None if _is_ours(record.name) else active_sink()


def _is_ours(name: str) -> bool:
    # The examples are blocks, though they live in the package.
    return f"{name}.".startswith("asyncblock.") and not f"{name}.".startswith("asyncblock.examples.")


def _lineage(name: str) -> list[logging.Logger]:
    """The loggers whose handlers see a record, from its own to the root."""
    found: list[logging.Logger] = []
    each: logging.Logger | None = logging.getLogger(name)
    while each is not None:
        found.append(each)
        each = each.parent if each.propagate else None
    return found


# ---------------------------------------------------------------------- threads


def _starting(original: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def start(self: threading.Thread) -> None:
        sink = current_sink.get()
        if sink is not None:
            # On the instance, for subclasses have a ``run`` of their own. It sets the variable in the thread's own
            # context, not in a copy: what an exception prints after ``run`` belongs to the job too.
            vars(self)["run"] = lambda: _run_in_job(self, sink)
        original(self)

    return start


def _run_in_job(thread: threading.Thread, sink: Sink) -> None:
    del vars(thread)["run"]
    current_sink.set(sink)
    thread.run()


def _submitting(original: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    def submit(self: ThreadPoolExecutor, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        sink = current_sink.get()
        if sink is None or isinstance(self, _OTHER_INTERPRETERS):
            return original(self, fn, *args, **kwargs)
        # A worker thread that is started for this call stays for others: it must not belong to the job.
        token = current_sink.set(None)
        try:
            return original(self, _call_in_job, sink, fn, *args, **kwargs)
        finally:
            current_sink.reset(token)

    return submit


_OTHER_INTERPRETERS: tuple[type, ...] = tuple(
    kind for kind in (getattr(concurrent.futures, "InterpreterPoolExecutor", None),) if kind is not None
)
"""Pools (3.14) whose calls are pickled; a sink can't be."""


def _call_in_job(sink: Sink, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    token = current_sink.set(sink)
    try:
        return fn(*args, **kwargs)
    finally:
        current_sink.reset(token)


_PATCHES: tuple[tuple[type, str, Callable[[Any], object]], ...] = (
    (threading.Thread, "start", _starting),
    (ThreadPoolExecutor, "submit", _submitting),
)
