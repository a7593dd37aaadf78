"""A channel by itself: what it counts, and what it leaves behind."""

from __future__ import annotations

from asyncblock.wire.bodies import Parcel
from asyncblock.wire.outbox import Outbox
from asyncblock.wire.windows import Slot

from .test_sending import channel, drain, kept, record, records_in


def test_a_waiting_progress_is_a_record_once_it_is_due() -> None:
    ch = channel()
    ch.progress = Slot.empty()
    ch.telemetry.window.accepted += len(record(1))
    ch.port.accepted += len(record(1))
    ch.progress.content.append(Parcel(record(1)))
    ch.progress.queued = True
    assert ch.waiting == 1
    assert not ch.has_record
    ch.progress_ready = True
    assert ch.has_record
    ch.finish = Parcel(record(2))
    assert ch.waiting == 2
    ch.discard()
    assert ch.waiting == 1
    assert ch.telemetry.window.in_flight == ch.port.in_flight == 0


def test_a_closed_channel_keeps_neither_bodies_nor_callbacks() -> None:
    outbox, ch = Outbox(), channel()
    ch.storing = lambda: None
    ch.unlink()
    assert ch.storing is None
    body = kept(outbox, ch, 1, b"x")
    ch.finish = Parcel(record(0), [body])
    ch.unlink()
    assert ch.finish.record == record(0)
    assert ch.finish.bodies != [body]


def test_a_channel_is_idle_when_all_of_it_has_left() -> None:
    outbox, ch = Outbox(), channel()
    assert outbox.idle
    ch.accept(ch.data, record(0))
    outbox.scheduler.enlist(ch)
    assert not outbox.idle
    assert records_in(drain(outbox)) == [(1, 0)]
    assert outbox.idle
    assert not outbox.resending
    assert outbox.unacknowledged == 1
    outbox.disconnect()
    outbox.resume(0, {})
    assert outbox.resending
