"""Giving up the GIL between two pieces of work, so that the loops of the process go on."""

from __future__ import annotations

import time

__all__ = ["yield_gil"]

_PAUSE = 5e-5
"""Seconds of sleep that surely hand the GIL over: a loop on another core needs some 30 us to come and take it, and the
thread that released it takes it again if it is there first."""


def yield_gil() -> None:
    """Let another thread have the GIL."""
    time.sleep(_PAUSE)
