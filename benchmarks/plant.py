"""The plant: a mainframe in a process of its own, journal on disk, and what a measuring process needs to use it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncblock import Mainframe, Session, connect

__all__ = ["Plant", "open_plant", "watched"]


@dataclass(slots=True)
class Plant:
    """A mainframe process that was started for a measurement."""

    url: str
    token: str
    data_dir: Path
    process: asyncio.subprocess.Process
    synchronous: str
    options: tuple[str, ...] = ()
    """What else ``serve`` was told."""

    def peak_mb(self) -> float:
        """The most memory that the mainframe process has had (Linux; 0.0 elsewhere)."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0.0
        line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
        return int(line.split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """The processor's time that the mainframe process has taken (Linux; 0.0 elsewhere)."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pause(self) -> None:
        """Freeze the mainframe: to its executors it is away."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a frozen mainframe run again."""
        self.process.send_signal(signal.SIGCONT)

    async def start_again(self) -> float:
        """Kill the mainframe and start another one in its place; return the seconds until that listens."""
        self.process.kill()
        await self.process.wait()
        began = time.perf_counter()
        self.process, _ = await _start(self.data_dir, self.synchronous, int(self.url.rpartition(":")[2]), self.options)
        return time.perf_counter() - began


async def _start(
    data_dir: Path, synchronous: str, port: int, options: tuple[str, ...]
) -> tuple[asyncio.subprocess.Process, str]:
    """Start a mainframe; return its process and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncblock", "serve"),
        *("--port", str(port), "--data-dir", str(data_dir), "--synchronous", synchronous, *options),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    if not line.startswith("mainframe at "):
        process.kill()
        await process.wait()
        raise RuntimeError(f"the mainframe didn't start: {line}")
    return process, line.split()[2].rstrip(",")


@asynccontextmanager
async def open_plant(
    synchronous: str = "normal", options: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Plant, Mainframe]]:
    """Start a mainframe on a new data directory and connect to it; both end when the block is left."""
    with tempfile.TemporaryDirectory(prefix="asyncblock-bench-") as directory:
        data_dir = Path(directory)
        process, url = await _start(data_dir, synchronous, 0, options)
        plant = Plant(url, (data_dir / "token").read_text().strip(), data_dir, process, synchronous, options)
        try:
            async with connect(plant.url, plant.token) as mainframe:
                yield plant, mainframe
        finally:
            if plant.process.returncode is None:
                plant.process.send_signal(signal.SIGCONT)
                plant.process.terminate()
            await plant.process.wait()


@asynccontextmanager
async def watched(plant: Plant, session: Session) -> AsyncIterator[asyncio.Task[int]]:
    """Follow a session from a third process; the task's result is how many outputs it saw until the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.watcher", plant.url, session.session_id),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "ASYNCBLOCK_TOKEN": plant.token},
    )
    assert process.stdout is not None
    stdout = process.stdout

    async def seen() -> int:
        return int(await stdout.readline())

    await stdout.readline()
    counting = asyncio.create_task(seen())
    try:
        yield counting
        await counting
    finally:
        counting.cancel()
        if process.returncode is None:
            process.terminate()
        await process.wait()
