"""What leaves first after a connection was lost with something under way: small messages, then larger ones."""

from __future__ import annotations

from asyncblock.wire.bodies import CHUNK_SIZE, Parcel, decode_chunk
from asyncblock.wire.outbox import START_BYTES, Outbox
from asyncblock.wire.scheduler import BATCH_BYTES

from .test_sending import channel, drain, kept, record, records_in, say


def sizes(messages: list[bytes]) -> list[int]:
    return [len(message) for message in messages]


def test_after_a_loss_with_something_under_way_new_messages_begin_small_and_double() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, record(0))
    drain(outbox)
    outbox.disconnect()
    outbox.resume(0, {})
    say(outbox, ch, *[record(i, 100) for i in range(1, 2000)])
    resent, *new = drain(outbox)
    assert records_in([resent]) == [(1, 0)]
    assert records_in(new) == [(1, i) for i in range(1, 2000)]
    growing = sizes(new)[:4]
    assert all(START_BYTES * 2**i * 0.9 < size < START_BYTES * 2**i * 1.1 + 200 for i, size in enumerate(growing))


def test_after_a_loss_in_a_body_its_chunks_begin_small_and_double() -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 300_000)
    ch.accept(ch.data, Parcel(record(0), [body]))
    outbox.scheduler.enlist(ch)
    first = outbox.next_message()
    assert first is not None
    assert len(decode_chunk(first)[2]) == CHUNK_SIZE
    outbox.disconnect()
    outbox.resume(0, {1: 1000})
    *chunks, named = drain(outbox)
    pieces = [decode_chunk(chunk) for chunk in chunks]
    assert [len(piece) for _, _, piece in pieces][:5] == [START_BYTES * 2**i for i in range(5)]
    assert pieces[0][1] == 1000
    assert sum(len(piece) for _, _, piece in pieces) == 299_000
    assert records_in([named]) == [(1, 0)]


def test_after_a_quiet_loss_messages_are_as_large_as_before() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, record(0))
    drain(outbox)
    outbox.acknowledge(1)
    outbox.disconnect()
    outbox.resume(1, {})
    say(outbox, ch, *[record(i, 100) for i in range(2000)])
    assert len(drain(outbox)[0]) > BATCH_BYTES * 0.5
