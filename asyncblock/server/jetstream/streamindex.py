"""The content of a partition's stream, folded from its messages: rows, and where entries and snapshots are. Pure.

The same fold takes in what is found at an opening and what is stored afterwards. Messages of a commit count when its
last one is there: what stands before it of a commit that was given up counts for nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import Unavailable
from ..journal.catalogue import Catalogue
from ..journal.contract import BeginPrune, BodyKey, Snapshot
from .natsstore import StoredMessage
from .streammessages import COMMIT, END, ENTRIES, MARKS, SNAPSHOT, decode_marks, decode_steps

__all__ = ["EntryPlaces", "SnapshotPlace", "StreamIndex"]


class EntryPlaces:
    """Where a session's entries are: for each message the first offset, the number, and the bytes before it."""

    __slots__ = ("_before", "_firsts", "_seqs", "bytes", "rows")

    def __init__(self) -> None:
        self._firsts = array("Q")
        self._seqs = array("Q")
        self._before = array("Q")
        self.rows = 0
        self.bytes = 0

    def add(self, first: int, count: int, size: int, seq: int) -> None:
        """Add a message. Raises ``Unavailable`` when entries before it are missing."""
        if first != self.rows:
            raise Unavailable(f"the stream lacks entries from {self.rows} to {first - 1}")
        self._firsts.append(first)
        self._seqs.append(seq)
        self._before.append(self.bytes)
        self.rows += count
        self.bytes += size

    def from_offset(self, offset: int) -> Iterator[tuple[int, int]]:
        """Yield the first offset and the number of the messages from the one that has an entry."""
        if 0 <= offset < self.rows:
            for place in range(bisect_right(self._firsts, offset) - 1, len(self._firsts)):
                yield self._firsts[place], self._seqs[place]


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """Where a snapshot is: its parts follow each other."""

    offset: int
    first_seq: int
    parts: int


@dataclass(frozen=True, slots=True)
class PrunedSession:
    """What there was of a session when its deletion began; needed to delete it."""

    bodies: tuple[BodyKey, ...]
    bytes: int


@dataclass(slots=True, eq=False)
class StreamIndex(Catalogue):
    """The rows of a partition, and the places of everything else."""

    places: dict[int, EntryPlaces] = field(default_factory=dict)
    snapshot_places: dict[int, SnapshotPlace] = field(default_factory=dict)
    pruned: dict[int, PrunedSession] = field(default_factory=dict)
    """Sessions that are hidden and may still have messages and bodies. ``Deletions`` deletes these and removes them."""
    superseded: list[tuple[int, int]] = field(default_factory=list)
    """Sessions, each with a number below which its snapshots have been replaced; ``Deletions`` works these off."""
    _commit: str = ""
    _waiting: list[StoredMessage] = field(default_factory=list)

    def entry_figures(self, session_no: int) -> tuple[int, int]:
        """Return how many entries a session has, and their bytes."""
        places = self.places.get(session_no)
        return (0, 0) if places is None else (places.rows, places.bytes)

    def take(self, message: StoredMessage) -> None:
        """Take in the next message; those that aren't part of a commit are skipped."""
        commit = message.headers.get(COMMIT)
        if commit is None:
            return
        if commit != self._commit:
            self._commit, self._waiting = commit, []
        self._waiting.append(message)
        if END in message.headers:
            waiting, self._commit, self._waiting = self._waiting, "", []
            for each in waiting:
                self._apply(each)

    def _apply(self, message: StoredMessage) -> None:
        headers = message.headers
        if ENTRIES in headers:
            session_no, first, count, size = map(int, headers[ENTRIES].split())
            try:
                self.places.setdefault(session_no, EntryPlaces()).add(first, count, size, message.seq)
            except Unavailable as error:
                raise Unavailable(f"{error} of session number {session_no}: it was purged") from None
        elif SNAPSHOT in headers:
            self._snapshot(message.seq, *map(int, headers[SNAPSHOT].split()))
        else:
            self._steps(message.data)
        for link_no, seq in decode_marks(headers.get(MARKS, "[]")):
            self.mark(link_no, seq)

    def _steps(self, data: bytes) -> None:
        for step in decode_steps(data):
            if isinstance(step, tuple):
                self.mark(*step)
                continue
            if isinstance(step, BeginPrune):
                self._prune_places(step.session_no)
            self.apply_row(step)

    def _prune_places(self, session_no: int) -> None:
        row = self.sessions.get(session_no)
        rests = PrunedSession(
            tuple(BodyKey(each.link_id, each.n) for each in self.bodies_of(session_no)),
            0 if row is None else self.described(row).bytes,
        )
        had_entries = self.places.pop(session_no, None) is not None
        had_snapshot = self.snapshot_places.pop(session_no, None) is not None
        if had_entries or had_snapshot or rests.bodies:
            self.pruned[session_no] = rests

    def _snapshot(self, seq: int, session_no: int, offset: int, part: int, parts: int) -> None:
        if part != parts - 1:
            return
        present = self.snapshot_places.get(session_no)
        if present is None or present.offset <= offset:
            self.snapshot_places[session_no] = SnapshotPlace(offset, seq - part, parts)
            self.superseded.append((session_no, seq - part))

    def snapshot_of(self, session_no: int, payload: bytes) -> Snapshot:
        """Return a session's snapshot; its payload was read before."""
        place = self.snapshot_places[session_no]
        return Snapshot(session_no=session_no, offset=place.offset, payload=payload)
