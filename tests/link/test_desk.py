from __future__ import annotations

import asyncio

import pytest

from asyncblock.errors import LeaseLost
from asyncblock.iothread import IOThread, shared
from asyncblock.link import desk as desks
from asyncblock.link.desk import Desk, Outlet
from asyncblock.wire.bodies import OutgoingBody, Parcel
from asyncblock.wire.channel import Mark
from asyncblock.wire.outbox import PIPELINE


def made(outlet: Outlet, data: bytes, *, telemetry: bool = False) -> OutgoingBody:
    """Make a body, and let the desk hear of it."""
    body = outlet.small_body(data, "raw", telemetry=telemetry, force=True)
    assert body is not None
    outlet._desk.io.post(lambda: None)
    outlet._desk.io._inbox._drain()
    return body


async def test_a_finish_goes_without_large_previews_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "PREVIEW_PATIENCE", 0.0)
    async with shared().lease() as io:
        text = await io.run(_give_up(io))
    assert text.index(b"BlockWarning") < text.index(b"BlockFinished")
    assert b"previews were given up" in text
    assert b"BlockPreview" not in text


async def _give_up(io: IOThread) -> bytes:
    """Finish a job whose preview is under way; return what leaves after the chunk that was sent."""
    sendable = asyncio.Event()
    desk = Desk(io, sendable)
    outlet = desk.open(1, "job", 1)
    body = made(outlet, b"x" * 300_000, telemetry=True)
    outlet.try_accept(outlet.channel.telemetry, Parcel(b'{"type":"BlockPreview"}', [body]))
    desk.finish(outlet.channel, Parcel(b'{"type":"BlockFinished"}'), Mark(0, 0, lambda error: None, after_finish=True))
    chunk = desk.next_message()
    assert chunk is not None
    assert chunk[:1] == b"\x01"
    sendable.clear()
    await asyncio.wait_for(sendable.wait(), 10)
    left = []
    while (message := desk.next_message()) is not None:
        left.append(message)
    assert desk.outbox.bodies == {}
    assert (desk.room.in_memory, desk.room.in_file) == (0, 0)
    return b"".join(left)


@pytest.mark.parametrize("ending", ["closed", "closed before the body is kept", "finished"])
async def test_a_body_that_nothing_names_gives_its_room_back_when_its_job_ends(ending: str) -> None:
    async with shared().lease() as io:
        await io.run(_end(io, ending))


async def _end(io: IOThread, ending: str) -> None:
    desk = Desk(io, asyncio.Event())
    outlet = desk.open(1, "job", 1)
    if ending == "closed before the body is kept":
        desk.close(1, LeaseLost("the lease ended"))
        made(outlet, b"x" * 300_000)
    else:
        body = made(outlet, b"x" * 300_000)
        if ending == "closed":
            outlet.try_accept(outlet.channel.data, Parcel(b'{"type":"BlockOutput"}', [body]))
            desk.next_message()
            desk.close(1, LeaseLost("the lease ended"))
        else:
            # Its call was cancelled while it waited for room.
            finish = Parcel(b'{"type":"BlockFinished"}')
            desk.finish(outlet.channel, finish, Mark(0, 0, lambda error: None, after_finish=True))
            desk.next_message()
            desk.acknowledge(1)
    assert desk.outbox.bodies == {}
    assert (desk.room.in_memory, desk.room.in_file) == (0, 0)


async def test_a_body_whose_record_is_on_its_way_is_kept_when_its_channel_closes() -> None:
    async with shared().lease() as io:
        await io.run(_close_late(io))


async def _close_late(io: IOThread) -> None:
    desk = Desk(io, asyncio.Event())
    outlet = desk.open(1, "job", 1)
    body = made(outlet, b"x" * 1000)
    outlet.try_accept(outlet.channel.data, Parcel(b'{"type":"BlockOutput"}', [body]))
    while desk.next_message() is not None:
        pass
    desk.close(1, LeaseLost("the lease ended"))
    assert list(desk.outbox.bodies) == [body.n]
    desk.acknowledge(1)
    assert desk.outbox.bodies == {}
    assert (desk.room.in_memory, desk.room.in_file) == (0, 0)


STARTED = b'{"type":"JobStarted","t":1}'


@pytest.mark.parametrize("asks", ["before", "while it is sent", "afterwards"])
async def test_a_start_is_told_as_sent_though_it_is_taken_at_once(asks: str) -> None:
    async with shared().lease() as io:
        await io.run(_sent_at_once(io, asks))


async def _sent_at_once(io: IOThread, asks: str) -> None:
    """Nothing that the producer posts comes in between, as when its thread is faster than the inbox."""
    desk, told = Desk(io, asyncio.Event()), list[str]()
    outlet = desk.open(1, "job", 1)
    if asks == "before":
        outlet.when_started(lambda: told.append("sent"))
    outlet.start(STARTED)
    assert desk.next_message() is not None
    if asks == "while it is sent":
        outlet.when_started(lambda: told.append("sent"))
    assert told == [], "the connection has not taken it yet"
    assert not outlet.started
    desk.sent()
    desk.sent()
    assert outlet.started
    if asks == "afterwards":
        outlet.when_started(lambda: told.append("sent"))
    assert told == ["sent"]


