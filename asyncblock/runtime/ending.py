"""The end of a process in which blocks have run: in order, but without taking the interpreter down.

Taking it down kills daemon threads wherever they are. One that was writing keeps its stream's lock for ever, and the
interpreter, which flushes all streams then, aborts the process ("Fatal Python error", SIGABRT); threads of libraries in
C++ make it end likewise. So what comes before that is done here, as ``multiprocessing`` does it: other threads are
waited for, ``atexit``, files are written out. Then the process ends.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import NoReturn

__all__ = ["end", "end_within", "leave"]

_WRITING = 2.0
"""Seconds that files have to be written out: somebody may hold one's lock, or read the other end of a pipe no more."""

_SILENCE = 1.0
"""Seconds after which it is said what the process waits for."""

_SAYING = 1.0
"""Seconds that standard error has to take a last word."""


def leave(code: int) -> NoReturn:
    """Wait for other threads, do what is left for ``atexit``, and end the process."""
    # An interrupt means: wait no more.
    with suppress(KeyboardInterrupt):
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at this point
        atexit._run_exitfuncs()
    end(code)


def end(code: int) -> NoReturn:
    """Write out what files still hold, as far as that can be done soon, and end the process."""
    writing = threading.Thread(target=_write_out, name="asyncblock end", daemon=True)
    with suppress(RuntimeError, KeyboardInterrupt):
        writing.start()
        writing.join(_WRITING)
    os._exit(code)


def end_within(seconds: float, code: int) -> None:
    """End the process at last, though threads that blocks have left, or a preview that hangs, don't end."""

    def say() -> None:
        if names := _left():
            _say(f"waiting up to {seconds:.0f} s for threads and processes that blocks have left: {names}")

    def over() -> None:
        _say(f"threads and processes that blocks have left don't end, this process does: {_left()}")
        end(code)

    for after, then in ((_SILENCE, say), (seconds, over)):
        if after <= seconds:
            clock = threading.Timer(after, then)
            clock.daemon = True
            clock.start()


def _left() -> str:
    ours = {threading.main_thread(), threading.current_thread()}
    names = [each.name for each in threading.enumerate() if not each.daemon and each not in ours]
    pools = sys.modules.get("multiprocessing")
    names += [each.name for each in pools.active_children()] if pools is not None else []
    return ", ".join(names)


def _write_out() -> None:
    """Flush all files, and close those that aren't the interpreter's own: a compressed one has a last word, too."""
    standard = (sys.stdout, sys.stderr)
    files = [each for each in gc.get_objects() if issubclass(type(each), io.IOBase)]
    for each in (*standard, *files):
        with suppress(Exception):
            if not each.closed and each.writable():
                each.flush()
    for each in files:
        with suppress(Exception):
            if type(each).__module__ != "_io" and each not in standard and each.writable():
                each.close()


def _say(words: str) -> None:
    """Write a line to standard error without its lock, which the very thread may hold that doesn't end."""
    line = f"WARNING asyncblock.executor: {words}\n".encode("utf-8", "backslashreplace")
    with suppress(OSError, ValueError):
        if select.select([], [2], [], _SAYING)[1]:
            os.write(2, line[: select.PIPE_BUF])
