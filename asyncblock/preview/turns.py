"""Giving up the GIL between two pieces of work, so that the loops of the process go on."""

from __future__ import annotations

import time

__all__ = ["let_go"]

_LET_GO = 5e-5
"""Seconds of sleep that surely hand the GIL over: a loop on another core needs some 30 us to come and take it, and the
thread that let it go takes it again if it is there first."""


def let_go() -> None:
    """Let another thread have the GIL."""
    time.sleep(_LET_GO)
