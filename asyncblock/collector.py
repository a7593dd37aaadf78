"""The garbage collector in asyncblock's own processes: executor processes, and those of the commands.

Whoever embeds asyncblock keeps his own settings.
"""

from __future__ import annotations

import gc

__all__ = ["calm"]

_YOUNG = 5000
"""New objects after which the collector looks at them (CPython: 700). An open job has some fifty, so that a round of
dozens of jobs brought it several times, for a tenth of an executor's time, and it found nothing: jobs leave no circles
behind (dispatch). A look at 5,000 takes 0.2 ms."""

_MIDDLE = 2
"""Looks at new objects after which those are looked at that stayed (CPython: 10): 15,000 at most, in 2 to 8 ms.
With 5 it was 13 ms, near what a loop may stall (stall). Full rounds come half as often as before."""


def calm() -> None:
    """Let the collector come less often, unless it is off or comes even less often already."""
    young, _, old = gc.get_threshold()
    if 0 < young < _YOUNG:
        gc.set_threshold(_YOUNG, _MIDDLE, old)
