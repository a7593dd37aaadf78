"""How much memory this process has come to need, and the bound on that."""

from __future__ import annotations

import gc
import os
from pathlib import Path

__all__ = ["Memory"]

GROWTH = 64 << 20
"""Bytes beyond what there was when the measuring began: freed memory isn't all given back, and libraries load late."""


class Memory:
    """Watches the resident set, where the system says how large that is."""

    def __init__(self) -> None:
        self._file = Path("/proc/self/statm")
        gc.collect()
        self._before = self.now()

    def now(self) -> int:
        """Return the bytes of the resident set; 0 where nobody says."""
        try:
            return int(self._file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def check(self, more: int = 0) -> int:
        """Return by how much it has grown. Fails where that is beyond the bound and ``more``."""
        grown = self.now() - self._before
        if grown > GROWTH + more:
            gc.collect()
            grown = self.now() - self._before
        assert grown <= GROWTH + more, f"the process has grown by {grown >> 20} MiB"
        return grown
