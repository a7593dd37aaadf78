"""Signs of life of a process whose interpreter's lock is held: told to the parent by a thread that needs no lock.

Code in C that keeps the lock stops every thread of the process, the one that sends heartbeats as well. So the I/O
thread winds up ``faulthandler``'s clock each half second; when it can't, tracebacks of all threads go into a pipe that
the parent reads, once a second for as long as it lasts.
"""

from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...runtime.iothread import IOThread

__all__ = ["Lifeline"]

WIND = 0.5
"""Seconds between two windings: two wake-ups a second, while jobs run."""

PATIENCE = 1.0
"""Seconds without a winding before tracebacks are sent, and between two of them."""


class Lifeline:
    """Keeps the clock wound while jobs run. ``begin`` and ``end`` are the executor's loop's, the rest the I/O
    thread's."""

    def __init__(self, io: IOThread, fd: int) -> None:
        self._io = io
        self._fd = fd
        self._jobs = 0
        self._winding = False

    def begin(self) -> None:
        """A job begins."""
        self._jobs += 1
        if not self._winding:
            self._winding = True
            self._io.post(self._wind)

    def end(self) -> None:
        """A job is over."""
        self._jobs -= 1

    def stop(self) -> None:
        """Let nothing go off any more."""
        self._jobs = 0
        faulthandler.cancel_dump_traceback_later()

    def _wind(self) -> None:
        if self._jobs <= 0:
            # Another job may begin at this moment on the other thread: then the next one starts the clock.
            self._winding = False
            faulthandler.cancel_dump_traceback_later()
            return
        faulthandler.dump_traceback_later(PATIENCE, repeat=True, file=self._fd)
        self._io.loop.call_later(WIND, self._wind)
