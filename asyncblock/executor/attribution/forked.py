"""What processes that a job has forked print and log, and send through its context: it belongs to the job.

None of the threads that would take it lives in such a process. So it goes through a pipe of the job's to a thread of
the executor's, in frames that the kernel keeps whole; a full pipe makes the forked process wait. When the job ends,
what was written until then is its last; what comes later, from processes that outlive it, goes to the real streams.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import NoReturn

from ...context import divert_rings
from ...link import divert_records
from ...runtime import forks
from .jobstreams import JobStream, Partial, Sink, Stdio, current_sink, deliver, divert_lines, past_capture

__all__ = ["children_end", "end_soon", "last_words"]

logger = logging.getLogger("asyncblock.executor")

_HEAD = struct.Struct(">BIH")
"""Kind of frame, process id, length of what follows."""

_MAX_DATA = select.PIPE_BUF - _HEAD.size
"""Bytes of a frame's data: the kernel writes so many at once or none, whoever else writes."""

_MARK, _STDOUT, _STDERR, _PART, _DATA, _TELEMETRY = range(6)
"""Kinds of frames. A record's parts come first, its last part says by which lane it travels."""

_STREAMS: dict[int, Stdio] = {_STDOUT: "stdout", _STDERR: "stderr"}

_lock = forks.fresh_lock()
_relays: dict[Hashable, Relay] = {}
"""By the job's ``line``, while the job runs."""

_Identities = tuple["_Identity", "_Identity"]

_forking: dict[int, tuple[Relay, _Identities]] = {}
"""By the thread that forks at this moment: with what the descriptors of output are in the parent."""

_far: _Far | None = None
"""In a forked process: its end of the pipe."""


class Relay:
    """The executor's end: a job's pipe and the thread that reads it."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.reading, self.writing = os.pipe()
        self._over = False
        self._marks: dict[bytes, threading.Event] = {}
        self._partials: dict[tuple[int, int], Partial] = {}
        self._records: dict[int, bytearray] = {}
        # Not the job's thread: what it delivers late must not be taken for the job's.
        token = current_sink.set(None)
        try:
            threading.Thread(target=self._read_all, name="asyncblock forked output", daemon=True).start()
        finally:
            current_sink.reset(token)

    def end(self, then: Callable[[], object] | None) -> None:
        """Deliver what was written so far as the job's; what comes later isn't. Call ``then``."""
        mark, passed = os.urandom(8), threading.Event()
        self._marks[mark] = passed
        _write(self.writing, _MARK, mark)
        os.close(self.writing)
        passed.wait()
        if then is not None:
            # A loop that was closed meanwhile waits for nothing.
            with suppress(RuntimeError):
                then()

    def _read_all(self) -> None:
        rest = b""
        while data := os.read(self.reading, 1 << 16):
            rest = self._take(rest + data)
        for key in list(self._partials):
            self._end_line(key)
        os.close(self.reading)

    def _take(self, data: bytes) -> bytes:
        """Take whole frames; return what is left. Lines that follow each other on one stream go together."""
        place = 0
        while len(data) - place >= _HEAD.size:
            kind, pid, length = _HEAD.unpack_from(data, place)
            end = place + _HEAD.size + length
            if end > len(data):
                break
            try:
                self._frame(kind, pid, data[place + _HEAD.size : end])
            except Exception:
                # The job may have finished meanwhile. What other forked processes say in the same pipe still counts.
                logger.debug("what a forked process sent was refused", exc_info=True)
            place = end
        return data[place:]

    def _frame(self, kind: int, pid: int, data: bytes) -> None:
        if kind in _STREAMS:
            partial = self._partials.setdefault((kind, pid), Partial())
            self._deliver(partial.add(partial.decode(data)), _STREAMS[kind])
            if partial.empty:
                del self._partials[kind, pid]
        elif kind == _MARK:
            for key in list(self._partials):
                self._end_line(key)
            self._over = True
            self._marks.pop(data).set()
        else:
            record = self._records.setdefault(pid, bytearray())
            record += data
            if kind != _PART:
                del self._records[pid]
                self._send(bytes(record), "data" if kind == _DATA else "telemetry")

    def _end_line(self, key: tuple[int, int]) -> None:
        line = self._partials.pop(key).end()
        if line:
            self._deliver([line], _STREAMS[key[0]])

    def _deliver(self, lines: list[str], stdio: Stdio) -> None:
        if not lines:
            return
        stream = getattr(sys, stdio)
        if not self._over:
            pace: Callable[[], None] | None = getattr(self.sink, "pace", None)
            if pace is not None:
                pace()
            deliver(self.sink, lines, stdio, stream.echo if isinstance(stream, JobStream) else None)
            return
        with past_capture():
            for line in lines:
                stream.write(line + "\n")

    def _send(self, record: bytes, lane: str) -> None:
        take: Callable[[bytes, str], None] | None = getattr(self.sink, "record", None)
        if self._over or take is None:
            logger.warning("what a forked process sends comes after the end of its job; it is dropped")
            return
        try:
            take(record, lane)
        except Exception as error:
            logger.warning("what a forked process has sent was refused: %s", error)


class _Far:
    """The forked process's end, in place of its sink."""

    def __init__(self, fd: int | None, usual: _Identities | None) -> None:
        self._fd = fd
        self._identity = _identity(fd)
        self._usual = usual

    def line(self, text: str, stdio: Stdio, /) -> None:
        self.text(text + "\n", stdio)

    def text(self, text: str, stdio: Stdio) -> None:
        """Pass text on. When the executor is gone, it goes where a process's own output goes."""
        data = text.encode("utf-8", "backslashreplace")
        self._look()
        if self._fd is not None and not self._pointed_elsewhere(stdio):
            try:
                for start in range(0, len(data), _MAX_DATA):
                    _write(self._fd, _STDOUT if stdio == "stdout" else _STDERR, data[start : start + _MAX_DATA])
                return
            except OSError:
                # The relay has ended with its job: what is printed from here on goes where the process's output goes.
                self._fd = None
        with suppress(OSError):
            os.write(1 if stdio == "stdout" else 2, data)

    def record(self, record: bytes, lane: str) -> bool:
        """Pass a record on; False when nobody takes it."""
        self._look()
        if self._fd is None:
            return False
        try:
            *parts, last = [record[start : start + _MAX_DATA] for start in range(0, len(record), _MAX_DATA)]
            for part in parts:
                _write(self._fd, _PART, part)
            _write(self._fd, _DATA if lane == "data" else _TELEMETRY, last)
        except OSError:
            self._fd = None
            return False
        return True

    def _look(self) -> None:
        # A daemon closes all descriptors that it doesn't know; the number may be of a file of its own by now.
        if self._fd is not None and _identity(self._fd) != self._identity:
            self._fd = None

    def _pointed_elsewhere(self, stdio: Stdio) -> bool:
        """Tell whether the process, which is its own, has a file or a terminal of its own as its output."""
        now = _identity(1 if stdio == "stdout" else 2)
        return now is not None and self._usual is not None and now != self._usual[stdio == "stderr"]


