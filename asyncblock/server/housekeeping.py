"""What operators ask: how the mainframe is, and that old sessions go. Answered by coroutines, for the disk is asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .. import __version__
from ..errors import AsyncBlockError, Rejected
from ..wire.frames import MAX_MESSAGE
from ..wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW
from .journal import SessionRow
from .sessions import Sessions

__all__ = ["QUESTIONS"]

Params = dict[str, Any]
Question = Callable[[Sessions, Params, frozenset[str]], Awaitable[dict[str, Any]]]


async def _info(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    """Say how the mainframe is and what the asker may do."""
    stats = await sessions.journal.stats()
    links = sessions.dispatch.links.values()
    live = [link.executor for link in links if link.executor is not None and link.connection is not None]
    return {
        "version": __version__,
        "now": int(time.time() * 1000),
        "roles": sorted(roles),
        "executors": len(live),
        "var_values": {
            "held_bytes": sum(link.held for link in links if link.connection is not None),
            "limit_bytes": sum(link.may_hold for link in links if link.connection is not None),
        },
        "languages": sorted({language for executor in live for language in executor.languages}),
        "sessions": {"known": len(sessions.rows), "running": len(sessions.running)},
        "limits": {
            "message": MAX_MESSAGE,
            "sessions": sessions.settings.max_sessions,
            "windows": {"data": DATA_WINDOW, "telemetry": TELEMETRY_WINDOW, "link": LINK_WINDOW},
        },
        "journal": {
            "epoch": stats.epoch,
            "schema": stats.schema,
            "synchronous": stats.synchronous,
            "database_bytes": stats.database_bytes,
            "wal_bytes": stats.wal_bytes,
            "session_bytes": sum(row.bytes for row in sessions.rows.values()),
            "free_bytes": stats.free_bytes,
            "trouble": stats.trouble,
        },
    }


async def _prune(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    """Delete sessions that have ended: those over ``older_ms``, but never the ``keep`` newest; say what went."""
    older_ms, keep = params.get("older_ms"), params.get("keep")
    for name, value in (("older_ms", older_ms), ("keep", keep)):
        if value is not None and (type(value) is not int or value < 0):
            raise Rejected(f"parameter {name!r} must be a number from 0", code="params")
    if older_ms is None and keep is None:
        raise Rejected("say which sessions may go: older_ms, keep, or both", code="params")
    gone, freed = [], 0
    for row in _prunable(sessions, older_ms, keep or 0):
        # One that somebody else prunes at the same time is no longer there when its turn comes.
        if sessions.rows.pop(row.session_id, None) is not None:
            freed += await _delete(sessions, row)
            gone.append(row.session_id)
    return {"sessions": gone, "bytes": freed}


def _prunable(sessions: Sessions, older_ms: int | None, keep: int) -> list[SessionRow]:
    """Return what may go, the oldest first."""
    ended = [row for row in sessions.rows.values() if row.session_id not in sessions.running and row.state != "running"]
    ended.sort(key=lambda row: (row.created_at, row.session_no))
    candidates = ended[: max(len(ended) - keep, 0)]
    if older_ms is None:
        return candidates
    limit = time.time() * 1000 - older_ms
    return [row for row in candidates if (row.finished_at or row.created_at) <= limit]


async def _delete(sessions: Sessions, row: SessionRow) -> int:
    # Late records of its jobs have no place any more: their channels are closed to them.
    for link in sessions.dispatch.links.values():
        late = [ch for ch, attempt in link.attempts.items() if attempt.job.session.session_id == row.session_id]
        for channel in late:
            del link.attempts[channel]
    try:
        return await sessions.journal.prune(row.session_no)
    except AsyncBlockError as error:
        raise Rejected(f"session {row.session_id} couldn't be deleted: {error}", code="prune") from error


QUESTIONS: Final[dict[str, tuple[frozenset[str], Question]]] = {
    "info": (frozenset({"client", "executor", "observer"}), _info),
    "prune": (frozenset({"client"}), _prune),
}
"""Method name: the roles of which one is needed, and the coroutine function."""
