"""Ctrl-C: the first asks the command to end in order, a second one leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .exits import INTERRUPTED

__all__ = ["INTERRUPTED", "Interrupts"]


class Interrupts:
    """SIGINT and SIGTERM for the duration of a ``with`` block in a command's main task.

    Unless ``handled_by`` says otherwise, the first signal cancels that task, which then cleans up on the way out.
    """

    def __init__(self) -> None:
        self.restore: Callable[[], object] = _nothing
        """Puts the terminal back before a second signal ends the process."""
        self.asked = False
        """The first one came. What it was to end may have ended just before it, and then says nothing of it."""
        self._act: Callable[[], object] = _nothing

    def __enter__(self) -> Interrupts:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._act = task.cancel
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._seen)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    @contextmanager
    def handled_by(self, act: Callable[[], object]) -> Iterator[None]:
        """Let the first signal do something else for a while."""
        before, self._act = self._act, act
        try:
            yield
        finally:
            self._act = before

    def _seen(self) -> None:
        if self.asked:
            self.restore()
            os._exit(INTERRUPTED)
        self.asked = True
        self._act()


def _nothing() -> None:
    pass
