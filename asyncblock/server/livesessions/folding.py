"""The process that folds a session's rows into a snapshot: ``refolding`` starts it, nothing imports it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from ...childprocesses.children import FD_OPTION
from ..journal import Journal
from ..journal.peek import PeekedJournal, peek_journal
from ..sessionstate.askedrows import ASKING, AskedRows
from ..sessionstate.snapshots import packed
from ..settings import Settings
from ..supervision import Supervisor
from .sessions import Sessions

_NICE = 5
"""What it gives way to others by: a snapshot isn't urgent."""


def main(arguments: list[str]) -> None:
    """Write the packed state of a session into a file that the parent has opened."""
    data_dir, number, session_id, until, result = arguments[:5]
    # A container may forbid it. The snapshot is made all the same, only less politely.
    with suppress(OSError):
        os.nice(_NICE)
    orders = int(arguments[arguments.index(FD_OPTION) + 1])
    with _rows(data_dir, orders) as journal:
        state = asyncio.run(_fold(journal, int(number), session_id, int(until)))
    with open(int(result), "wb") as file:
        file.write(packed(state))


@contextmanager
def _rows(place: str, orders: int) -> Iterator[PeekedJournal | AskedRows]:
    """Read from a directory; where there is none, ask the process that has started us."""
    if place != ASKING:
        with peek_journal(Path(place)) as journal:
            yield journal
        return
    with socket.socket(fileno=orders) as parent:
        yield AskedRows(parent)


async def _fold(journal: PeekedJournal | AskedRows, number: int, session_id: str, until: int) -> dict[str, Any]:
    """Fold a session's rows before ``until``; return its state as ``RunningSession.to_snapshot`` does."""
    async with asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(tasks, lambda what, error: None)
        supervisor.closed = True
        sessions = Sessions(cast(Journal, journal), asyncio.get_running_loop(), supervisor, Settings())
        session = await sessions.fold(number, until)
        if session is None or session.session_id != session_id or session.next_offset != until:
            raise SystemExit("the journal isn't the one that it is asked of")
        session.deadlines.stop_all()
        return session.to_snapshot()


if __name__ == "__main__":
    main(sys.argv[1:])
