"""What a job asks of an executor, and whether a link's executor can give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...resources import NOTHING, Resources
from ..jobstate.blockspec import SPAWN, Need
from ..jobstate.jobs import Job, LinkState

__all__ = ["BESIDE", "SPAWN", "Need", "has_version", "need_of", "need_of_block", "serves"]

BESIDE = "@"
"""Begins the group of a job that another one has asked for; the caller's link follows, if that can run it."""


def need_of(job: Job) -> Need:
    """Return what a job asks for."""
    need = job.kind.need
    if job.resources is not job.kind.needs:
        need = need._replace(resources=job.resources)
    if job.group is not None and need.group != SPAWN:
        need = need._replace(session=job.session.session_id, group=job.group)
    return need


def need_of_block(block: Mapping[str, Any]) -> Need:
    """Return what a block asks for, wherever it runs."""
    return Need.of(block, False, Resources.of(block.get("needs")))._replace(group=None)


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
