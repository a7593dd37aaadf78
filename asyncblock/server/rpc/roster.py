"""Who is there: the executors, what they have and do, and what keeps them from it."""

from __future__ import annotations

from typing import Any, Final

from ..jobstate.jobs import Attempt, JobState, LinkState
from ..livesessions.sessions import Sessions
from ..serverlimits import MAX_NAME
from .listing import Params, Question

__all__ = ["ROSTER"]

_EXECUTORS: Final = 200
"""Executors that are described one by one."""

_JOBS: Final = 20
"""Jobs of each: the oldest ones."""

_NAMES: Final = 2_000
"""Packages of all of them, so that it fits into an answer."""


async def _executors(sessions: Sessions, params: Params, roles: frozenset[str]) -> dict[str, Any]:
    """Say who is there; an executor that has just lost its connection is, as long as its jobs are."""
    links = [link for link in sessions.dispatch.links.values() if link.executor is not None]
    links.sort(key=lambda link: link.link_id)
    now = sessions.loop.time()
    room = _NAMES // max(min(len(links), _EXECUTORS), 1)
    return {
        "count": len(links),
        "waiting": sessions.dispatch.waiting,
        "executors": [_told(link, now, room) for link in links[:_EXECUTORS]],
    }


def _told(link: LinkState, now: float, room: int) -> dict[str, Any]:
    executor = link.executor
    assert executor is not None
    running = [each for each in link.attempts.values() if not each.fenced]
    running.sort(key=lambda attempt: attempt.assigned_at)
    return {
        "link": link.link_id,
        "connected": link.connection is not None,
        "quiet": round(max(now - link.last_heard, 0.0), 3) if link.last_heard else None,
        "drained": link.drained,
        "once": executor.once,
        "languages": sorted(executor.languages),
        "packages": dict(sorted(executor.packages.items(), key=lambda each: each[::-1])[:room]),
        "package_count": len(executor.packages),
        "slots": {"loop": executor.slots, "threads": executor.sync_slots, "processes": executor.spawn_slots},
        "load": {"loop": link.load - link.sync_load, "threads": link.sync_load, "processes": len(link.spawned)},
        "offers": executor.offers.to_json(),
        "held_bytes": link.held,
        "job_count": len(running),
        "jobs": [_job(each, now) for each in running[:_JOBS]],
        "stall": None if link.stall is None else _stall(link.stall, now),
    }


def _job(attempt: Attempt, now: float) -> dict[str, Any]:
    job = attempt.job
    return {
        "session_id": job.session.session_id,
        "job_id": job.job_id,
        "node_id": job.node_id[:MAX_NAME],
        "attempt": attempt.number,
        "running": job.state is JobState.RUNNING,
        "seconds": round(now - attempt.assigned_at, 3) if attempt.assigned_at else None,
    }


def _stall(stall: tuple[float, float, str], now: float) -> dict[str, Any]:
    at, seconds, where = stall
    return {"ago": round(now - at, 3), "seconds": round(seconds, 3), "where": where}


ROSTER: Final[dict[str, tuple[frozenset[str], Question]]] = {
    "executors": (frozenset({"client", "observer"}), _executors),
}
"""Method name: the roles of which one is needed, and the coroutine function."""
