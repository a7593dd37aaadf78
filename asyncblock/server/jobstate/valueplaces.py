"""Where references to var values stand in the journal, and which value each stands for.

``lives`` asks here for the value of a reference. A value may be sent on as it came, again and again, by one record
after the other: such places are one run, or a million of them would be 160 MB (tests/security/test_floods.py).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Place", "PlaceRun", "ValuePlaces"]

Place = tuple[int, int, int, str]
"""Where a reference to a value stands in the journal: row, line, record, and the handle."""


class PlaceRun(NamedTuple):
    """Records of one line that follow each other, all with the same value on the same handle."""

    row: int
    line: int
    first: int
    handle: str
    stop: int
    """The record behind the last one."""

    def to_json(self) -> list[Any]:
        """Return it as JSON-ready data: a single record as it always was."""
        return list(self) if self.stop > self.first + 1 else list(self[:4])

    @classmethod
    def from_json(cls, fields: list[Any]) -> PlaceRun:
        """Return what ``to_json`` gave."""
        row, line, first, handle, *stop = fields
        return cls(row, line, first, handle, stop[0] if stop else first + 1)


class Placed(Protocol):
    """A value, which knows where it stands: ``lives.VarValue``."""

    places: list[PlaceRun]


V = TypeVar("V", bound=Placed)


class ValuePlaces(Generic[V]):
    """The values of a session by place."""

    def __init__(self) -> None:
        self._firsts: dict[Place, V] = {}
        """Values by the first place of each run."""
        self._longer: dict[tuple[int, int, str], list[tuple[int, int]]] = {}
        """The runs of more than one record, by row, line and handle: first and stop, in order."""

    def __len__(self) -> int:
        return len(self._firsts)

    def get(self, place: Place) -> V | None:
        """Return the value that stands somewhere."""
        found = self._firsts.get(place)
        if found is not None or not self._longer:
            return found
        row, line, index, handle = place
        runs = self._longer.get((row, line, handle), ())
        before = bisect_right(runs, index, key=_first) - 1
        if before < 0 or index >= runs[before][1]:
            return None
        return self._firsts[row, line, runs[before][0], handle]

    def note(self, place: Place, value: V) -> None:
        """Take note that a value stands somewhere, if that isn't known."""
        if self.get(place) is not None:
            return
        row, line, index, handle = place
        last = value.places[-1] if value.places else None
        if last is None or (last.row, last.line, last.stop, last.handle) != (row, line, index, handle):
            self._firsts[place] = value
            value.places.append(PlaceRun(row, line, index, handle, index + 1))
            return
        value.places[-1] = last._replace(stop=index + 1)
        runs = self._longer.setdefault((row, line, handle), [])
        at = bisect_left(runs, last.first, key=_first)
        runs[at : at + (last.stop > last.first + 1)] = [(last.first, index + 1)]

    def add(self, runs: Iterable[PlaceRun], value: V) -> None:
        """Let a value be found where it is known to stand, or stand there in another's place."""
        for run in runs:
            place = (run.row, run.line, run.first, run.handle)
            if place not in self._firsts and run.stop > run.first + 1:
                insort(self._longer.setdefault((run.row, run.line, run.handle), []), (run.first, run.stop))
            self._firsts[place] = value

    def remove(self, value: V) -> None:
        """Forget where a value stands."""
        for run in value.places:
            del self._firsts[run.row, run.line, run.first, run.handle]
            if run.stop > run.first + 1:
                key = (run.row, run.line, run.handle)
                runs = self._longer[key]
                runs.remove((run.first, run.stop))
                if not runs:
                    del self._longer[key]


def _first(run: tuple[int, int]) -> int:
    return run[0]
