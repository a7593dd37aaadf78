"""How commands that stay report to systemd (sd_notify): that they are ready, that they are alive, and that they end.

systemd asks for it with NOTIFY_SOCKET and WATCHDOG_USEC, for units of Type=notify. Otherwise nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["supervised"]


@asynccontextmanager
async def supervised(alive: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Say that the command is ready for the duration of the block, and that it ends.

    Where a watchdog is wanted it hears of each ``alive()`` that has returned: twice in the time that systemd allows.
    """
    place = os.environ.pop("NOTIFY_SOCKET", "")
    every = _watchdog()
    if not place:
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:

        def tell(state: str) -> None:
            # The command neither waits for systemd nor ends because it isn't there: the socket doesn't block.
            with contextlib.suppress(OSError):
                notify.sendto(state.encode(), f"\0{place[1:]}" if place.startswith("@") else place)

        tell("READY=1")
        task = asyncio.create_task(_live(every, alive, tell)) if every is not None else None
        try:
            yield
        finally:
            tell("STOPPING=1")
            if task is not None:
                task.cancel()
                await asyncio.wait([task])


async def _live(every: float, alive: Callable[[], Awaitable[object]], tell: Callable[[str], None]) -> None:
    while True:
        await alive()
        tell("WATCHDOG=1")
        await asyncio.sleep(every)


def _watchdog() -> float | None:
    """Return the seconds between two signs of life; None where none are wanted of this process."""
    wanted, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not wanted.isdecimal() or not int(wanted) or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) / 2e6
