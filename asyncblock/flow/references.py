"""References: a queue of places of values, in memory that doesn't grow with what a fast node is ahead of a slow one.

Places of outputs that follow each other differ in one number, by the same step: such a progression takes one entry,
however long it is. What it holds comes out as it went in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

from .entries import Ref

__all__ = ["References"]

_SEQUENCES = (tuple, list)
"""What references are when they come from a live session, and when they come from its journal."""


@dataclass(slots=True, eq=False)
class _Progression:
    """References that are equal but for the number at ``place``, which grows by ``step``."""

    first: Ref
    count: int = 1
    place: int = -1
    step: int = 0

    def at(self, number: int) -> Ref:
        first, place = self.first, self.place
        if number == 0:
            return first
        between = (first[place] + self.step * number,)
        return first[:place] + (list(between) if type(first) is list else between) + first[place + 1 :]

    def take(self, ref: Ref) -> bool:
        """Take in what follows, if it does."""
        first = self.first
        kind = type(first)
        if type(ref) is not kind or kind not in _SEQUENCES or len(ref) != len(first):
            return False
        # ``1 == True``, and what is held comes out as it went in.
        if not all(map(is_, map(type, ref), map(type, first))):
            return False
        if self.count == 1:
            place = self.place = _difference(first, ref)
            if place < 0:
                return False
            self.step = ref[place] - first[place]
        else:
            place = self.place
            if ref[place] != first[place] + self.step * self.count:
                return False
            if ref[:place] != first[:place] or ref[place + 1 :] != first[place + 1 :]:
                return False
        self.count += 1
        return True

    def drop_first(self) -> None:
        self.first = self.at(1)
        self.count -= 1
        if self.count == 1:
            self.place, self.step = -1, 0


def _difference(one: Any, other: Any) -> int:
    """Return the place of the one number in which two references of like parts differ; -1 when it isn't so."""
    places = [place for place in range(len(one)) if one[place] != other[place]]
    if len(places) != 1 or type(one[places[0]]) is not int:
        return -1
    return places[0]


class References:
    """A queue of references, first in, first out."""

    __slots__ = ("_count", "_runs")

    def __init__(self, refs: Iterable[Ref] = ()) -> None:
        self._runs: deque[_Progression] = deque()
        self._count = 0
        for ref in refs:
            self.append(ref)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Ref]:
        for run in self._runs:
            yield from map(run.at, range(run.count))

    @property
    def entries(self) -> int:
        """How many entries it takes to hold them."""
        return len(self._runs)

    @property
    def head(self) -> Ref:
        """The oldest."""
        return self._runs[0].first

    def append(self, ref: Ref) -> None:
        """Add one at the end."""
        self._count += 1
        if not (self._runs and self._runs[-1].take(ref)):
            self._runs.append(_Progression(ref))

    def append_run(self, ref: Ref, count: int, place: int) -> None:
        """Add references at the end that follow each other by one in a place, of which this is the first."""
        self._count += count
        self._runs.append(_Progression(ref) if count == 1 else _Progression(ref, count, place, 1))

    def popleft(self) -> Ref:
        """Take the oldest."""
        run = self._runs[0]
        ref = run.first
        if run.count == 1:
            self._runs.popleft()
        else:
            run.drop_first()
        self._count -= 1
        return ref

    def to_json(self) -> list[list[Any]]:
        """Return the entries as JSON-ready data."""
        return [[run.first, run.count, run.place, run.step] for run in self._runs]

    @classmethod
    def from_json(cls, entries: Iterable[list[Any]]) -> References:
        """Return what ``to_json`` gave."""
        made = cls()
        for first, count, place, step in entries:
            made._runs.append(_Progression(first, count, place, step))
            made._count += count
        return made
