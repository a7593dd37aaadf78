"""The garbage collector in asyncblock's own processes: executor processes, and those of the commands.

Whoever embeds asyncblock keeps their own settings, and so does the process that draws figures.
"""

from __future__ import annotations

import gc

__all__ = ["calm"]

_USUAL = (700, 10, 10)
"""What CPython comes with up to 3.12. Later versions collect more rarely by themselves, and in another way."""

_CALM = (5000, 2, 10)
"""A collection of new objects after 5,000 of them: an open job has some fifty, so that dozens of jobs triggered several
each round, a tenth of an executor's time, which found nothing: jobs leave no reference cycles behind (dispatch). One
takes 0.15 ms, and 1 ms where memory is slow. After three of those, one of what survived: 20,000 objects, in 3 to 10 ms
there; after six it was 12 to 17 ms, and a loop may stall for 15 (stall). A full one comes 2.4 times as rarely."""


def calm() -> None:
    """Let the collector come less often, unless somebody has chosen how often it comes."""
    if gc.get_threshold() == _USUAL:
        gc.set_threshold(*_CALM)
