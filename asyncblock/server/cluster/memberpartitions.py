"""A member's parts in all partitions of its set, and which of them are its share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, overload

from .ownership import Beat, OwnerState
from .partitionmember import Membership, PartitionMember
from .partitionshares import PartitionShares

__all__ = ["MemberPartitions"]

_DEFERRAL: Final = 0.5
"""Seconds for which a partition without an owner is left to the member that should own it."""

_LEAVES: Final = frozenset({OwnerState.HANDING_OVER.value, "released"})
"""What members say that may be leaving: they are given nothing."""

_AT_REST: Final = frozenset({OwnerState.STANDBY, OwnerState.OWNER})
"""States of a member's partitions in which it may hand one of them over."""


class MemberPartitions(Sequence[PartitionMember]):
    """A member's parts in the partitions of its set, by their numbers."""

    def __init__(self, membership: Membership, owners: Sequence[str]) -> None:
        """Begin to stand by for all; ``owners`` are who owned them last, as the streams say."""
        self._parts = [PartitionMember(membership, *each) for each in enumerate(owners)]
        self._member = membership.member
        self._now = membership.clock
        self._shares = PartitionShares(membership.member)
        self._leaving = False

    @overload
    def __getitem__(self, number: int) -> PartitionMember: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[PartitionMember]: ...

    def __getitem__(self, number: int | slice) -> PartitionMember | Sequence[PartitionMember]:
        return self._parts[number]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[PartitionMember]:
        return iter(self._parts)

    def tick(self) -> None:
        """Take note that time has gone on: to be called each ``BEAT`` seconds."""
        for each in self._parts:
            each.tick()
        if len(self._parts) > 1 and not self._leaving:
            self._share()

    def heard(self, partition: int, beat: Beat) -> None:
        """Take a beat in."""
        if beat.state not in _LEAVES and beat.member != self._member:
            self._shares.heard(beat.member, self._now())
        self._parts[partition].heard(beat)

    async def leave(self) -> None:
        """Hand over what is ours, and claim no more. **Cancellation** leaves that to the partitions' tasks."""
        self._leaving = True
        heirs = self._shares.heirs(self._owners, self._now()) if len(self._parts) > 1 else {}
        await asyncio.gather(*(each.leave(heirs.get(each.partition, "")) for each in self._parts))

    def _share(self) -> None:
        """Leave to others their share: partitions without an owner for a moment, and ours one at a time."""
        owners = self._owners
        planned = self._shares.plan(owners, self._now())
        for each in self._parts:
            each.own.deferral = 0.0 if planned[each.partition] == self._member else _DEFERRAL
        if all(each.own.state in _AT_REST for each in self._parts):
            surplus = self._shares.surplus(owners, self._now())
            if surplus is not None:
                partition, to = surplus
                self._parts[partition].hand_over(to)

    @property
    def _owners(self) -> dict[int, str]:
        return {each.partition: each.owner for each in self._parts}
