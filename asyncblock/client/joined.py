"""Answers of a set's partitions, joined into what one mainframe would say.

An executor has a link to each partition, by one id: it is one executor, with the jobs of all.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["joined_info", "joined_roster", "newest_of"]

Answer = dict[str, Any]

_SUMS: Final = ("database_bytes", "wal_bytes", "session_bytes")
_SLOTS: Final = ("loop", "threads", "processes")

_JOBS: Final = 20
"""Jobs of an executor that are told: the oldest ones, as a mainframe does."""


def newest_of(pages: Sequence[list[Answer]], limit: int) -> list[Answer]:
    """Return the newest sessions of pages that each begin with their newest."""
    merged = heapq.merge(*pages, key=lambda row: (row["created_at"], row["session_id"]), reverse=True)
    return [row for row, _ in zip(merged, range(limit), strict=False)]


def joined_info(answers: Sequence[Answer]) -> Answer:
    """Join what the partitions say of themselves."""
    first = answers[0]
    if len(answers) == 1:
        return first
    journals = [each["journal"] for each in answers]
    told = max(answers, key=lambda each: int(each["executors"]))
    values = [each["var_values"] for each in answers if "var_values" in each]
    return {
        **first,
        "executors": told["executors"],
        "offers": told["offers"],
        "in_vain": _in_vain(answers),
        "languages": sorted({language for each in answers for language in each["languages"]}),
        # Each executor says the same to all of them.
        **({"var_values": {name: max(each[name] for each in values) for name in values[0]}} if values else {}),
        "sessions": {name: sum(each["sessions"][name] for each in answers) for name in ("known", "running")},
        "journal": {
            **journals[0],
            **{name: sum(each[name] for each in journals) for name in _SUMS},
            "free_bytes": min(each["free_bytes"] for each in journals),
            "trouble": next((each["trouble"] for each in journals if each["trouble"] is not None), None),
        },
    }


def _in_vain(answers: Sequence[Answer]) -> list[Answer]:
    """Return the kinds of jobs that nobody can run, each once, with how many there are in all partitions."""
    found: list[Answer] = []
    for each in (each for answer in answers for each in answer["in_vain"]):
        kind = {**each, "jobs": 0}
        same = next((other for other in found if {**other, "jobs": 0} == kind), None)
        if same is None:
            found.append(dict(each))
        else:
            same["jobs"] += each["jobs"]
    return found


def joined_roster(answers: Sequence[Answer]) -> Answer:
    """Join who is there."""
    if len(answers) == 1:
        return answers[0]
    rows: dict[str, Answer] = {}
    for row in (row for answer in answers for row in answer["executors"]):
        known = rows.get(row["link"])
        rows[row["link"]] = row if known is None else _one(known, row)
    return {
        # Each partition describes so many; of those beyond there is only a count.
        "count": max(len(rows), *(each["count"] for each in answers)),
        "waiting": sum(each["waiting"] for each in answers),
        "executors": [rows[link] for link in sorted(rows)],
    }


def _one(row: Answer, other: Answer) -> Answer:
    """Join what two partitions say of one executor."""
    jobs = sorted([*row["jobs"], *other["jobs"]], key=lambda job: -(job["seconds"] or 0.0))
    quiet = [each["quiet"] for each in (row, other) if each["quiet"] is not None]
    stalls = [each["stall"] for each in (row, other) if each["stall"] is not None]
    return {
        **row,
        "connected": row["connected"] and other["connected"],
        "quiet": max(quiet, default=None),
        "drained": row["drained"] and other["drained"],
        "load": {kind: row["load"][kind] + other["load"][kind] for kind in _SLOTS},
        "held_bytes": max(row["held_bytes"], other["held_bytes"]),
        "job_count": row["job_count"] + other["job_count"],
        "jobs": jobs[:_JOBS],
        "stall": min(stalls, key=lambda stall: stall["ago"], default=None),
    }
