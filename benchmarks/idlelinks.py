"""What links that do nothing cost a mainframe: memory of each, and processor for the signs of life of both sides.

``python -m benchmarks.idlelinks``; it starts a mainframe and opens websockets of executors that have no jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from asyncblock.errors import ConnectionLost
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE

from .rivals.servers import free_port

__all__ = ["main"]

_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_HELLO = {"languages": ["python"], "packages": {"h": "p"}, "slots": {"async": 1}}


@asynccontextmanager
async def _mainframe(directory: Path) -> AsyncIterator[tuple[int, str, str]]:
    port = free_port()
    command = (sys.executable, "-m", "asyncblock", "serve", "--port", str(port), "--data-dir", str(directory))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"mainframe at" in line:
                break
        yield process.pid, f"ws://127.0.0.1:{port}", (directory / "token").read_text().strip()
    finally:
        process.terminate()
        await process.communicate()


async def _link(url: str, token: str, name: str, greeted: asyncio.Semaphore) -> None:
    """Be an executor without jobs."""
    transport = await connect_websocket(url, token, max_message=MAX_MESSAGE)
    hello = {"op": "hello", "version": 1, "link": name, "boot": name, "generation": 1, "executor": _HELLO}
    await transport.send(orjson.dumps(hello))
    greeted.release()
    try:
        while True:
            await transport.receive()
            await transport.send(b'{"op":"ping"}')
    except ConnectionLost:
        # The mainframe has ended.
        return


def _seen(pid: int) -> tuple[int, float]:
    """Return a process's memory in bytes, and the processor's seconds that it took."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return resident, (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(links: int) -> tuple[float, float]:
    """Return the kB of a link, and the microseconds of the processor that it takes in a second."""
    with tempfile.TemporaryDirectory() as directory:
        async with _mainframe(Path(directory)) as (pid, url, token), asyncio.TaskGroup() as tasks:
            before, _ = _seen(pid)
            _, idle_from = _seen(pid)
            await asyncio.sleep(_SECONDS)
            _, idle_until = _seen(pid)
            greeted = asyncio.Semaphore(0)
            running = []
            for number in range(links):
                running.append(tasks.create_task(_link(url, token, f"l{number}", greeted)))
                await greeted.acquire()
            await asyncio.sleep(_SECONDS / 3)
            after, busy_from = _seen(pid)
            await asyncio.sleep(_SECONDS)
            _, busy_until = _seen(pid)
            for each in running:
                each.cancel()
    busy = (busy_until - busy_from) - (idle_until - idle_from)
    return (after - before) / links / 1000, busy / links / _SECONDS * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=800)
    given = parser.parse_args()
    kilobytes, microseconds = asyncio.run(measure(given.links))
    print(f"a link that does nothing: {kilobytes:.1f} kB, {microseconds:.0f} us of a processor each second")


if __name__ == "__main__":
    main()
