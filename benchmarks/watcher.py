"""A subscriber in a process of its own: ``python -m benchmarks.watcher URL SESSION`` counts a session's outputs."""

from __future__ import annotations

import asyncio
import sys

from asyncblock import connect
from asyncblock.events import BlockOutput

__all__ = ["watch"]


async def watch(url: str, session_id: str) -> int:
    """Follow a session to its end; return how many outputs it had."""
    count = 0
    async with connect(url) as mainframe:
        print("ready", flush=True)
        async for event in mainframe.session(session_id):
            count += isinstance(event, BlockOutput)
    return count


if __name__ == "__main__":
    print(asyncio.run(watch(*sys.argv[1:3])), flush=True)
