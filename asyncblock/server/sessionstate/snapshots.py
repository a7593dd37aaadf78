"""Snapshots: a running session's state as data, from which a recovery goes on instead of reading the journal whole.

A snapshot holds what the rows before its offset have made of the session; the plan is in the first row. Values aren't
in it, only references. Jobs and their attempts are written here; the flow's own state writes itself.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from ...flow.entries import JobCreated, decision_from_json
from ...flow.references import References
from ..jobstate.jobs import Attempt, Job, JobState, LinkState

__all__ = ["VERSION", "attempt_from_json", "created_from_json", "job_to_json", "packed", "restore_job", "unpacked"]

VERSION = 2
"""Of the form. A snapshot of another version is passed over: the journal has everything."""

_PACKED = 3
"""The same, compressed: large states are very regular."""


def packed(state: Mapping[str, Any]) -> bytes:
    """Return the payload of a large state."""
    text = base64.b64encode(zlib.compress(orjson.dumps(state), 1)).decode()
    return orjson.dumps({"version": _PACKED, "state": text})


def unpacked(payload: bytes) -> dict[str, Any] | None:
    """Return the state of a payload; None when it is of a form that isn't known."""
    obj = orjson.loads(payload)
    if obj.get("version") == _PACKED:
        obj = orjson.loads(zlib.decompress(base64.b64decode(obj["state"])))
    return obj if obj.get("version") == VERSION else None


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job, its attempt included, as JSON-ready data."""
    attempt = job.attempt
    return {
        "created": job.created.to_json(),
        "state": job.state.value,
        "attempts": job.attempts,
        "retries_left": job.retries_left,
        "deaths_left": job.deaths_left,
        "cancelling": job.cancelling,
        "overdue": job.overdue,
        "retry_at": job.retry_at,
        "asked": dict(job.asked),
        "blocks": sorted(job.blocks),
        "arguments": job.arguments.to_json(),
        "attempt": None
        if attempt is None
        else {
            "number": attempt.number,
            "link": attempt.link.link_id,
            "channel": attempt.channel,
            "records": attempt.records,
            "away": attempt.away,
            "held": [] if attempt.held is None else attempt.held.to_json(),
        },
    }


def created_from_json(obj: Mapping[str, Any]) -> JobCreated:
    """Return the decision that made a job."""
    created = decision_from_json(obj)
    assert isinstance(created, JobCreated)
    return created


def restore_job(job: Job, obj: Mapping[str, Any]) -> None:
    """Give a job that was just made the state that a snapshot holds; its attempt is given by ``attempt_from_json``."""
    job.state = JobState(obj["state"])
    job.attempts, job.retries_left, job.cancelling = obj["attempts"], obj["retries_left"], obj["cancelling"]
    job.overdue = obj["overdue"]
    job.deaths_left = obj.get("deaths_left", 0)
    job.retry_at = None if obj["retry_at"] is None else (obj["retry_at"][0], obj["retry_at"][1])
    if not job.attempts:
        return
    job.begins()
    job.asked, job.blocks = dict(obj["asked"]), set(obj["blocks"])
    for job_id, ((offset, line, index), handles) in obj["arguments"].items():
        job.arguments.add(job_id, (offset, line, index), list(handles))


def attempt_from_json(job: Job, link: LinkState, obj: Mapping[str, Any]) -> Attempt:
    """Return the open attempt of a job."""
    attempt = Attempt(job, obj["number"], link, obj["channel"])
    attempt.records, attempt.away = obj["records"], obj.get("away", False)
    attempt.started = job.state is JobState.RUNNING
    attempt.held = References.from_json(obj["held"])
    return attempt
