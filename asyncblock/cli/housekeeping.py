"""What the commands do that look after a mainframe: its sessions pruned, its health examined."""

from __future__ import annotations

import orjson

from .doctor import examine
from .places import Target, reach

__all__ = ["doctor", "prune"]


async def prune(target: Target, older: float | None, keep: int | None, json: bool) -> int:
    """Delete sessions that have ended."""
    async with reach(target) as mainframe:
        pruned = await mainframe.prune(older=older, keep=keep)
    if json:
        print(orjson.dumps(pruned).decode())
    else:
        print(f"{len(pruned.sessions)} sessions deleted, {pruned.bytes:,} bytes")
    return 0


async def doctor(target: Target, json: bool) -> int:
    """Examine a mainframe; return 0 when all is well."""
    well = True
    async for finding in examine(target):
        well = well and finding.ok
        if json:
            print(orjson.dumps(finding).decode(), flush=True)
        else:
            print(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<9}  {finding.words}", flush=True)
    return 0 if well else 1
