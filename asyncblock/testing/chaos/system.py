"""The system under chaos: a mainframe process that comes back when it is killed, executors, sessions and observers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ...client import Mainframe, Session
from ...events import BlockOutput
from ...workers import Workers

__all__ = ["ChaosSessions", "Server", "free_port", "kill_one"]

_START_TIMEOUT = 30.0
"""Seconds that the mainframe has to come back."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Server:
    """The mainframe's process, on one data directory and one port. Use it with ``async with``."""

    def __init__(self, data_dir: Path, port: int, log: Path) -> None:
        self.data_dir = data_dir
        self.port = port
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Server:
        await self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @property
    def token(self) -> str:
        """The token of the data directory."""
        return (self.data_dir / "token").read_text().strip()

    async def kill(self) -> None:
        """Kill the process with SIGKILL and start it again."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        await self._start()

    async def _start(self) -> None:
        command = [sys.executable, "-m", "asyncblock", "serve", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, "--data-dir", str(self.data_dir), stdout=log, stderr=log
            )
        async with asyncio.timeout(_START_TIMEOUT):
            while not await _listens(self.port):  # another process: nobody here can be told
                if self._process.returncode is not None:
                    raise RuntimeError(f"the mainframe didn't come back; see {self._log}")
                await asyncio.sleep(0.05)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def kill_one(workers: Workers, chance: random.Random) -> bool:
    """Kill one of the executor processes with SIGKILL; tell whether there was one."""
    pids = sorted(workers.pids())
    if not pids:
        return False
    os.kill(chance.choice(pids), signal.SIGKILL)
    return True


class ChaosSessions:
    """Starts sessions one after the other, in several places at once, and follows each to its end."""

    def __init__(self, mainframe: Mainframe, flows: tuple[Path, Path, Path], notes: Path, seed: int) -> None:
        self._mainframe = mainframe
        self._flows = flows
        self._notes = notes
        self._chance = random.Random(seed)
        self._stopping = False
        self.started: list[str] = []
        self.finished: dict[str, str] = {}
        """State by session id."""
        self.seen: dict[str, list[tuple[tuple[str, int], int]]] = {}
        """What observers that came to the end saw, by session."""

    @asynccontextmanager
    async def going_on(self, places: int) -> AsyncIterator[asyncio.TaskGroup]:
        """Keep so many sessions running for the duration of the block; leaving waits until all have ended."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(places):
                tasks.create_task(self._one_after_another())
            try:
                yield tasks
            finally:
                self._stopping = True

    async def _one_after_another(self) -> None:
        while not self._stopping:
            which = self._chance.choices((0, 1, 2), (4, 3, 3))[0]
            inputs: dict[str, Any] = {
                "count": self._chance.randrange(20, 80) if which else self._chance.randrange(200, 3000)
            }
            if which < 2:
                inputs |= {"notes": str(self._notes), "large": self._chance.choice((0.0, 0.02, 0.2))}
            session = await self._mainframe.start(self._flows[which], inputs)
            self.started.append(session.session_id)
            await self._follow(session)

    async def _follow(self, session: Session) -> None:
        seen: list[tuple[tuple[str, int], int]] = []
        async for event in session:
            if isinstance(event, BlockOutput) and event.node_id == "source":
                value = event.output if event.body is None else await session.fetch(event.body)
                seen.append(((event.job_id, event.attempt), int(value["n"])))
        self.seen[session.session_id] = seen
        end = await session.wait()
        self.finished[session.session_id] = end.state

    def hanging(self) -> list[str]:
        """Return the sessions that were started and didn't end."""
        return [session_id for session_id in self.started if session_id not in self.finished]
