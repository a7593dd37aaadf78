"""The command ``retry``: a flow that failed is run again from where it failed, by what has changed since."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ..client import Session
from ..errors import Unavailable
from ..executor.attribution.console import share_input
from ..inprocess.embedding import embedded
from ..inprocess.runs import find_run, remember_run
from ..retrying import Retry
from ..server.journal.datadir import holder, read_address
from ..server.journal.peek import peek_sessions
from .display import open_display
from .following import follow
from .goingon import tell_begun
from .interrupts import Interrupts
from .offered import Offered
from .targets import Target, reach

__all__ = ["retry"]


async def retry(
    session_id: str,
    target: Target,
    from_node: str | None,
    inputs: dict[str, Any],
    search: tuple[Path, ...],
    workers: int,
    json: bool,
    offered: Offered | None = None,
    compat: str | None = None,
    begun_fd: int | None = None,
) -> int:
    """Say what runs again and why, and run it: where the session was, in a local run's directory or on a mainframe."""
    with Interrupts() as interrupts:
        directory = None
        if target.url is None and target.data_dir is None:
            try:
                directory, session_id = await asyncio.to_thread(find_run, session_id)
            except Unavailable:
                if await asyncio.to_thread(read_address, target.directory) is None:
                    raise
                # A served mainframe may know it, and says so if it doesn't.
                directory = None
            else:
                await asyncio.to_thread(_must_have_ended, directory, session_id)
        async with AsyncExitStack() as stack:
            if directory is None:
                mainframe = await stack.enter_async_context(reach(target))
                known = await mainframe.sessions(prefix=session_id, limit=2)
                if len(known) == 1:
                    session_id = known[0].session_id
            else:
                if not workers:
                    share_input()
                offered = (offered or Offered()).or_of_run(directory)
                own = embedded(directory, workers=workers, capture=json, offers=offered.offers, labels=offered.labels)
                mainframe = await stack.enter_async_context(own)
            made = await mainframe.plan_retry(
                session_id, from_node=from_node, inputs=inputs, search_paths=search, compat=compat
            )
            _tell(made)
            if directory is not None and offered is not None:
                offered.check(made.plan)
            if directory is not None:
                given = offered or Offered()
                remember_run(directory, made.plan.roots.values(), given.offers, given.labels)
            session = await made.start()
            tell_begun(begun_fd, session.session_id)
            async with open_display(json, plain=directory is not None and not workers) as display:
                return await follow(session, display, interrupts, cancel=True)


def _must_have_ended(directory: Path, session_id: str) -> None:
    """Raise ``Unavailable`` for a run that was killed: opening its journal for a retry would resume it instead."""
    interrupted = any(row.session_id == session_id and row.state == "running" for row in peek_sessions(directory))
    if interrupted and holder(directory) is None:
        raise Unavailable(f"session {session_id} was interrupted; go on with it: asyncblock resume {session_id}")


def _tell(made: Retry[Session]) -> None:
    for warning in made.plan.warnings:
        print(f"{warning} (warning)", file=sys.stderr)
    kept = ", ".join(made.kept) or "nothing"
    print(f"retry of session {made.session_id}: {kept} stays as it was", file=sys.stderr)
    for node_id, why in made.again.items():
        print(f"  {node_id} runs again: {why}", file=sys.stderr)
    sys.stderr.flush()
