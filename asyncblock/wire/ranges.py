"""Ranges: a set of whole numbers that mostly follow each other, in the room that its gaps take."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["Ranges"]


class Ranges:
    """A set of numbers from 0, kept as ranges ``[first, end)`` in order."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> None:
        """Add a number; one that is there already changes nothing."""
        firsts, ends = self._firsts, self._ends
        at = bisect_right(firsts, number)
        joins_before = at > 0 and ends[at - 1] >= number
        if joins_before and ends[at - 1] > number:
            return
        joins_after = at < len(firsts) and firsts[at] == number + 1
        if joins_before and joins_after:
            ends[at - 1] = ends.pop(at)
            firsts.pop(at)
        elif joins_before:
            ends[at - 1] = number + 1
        elif joins_after:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            ends.insert(at, number + 1)

    def discard(self, number: int) -> None:
        """Take a number away, if it is there."""
        firsts, ends = self._firsts, self._ends
        at = bisect_right(firsts, number) - 1
        if at < 0 or ends[at] <= number:
            return
        first, end = firsts[at], ends[at]
        parts = [(a, b) for a, b in ((first, number), (number + 1, end)) if a < b]
        firsts[at : at + 1] = [a for a, _ in parts]
        ends[at : at + 1] = [b for _, b in parts]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and self._ends[at - 1] > number

    @property
    def count(self) -> int:
        """Return how many numbers there are."""
        return sum(end - first for first, end in zip(self._firsts, self._ends, strict=True))

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self._firsts, self._ends, strict=True):
            yield from range(first, end)

    def to_json(self) -> list[list[int]]:
        """Return what travels: ``[first, end]`` of each range, the end not included."""
        return [[first, end] for first, end in zip(self._firsts, self._ends, strict=True)]

    @classmethod
    def from_json(cls, obj: object) -> Ranges:
        """Read what ``to_json`` gave; what isn't like it is left out."""
        made = cls()
        pairs = [pair for pair in obj if _is_range(pair)] if isinstance(obj, list) else []
        for first, end in sorted(pairs):
            if made._ends and first <= made._ends[-1]:
                made._ends[-1] = max(end, made._ends[-1])
            else:
                made._firsts.append(first)
                made._ends.append(end)
        return made


def _is_range(pair: object) -> bool:
    return isinstance(pair, list) and [type(each) for each in pair] == [int, int] and bool(pair[0] < pair[1])
