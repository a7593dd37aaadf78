"""When an executor of the engine leaves: the session is over, it is told to, or the process that started it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

__all__ = ["Leaving"]


class Leaving:
    """What makes this process leave. Use it with ``with`` on the loop."""

    def __init__(self, *, with_parent: bool) -> None:
        self.code = 0
        self._with_parent = with_parent
        self._stop = asyncio.Event()
        self._parent: int | None = None

    def __enter__(self) -> Leaving:
        loop = asyncio.get_running_loop()
        for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
            loop.add_signal_handler(number, self._leave, code)
        if self._with_parent and hasattr(os, "pidfd_open"):
            with suppress(OSError):
                # Readable once the process has ended.
                self._parent = os.pidfd_open(os.getppid())
                loop.add_reader(self._parent, self._orphaned)
        return self

    def __exit__(self, *exc: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        self._close()

    async def until(self, over: asyncio.Event) -> None:
        """Wait until the session is over, or this process is to leave. **Cancellation** is safe."""
        waits = [asyncio.create_task(event.wait()) for event in (over, self._stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _leave(self, code: int) -> None:
        if self._stop.is_set():
            # Told twice.
            os._exit(code or 130)
        self.code = code
        self._stop.set()

    def _orphaned(self) -> None:
        sys.stderr.write("python-executor: the engine that has started this is gone\n")
        self._close()
        self._leave(1)

    def _close(self) -> None:
        if self._parent is not None:
            asyncio.get_running_loop().remove_reader(self._parent)
            os.close(self._parent)
            self._parent = None
