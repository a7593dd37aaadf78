"""``faulthandler.dump_traceback_later`` in an executor process: each job has a clock of its own.

The interpreter has one, and ``lifeline`` winds it up twice a second: what a block sets there would be gone soon. In a
forked process nobody lives who would let go of the interpreter's clock: whoever stops or sets it there waits for ever.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from ...errors import LocalProtocolError
from ...runtime.forks import fresh_lock, generation
from ..attribution.tasks import blame, owner

__all__ = ["Clocks", "end_job"]

_lock = fresh_lock()
_running: dict[Any, threading.Event] = {}
"""By whose the clock is, what stops it."""


class Clocks:
    """The replaced functions, and what was there before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, alone: bool) -> None:
        self._loop = loop
        self._alone = alone
        """The process is one job's."""
        self._set, self._stop = faulthandler.dump_traceback_later, faulthandler.cancel_dump_traceback_later
        faulthandler.dump_traceback_later = self.set
        faulthandler.cancel_dump_traceback_later = self.stop

    def undo(self) -> None:
        """Put the functions back that nobody else has replaced since."""
        if faulthandler.dump_traceback_later == self.set:
            faulthandler.dump_traceback_later = self._set
        if faulthandler.cancel_dump_traceback_later == self.stop:
            faulthandler.cancel_dump_traceback_later = self._stop

    def set(self, timeout: float, repeat: bool = False, file: Any = None, exit: bool = False) -> None:
        """Dump the tracebacks of all threads after a time."""
        who = owner()
        if who is None and not generation():
            self._set(timeout, repeat, sys.stderr if file is None else file, exit)
            return
        if timeout <= 0:
            raise ValueError("timeout must be greater than 0")
        place: Any = sys.stderr if file is None else file
        fd = place if isinstance(place, int) else place.fileno()
        over = threading.Event()
        with _lock:
            before, _running[who] = _running.get(who), over
        if before is not None:
            before.set()
        end = self._end(who) if exit else None
        arguments = (over, timeout, repeat, fd, end)
        # The file stays open as long as its clock runs.
        keep = {"file": place}
        threading.Thread(target=_run, args=arguments, kwargs=keep, name="asyncblock faulthandler", daemon=True).start()

    def stop(self) -> None:
        """Stop it."""
        who = owner()
        if who is None and not generation():
            self._stop()
        else:
            end_job(who)

    def _end(self, who: Any) -> Callable[[], object]:
        if self._alone or generation():
            return lambda: os._exit(1)
        words = "the time was up that the block had given faulthandler.dump_traceback_later(..., exit=True)"
        return lambda: self._loop.call_soon_threadsafe(blame, LocalProtocolError(words), who)


def end_job(who: Any) -> None:
    """Stop somebody's clock."""
    if _running:
        with _lock:
            over = _running.pop(who, None)
        if over is not None:
            over.set()


def _run(
    over: threading.Event, timeout: float, repeat: bool, fd: int, end: Callable[[], object] | None, file: object
) -> None:
    while not over.wait(timeout):
        # The author's file may be closed by now. The process is to end by the time that was set, with or without a
        # trace.
        with suppress(OSError, ValueError):
            os.write(fd, f"Timeout ({timedelta(seconds=timeout)})!\n".encode())
            faulthandler.dump_traceback(fd, all_threads=True)
        if end is not None:
            end()
        if not repeat or end is not None:
            return
