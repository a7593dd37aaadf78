"""What a parent sees of a child while something holds its interpreter's lock: its threads' frames, and if it works.

The child's tracebacks come through a pipe (``faulthandler`` writes them without the lock). Growing CPU time says that
the child works and isn't deadlocked; where the system doesn't tell, the tracebacks alone count as life.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Held", "Lifesigns", "cpu_time", "listening"]

Frame = tuple[str, int, str]
"""File, line and function."""

_FIRST: Final = b"Timeout ("
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')

PAUSE = 0.1
"""Seconds after which what has come of a dump is taken for all of it: a dump has no end mark, and is written line by
line, the thread that runs a block last."""

REPEAT = 5.0
"""Seconds between two reports of a hold that lasts."""

CONTINUES = 2.5
"""Seconds between two dumps at most for them to belong to one hold: they come each second."""

MAX_DUMP = 1 << 18
"""Bytes of an unfinished dump that are kept."""


@dataclass(frozen=True, slots=True)
class Held:
    """A process in which nothing runs but code that holds the interpreter's lock."""

    seconds: float
    """How long so far, at least."""
    threads: tuple[tuple[Frame, ...], ...]
    """The frames of each thread, the innermost first."""
    works: bool
    """Its CPU time grows, or that isn't known."""
    told: bool
    """It was reported a moment ago: this is a sign of life and no more."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a message to the mainframe."""
        threads = [] if self.told else [[list(frame) for frame in frames] for frames in self.threads]
        return {"seconds": self.seconds, "threads": threads, "works": self.works}


class Lifesigns:
    """Reads one child's tracebacks. ``feed`` takes what comes through the pipe; ``paused`` hears that nothing does."""

    def __init__(self, pid: int, tell: Callable[[Held], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._pid = pid
        self._text = b""
        self._known: tuple[tuple[Frame, ...], ...] = ()
        """What has been told of the last dump."""
        self._cpu = cpu_time(pid)
        self._began = self._last = float("-inf")
        self._told_at = float("-inf")

    def feed(self, data: bytes) -> None:
        """Take bytes in; a dump that another one follows is whole, and told."""
        *whole, last = (self._text + data).split(_FIRST)
        for dump in whole:
            self._tell_dump(dump)
            self._known = ()
        self._text = last[-MAX_DUMP:]

    def paused(self) -> None:
        """Tell the last dump: for ``PAUSE`` seconds nothing has come. Should more of it come, it is told once more."""
        self._tell_dump(self._text)

    def _tell_dump(self, dump: bytes) -> None:
        threads = threads_of(dump.decode("utf-8", "replace"))
        if threads and threads != self._known:
            more, self._known = bool(self._known), threads
            self._dumped(threads, more=more)

    def _dumped(self, threads: tuple[tuple[Frame, ...], ...], *, more: bool) -> None:
        now = self._clock()
        if more:  # of the dump that was told last: what was told was a part of it
            self._told_at = float("-inf")
        if now - self._last > CONTINUES:
            self._began, self._told_at = now - 1.0, float("-inf")
        self._last = now
        before, self._cpu = self._cpu, cpu_time(self._pid)
        works = before is None or self._cpu is None or self._cpu > before
        told = now - self._told_at < REPEAT
        if not told:
            self._told_at = now
        self._tell(Held(now - self._began, threads, works, told))


@contextmanager
def listening(traces: int, signs: Lifesigns) -> Iterator[None]:
    """Feed what comes through a pipe for the duration of the block, on the running loop; its reading end is closed."""
    loop = asyncio.get_running_loop()
    os.set_blocking(traces, False)
    pause: asyncio.TimerHandle | None = None

    def read() -> None:
        nonlocal pause
        try:
            data = os.read(traces, 1 << 16)
        except BlockingIOError:
            return
        if pause is not None:
            pause.cancel()
        if data:
            signs.feed(data)
            pause = loop.call_later(PAUSE, signs.paused)
        else:
            loop.remove_reader(traces)
            signs.paused()

    loop.add_reader(traces, read)
    try:
        yield
    finally:
        loop.remove_reader(traces)
        if pause is not None:
            pause.cancel()
        os.close(traces)


def threads_of(dump: str) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames of each thread of a dump, the innermost first."""
    threads: list[list[Frame]] = []
    for line in dump.splitlines():
        if line.startswith(("Thread 0x", "Current thread 0x")):
            threads.append([])
        elif threads and (found := _FRAME.match(line)) is not None:
            threads[-1].append((found[1], int(found[2]), found[3]))
    return tuple(tuple(frames) for frames in threads if frames)


def cpu_time(pid: int) -> int | None:
    """Return the CPU time that a process has used, in the kernel's ticks; None where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[11]) + int(fields[12])
