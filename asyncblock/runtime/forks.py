"""What a process that is forked from this one must not have of ours: descriptors, signal handlers, held locks.

Blocks fork as they like: ``os.fork``, ``multiprocessing``, process pools. In the child none of our threads lives and
every lock may be held for ever. What is ours is told here when it comes to be, and the child is rid of it before any
author's code runs there. What blocks start by ``exec`` has nothing of it anyway: all descriptors are close-on-exec.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = [
    "claim",
    "claim_all",
    "claim_handler",
    "claim_process",
    "drop",
    "fresh",
    "fresh_lock",
    "generation",
    "let_go",
    "processes",
    "undo_in_child",
]

T = TypeVar("T")

_claimed: dict[int, tuple[int, int]] = {}
"""Our descriptors by number, with device and inode: the number of one that was closed may be somebody else's now."""

_handlers: dict[int, Any] = {}
"""Our signal handlers. One that the author has set since stays."""

_processes: set[int] = set()
"""Our children."""

_undo: list[Callable[[], object]] = []

_locks: weakref.WeakSet[Any] = weakref.WeakSet()

_generation = 0


def generation() -> int:
    """Return how many forks lie between this process and the one that imported this module: whoever keeps the number
    sees later that it is in a child."""
    return _generation


def claim(fd: int) -> None:
    """Note that a descriptor is ours: in a forked child it is the null device. It needn't be taken back."""
    with suppress(OSError):
        status = os.fstat(fd)
        _claimed[fd] = (status.st_dev, status.st_ino)


def claim_all() -> None:
    """Note that all open descriptors but the standard ones are ours: no author's code has run here."""
    for place in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            for name in os.listdir(place):
                if int(name) > 2:
                    claim(int(name))
            return


def claim_handler(number: int) -> None:
    """Note that the handler of a signal is ours: a forked child has the usual one in its place."""
    _handlers[number] = signal.getsignal(number)


def claim_process(pid: int) -> None:
    """Note that a child is ours, until it is waited for: blocks that wait for any child don't find it."""
    _processes.add(pid)


def let_go(pid: int) -> None:
    """Note that a child of ours was waited for."""
    _processes.discard(pid)


def processes() -> frozenset[int]:
    """Return our children."""
    return frozenset(_processes)


def fresh(lock: T) -> T:
    """Let a lock be free in a forked child, even if a thread of the parent held it."""
    _locks.add(lock)
    return lock


def fresh_lock() -> threading.Lock:
    """Return a lock that is free in a forked child, even if a thread of the parent held it."""
    return fresh(threading.Lock())


def undo_in_child(undo: Callable[[], object]) -> None:
    """Call something in a forked child, before its signal handlers are looked at. It must not fail."""
    _undo.append(undo)


def _after_in_child() -> None:
    global _generation
    _generation += 1
    for undo in _undo:
        undo()
    _undo.clear()
    _processes.clear()
    for lock in list(_locks):
        lock._at_fork_reinit()
    _drop_descriptors()
    _drop_handlers()


def drop(fd: int) -> None:
    """Put the null device in a descriptor's place, in a child. Not closed: an object of ours may still close that
    number, which would be somebody else's by then."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd, inheritable=False)
    os.close(null)


def _drop_descriptors() -> None:
    for fd, identity in _claimed.items():
        with suppress(OSError):
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == identity:
                drop(fd)
    _claimed.clear()


def _drop_handlers() -> None:
    for number, ours in _handlers.items():
        if signal.getsignal(number) is ours:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if _handlers:
        _handlers.clear()
        # A signal to the child would be written to the parent's loop.
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
