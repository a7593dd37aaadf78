"""Giving up the GIL between two pieces of work, so that the loops of the process go on."""

from __future__ import annotations

import time

__all__ = ["let_go"]

_LET_GO = 2e-5
"""Seconds of sleep that surely hand the GIL over; with 0 the same thread may take it again at once."""


def let_go() -> None:
    """Let another thread have the GIL."""
    time.sleep(_LET_GO)
