"""What the threads report when the disk refuses, and how long they wait before they try again."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from ...errors import AsyncBlockError, Unavailable
from .ground import GroundLost

__all__ = ["DISK_EXCEPTIONS", "DiskErrors", "back_off", "explain"]

logger = logging.getLogger("asyncblock.server.journal")

DISK_EXCEPTIONS: Final = (OSError, sqlite3.Error, MemoryError, Unavailable)
"""Errors of the disk or the machine: never the fault of the peer that sent the message."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class DiskErrors:
    """Errors that last, by part of the journal. Lives on the event loop; tells when there are some and when none."""

    def __init__(self, begun: Callable[[AsyncBlockError], None] | None, over: Callable[[], None] | None) -> None:
        self._begun = begun
        self._over = over
        self._errors: dict[str, AsyncBlockError] = {}

    @property
    def error(self) -> AsyncBlockError | None:
        """The first thing that is wrong."""
        return next(iter(self._errors.values()), None)

    def enter(self, part: str, error: AsyncBlockError) -> None:
        """Note that a part can't go on."""
        first = not self._errors
        self._errors[part] = error
        if first and self._begun is not None:
            self._begun(error)

    def leave(self, part: str) -> None:
        """Note that a part goes on."""
        if self._errors.pop(part, None) is not None and not self._errors and self._over is not None:
            self._over()


def back_off(longest: float = _LONGEST_PAUSE) -> Iterator[float]:
    """Yield the pauses between attempts, in seconds."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, longest)


def explain(error: Exception, place: object) -> AsyncBlockError:
    """Turn what the disk or the database said into an error that says what to do."""
    number = error.errno if isinstance(error, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT) or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
    if isinstance(error, GroundLost):
        advice = "put it back as it was, and it goes on; else stop this mainframe and start it again"
    elif full:
        advice = "the disk is full; make room there, it goes on by itself"
    elif isinstance(error, (OSError, sqlite3.OperationalError)):
        advice = "it is tried again until it works"
    else:
        # Not the disk's doing: a mistake in this package. Better to stop loudly than to drop what was given.
        logger.error("the journal failed in a way that it shouldn't", exc_info=error)
        advice = "this is a defect of asyncblock; please report it"
    trouble = Unavailable(f"{place} can't be written: {error} ({advice})")
    trouble.__cause__ = error
    return trouble
