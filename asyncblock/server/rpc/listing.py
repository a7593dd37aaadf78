"""What is asked about sessions: how one is, and which there are. Those that have ended are on disk, and read there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ...errors import Rejected
from ..journal import SessionRow
from ..livesessions.sessions import Sessions
from ..serverlimits import MAX_LISTED, MAX_NUMBER

__all__ = ["LISTING", "Params", "Question", "place_in"]

Params = dict[str, Any]
Question = Callable[[Sessions, Params, frozenset[str]], Awaitable[dict[str, Any]]]

_MAX_TEXT = 500
"""Characters of a session's texts in an answer: a thousand of them fit into a message."""


async def _session(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    session_id = _text(params, "session_id")
    row = await sessions.find(session_id)
    if row is None:
        raise Rejected(f"no session {session_id!r} here", code="unknown_session")
    return _told(sessions, row)


async def _sessions(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    limit = params.get("limit", 100)
    if type(limit) is not int:
        raise Rejected("parameter 'limit' must be int", code="params")
    state = None if params.get("state") is None else _text(params, "state")
    prefix = _text(params, "prefix") if "prefix" in params else ""
    rows = await sessions.journal.newest_sessions(
        state=state, prefix=prefix, before=place_in(params, "before"), limit=min(max(limit, 0), MAX_LISTED)
    )
    return {"sessions": [_short(_told(sessions, row)) for row in rows]}


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise Rejected(f"parameter {name!r} must be str", code="params")
    return value


def place_in(params: Params, name: str) -> tuple[int, str] | None:
    """Read a place in the list of sessions: that of one of them."""
    match params.get(name):
        case None:
            return None
        case [int(created_at), str(session_id)]:
            return min(created_at, MAX_NUMBER), session_id
    raise Rejected(f"parameter {name!r} must be [created_at, session_id]", code="params")


def _told(sessions: Sessions, row: SessionRow) -> dict[str, Any]:
    running = sessions.running.get(row.session_id)
    return {
        "session_id": row.session_id,
        "title": row.title,
        "path": row.path,
        "state": row.state,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "error": row.error,
        "bytes": row.bytes if running is None else running.bytes,
        "rows": row.rows if running is None else running.stored_offset,
        "progress": None if running is None else running.rate,
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value[:_MAX_TEXT] if isinstance(value, str) else value for key, value in row.items()}


LISTING: Final[dict[str, tuple[frozenset[str], Question]]] = {
    "session": (frozenset({"client", "observer"}), _session),
    "sessions": (frozenset({"client", "observer"}), _sessions),
}
"""Method name: the roles of which one is needed, and the coroutine function."""
