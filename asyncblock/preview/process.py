"""The worker process as its parent sees it: started, asked, timed, killed. Used by the renderer's thread only."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from ..runtime import forks
from .worker import ANSWER

__all__ = ["Crashed", "TimedOut", "WorkerProcess"]

_START_TIME = 60.0
"""Seconds that a process has to import matplotlib, on a slow disk with a cold font cache too."""


class Crashed(Exception):
    """The process is gone; the message says how it ended."""


class TimedOut(Exception):
    """The process took longer than it may; it was killed."""


class WorkerProcess:
    """One worker process and its two pipes. The pipes don't block; every wait has an end."""

    def __init__(self) -> None:
        # The same modules under the same names, and nothing of the directory that the process happens to be in.
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "asyncblock.preview.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "agg"},
            # A Ctrl-C at the terminal is for the parent.
            start_new_session=True,
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._to, self._from = self._child.stdin.fileno(), self._child.stdout.fileno()
        forks.claim_process(self._child.pid)
        # It ends with the last that could ask it.
        forks.claim(self._to)
        forks.claim(self._from)
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._ready = False
        """It has said that it begins to read."""
        self.pid = self._child.pid

    def ask(self, pieces: Iterable[bytes | bytearray | memoryview], seconds: float) -> tuple[int, bool, bytearray]:
        """Send a request; return how it went, whether the process ends with it, and the answer's data."""
        try:
            if not self._ready:
                self._read(ANSWER.size, time.monotonic() + _START_TIME)
                self._ready = True
            deadline = time.monotonic() + seconds
            for piece in pieces:
                self._write(memoryview(piece), deadline)
            status, ends, length = ANSWER.unpack(self._read(ANSWER.size, deadline))
            return status, bool(ends), self._read(length, deadline)
        except (EOFError, BrokenPipeError, ConnectionError):
            raise Crashed(self._how_it_ended()) from None

    def kill(self) -> None:
        """Kill the process. From any thread; one that has ended is let be."""
        with suppress(ProcessLookupError):
            self._child.kill()

    def close(self) -> None:
        """End the process and its pipes."""
        self.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._child.wait()
        forks.let_go(self._child.pid)

    def _write(self, view: memoryview, deadline: float) -> None:
        view = view.cast("B")
        while view:
            try:
                view = view[os.write(self._to, view) :]
            except BlockingIOError:
                self._wait(self._to, select.POLLOUT, deadline)

    def _read(self, size: int, deadline: float) -> bytearray:
        data = bytearray()
        while len(data) < size:
            try:
                piece = os.read(self._from, min(size - len(data), 1 << 20))
            except BlockingIOError:
                self._wait(self._from, select.POLLIN, deadline)
                continue
            if not piece:
                raise EOFError
            data += piece
        return data

    def _wait(self, fd: int, what: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, what)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self.kill()
            raise TimedOut

    def _how_it_ended(self) -> str:
        self.kill()
        code = self._child.wait()
        if code >= 0:
            return f"it exited with code {code}"
        with suppress(ValueError):
            return f"it was killed by {signal.Signals(-code).name}"
        return f"it was killed by signal {-code}"
