"""What the commands do that look after a mainframe: its sessions pruned, its health examined."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from ..server.journal.copying import copy_journal
from .doctor import examine
from .interrupts import Interrupts
from .targets import Target, reach

__all__ = ["backup", "doctor", "prune", "restore"]


async def prune(target: Target, older: float | None, keep: int | None, json: bool) -> int:
    """Delete sessions that have ended."""
    async with reach(target) as mainframe:
        pruned = await mainframe.prune(older=older, keep=keep)
    if json:
        print(orjson.dumps(pruned).decode())
    else:
        print(f"{len(pruned.sessions)} sessions deleted, {pruned.bytes:,} bytes")
    return 0


async def backup(target: Target, to: Path) -> int:
    """Copy the data directory of a mainframe, which may run meanwhile."""
    return await _copy(target.directory, to, "backed up")


async def restore(target: Target, backup: Path) -> int:
    """Make a data directory of a backup."""
    return await _copy(backup, target.directory, "restored")


async def _copy(source: Path, to: Path, done: str) -> int:
    with Interrupts():
        copied = await asyncio.to_thread(copy_journal, source, to)
    lost = f"; {copied.missing} bodies weren't there, their sessions were being pruned" if copied.missing else ""
    what = f"{copied.sessions} sessions and {copied.bodies} bodies, {copied.bytes:,} bytes"
    print(f"{source} {done} to {to}: {what}{lost}")
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
