"""Pickles a figure on a thread of its own, so that one that takes for ever holds up no other.

Pickling runs the author's code (``__reduce__``, ``__getstate__``). Mostly it is done within the moment that the caller
waits for it. If it takes longer, the caller goes on with other figures and is called when it is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

__all__ = ["PATIENCE", "Packing"]

PATIENCE = 0.5
"""Seconds that others wait for a figure to be pickled: one of a million points takes a tenth."""

Pieces = Sequence[bytes | bytearray | memoryview]


class Packing:
    """One figure that is being pickled."""

    def __init__(self, pack: Callable[[], Pieces], when_late: Callable[[], None]) -> None:
        self._pack = pack
        self._when_late = when_late
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._is_late = False
        self._pieces: Pieces | None = None
        self._problem: BaseException | None = None
        threading.Thread(target=self._work, name="asyncblock pickles", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait; after a False ``when_late`` is called when it is done, on its thread."""
        if self._done.wait(seconds):
            return True
        with self._lock:
            self._is_late = not self._done.is_set()
            return not self._is_late

    def pieces(self) -> Pieces:
        """Return what was made. Raises what pickling raised."""
        if self._problem is not None:
            raise self._problem
        assert self._pieces is not None
        return self._pieces

    def _work(self) -> None:
        try:
            self._pieces = self._pack()
        except BaseException as problem:
            # SystemExit of an author's pickling too: who waits raises it.
            self._problem = problem
        with self._lock:
            self._done.set()
            late = self._is_late
        if late:
            self._when_late()
