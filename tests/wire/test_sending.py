"""The sending side as a whole: channels, windows, scheduler, outbox; all of it pure."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncblock.errors import Closed, RemoteProtocolError
from asyncblock.wire import frames
from asyncblock.wire.bodies import CHUNK_SIZE, OutgoingBody, Parcel, decode_chunk, sum_of
from asyncblock.wire.channel import Channel, Mark
from asyncblock.wire.outbox import PIPELINE, Outbox
from asyncblock.wire.scheduler import BATCH_BYTES, BATCH_RECORDS, QUANTUM
from asyncblock.wire.windows import DATA_WINDOW, LINK_WINDOW, Window


def channel(number: int = 1) -> Channel:
    return Channel(number, f"job{number}", 1, Window(LINK_WINDOW))


def record(i: int, size: int = 0) -> bytes:
    return orjson.dumps({"i": i, "pad": "x" * size})


def say(outbox: Outbox, ch: Channel, *records: bytes) -> None:
    for each in records:
        ch.accept(ch.data, each)
    outbox.scheduler.enlist(ch)


def kept(outbox: Outbox, ch: Channel, n: int, data: bytes, *, telemetry: bool = False) -> OutgoingBody:
    """Make a body and let the outbox send it."""
    body = OutgoingBody(n, "json", ch, telemetry=telemetry)
    for start in range(0, len(data), CHUNK_SIZE):
        block = data[start : start + CHUNK_SIZE]
        body.add(block, len(block))
    body.seal(sum_of([data]))
    outbox.keep(body)
    return body


def drain(outbox: Outbox) -> list[bytes]:
    messages = []
    while (message := outbox.next_message()) is not None:
        messages.append(message)
    return messages


def records_in(messages: list[bytes]) -> list[tuple[int, int]]:
    found = []
    for message in messages:
        if frames.is_text(message):
            for header, lines in frames.split(message):
                if header["op"] == "batch":
                    for number, raw in frames.take_batch(header, lines).runs:
                        found += [(number, each["i"]) for each in orjson.loads(raw)]
    return found


def test_records_of_a_job_keep_their_order_and_fill_batches() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[record(i) for i in range(1000)])
    messages = drain(outbox)
    assert records_in(messages) == [(1, i) for i in range(1000)]
    assert len(messages) == 2
    assert outbox.seq == 2


def test_a_batch_is_bounded_by_bytes_and_by_count() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[record(i, 1000) for i in range(500)])
    assert max(map(len, drain(outbox))) <= BATCH_BYTES + QUANTUM + 2000
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[b"{}" for _ in range(BATCH_RECORDS * 3)])
    for message in drain(outbox):
        [(header, lines)] = frames.split(message)
        assert sum(len(orjson.loads(raw)) for _, raw in frames.take_batch(header, lines).runs) <= BATCH_RECORDS


def test_jobs_take_turns_by_bytes_and_not_by_records() -> None:
    outbox, big, small = Outbox(), channel(1), channel(2)
    say(outbox, big, *[record(i, 8000) for i in range(100)])
    say(outbox, small, *[record(i, 80) for i in range(3000)])
    sent = {1: 0, 2: 0}
    for message in drain(outbox):
        [(header, lines)] = frames.split(message)
        for number, raw in frames.take_batch(header, lines).runs:
            sent[number] += len(raw)
        if sent[2] > 200_000:
            break
    assert abs(sent[1] - sent[2]) <= 2 * (QUANTUM + BATCH_BYTES)


def test_control_leaves_before_everything() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[record(i) for i in range(10)])
    outbox.control(b'{"op":"ping"}')
    assert drain(outbox)[0] == b'{"op":"ping"}'


def test_the_start_leaves_before_data_before_telemetry_before_progress_before_the_finish() -> None:
    outbox, ch = Outbox(), channel()
    ch.finish = Parcel(record(5))
    ch.start = record(0)
    ch.put_progress(record(4))
    ch.progress_ready = True
    ch.accept(ch.telemetry, record(3))
    ch.accept(ch.data, record(1))
    ch.accept(ch.data, record(2))
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, i) for i in range(6)]
    assert ch.finished


def test_a_start_needs_no_room_and_a_batch_has_no_more_records_for_it() -> None:
    outbox, ch = Outbox(), channel()
    ch.start = record(0)
    assert ch.has_record and not ch.idle
    say(outbox, ch, *[record(1, 20) for _ in range(BATCH_RECORDS)])
    first, second = drain(outbox)
    assert len(records_in([first])) == BATCH_RECORDS
    assert len(records_in([second])) == 1
    assert outbox.started() == [ch]
    assert outbox.started() == []
    outbox.acknowledge(outbox.seq)
    assert ch.data.window.in_flight == ch.port.in_flight == 0


def test_starts_of_many_jobs_are_not_held_back_once_they_fill_a_batch() -> None:
    port = Window(LINK_WINDOW)
    outbox = Outbox([port])
    channels = [Channel(number, "job", 1, port) for number in range(1, BATCH_RECORDS + PIPELINE + 1)]
    for ch in channels:
        ch.start = record(0)
    for ch in channels[:PIPELINE]:
        outbox.scheduler.enlist(ch)
        assert outbox.next_message() is not None
    for ch in channels[PIPELINE:-1]:
        outbox.scheduler.enlist(ch)
    assert outbox.next_message() is None, "not a full batch"
    outbox.scheduler.enlist(channels[-1])
    message = outbox.next_message()
    assert message is not None
    assert len(records_in([message])) == BATCH_RECORDS


def test_progress_is_a_latest_wins_slot() -> None:
    outbox, ch = Outbox(), channel()
    for i in range(100):
        ch.put_progress(record(i))
    ch.progress_ready = True
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 99)]
    outbox.acknowledge(1)
    assert ch.telemetry.window.in_flight == 0
    assert ch.port.in_flight == 0


def test_a_waiting_preview_is_superseded_by_one_with_its_id() -> None:
    outbox, ch = Outbox(), channel()
    for i in range(5):
        ch.put_preview("chart", Parcel(record(i)))
        ch.put_preview(f"other{i}", Parcel(record(10 + i)))
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 4), *[(1, 10 + i) for i in range(5)]]
    ch.put_preview("chart", Parcel(record(7)))
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 7)]
    outbox.acknowledge(outbox.seq)
    assert ch.telemetry.window.in_flight == 0


def test_force_progress_queues_it_with_the_telemetry_once() -> None:
    outbox, ch = Outbox(), channel()
    ch.put_progress(record(1))
    ch.force_progress()
    ch.force_progress()
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 1)]
    outbox.acknowledge(1)
    assert ch.telemetry.window.in_flight == 0


def test_windows_are_freed_by_acknowledgement_and_only_by_it() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[record(i, 100_000) for i in range(DATA_WINDOW // 100_000 + 1)])
    assert not ch.data.window.has_room(1)
    drain(outbox)
    assert not ch.data.window.has_room(1)
    outbox.acknowledge(outbox.seq)
    assert ch.data.window.in_flight == 0
    assert outbox.unacknowledged == 0


def test_an_empty_window_takes_one_record_of_any_size() -> None:
    window = Window(10)
    assert window.has_room(1000)
    window.accepted += 1000
    assert not window.has_room(1)


def test_marks_settle_when_everything_before_them_is_acknowledged() -> None:
    outbox, ch, settled = Outbox(), channel(), list[object]()
    say(outbox, ch, record(1))
    outbox.mark(ch, Mark(ch.data.appended, ch.telemetry.appended, settled.append))
    assert settled == []
    drain(outbox)
    assert settled == []
    outbox.acknowledge(1)
    assert settled == [None]
    outbox.mark(ch, Mark(ch.data.appended, ch.telemetry.appended, settled.append))
    assert settled == [None, None]


def test_a_mark_after_the_finish_waits_for_it() -> None:
    outbox, ch, settled = Outbox(), channel(), list[object]()
    outbox.mark(ch, Mark(0, 0, settled.append, after_finish=True))
    ch.finish = Parcel(record(1))
    outbox.scheduler.enlist(ch)
    drain(outbox)
    assert settled == []
    [run] = outbox.acknowledge(1)
    assert run.finish
    assert settled == [None]


def test_an_acknowledgement_of_what_was_not_sent_is_the_others_fault() -> None:
    with pytest.raises(RemoteProtocolError):
        Outbox().acknowledge(1)


def test_after_a_welcome_everything_unstored_is_sent_again_byte_for_byte() -> None:
    outbox, ch = Outbox(), channel()
    say(outbox, ch, *[record(i, 1000) for i in range(300)])
    first = drain(outbox)
    assert len(first) > 3
    outbox.disconnect()
    outbox.resume(2, {})
    assert drain(outbox) == first[2:]
    say(outbox, ch, record(300))
    outbox.disconnect()
    outbox.resume(len(first), {})
    assert records_in(drain(outbox)) == [(1, 300)]


def test_a_body_goes_before_its_record_and_other_jobs_pass() -> None:
    outbox, ch, other = Outbox(), channel(1), channel(2)
    body = kept(outbox, ch, 1, b"x" * 300_000 + b"y" * 100_000)
    ch.accept(ch.data, Parcel(record(1), [body]))
    say(outbox, ch, record(2))
    say(outbox, other, *[record(i) for i in range(3)])
    messages = drain(outbox)
    chunks = [decode_chunk(m) for m in messages if not frames.is_text(m)]
    assert b"".join(bytes(piece) for _, _, piece in chunks) == b"x" * 300_000 + b"y" * 100_000
    assert all(len(piece) <= CHUNK_SIZE for _, _, piece in chunks)
    order = records_in(messages)
    assert order.index((2, 0)) < order.index((1, 1)) < order.index((1, 2))
    assert frames.is_text(messages[0])
    outbox.acknowledge(outbox.seq)
    assert outbox.bodies == {}


@pytest.mark.parametrize("stored", [0, 1, CHUNK_SIZE, 250_000, 300_000])
def test_a_body_goes_on_where_the_mainframe_has_it(stored: int) -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 300_000)
    ch.accept(ch.data, Parcel(record(1), [body]))
    outbox.scheduler.enlist(ch)
    for _ in range(2):
        outbox.next_message()
    outbox.disconnect()
    outbox.resume(0, {1: stored})
    messages = drain(outbox)
    chunks = [decode_chunk(m) for m in messages if not frames.is_text(m)]
    assert sum(len(piece) for _, _, piece in chunks) == 300_000 - stored
    assert frames.is_text(messages[-1])


def test_a_body_whose_record_was_sent_is_sent_again_before_that_record() -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 100_000)
    ch.accept(ch.data, Parcel(record(1), [body]))
    outbox.scheduler.enlist(ch)
    first = drain(outbox)
    outbox.disconnect()
    outbox.resume(0, {})
    *chunks, named = drain(outbox)
    assert named == first[-1]
    assert b"".join(decode_chunk(chunk)[2] for chunk in chunks) == b"x" * 100_000


def test_a_finish_with_bodies_comes_after_them_and_after_all_records() -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 100_000)
    ch.finish = Parcel(record(9), [body])
    say(outbox, ch, record(1))
    messages = drain(outbox)
    assert records_in(messages) == [(1, 1), (1, 9)]
    assert [frames.is_text(m) for m in messages] == [True, False, False, True]


def test_abandon_settles_every_wait_with_the_reason() -> None:
    outbox, ch, settled = Outbox(), channel(), list[object]()
    say(outbox, ch, record(1))
    drain(outbox)
    outbox.mark(ch, Mark(1, 0, settled.append))
    say(outbox, ch, record(2))
    outbox.mark(ch, Mark(2, 0, settled.append))
    error = Closed("over")
    outbox.abandon([ch], error)
    assert settled == [error, error]
    assert ch.trouble is error
    assert outbox.next_message() is None


@settings(deadline=None)
@given(st.data())
def test_whatever_happens_each_record_arrives_once_and_in_order(data: st.DataObject) -> None:
    outbox, channels = Outbox(), [channel(n) for n in range(1, 4)]
    said = {ch.number: 0 for ch in channels}
    arrived: list[tuple[int, int]] = []
    stored = 0

    def deliver(message: bytes) -> None:
        nonlocal stored
        for header, lines in frames.split(message):
            batch = frames.take_batch(header, lines)
            if batch.seq <= stored:
                continue
            assert batch.seq == stored + 1
            stored = batch.seq
            arrived.extend(records_in([message]))

    for _ in range(data.draw(st.integers(1, 30))):
        match data.draw(st.sampled_from(["say", "send", "lose", "ack", "cut"])):
            case "say":
                ch = data.draw(st.sampled_from(channels))
                for _ in range(data.draw(st.integers(1, 5))):
                    said[ch.number] += 1
                    say(outbox, ch, record(said[ch.number], data.draw(st.sampled_from([0, 5000]))))
            case "send":
                if (message := outbox.next_message()) is not None:
                    deliver(message)
            case "lose":
                outbox.next_message()
                outbox.disconnect()
                outbox.resume(stored, {})
            case "ack":
                outbox.acknowledge(stored)
            case "cut":
                outbox.disconnect()
                outbox.resume(stored, {})
    while (message := outbox.next_message()) is not None:
        deliver(message)
    outbox.acknowledge(stored)
    for ch in channels:
        assert [i for number, i in arrived if number == ch.number] == list(range(1, said[ch.number] + 1))
        assert ch.data.window.in_flight == 0


def test_small_batches_wait_for_acknowledgements_when_four_are_under_way() -> None:
    port = Window(LINK_WINDOW)
    outbox, ch = Outbox([port]), Channel(1, "job", 1, port)
    for i in range(PIPELINE):
        say(outbox, ch, record(i))
        assert len(drain(outbox)) == 1
    say(outbox, ch, record(4))
    say(outbox, ch, record(5))
    assert drain(outbox) == []
    outbox.acknowledge(1)
    assert records_in(drain(outbox)) == [(1, 4), (1, 5)]
    say(outbox, ch, record(6))
    assert drain(outbox) == []
    say(outbox, ch, *[record(7 + i, 1000) for i in range(100)])
    assert len(drain(outbox)) == 1


def test_chunks_do_not_wait_while_small_batches_do() -> None:
    port = Window(LINK_WINDOW)
    outbox, ch = Outbox([port]), Channel(1, "job", 1, port)
    others = [Channel(number, "other", 1, port) for number in (2, 3)]
    for i in range(PIPELINE):
        say(outbox, ch, record(i))
        assert len(drain(outbox)) == 1
    say(outbox, ch, record(4))
    bodies = [kept(outbox, other, other.number, b"x" * 100_000) for other in others]
    for other, body in zip(others, bodies, strict=True):
        other.accept(other.data, Parcel(record(body.n), [body]))
        outbox.scheduler.enlist(other)
    chunks = drain(outbox)
    assert [decode_chunk(chunk)[0] for chunk in chunks] == [2, 3, 2, 3]
    outbox.acknowledge(1)
    assert sorted(records_in(drain(outbox))) == [(1, 4), (2, 2), (3, 3)]


def test_records_and_chunks_of_a_job_take_turns() -> None:
    outbox, ch = Outbox(), channel()
    kept(outbox, ch, 1, b"x" * 300_000)
    say(outbox, ch, *[record(i, 1000) for i in range(300)])
    kinds = [frames.is_text(message) for message in drain(outbox)]
    assert kinds[:4] == [True, False, True, False]
    assert kinds.count(False) == 5


@pytest.mark.parametrize("chunks_sent", [0, 1])
def test_large_previews_that_are_given_up_let_the_finish_go(chunks_sent: int) -> None:
    outbox, ch = Outbox(), channel()
    body = kept(outbox, ch, 1, b"x" * 300_000, telemetry=True)
    other = kept(outbox, ch, 2, b"y" * 300_000, telemetry=True)
    ch.accept(ch.telemetry, record(0))
    ch.accept(ch.telemetry, Parcel(record(1), [body]))
    ch.accept(ch.telemetry, record(2))
    ch.put_preview("p", Parcel(record(3), [other]))
    ch.put_preview("q", Parcel(record(4)))
    ch.finish = Parcel(record(9))
    outbox.scheduler.enlist(ch)
    before = [message for message in (outbox.next_message() for _ in range(1 + chunks_sent)) if message is not None]
    assert ch.telemetry.holds_parcels
    settled: list[BaseException | None] = []
    outbox.mark(ch, Mark(0, ch.telemetry.appended, settled.append))
    words = record(5)
    dropped = ch.telemetry.give_up_bodies(words)
    ch.port.freed += sum(len(parcel.record) for parcel in dropped) - len(words)
    assert [parcel.bodies[0].n for parcel in dropped] == [1, 2]
    outbox.scheduler.enlist(ch)
    assert records_in(before + drain(outbox)) == [(1, i) for i in (0, 2, 4, 5, 9)]
    outbox.acknowledge(outbox.seq)
    assert settled == [None]
    assert ch.telemetry.window.in_flight == 0
    assert ch.port.in_flight == 0


def test_nothing_is_given_up_where_no_chunks_wait() -> None:
    outbox, ch = Outbox(), channel()
    ch.accept(ch.telemetry, Parcel(record(0)))
    assert ch.telemetry.give_up_bodies(record(5)) == []
    outbox.scheduler.enlist(ch)
    assert records_in(drain(outbox)) == [(1, 0)]
