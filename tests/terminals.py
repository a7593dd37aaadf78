"""A command on a real pseudo-terminal, and the screen that a person would see."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pyte

from .processes import MARK, family

__all__ = ["Terminal", "on_terminal"]

# The terminal must be the child's controlling one for Ctrl-C to become a signal.
_SHIM = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A screen with what a command has drawn, and a keyboard."""

    def __init__(self, process: asyncio.subprocess.Process, master: int, size: tuple[int, int], mark: str) -> None:
        self.process = process
        self.mark = mark
        self.drawn = b""
        self.screen = pyte.HistoryScreen(*size, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._master = master
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # the other side is closed
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._master)
        self.drawn += piece
        self._stream.feed(piece)
        self._changed.set()

    @property
    def lines(self) -> list[str]:
        """Return the screen's lines."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def scrolled(self) -> list[str]:
        """Return what has left the screen upwards, and the screen."""
        above = [
            "".join(line[column].data for column in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return above + self.lines

    async def until(self, test: Callable[[], bool]) -> None:
        """Wait until the screen is as it should be."""
        async with asyncio.timeout(30):
            while not test():
                self._changed.clear()
                await self._changed.wait()

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._master, keys)

    def family(self) -> list[int]:
        """Return the processes of the command that run."""
        return family(self.mark)


@asynccontextmanager
async def on_terminal(
    *arguments: str | Path, state: Path, columns: int = 100, height: int = 30, term: str = "xterm-256color"
) -> AsyncIterator[Terminal]:
    """Run ``asyncblock ARGUMENTS`` on a terminal; it is killed at the end if it still runs."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))
    mark = secrets.token_hex(8)
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SHIM, sys.executable, "-m", "asyncblock", *map(str, arguments)),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**environment, "TERM": term, "XDG_STATE_HOME": str(state), "PYTHONPATH": os.getcwd(), MARK: mark},
    )
    os.close(slave)
    terminal = Terminal(process, master, (columns, height), mark)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
