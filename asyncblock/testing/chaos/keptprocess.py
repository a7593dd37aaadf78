"""A process that is started again whenever it ends, as by systemd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["KeptProcess", "free_port"]

_PAUSE = 0.3
"""Seconds before a process that ended by itself is started again."""

_LEAVE = 20.0
"""Seconds that a process has to leave when it is told to."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class KeptProcess:
    """One process after the other, of one command. Use it with ``async with``; leaving ends it."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.exits: list[int] = []
        """Exit codes with which it has ended by itself."""
        self._command = list(command)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._pause: float | None = None
        """How long it stays away after the end that it was told of; None when it wasn't."""
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> KeptProcess:
        await self._start()
        self._keeping = asyncio.create_task(self._keep(), name=f"chaos {self.name}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave()

    @property
    def pids(self) -> list[int]:
        """The process's id, if it runs."""
        process = self._process
        return [] if process is None or process.returncode is not None else [process.pid]

    def end(self, number: signal.Signals, away: float) -> bool:
        """End it by a signal; it is started again some seconds after it is gone. False when it doesn't run."""
        if self.pids:
            self._pause = away
        return self.tell(number)

    def tell(self, number: signal.Signals) -> bool:
        """Send it a signal; false when it doesn't run."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False

    async def leave(self) -> None:
        """End it in order, for good; by kill -9 if it doesn't go. **Cancellation** is by kill -9."""
        if self._keeping is None:
            return
        self._stopping.set()
        # Who was stopped hears nothing else.
        self.tell(signal.SIGCONT)
        self.tell(signal.SIGTERM)
        try:
            await asyncio.wait([self._keeping], timeout=_LEAVE)
        finally:
            self.tell(signal.SIGKILL)
            await asyncio.shield(asyncio.wait([self._keeping]))

    async def _start(self) -> None:
        self._pause = None
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is told to whoever started it, who ends things in their order.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            if self._pause is None:
                self.exits.append(code)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PAUSE if self._pause is None else self._pause)
            if self._stopping.is_set():
                return
            await self._start()
