"""Which writes are committed together next: the order of the calls, and what an urgent write may overtake. Pure."""

from __future__ import annotations

from collections import deque

from .contract import Write

__all__ = ["MAX_BYTES", "MAX_ITEMS", "WriteQueue"]

MAX_BYTES = 1 << 20
"""Bytes of a commit: 2 to 5 ms, which is what the next urgent write waits for at most."""

MAX_ITEMS = 256
"""Entries, marks and rows of a commit: about 1 ms of small ones. A single write may hold more."""


class WriteQueue:
    """Writes that wait for the disk: those that must hurry with what has to precede them, and the others."""

    def __init__(self) -> None:
        self._urgent: deque[Write] = deque()
        self._others: deque[Write] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    @property
    def urgent(self) -> bool:
        """Tell whether something urgent waits."""
        return bool(self._urgent)

    def add(self, write: Write) -> None:
        """Take a write in."""
        if not write.urgent:
            self._others.append(write)
            return
        touched = set(write.touches())
        before: list[Write] = []
        after: list[Write] = []
        # From the newest back: each write that is drawn along draws along what it shares something with.
        for other in reversed(self._others):
            things = set(other.touches())
            if touched.isdisjoint(things):
                after.append(other)
            else:
                touched |= things
                before.append(other)
        self._urgent.extend(reversed(before))
        self._urgent.append(write)
        self._others = deque(reversed(after))

    def take(self) -> list[Write]:
        """Return the writes of the next commit. Urgent ones travel alone: they don't wait for a full load."""
        waiting = self._urgent or self._others
        group: list[Write] = []
        size = items = 0
        while waiting:
            write = waiting[0]
            size += write.size
            items += len(write.entries) + len(write.marks) + len(write.rows)
            if group and (size > MAX_BYTES or items > MAX_ITEMS):
                break
            group.append(waiting.popleft())
        return group

    def drain(self) -> list[Write]:
        """Return all that is left."""
        left = [*self._urgent, *self._others]
        self._urgent.clear()
        self._others.clear()
        return left