async def test_a_start_is_said_once() -> None:
    async with shared().lease() as io:
        await io.run(_start_twice(io))


async def _start_twice(io: IOThread) -> None:
    desk = Desk(io, asyncio.Event())
    outlet = desk.open(1, "job", 1)
    outlet.start(STARTED)
    assert STARTED in (desk.next_message() or b"")
    outlet.start(STARTED)
    assert desk.next_message() is None


@pytest.mark.parametrize("stored", [False, True])
async def test_a_start_is_told_as_sent_after_a_connection_broke_under_it(stored: bool) -> None:
    async with shared().lease() as io:
        await io.run(_sent_after_a_loss(io, stored))


async def _sent_after_a_loss(io: IOThread, stored: bool) -> None:
    desk, told = Desk(io, asyncio.Event()), list[str]()
    outlet = desk.open(1, "job", 1)
    outlet.when_started(lambda: told.append("sent"))
    outlet.start(STARTED)
    desk.next_message()
    desk.outbox.disconnect()
    desk.resume(1 if stored else 0, {})
    if not stored:
        desk.outbox.control(b'{"op":"ping"}')
        desk.next_message()
        desk.sent()
        assert told == [], "only the control line has left"
        desk.next_message()
        desk.sent()
    assert told == ["sent"]


@pytest.mark.parametrize("when", ["before it asks", "after it asked", "with its link"])
async def test_nobody_waits_for_the_start_on_a_channel_that_is_closed(when: str) -> None:
    async with shared().lease() as io:
        await io.run(_closed_unsent(io, when))


async def _closed_unsent(io: IOThread, when: str) -> None:
    desk, told = Desk(io, asyncio.Event()), list[str]()
    outlet = desk.open(1, "job", 1)
    if when == "before it asks":
        desk.close(1, LeaseLost("the lease ended"))
    outlet.when_started(lambda: told.append("over"))
    if when == "after it asked":
        desk.close(1, LeaseLost("the lease ended"))
    elif when == "with its link":
        desk.abandon(LeaseLost("the link ended"))
    assert told == ["over"]


@pytest.mark.parametrize("ending", ["closed", "abandoned"])
async def test_a_job_that_ends_early_gives_its_share_of_the_link_s_window_back(ending: str) -> None:
    async with shared().lease() as io:
        await io.run(_refill(io, ending))


async def _refill(io: IOThread, ending: str) -> None:
    """A window full of a job that is closed would make all others of the link wait for ever."""
    desk = Desk(io, asyncio.Event())
    outlet, other = desk.open(1, "job", 1), desk.open(2, "other", 1)
    channel, port = outlet.channel, desk.ports[0]
    body = made(outlet, b"x" * 300_000, telemetry=True)
    record = b'{"type":"BlockOutput","output":"' + b"x" * 1000 + b'"}'
    for _ in range(100):
        assert outlet.try_record(channel.data, record)
        assert outlet.try_record(channel.telemetry, record)
    assert desk.next_message() is not None
    outlet.put_preview("p", Parcel(b'{"type":"BlockPreview"}', [body]))
    outlet.put_progress(b'{"type":"BlockProgress","rate":3}')
    port.limit = port.in_flight
    waiting = asyncio.Event()
    other.when_room(other.channel.data, len(record), waiting.set)
    await asyncio.sleep(0)
    assert not waiting.is_set()
    error = LeaseLost("the lease ended")
    if ending == "closed":
        desk.close(1, error)
        # What it says before it has heard of that is given up too.
        outlet.try_record(channel.data, record)
        while desk.next_message() is not None:
            pass
        desk.acknowledge(desk.outbox.seq)
    else:
        desk.abandon(error)
    await asyncio.wait_for(waiting.wait(), 10)
    assert port.in_flight == 0
    assert channel.data.window.in_flight == channel.telemetry.window.in_flight == 0


async def test_an_acknowledgement_wakes_the_writer_only_for_what_waits() -> None:
    async with shared().lease() as io:
        await io.run(_acknowledge(io))


async def _acknowledge(io: IOThread) -> None:
    sendable = asyncio.Event()
    desk = Desk(io, sendable)
    desk.new_port()
    outlet = desk.open(1, "job", 1)
    record = b'{"type":"BlockOutput"}'
    for _ in range(PIPELINE):
        assert outlet.try_record(outlet.channel.data, record)
        assert desk.next_message() is not None
    assert outlet.try_record(outlet.channel.data, record)
    # With so much under way a small batch waits to become a larger one; nobody but the acknowledgement lets it go.
    assert desk.next_message() is None
    assert not sendable.is_set()
    desk.acknowledge(1)
    assert sendable.is_set()
    assert desk.next_message() is not None
    assert desk.next_message() is None
    desk.acknowledge(2)
    assert desk.next_message() is None
    desk.acknowledge(desk.outbox.seq)
    assert not sendable.is_set()
    # Who arrives wakes it.
    assert outlet.try_record(outlet.channel.data, record)
    await asyncio.wait_for(sendable.wait(), 10)
    assert desk.next_message() is not None
