"""What operators ask: how the mainframe is, and that old sessions go. Answered by coroutines, for the disk is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

from ..._version import installed_version
from ...errors import AsyncBlockError, Rejected
from ...wire.frames import MAX_MESSAGE
from ...wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW
from ..livesessions.sessions import Sessions
from ..serverlimits import MAX_NAME, MAX_NUMBER
from .listing import LISTING, Params, Question, place_in
from .roster import ROSTER

__all__ = ["QUESTIONS", "Question"]

_PRUNE_PAGE = 500
"""Sessions that may go, as they are asked of the journal at once."""

_MAX_OFFERS = 100
"""Executors that are described one by one, and kinds of jobs that no executor can run."""

_PACKAGES = 1 << 20
"""Characters of the hashes that all of them are told to have: it has to fit into an answer, whatever they announce."""

_MAX_PRUNED = 50_000
"""Sessions that one answer names as deleted: a caller that wants more to go asks again."""


async def _info(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    """Say how the mainframe is and what the asker may do."""
    stats = await sessions.journal.stats()
    links = sessions.dispatch.links.values()
    live = [link.executor for link in links if link.executor is not None and link.connection is not None]
    offering = [executor for executor in live if not executor.once][:_MAX_OFFERS]
    return {
        "version": installed_version(),
        "now": int(time.time() * 1000),
        "roles": sorted(roles),
        "executors": len(live),
        "var_values": {
            "held_bytes": sum(link.held for link in links if link.connection is not None),
            "limit_bytes": sum(link.may_hold for link in links if link.connection is not None),
            "disk_bytes": sum(link.on_disk for link in links if link.connection is not None),
            "disk_limit_bytes": sum(link.may_take for link in links if link.connection is not None),
        },
        "offers": [
            {"packages": _some(executor.packages, _PACKAGES // len(offering)), **executor.offers.to_json()}
            for executor in offering
        ],
        "in_vain": [
            {
                "jobs": count,
                "package": need.package[:MAX_NAME],
                "version": need.version[:MAX_NAME],
                "needs": need.resources.to_json(),
            }
            for need, count in sessions.dispatch.absence.in_vain()[:_MAX_OFFERS]
        ],
        "languages": _some({language for executor in live for language in executor.languages}, _PACKAGES),
        "sessions": {
            "known": sessions.ended_counts.total() + len(sessions.rows),
            "running": len(sessions.running),
        },
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
            "session_bytes": sessions.ended_bytes + sum(each.bytes for each in sessions.running.values()),
            "free_bytes": stats.free_bytes,
            "trouble": stats.trouble,
        },
    }


def _some(names: Iterable[str], room: int) -> list[str]:
    """Return so many of some names, in order, as have room."""
    ordered = sorted(names)
    ends = accumulate(len(name) + 3 for name in ordered)
    return [name for name, end in zip(ordered, ends, strict=True) if end <= room]


async def _prune(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    """Delete sessions that have ended: those over ``older_ms``, but never the ``keep`` newest; say what went.

    ``before`` is for sets of several partitions: who asks has looked which are the newest of all.
    """
    older_ms, keep = params.get("older_ms"), params.get("keep")
    for name, value in (("older_ms", older_ms), ("keep", keep)):
        if value is not None and (type(value) is not int or value < 0):
            raise Rejected(f"parameter {name!r} must be a number from 0", code="params")
    before = place_in(params, "before")
    if older_ms is None and keep is None and before is None:
        raise Rejected("say which sessions may go: older_ms, keep, or both", code="params")
    until = None if older_ms is None else int(time.time() * 1000) - min(older_ms, MAX_NUMBER)
    keep = min(keep or 0, MAX_NUMBER)
    gone: list[str] = []
    freed, after = 0, (0, 0)
    while page := await sessions.journal.prunable(until=until, keep=keep, after=after, limit=_PRUNE_PAGE):
        for created_at, number, session_id, state in page:
            after = (created_at, number)
            if before is not None and (created_at, session_id) >= before:
                continue
            try:
                size = await sessions.prune(number, session_id, state)
            except AsyncBlockError as error:
                raise Rejected(f"session {session_id} couldn't be deleted: {error}", code="prune") from error
            if size is not None:
                freed += size
                gone.append(session_id)
        if len(gone) >= _MAX_PRUNED:
            return {"sessions": gone, "bytes": freed, "more": True}
    return {"sessions": gone, "bytes": freed}


QUESTIONS: Final[dict[str, tuple[frozenset[str], Question]]] = {
    "info": (frozenset({"client", "executor", "observer"}), _info),
    "prune": (frozenset({"client"}), _prune),
    **LISTING,
    **ROSTER,
}
"""Method name: the roles of which one is needed, and the coroutine function."""
