"""What a job asks of an executor, and whether a link's executor can give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..resources import NOTHING, Resources
from .blockspec import name_of
from .jobs import Job, LinkState

__all__ = ["BESIDE", "SPAWN", "Need", "has_version", "need_of", "need_of_block", "serves"]

BESIDE = "@"
"""Begins the group of a job that another one has asked for; the caller's link follows, if that can run it."""

SPAWN = "spawn"
"""In place of a group: a process of its own."""


class Need(NamedTuple):
    """What a job asks of an executor."""

    language: str
    version: str
    """The hash of its package; empty for what every executor has."""
    session: str | None
    """Of a pinned job."""
    group: str | None
    in_thread: bool
    package: str
    resources: Resources = NOTHING
    """What an executor has to offer, and to have free. Of a job that another one has asked for, and that runs beside
    it, what goes beyond that one's own."""


def need_of(job: Job) -> Need:
    """Return what a job asks for."""
    block = job.block
    version = str(block.get("hash", ""))
    language = str(block.get("language", "python"))
    if block.get("spawn"):
        return Need(language, version, None, SPAWN, False, job.code, job.resources)
    session = job.session.session_id if job.group is not None else None
    return Need(language, version, session, job.group, job.in_thread, job.code, job.resources)


def need_of_block(block: Mapping[str, Any]) -> Need:
    """Return what a block asks for, wherever it runs."""
    resources = Resources.of(block.get("needs"))
    language, version = str(block.get("language", "python")), str(block.get("hash", ""))
    return Need(language, version, None, None, False, name_of(block), resources)


def serves(link: LinkState, need: Need) -> bool:
    """Tell whether a link's executor can run a job, if it has room."""
    executor = link.executor
    return (
        executor is not None
        and not executor.once
        and link.connection is not None
        and (need.group != SPAWN or executor.spawn_slots > 0)
        and need.language in executor.languages
        and (
            not need.version
            or need.version in executor.packages
            or executor.accepts_instead(need.version, need.package)
        )
        and (need.resources is NOTHING or not need.resources.lacks(executor.offers))
    )


def has_version(link: LinkState, need: Need) -> bool:
    """Tell whether a link's executor has just that version, rather than another one that it runs instead."""
    return link.executor is not None and (not need.version or need.version in link.executor.packages)
