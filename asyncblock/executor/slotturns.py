"""Whose turn a slot is, where the owners of several partitions each believe that all of an executor's are free.

Pure. What comes beyond the slots is declined, and its partition waits. Slots that become free are offered to who has
waited longest, and kept for it: first for the offer, and once that is answered for the jobs that the answer names. So
a partition that hands out without being asked takes nothing from one that waits. Where a partition is alone, nothing
is kept, and it hands out as if there were no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["JobKey", "Offer", "SlotTurns"]

JobKey = tuple[str, int]
"""A job's id and the number of its attempt."""

Offer = tuple[int, int | None]
"""A partition, and how many slots it may have; None: as many as were announced."""


class SlotTurns:
    """The slots of one kind (on the loop, in threads) of one executor."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        """Less than none while threads that had given their places to others are back."""
        self._used: dict[JobKey, int] = {}
        """Partitions by the jobs that have slots."""
        self._kept: dict[JobKey, int] = {}
        """The same by jobs that are still to come."""
        self._offered: dict[int, int] = {}
        """Slots that are kept for partitions that haven't answered yet."""
        self._early: dict[int, set[JobKey]] = {}
        """Jobs that have taken slots of such an offer before it was answered."""
        self._waiting: dict[int, None] = {}
        """Partitions that could use a slot: who has waited longest comes first."""

    # ------------------------------------------------------------------ jobs

    def take(self, partition: int, key: JobKey) -> bool:
        """Tell whether a job that has come has a slot; else it is to be declined, and the partition waits."""
        if self._kept.pop(key, None) is not None:
            pass
        elif self._offered.get(partition, 0):
            self._offered[partition] -= 1
            self._early[partition].add(key)
        elif self._free > 0:
            self._free -= 1
        else:
            self.waits(partition)
            return False
        self._used[key] = partition
        return True

    def over(self, key: JobKey) -> None:
        """Take note that a job needs its slot no more; saying it again changes nothing."""
        if self._used.pop(key, None) is not None:
            self._free += 1

    def comes_not(self, key: JobKey) -> None:
        """Let go of what is kept for a job: it was ended before it came, or needs no slot."""
        if self._kept.pop(key, None) is not None:
            self._free += 1

    def parked(self, change: int) -> None:
        """Take note that a job gives its slot to others (1) while it waits for them, or has it again (-1)."""
        self._free += change

    # ------------------------------------------------------------------ partitions

    def waits(self, partition: int) -> None:
        """Take note that a partition could use a slot."""
        self._waiting.setdefault(partition)

    def begins_anew(self, partition: int) -> None:
        """Keep nothing for jobs of a partition whose connection was lost: of those that have ended it says nothing."""
        for key in [key for key, owner in self._kept.items() if owner == partition]:
            self.comes_not(key)

    def gone(self, partition: int) -> None:
        """Take note that a partition's link is over."""
        self._waiting.pop(partition, None)
        self.begins_anew(partition)

    def offers(self) -> list[Offer]:
        """Return what is to be offered now. Each offer of a number of slots is to be answered."""
        found: list[Offer] = []
        while self._free > 0:
            partition = next((each for each in self._waiting if each not in self._offered), None)
            if partition is None:
                break
            del self._waiting[partition]
            if not self._waiting and self._is_alone(partition):
                found.append((partition, None))
                continue
            slots = 1 if self._waiting else self._free
            self._free -= slots
            self._offered[partition], self._early[partition] = slots, set()
            found.append((partition, slots))
        return found

    def answered(self, partition: int, slots: int, jobs: Iterable[JobKey]) -> None:
        """Take note of the jobs that a partition has for the slots that it was offered."""
        left, early = self._offered.pop(partition, 0), self._early.pop(partition, set())
        count = 0
        for key in jobs:
            count += 1
            if key not in early and left > 0:
                left -= 1
                self._kept[key] = partition
        self._free += left
        if count >= slots:
            # There may be more behind them.
            self.waits(partition)

    def _is_alone(self, partition: int) -> bool:
        """Tell whether no other partition has a slot, or the promise of one."""
        holding = Counter(self._used.values()) + Counter(self._kept.values()) + Counter(self._offered)
        return all(each == partition for each in holding)
