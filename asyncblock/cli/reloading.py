"""``executor --reload``: new processes after each edit; the old ones finish what they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from ..blockcode.packages import package_name
from ..childprocesses.workers import Workers
from ..errors import Unavailable
from .edits import Edits
from .saying import say

__all__ = ["following"]


@asynccontextmanager
async def following(edits: Edits | None, workers: Workers) -> AsyncIterator[None]:
    """Renew the workers after each edit, for the duration of the block."""
    if edits is None:
        yield
        return
    task = asyncio.create_task(_follow(edits, workers))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _follow(edits: Edits, workers: Workers) -> None:
    try:
        async with aclosing(edits.follow()) as edited:
            async for roots in edited:
                versions = ", ".join(f"{package_name(root)} is version {edits.mark_of(root)[:12]}" for root in roots)
                say(f"edited: {versions}; a new process takes the jobs, the old one ends what it runs")
                await workers.renew()
    except Unavailable as error:
        say(f"asyncblock: {error}; the executor goes on with the code that it has")
