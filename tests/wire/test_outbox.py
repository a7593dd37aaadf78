"""What leaves first after a connection was lost with something under way: small messages, then larger ones."""

from __future__ import annotations

from asyncblock.wire.bodies import CHUNK_SIZE, Parcel, decode_chunk
from asyncblock.wire.messages import Discard, Whole, encode
from asyncblock.wire.outbox import START_BYTES, Outbox
from asyncblock.wire.scheduler import BATCH_BYTES
from asyncblock.wire.windows import Window

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


UNDERSTANDS = {Whole.op, Discard.op}


def test_a_batch_that_is_sent_again_waits_until_the_mainframe_has_its_bodies() -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 100)
    assert body.ref.to_json() == {"n": 1, "length": 100, "sha256": body.sha256, "encoding": "json"}
    ch.accept(ch.data, Parcel(record(0), [body]))
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 0)]
    outbox.disconnect()
    outbox.resume(0, {}, UNDERSTANDS)
    assert outbox.kept(1) is None, "it wasn't asked yet"
    assert outbox.kept(7) is None
    chunk, question = drain(outbox)
    assert bytes(decode_chunk(chunk)[2]) == b"x" * 100
    assert b'"whole"' in question
    assert outbox.resending
    assert outbox.kept(1) is ch
    assert records_in(drain(outbox)) == [(1, 0)]


def test_the_mainframe_is_told_of_bodies_that_no_record_will_name() -> None:
    outbox, ch = Outbox(), channel()
    named, sent, unsent = (kept(outbox, ch, n, b"x" * 100) for n in (1, 2, 3))
    ch.accept(ch.data, Parcel(record(0), [named]))
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 0)]
    assert outbox.unnamed_bodies(ch) == [sent, unsent]
    outbox.disconnect()
    outbox.resume(0, {9: 5}, UNDERSTANDS)
    assert outbox.next_message() == encode(Discard([9]))
    sent.sent = 50
    outbox.discard([sent, unsent])
    assert outbox.next_message() == encode(Discard([2]))
    assert list(outbox.bodies) == [1]


def test_control_lines_leave_together_until_a_message_is_full() -> None:
    outbox = Outbox()
    for line in (b"a", b"b", b"c" * BATCH_BYTES):
        outbox.control(line)
    assert drain(outbox) == [b"a\nb", b"c" * BATCH_BYTES]


def test_a_slot_that_was_emptied_takes_its_place_and_no_record() -> None:
    outbox, ch = Outbox(), channel()
    ch.put_preview("p", Parcel(record(0)))
    ch.accept(ch.telemetry, record(1))
    ch.previews["p"].content.clear()
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 1)]
    ch.put_preview("q", Parcel(record(2)))
    ch.previews["q"].content.clear()
    assert ch.telemetry.give_up_bodies(record(3)) == []


def test_a_window_is_refilled_when_half_of_it_is_free() -> None:
    window = Window(100)
    window.accepted = 60
    assert not window.refilled
    window.freed = 10
    assert window.refilled
