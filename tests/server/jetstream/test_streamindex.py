from __future__ import annotations

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.jetstream.natsstore import StoredMessage
from asyncblock.server.jetstream.streamindex import EntryPlaces, StreamIndex
from asyncblock.server.jetstream.streammessages import PartitionNames, encode_commit
from asyncblock.server.journal import Snapshot, Write
from asyncblock.testing.conformance.journal import session

NAMES = PartitionNames("set1")


def take(index: StreamIndex, first: int, commit: str, write: Write, *, cut: int = 0) -> int:
    """Take in a write, without its last messages if it is cut; return the next number."""
    messages = encode_commit(NAMES, commit, [write], lambda: index.marks)
    for seq, each in enumerate(messages[: len(messages) - cut], first):
        index.take(StoredMessage(seq, each.subject, each.headers, each.data))
    return first + len(messages) - cut


def begun(number: int, *payloads: bytes) -> Write:
    write = Write()
    write.session(session(number))
    for offset, payload in enumerate(payloads):
        write.entry(number, offset, payload)
    return write


def test_places_are_found_by_offset() -> None:
    places = EntryPlaces()
    for first, count, size, seq in ((0, 3, 30, 10), (3, 1, 5, 12), (4, 6, 0, 19)):
        places.add(first, count, size, seq)
    assert (places.rows, places.bytes) == (10, 35)
    assert [list(places.from_offset(offset))[:1] for offset in (0, 2, 3, 4, 9)] == [
        [(0, 10)],
        [(0, 10)],
        [(3, 12)],
        [(4, 19)],
        [(4, 19)],
    ]
    assert [list(places.from_offset(offset)) for offset in (-1, 10)] == [[], []]
    assert list(places.from_offset(1)) == [(0, 10), (3, 12), (4, 19)]


def test_a_commit_that_was_given_up_counts_for_nothing() -> None:
    index = StreamIndex()
    after = take(index, 1, "8.1", begun(1, b"never"), cut=1)
    assert (index.sessions, index.entry_figures(1)) == ({}, (0, 0))
    take(index, after + 8, "17.2", begun(1, b"is", b"there"))
    assert index.entry_figures(1) == (2, 7)


def test_missing_entries_are_named() -> None:
    index = StreamIndex()
    take(index, 1, "8.1", begun(1, b"0"))
    gap = Write()
    gap.entry(1, 3, b"3")
    with pytest.raises(Unavailable, match="lacks entries from 1 to 2 of session number 1"):
        take(index, 3, "8.2", gap)


def test_the_highest_snapshot_stays_and_the_others_may_go() -> None:
    index = StreamIndex()
    seq = take(index, 1, "8.1", begun(1))
    for number, offset in enumerate((3, 8, 5)):
        write = Write()
        write.snapshot(Snapshot(session_no=1, offset=offset, payload=bytes(600_000)))
        seq = take(index, seq, f"8.{number + 2}", write)
    place = index.snapshot_places[1]
    assert (place.offset, place.first_seq, place.parts) == (8, 4, 2)
    assert index.superseded == [(1, 2), (1, 4)]