_Identity = tuple[int, int] | None
"""Device and inode."""


def _identity(fd: int | None) -> _Identity:
    try:
        status = os.fstat(-1 if fd is None else fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write(fd: int, kind: int, data: bytes) -> None:
    os.write(fd, _HEAD.pack(kind, os.getpid() & 0xFFFFFFFF, len(data)) + data)


async def last_words(sink: Sink) -> None:
    """Deliver what processes that the job has forked wrote until now, before its finish.

    **Cancellation** stops waiting for it.
    """
    if not _relays:
        return
    loop = asyncio.get_running_loop()
    delivered = loop.create_future()
    if end_soon(sink, lambda: loop.call_soon_threadsafe(_settle, delivered)):
        await delivered


def end_soon(sink: Sink, then: Callable[[], object] | None = None) -> bool:
    """Let what the job's forked processes write from now on not be the job's. False when it has forked none."""
    if not _relays:
        return False
    with _lock:
        relay = _relays.pop(sink.line, None)
    if relay is None:
        return False
    # On a thread of its own: the pipe may be full, and its reader may wait for this loop.
    threading.Thread(target=relay.end, args=(then,), name="asyncblock forked output ends", daemon=True).start()
    return True


def _settle(delivered: asyncio.Future[None]) -> None:
    if not delivered.done():
        delivered.set_result(None)


class children_end:
    """``with children_end():`` a process that is forked in here ends when it comes out: what follows is the executor's
    business, not its."""

    __slots__ = ("_born",)

    def __enter__(self) -> None:
        self._born = forks.generation()

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if forks.generation() != self._born:
            _leave(problem)


def _leave(problem: BaseException | None) -> NoReturn:
    code: object = 0
    if isinstance(problem, SystemExit):
        code = problem.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)  # noqa: T201  # as the interpreter does
            code = 1
    elif problem is not None:
        traceback.print_exception(problem)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        # As the interpreter does at its end: a full disk or a closed pipe mustn't change the exit code.
        with suppress(Exception):
            stream.flush()
    os._exit(int(str(code)) & 0xFF)


def _before_fork() -> None:
    sink = current_sink.get()
    if _far is not None or sink is None:
        return
    with _lock:
        relay = _relays.get(sink.line)
        if relay is None:
            try:
                relay = _relays[sink.line] = Relay(sink)
            except (OSError, RuntimeError) as error:
                logger.warning("what a forked process prints can't be taken: %s", error)
                return
    _forking[threading.get_ident()] = relay, (_identity(1), _identity(2))


def _after_in_parent() -> None:
    _forking.pop(threading.get_ident(), None)


def _after_in_child() -> None:
    global _far
    relay, usual = _forking.pop(threading.get_ident(), (None, None))
    sink = current_sink.get()
    for each in _relays.values():
        forks.drop(each.reading)
        if each is not relay:
            forks.drop(each.writing)
    _relays.clear()
    _forking.clear()
    if _far is not None or sink is None:
        # What a forked process forks in its turn writes to the same pipe.
        return
    _far = _Far(None if relay is None else relay.writing, usual)
    divert_lines(_far)
    divert_rings(_far.line)
    divert_records(_far.record, getattr(sink, "sender", None))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
