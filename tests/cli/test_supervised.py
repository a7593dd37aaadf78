"""What systemd hears of serve and executor, by a socket as systemd's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from ..processes import free_port, start


class Systemd:
    """The end of the socket that systemd has."""

    def __init__(self, directory: Path) -> None:
        self.place = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.place)

    async def next(self) -> str:
        """Return the next word."""
        return (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()

    def close(self) -> None:
        self._socket.close()


async def test_serve_says_that_it_is_ready_lives_and_stops(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        systemd = Systemd(tmp_path)
        stack.callback(systemd.close)
        told = {"NOTIFY_SOCKET": systemd.place, "WATCHDOG_USEC": "200000"}
        server = await stack.enter_async_context(start("serve", "--port", str(free_port()), state=tmp_path, **told))
        assert await systemd.next() == "READY=1"
        assert [await systemd.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
        assert server.err[0].startswith("mainframe at")
        server.kill(signal.SIGTERM)
        while (word := await systemd.next()) == "WATCHDOG=1":
            pass
        assert word == "STOPPING=1"
        assert await server.wait() == 0


async def test_an_executor_says_it_too_and_heeds_no_watchdog_that_is_another_processs(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        port = free_port()
        server = await stack.enter_async_context(start("serve", "--port", str(port), state=tmp_path))
        await server.until_line("mainframe at", err=True)
        systemd = Systemd(tmp_path)
        stack.callback(systemd.close)
        # A watchdog that is another process's.
        told = {"NOTIFY_SOCKET": systemd.place, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}
        executor = await stack.enter_async_context(start("executor", state=tmp_path, **told))
        assert await systemd.next() == "READY=1"
        executor.kill(signal.SIGTERM)
        assert await systemd.next() == "STOPPING=1"
        assert await executor.wait() == 0


async def test_a_socket_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        told = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "nonsense"}
        server = await stack.enter_async_context(start("serve", "--port", str(free_port()), state=tmp_path, **told))
        await server.until_line("mainframe at", err=True)
        server.kill(signal.SIGTERM)
        assert await server.wait() == 0
