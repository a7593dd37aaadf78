"""Bodies on the sender's side: their references, their blocks, what leaves of them."""

from __future__ import annotations

from asyncblock.wire.bodies import CHUNK_SIZE, BodyRef, OutgoingBody, decode_chunk, sum_of

from .test_sending import channel


class Spilled:
    """A block that lies somewhere else than in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, start: int, size: int) -> bytes:
        return self._data[start : start + size]


def test_a_reference_names_the_link_that_sent_the_body() -> None:
    ref = BodyRef(1, 2, "0" * 64, "raw", "other")
    assert BodyRef.from_json(ref.to_json()) == ref


def test_blocks_that_are_not_in_memory_are_read_as_those_that_are() -> None:
    body = OutgoingBody(1, "raw", channel())
    body.add(b"a" * CHUNK_SIZE, CHUNK_SIZE)
    body.add(Spilled(b"b" * CHUNK_SIZE), CHUNK_SIZE)
    body.add(Spilled(b"c" * 10), 10)
    assert body.content() == b"a" * CHUNK_SIZE + b"b" * CHUNK_SIZE + b"c" * 10
    assert body.read(CHUNK_SIZE - 1, 3) == b"abb"
    body.sent = 2 * CHUNK_SIZE
    message = body.next_message(CHUNK_SIZE, asks=False)
    assert message is not None
    n, offset, piece = decode_chunk(message)
    assert (n, offset, bytes(piece)) == (1, 2 * CHUNK_SIZE, b"c" * 10)


def test_nothing_leaves_before_there_is_more_or_all_of_it() -> None:
    body = OutgoingBody(1, "raw", channel())
    assert body.next_message(CHUNK_SIZE, asks=True) is None
    body.seal(sum_of([]))
    asked = body.next_message(CHUNK_SIZE, asks=True)
    assert asked is not None
    assert b'"whole"' in asked
    assert body.next_message(CHUNK_SIZE, asks=True) is None
