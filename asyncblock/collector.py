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
takes 0.2 ms. After three of those, one of what survived: 20,000 objects, in 2 to 8 ms; after six it was 13 ms, near
what a loop may stall (stall). A full collection comes 2.4 times as rarely as usual."""


def calm() -> None:
    """Let the collector come less often, unless somebody has chosen how often it comes."""
    if gc.get_threshold() == _USUAL:
        gc.set_threshold(*_CALM)
