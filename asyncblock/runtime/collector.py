"""The garbage collector in asyncblock's own processes: executor processes, and those of the commands.

A program that embeds asyncblock keeps its own settings, and so does the process that draws figures.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .forks import fresh_lock

__all__ = ["calm", "keep_short", "promotion", "undisturbed"]

_USUAL = (700, 10, 10)
"""What CPython comes with up to 3.12. Later versions collect more rarely by themselves, and in another way."""

_CALM = (5000, 2, 10)
"""A collection of new objects after 5,000 of them: an open job has some fifty, so that dozens of jobs triggered several
each round, a tenth of an executor's time, which found nothing: jobs leave no reference cycles behind (dispatch). One
takes 0.15 ms, and 1 ms where memory is slow. After three of those, one of what survived: 20,000 objects, in 3 to 10 ms
there; after six it was 12 to 17 ms, and a loop may stall for 15 (stall). A full one comes 2.4 times as rarely."""


def calm() -> None:
    """Let the collector come less often, unless its thresholds were set already."""
    if gc.get_threshold() == _USUAL:
        gc.set_threshold(*_CALM)


_SHORT = (1500, 1, 2)
"""A full collection after three of what survived, or 9,000 objects. With the thresholds above it would look at several
times as many at once, and the loop would stall for that long (stall)."""

_LONG = 0.002
"""If a full collection takes longer, the objects that it has left are frozen: the next ones don't look at them. A loop
may stall for 15 ms, and there will be as many objects again before the next collection."""


def keep_short() -> None:
    """Let full collections be short, however much is alive: for a process that is the mainframe's alone.

    With a hundred thousand open jobs each collection took 200 ms, again and again while the jobs came. The objects that
    a collection has left are alive, and jobs, sessions and links leave no reference cycles, so these objects needn't be
    looked at again. They are when half of all that there was has gone.
    """
    began, blocks = 0.0, 0

    def collecting(phase: str, info: dict[str, int]) -> None:
        nonlocal began, blocks
        if info["generation"] < 2:
            return
        if phase == "start":
            began = time.perf_counter()
        elif time.perf_counter() - began > _LONG:
            gc.freeze()
            # Counting the frozen objects would take as long as a collection; counting blocks takes no time.
            blocks = sys.getallocatedblocks()
        elif sys.getallocatedblocks() < blocks // 2:
            gc.unfreeze()
            blocks = 0

    if gc.get_threshold() == _CALM:
        gc.set_threshold(*_SHORT)
    gc.callbacks.append(collecting)


_INTERPRETERS_OWN: Final = 1_000
"""Objects that may be frozen before an author freezes any: Python 3.12 begins with 375. An author's are all that there
are, tens of thousands."""

_promoting = fresh_lock()


def promotion() -> Callable[[], None]:
    """Return what moves all young objects to the collector's oldest generation without looking at them.

    Left alone, the collector walks through everything parsed so far again and again, for seconds in all and for
    hundreds of milliseconds at once. ``freeze`` and ``unfreeze`` together move lists of objects, in no time, and leave
    nothing frozen. Where the author has frozen objects himself, the collector is left alone.
    """
    if not hasattr(gc, "freeze") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return lambda: None
    with _promoting:
        if gc.get_freeze_count() > _INTERPRETERS_OWN:
            return lambda: None

    def promote() -> None:
        with _promoting:
            gc.freeze()
            gc.unfreeze()

    return promote


@contextmanager
def undisturbed() -> Iterator[None]:
    """Prevent collections for the duration of the block, which makes very many objects that stay: a collection would
    find nothing, and they would take a third of the block's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Else the first collection would look at all of it: 0.5 s for a hundred thousand jobs (memory).
        promotion()()
        if enabled:
            gc.enable()
