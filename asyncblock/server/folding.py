"""The process that folds a session's rows into a snapshot: ``refolding`` starts it, nobody imports it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from .journal import Journal
from .journal.peek import peek_journal
from .sessions import Sessions
from .settings import Settings
from .snapshots import packed
from .supervision import Supervisor

_NICE = 5
"""What it gives way to others by: a snapshot isn't urgent."""


def main(arguments: list[str]) -> None:
    """Write the packed state of a session into a file that the parent has opened."""
    data_dir, number, session_id, until, result = arguments[:5]
    # A container may forbid it. The snapshot is made all the same, only less politely.
    with suppress(OSError):
        os.nice(_NICE)
    state = asyncio.run(_fold(Path(data_dir), int(number), session_id, int(until)))
    with open(int(result), "wb") as file:
        file.write(packed(state))


async def _fold(data_dir: Path, number: int, session_id: str, until: int) -> dict[str, Any]:
    """Fold a session's rows before ``until``; return its state as ``RunningSession.to_snapshot`` does."""
    with peek_journal(data_dir) as journal:
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(tasks, lambda what, error: None)
            supervisor.closed = True
            sessions = Sessions(cast(Journal, journal), asyncio.get_running_loop(), supervisor, Settings())
            session = await sessions.fold(number, until)
            if session is None or session.session_id != session_id or session.next_offset != until:
                raise SystemExit(f"the journal in {data_dir} isn't the one that it is asked of")
            session.deadlines.stop_all()
            return session.to_snapshot()


if __name__ == "__main__":
    main(sys.argv[1:])
