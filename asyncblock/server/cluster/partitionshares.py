"""Which member owns which partition of a set: pure; every member comes to the same result from what it hears.

The rule: each of M members that live owns P // M of the P partitions, and P % M of them one more, those that have most
already. An owner keeps what it has up to its share, the lowest numbers first. What nobody owns who lives, and what is
beyond somebody's share, goes, the lowest number first, to who lacks most; of equals, to the first by name. So nothing
moves that needn't, and a member that joins or comes back takes from the others as many as it lacks.

What an owner has beyond its share it hands over, one partition after the other, once all partitions have an owner and
nothing has changed for ``SETTLE`` seconds. Where two see the set differently for a moment a partition may move twice;
that it has two owners is what the stream prevents, whatever is planned here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from .ownership import BEAT, PATIENCE

__all__ = ["SETTLE", "PartitionShares", "planned_owners"]

SETTLE: Final = 1.0
"""Seconds without a change before something is handed over: who joined is heard by all."""

_LIVES: Final = PATIENCE - BEAT
"""Seconds for which one that isn't heard is counted: less than those after which what it owned is claimed."""


def planned_owners(owners: Mapping[int, str], members: Collection[str]) -> dict[int, str]:
    """Return who is to own each partition, of those that live; ``owners`` has all partitions, with who owns them."""
    owned: dict[str, list[int]] = {member: [] for member in members}
    loose: list[int] = []
    for partition in sorted(owners):
        owned.get(owners[partition], loose).append(partition)
    if not owned:
        return {}
    share, more = divmod(len(owners), len(owned))
    lacks: dict[str, int] = {}
    for place, member in enumerate(sorted(owned, key=lambda member: (-len(owned[member]), member))):
        most = share + (place < more)
        loose += owned[member][most:]
        del owned[member][most:]
        lacks[member] = most - len(owned[member])
    planned = {partition: member for member, partitions in owned.items() for partition in partitions}
    for partition in sorted(loose):
        member = min(lacks, key=lambda member: (-lacks[member], member))
        lacks[member] -= 1
        planned[partition] = member
    return planned


class PartitionShares:
    """What one member knows of the others, and what follows for its own partitions. A clock is handed in."""

    def __init__(self, member: str) -> None:
        self._member = member
        self._heard_at: dict[str, float] = {}
        self._seen: tuple[tuple[tuple[int, str], ...], tuple[str, ...]] | None = None
        self._changed_at = 0.0

    def heard(self, member: str, now: float) -> None:
        """Take note that a member lives, and takes partitions."""
        self._heard_at[member] = now

    def left(self, member: str) -> None:
        """Take note that a member takes no partitions any more."""
        self._heard_at.pop(member, None)

    def plan(self, owners: Mapping[int, str], now: float) -> dict[int, str]:
        """Return who is to own each partition; ``owners`` is who does, as far as is known."""
        members = self._others(now) | {self._member}
        seen = (tuple(sorted(owners.items())), tuple(sorted(members)))
        if seen != self._seen:
            self._seen, self._changed_at = seen, now
        return planned_owners(owners, members)

    def surplus(self, owners: Mapping[int, str], now: float) -> tuple[int, str] | None:
        """Return a partition of ours that another member should own, and that member; None if there is none."""
        planned = self.plan(owners, now)
        if now - self._changed_at < SETTLE or not set(owners.values()) <= self._others(now) | {self._member}:
            return None
        mine = (each for each, owner in sorted(owners.items()) if owner == self._member)
        return next(((each, planned[each]) for each in mine if planned[each] != self._member), None)

    def heirs(self, owners: Mapping[int, str], now: float) -> dict[int, str]:
        """Return which member is to own each partition when we have left; empty if there is no other."""
        return planned_owners(owners, self._others(now))

    def _others(self, now: float) -> set[str]:
        self._heard_at = {each: at for each, at in self._heard_at.items() if now - at < _LIVES}
        return set(self._heard_at)
