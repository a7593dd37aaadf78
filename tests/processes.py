"""Real processes for tests: the commands, started, awaited by what they say, and killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from .waits import until_files

__all__ = ["MARK", "Command", "all_ended", "family", "free_port", "run", "start", "start_module"]

MARK = "ASYNCBLOCK_TESTMARK"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(mark: str) -> list[int]:
    """Return the processes that run and whose environment has a mark."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and f"{MARK}={mark}".encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue  # it has just ended, or isn't ours
    return found


async def all_ended(pids: list[int]) -> None:
    """Wait until processes that nobody here started have ended."""
    loop = asyncio.get_running_loop()
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            async with asyncio.timeout(20):
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)


async def appears(file: Path, more_than: int = -1) -> int:
    """Wait until a file is there that another process writes, and larger than so many bytes; return its size."""

    def size() -> int:
        return file.stat().st_size if file.exists() else -1

    await until_files(file.parent, lambda: size() > more_than)
    return size()


class Command:
    """A running command whose output is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.process = process
        self.mark = mark
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        while line := await stream.readline():
            lines.append(line.decode().rstrip("\n"))
            self._changed.set()
        self._changed.set()

    async def until_line(self, words: str, *, err: bool = False) -> str:
        """Wait for a line of the output that contains some words."""
        lines = self.err if err else self.out
        async with asyncio.timeout(30):
            while True:
                for line in lines:
                    if words in line:
                        return line
                if self.process.returncode is not None and all(reader.done() for reader in self._readers):
                    raise AssertionError(f"{words!r} never came; out: {self.out[-3:]}, err: {self.err[-5:]}")
                self._changed.clear()
                await self._changed.wait()

    async def until_lines(self, words: str, count: int, *, err: bool = False) -> None:
        """Wait until so many lines of the output contain some words."""
        lines = self.err if err else self.out
        async with asyncio.timeout(60):
            while sum(words in line for line in lines) < count:
                assert self.process.returncode is None, f"{words!r} came too seldom; err: {self.err[-5:]}"
                self._changed.clear()
                await self._changed.wait()

    async def until_signals_are_handled(self) -> None:
        """Wait until the process has installed a handler for SIGINT of its own."""
        async with asyncio.timeout(20):
            while not self._catches(signal.SIGTERM):  # noqa: ASYNC110  # the kernel tells nobody of it
                await asyncio.sleep(0.01)

    def _catches(self, number: int) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
        return bool(int(caught, 16) >> (number - 1) & 1)

    async def stopped(self) -> None:
        """Stop it, and wait until all of its threads have: the signal comes to one, which others may run ahead of."""
        self.kill(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end of the process and of its output."""
        async with asyncio.timeout(50):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    async def leaves(self, number: int | None = None, *, before: float = 45.0) -> None:
        """Send a signal, if one is given, and check that all of it has left before so many seconds have passed.

        They are what it would take if it waited for something that it mustn't wait for. How soon it leaves on a quiet
        machine isn't measured: on a busy one it takes many times as long.
        """
        began = time.monotonic()
        if number is not None:
            self.kill(number)
        await self.wait()
        assert time.monotonic() - began < before
        assert self.family() == []

    def family(self) -> list[int]:
        """Return the processes of this command that run: itself and whatever it has started, however far down."""
        return family(self.mark)

    def sockets(self, port: int) -> int:
        """Return how many connections to a port the command's processes hold."""
        inodes = set()
        for pid in self.family():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    inodes.add(os.readlink(fd))
                except OSError:
                    continue
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        established = [row for row in rows if row[3] == "01" and int(row[2].rpartition(":")[2], 16) == port]
        return sum(f"socket:[{row[9]}]" in inodes for row in established)

    def events(self) -> list[dict[str, Any]]:
        """Return the output's JSON lines."""
        return [orjson.loads(line) for line in self.out]


@asynccontextmanager
async def start(
    *arguments: str | Path, state: Path, under: Sequence[str] = (), **environment: str
) -> AsyncIterator[Command]:
    """Run ``asyncblock ARGUMENTS`` for the duration of the block; it is killed at the end if it still runs."""
    async with start_module("asyncblock", *arguments, state=state, under=under, **environment) as command:
        yield command


@asynccontextmanager
async def start_module(
    module: str, *arguments: str | Path, state: Path, under: Sequence[str] = (), **environment: str
) -> AsyncIterator[Command]:
    """Run ``python -m MODULE ARGUMENTS`` likewise, as arguments of the command ``under``, if there is one."""
    mark = secrets.token_hex(8)
    process = await asyncio.create_subprocess_exec(
        *under,
        sys.executable,
        "-m",
        module,
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=64 << 20,
        env={**os.environ, "XDG_STATE_HOME": str(state), "PYTHONPATH": os.getcwd(), MARK: mark, **environment},
    )
    command = Command(process, mark)
    try:
        yield command
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(20):
                    await command.wait()
            except TimeoutError:
                process.kill()
        await command.wait()


async def run(*arguments: str | Path, state: Path, **environment: str) -> Command:
    """Run ``asyncblock ARGUMENTS`` to its end; nothing of it may be left."""
    async with start(*arguments, state=state, **environment) as command:
        await command.wait()
    assert command.family() == []
    return command
