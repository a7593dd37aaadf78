"""The commands that show a session as a whole: ``report``, ``export`` and ``show``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from ..errors import Unavailable
from ..page import StateLimits
from ..report import Recording, collect, export
from ..report.document import MOST_BYTES, document
from ..runtime.stagingdirs import StagingDir
from .interrupts import Interrupts
from .sessioncommands import seen
from .showing import show_session
from .targets import Target

__all__ = ["export_session", "report", "show", "write_report"]


async def report(name: str, target: Target, output: Path | None, full: bool) -> int:
    """Write a session's report."""
    with Interrupts():
        async with seen(name, target) as recording:
            place = output or Path(f"{recording.session_id}.html")
            await write_report(recording, place, full=full)
            print(place)
    return 0


async def write_report(recording: Recording, place: Path, *, full: bool) -> None:
    """Write a report; the file is there whole or not at all."""
    collected = await collect(recording, StateLimits.none() if full else None)
    made = await document(collected, most=None if full else MOST_BYTES)
    try:
        await asyncio.to_thread(_write, place, made)
    except OSError as error:
        raise Unavailable(f"the report can't be written to {place}: {error.strerror}") from error


def _write(place: Path, content: bytes) -> None:
    with StagingDir(place) as fresh:
        (fresh / place.name).write_bytes(content)
        os.replace(fresh / place.name, place)


async def export_session(name: str, target: Target, directory: Path) -> int:
    """Write everything that came of a session into a directory."""
    with Interrupts():
        async with seen(name, target) as recording:
            found = await export(recording, directory)
    if not found.state.over:
        print(f"session {found.state.session_id} is {found.word}: that is what there was of it", file=sys.stderr)
    print(directory)
    return 0


async def show(name: str, node: str | None, target: Target) -> int:
    """Show a session in the terminal."""
    with Interrupts():
        async with seen(name, target) as recording:
            await show_session(await collect(recording), node)
    return 0
