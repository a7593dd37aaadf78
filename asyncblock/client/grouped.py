"""Sessions of one group, told and cancelled as one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from . import Mainframe, SessionInfo
from .many import index_of, reason_of_group

__all__ = ["GroupInfo", "by_group", "cancel_group", "is_whole", "of_group"]

_STATES: Final = ("running", "failed", "interrupted", "cancelled", "succeeded")
"""A group that has one in the first of these states is in it; what is worse comes first."""


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group of sessions, as one session would be listed."""

    group: str
    title: str
    path: str
    states: dict[str, int]
    """How many are in each state that any is in, the worst first."""
    created_at: int
    finished_at: int | None
    """When the last one ended; None while any runs, or has no end."""
    progress: float
    """In percent; one that has ended counts as whole."""
    bytes: int
    error: str | None
    """Of the first one that has failed."""

    @property
    def state(self) -> str:
        """``running`` while any does, else the worst state of any."""
        return next(iter(self.states))

    @property
    def count(self) -> int:
        """How many sessions there are."""
        return sum(self.states.values())

    @property
    def told(self) -> str:
        """Say how many are in which state."""
        return ", ".join(f"{count:,} {state}" for state, count in self.states.items())


def of_group(group: str, members: Iterable[SessionInfo]) -> GroupInfo:
    """Tell of a group's sessions, of which there is at least one."""
    of = sorted(members, key=lambda each: each.session_id)
    counts = Counter(each.state for each in of)
    known = [each for each in _STATES if counts[each]]
    ends = [each.finished_at for each in of]
    done = [(each.progress or 0.0) if each.state == "running" else 100.0 for each in of]
    failed = [each.error for each in of if each.state == "failed"]
    return GroupInfo(
        group,
        of[0].title,
        of[0].path,
        {state: counts[state] for state in (*known, *sorted(set(counts) - set(known)))},
        min(each.created_at for each in of),
        None if None in ends else max(end for end in ends if end is not None),
        sum(done) / len(done),
        sum(each.bytes for each in of),
        failed[0] if failed else None,
    )


def by_group(found: Iterable[SessionInfo]) -> dict[str, list[SessionInfo]]:
    """Sort sessions by group, in the order of the first of each; those of no group stand under their own ids."""
    groups: dict[str, list[SessionInfo]] = {}
    for info in found:
        groups.setdefault(info.group or info.session_id, []).append(info)
    return groups


def is_whole(members: Sequence[SessionInfo]) -> bool:
    """Tell whether these are all that were begun of their group before the newest of them."""
    places = {index_of(each.session_id) for each in members}
    return places == set(range(len(places)))


async def cancel_group(mainframe: Mainframe, group: str, reason: str) -> int:
    """Cancel all sessions of a group that run; return how many. Whoever starts them begins no further ones.

    **Durability**: on return each cancel is in the journal. **Cancellation** leaves those standing that were sent.
    """
    members = await mainframe.sessions(state="running", limit=None, prefix=group)
    said = reason_of_group(group, reason)
    await asyncio.gather(*(mainframe.session(each.session_id).cancel(said) for each in members))
    return len(members)
