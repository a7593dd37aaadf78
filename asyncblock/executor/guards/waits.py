"""``os.wait()`` and its kin in an executor process find the children of blocks, not those of asyncblock's own.

A block that waits until it has no children left would otherwise wait for a process that draws figures, or take its exit
code away. Ours are in process groups of their own, and are known to ``forks``.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...runtime import forks

__all__ = ["Waits"]

Take = Callable[[int, int], Any]
"""Takes a child's end, or says that it hasn't ended: by its id and options."""


class Waits:
    """The replaced functions, and what was there before."""

    def __init__(self) -> None:
        self._patched: list[tuple[str, Any, Any]] = []
        waitpid, wait4, waitid = os.waitpid, os.wait4, os.waitid

        def any_pid(pid: int, options: int) -> Any:
            return self._any(waitpid, options, waitpid) if pid == -1 else waitpid(pid, options)

        def any_usage(pid: int, options: int) -> Any:
            return self._any(wait4, options, wait4) if pid == -1 else wait4(pid, options)

        def any_id(idtype: int, id: int, options: int) -> Any:
            if idtype != os.P_ALL:
                return waitid(idtype, id, options)
            # The process group 0 is that of whoever asks.
            return self._any(
                lambda pid, how: waitid(os.P_PID if pid else os.P_PGID, pid or os.getpgrp(), how), options, None
            )

        self._replace("waitpid", any_pid)
        self._replace("wait", lambda: any_pid(-1, 0))
        self._replace("wait4", any_usage)
        self._replace("wait3", lambda options: any_usage(-1, options))
        self._replace("waitid", any_id)
        forks.undo_in_child(self.undo)

    def _replace(self, name: str, function: Callable[..., Any]) -> None:
        original = getattr(os, name)
        function.__name__ = function.__qualname__ = name
        function.__doc__ = original.__doc__
        self._patched.append((name, original, function))
        setattr(os, name, function)

    def undo(self) -> None:
        """Put the functions back that nobody else has replaced since."""
        for name, original, function in self._patched:
            if getattr(os, name) is function:
                setattr(os, name, original)

    def _any(self, take: Take, options: int, every: Take | None) -> Any:
        """Take the end of any child that isn't ours. Waits, unless the options say otherwise."""
        ours = forks.processes()
        if not ours and every is not None:
            return every(-1, options)
        pids = _children()
        if pids is None or options & (os.WUNTRACED | os.WCONTINUED):
            return take(0, options)
        return _first([pid for pid in pids if pid not in ours], take, options)


def _first(pids: list[int], take: Take, options: int) -> Any:
    waiting, poll = {}, select.poll()
    try:
        for pid in pids:
            # Watched before it is asked for, so that no end goes by in between.
            with suppress(ProcessLookupError):
                waiting[pid] = os.pidfd_open(pid)
                poll.register(waiting[pid], select.POLLIN)
        while True:
            found: Any = None
            for pid in list(waiting):
                try:
                    found = take(pid, options | os.WNOHANG)
                except ChildProcessError:
                    # Somebody else has waited for it.
                    os.close(waiting[pid])
                    poll.unregister(waiting.pop(pid))
                    continue
                if found is not None and (not isinstance(found, tuple) or found[0]):
                    return found
            if not waiting:
                raise ChildProcessError(errno.ECHILD, os.strerror(errno.ECHILD))
            if options & os.WNOHANG:
                return found
            poll.poll()
    finally:
        for handle in waiting.values():
            os.close(handle)


def _children() -> list[int] | None:
    """Return the process's children; None where the kernel doesn't tell."""
    if not hasattr(os, "pidfd_open"):
        return None
    found: list[int] = []
    try:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                # One that has just ended has left its children to another.
                found += map(int, (thread / "children").read_text().split())
    except OSError:
        return None
    return found or None
