"""Slots of executors that run jobs of several partitions: they say what is free, for no partition sees all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...errors import Rejected
from ..committing.transaction import Transaction
from ..jobstate.jobs import Job, LinkState
from ..peers.announcement import ExecutorInfo
from ..serverlimits import MAX_SLOTS
from .needs import BESIDE

__all__ = ["SLOT_METHODS", "free_slots", "full", "spend"]

Pump = Callable[[Transaction], None]
"""Hands out what can be handed out."""


def full(link: LinkState, job: Job) -> None:
    """Take note that an executor has no slot for a job: it gets no more like it until it says that it has."""
    if _has_slot(job):
        link.room[_kind(job.in_thread)] = 0


def free_slots(link: LinkState, executor: ExecutorInfo, *, in_thread: bool) -> int:
    """Return how many more jobs a link's executor has slots for."""
    if in_thread:
        free = executor.sync_slots - link.sync_load
        # Parked threads are counted only when no other is free: that takes a look at every attempt.
        free = free if free > 0 else free + _parked(link)
    else:
        free = executor.slots - (link.load - link.sync_load)
    room = link.room.get(_kind(in_thread)) if link.room else None
    return free if room is None else min(free, room)


def spend(link: LinkState, job: Job) -> None:
    """Take note that a job gets one of the slots that were offered."""
    kind = _kind(job.in_thread)
    if kind in link.room and _has_slot(job):
        link.room[kind] = max(link.room[kind] - 1, 0)


def _free(pump: Pump, transaction: Transaction, link: LinkState, params: dict[str, Any]) -> dict[str, Any]:
    """Hand jobs out to an executor that has slots again."""
    kind, slots = params["kind"], params.get("slots")
    if slots is not None and not 0 <= slots <= MAX_SLOTS:
        raise Rejected(f"parameter 'slots' must be from 0 to {MAX_SLOTS}, not {slots}", code="params")
    first = link.next_channel
    if slots is None:
        link.room.pop(kind, None)
    else:
        link.room[kind] = slots
    pump(transaction)
    if slots is None:
        return {"jobs": []}
    given = [link.attempts[channel] for channel in range(first, link.next_channel) if channel in link.attempts]
    jobs = [each for each in given if _kind(each.job.in_thread) == kind and _has_slot(each.job)]
    if len(jobs) < slots:
        # There is nothing more to do: what comes next needn't wait for an offer.
        link.room.pop(kind, None)
    return {"jobs": [[each.job.job_id, each.number] for each in jobs]}


def _parked(link: LinkState) -> int:
    """Return how many threads wait for blocks that they have asked for: their places are free for those."""
    return sum(not each.fenced and each.job.in_thread and bool(each.job.blocks) for each in link.attempts.values())


def _kind(in_thread: bool) -> str:
    return "threads" if in_thread else "loop"


def _has_slot(job: Job) -> bool:
    """Tell whether a job is counted among an executor's."""
    return job.group is None or not job.group.startswith(BESIDE)


SLOT_METHODS: Final = {"free": _free}
"""What executors say of their slots."""
