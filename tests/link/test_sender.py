from __future__ import annotations

import asyncio

import pytest

from asyncblock.errors import LeaseLost
from asyncblock.link import sender as sender_module
from asyncblock.link.sender import JobSender, LinkSender
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.wire.bodies import OutgoingBody, Parcel
from asyncblock.wire.channel import Mark
from asyncblock.wire.outbox import PIPELINE


def made(sender: JobSender, data: bytes, *, telemetry: bool = False) -> OutgoingBody:
    """Make a body, and let the sender of the link hear of it."""
    body = sender.small_body(data, "raw", telemetry=telemetry, force=True)
    assert body is not None
    sender._link_sender.io.post(lambda: None)
    sender._link_sender.io._inbox._drain()
    return body


async def test_a_finish_goes_without_large_previews_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "PREVIEW_PATIENCE", 0.0)
    async with shared().lease() as io:
        text = await io.run(_give_up(io))
    assert text.index(b"BlockWarning") < text.index(b"BlockFinished")
    assert b"previews were given up" in text
    assert b"BlockPreview" not in text


async def _give_up(io: IOThread) -> bytes:
    """Finish a job whose preview is under way; return what leaves after the chunk that was sent."""
    sendable = asyncio.Event()
    link_sender = LinkSender(io, sendable)
    sender = link_sender.open(1, "job", 1)
    body = made(sender, b"x" * 300_000, telemetry=True)
    sender.try_accept(sender.channel.telemetry, Parcel(b'{"type":"BlockPreview"}', [body]))
    link_sender.finish(
        sender.channel, Parcel(b'{"type":"BlockFinished"}'), Mark(0, 0, lambda error: None, after_finish=True)
    )
    chunk = link_sender.next_message()
    assert chunk is not None
    assert chunk[:1] == b"\x01"
    sendable.clear()
    await asyncio.wait_for(sendable.wait(), 10)
    left = []
    while (message := link_sender.next_message()) is not None:
        left.append(message)
    assert link_sender.outbox.bodies == {}
    assert (link_sender.buffer.in_memory, link_sender.buffer.in_file) == (0, 0)
    return b"".join(left)


@pytest.mark.parametrize("ending", ["closed", "closed before the body is kept", "finished"])
async def test_a_body_that_nothing_names_gives_its_room_back_when_its_job_ends(ending: str) -> None:
    async with shared().lease() as io:
        await io.run(_end(io, ending))


async def _end(io: IOThread, ending: str) -> None:
    link_sender = LinkSender(io, asyncio.Event())
    sender = link_sender.open(1, "job", 1)
    if ending == "closed before the body is kept":
        link_sender.close(1, LeaseLost("the lease ended"))
        made(sender, b"x" * 300_000)
    else:
        body = made(sender, b"x" * 300_000)
        if ending == "closed":
            sender.try_accept(sender.channel.data, Parcel(b'{"type":"BlockOutput"}', [body]))
            link_sender.next_message()
            link_sender.close(1, LeaseLost("the lease ended"))
        else:
            # Its call was cancelled while it waited for room.
            finish = Parcel(b'{"type":"BlockFinished"}')
            link_sender.finish(sender.channel, finish, Mark(0, 0, lambda error: None, after_finish=True))
            link_sender.next_message()
            link_sender.acknowledge(1)
    assert link_sender.outbox.bodies == {}
    assert (link_sender.buffer.in_memory, link_sender.buffer.in_file) == (0, 0)


async def test_a_body_whose_record_is_on_its_way_is_kept_when_its_channel_closes() -> None:
    async with shared().lease() as io:
        await io.run(_close_late(io))


async def _close_late(io: IOThread) -> None:
    link_sender = LinkSender(io, asyncio.Event())
    sender = link_sender.open(1, "job", 1)
    body = made(sender, b"x" * 1000)
    sender.try_accept(sender.channel.data, Parcel(b'{"type":"BlockOutput"}', [body]))
    while link_sender.next_message() is not None:
        pass
    link_sender.close(1, LeaseLost("the lease ended"))
    assert list(link_sender.outbox.bodies) == [body.n]
    link_sender.acknowledge(1)
    assert link_sender.outbox.bodies == {}
    assert (link_sender.buffer.in_memory, link_sender.buffer.in_file) == (0, 0)


STARTED = b'{"type":"JobStarted","t":1}'


@pytest.mark.parametrize("asks", ["before", "while it is sent", "afterwards"])
async def test_a_start_is_told_as_sent_though_it_is_taken_at_once(asks: str) -> None:
    async with shared().lease() as io:
        await io.run(_sent_at_once(io, asks))


async def _sent_at_once(io: IOThread, asks: str) -> None:
    """Nothing that the producer posts comes in between, as when its thread is faster than the inbox."""
    link_sender, told = LinkSender(io, asyncio.Event()), list[str]()
    sender = link_sender.open(1, "job", 1)
    if asks == "before":
        sender.when_started(lambda: told.append("sent"))
    sender.start(STARTED)
    assert link_sender.next_message() is not None
    if asks == "while it is sent":
        sender.when_started(lambda: told.append("sent"))
    assert told == [], "the connection has not taken it yet"
    assert not sender.started
    link_sender.sent()
    link_sender.sent()
    assert sender.started
    if asks == "afterwards":
        sender.when_started(lambda: told.append("sent"))
    assert told == ["sent"]


async def test_a_start_is_said_once() -> None:
    async with shared().lease() as io:
        await io.run(_start_twice(io))


async def _start_twice(io: IOThread) -> None:
    link_sender = LinkSender(io, asyncio.Event())
    sender = link_sender.open(1, "job", 1)
    sender.start(STARTED)
    assert STARTED in (link_sender.next_message() or b"")
    sender.start(STARTED)
    assert link_sender.next_message() is None


@pytest.mark.parametrize("stored", [False, True])
async def test_a_start_is_told_as_sent_after_a_connection_broke_under_it(stored: bool) -> None:
    async with shared().lease() as io:
        await io.run(_sent_after_a_loss(io, stored))


async def _sent_after_a_loss(io: IOThread, stored: bool) -> None:
    link_sender, told = LinkSender(io, asyncio.Event()), list[str]()
    sender = link_sender.open(1, "job", 1)
    sender.when_started(lambda: told.append("sent"))
    sender.start(STARTED)
    link_sender.next_message()
    link_sender.outbox.disconnect()
    link_sender.resume(1 if stored else 0, {})
    if not stored:
        link_sender.outbox.control(b'{"op":"ping"}')
        link_sender.next_message()
        link_sender.sent()
        assert told == [], "only the control line has left"
        link_sender.next_message()
        link_sender.sent()
    assert told == ["sent"]


@pytest.mark.parametrize("when", ["before it asks", "after it asked", "with its link"])
async def test_nobody_waits_for_the_start_on_a_channel_that_is_closed(when: str) -> None:
    async with shared().lease() as io:
        await io.run(_closed_unsent(io, when))


async def _closed_unsent(io: IOThread, when: str) -> None:
    link_sender, told = LinkSender(io, asyncio.Event()), list[str]()
    sender = link_sender.open(1, "job", 1)
    if when == "before it asks":
        link_sender.close(1, LeaseLost("the lease ended"))
    sender.when_started(lambda: told.append("over"))
    if when == "after it asked":
        link_sender.close(1, LeaseLost("the lease ended"))
    elif when == "with its link":
        link_sender.abandon(LeaseLost("the link ended"))
    assert told == ["over"]


@pytest.mark.parametrize("ending", ["closed", "abandoned"])
async def test_a_job_that_ends_early_gives_its_share_of_the_link_s_window_back(ending: str) -> None:
    async with shared().lease() as io:
        await io.run(_refill(io, ending))


async def _refill(io: IOThread, ending: str) -> None:
    """A window full of a job that is closed would make all others of the link wait for ever."""
    link_sender = LinkSender(io, asyncio.Event())
    sender, other = link_sender.open(1, "job", 1), link_sender.open(2, "other", 1)
    channel, port = sender.channel, link_sender.ports[0]
    body = made(sender, b"x" * 300_000, telemetry=True)
    record = b'{"type":"BlockOutput","output":"' + b"x" * 1000 + b'"}'
    for _ in range(100):
        assert sender.try_record(channel.data, record)
        assert sender.try_record(channel.telemetry, record)
    assert link_sender.next_message() is not None
    sender.put_preview("p", Parcel(b'{"type":"BlockPreview"}', [body]))
    sender.put_progress(b'{"type":"BlockProgress","rate":3}')
    port.limit = port.in_flight
    waiting = asyncio.Event()
    other.when_room(other.channel.data, len(record), waiting.set)
    await asyncio.sleep(0)
    assert not waiting.is_set()
    error = LeaseLost("the lease ended")
    if ending == "closed":
        link_sender.close(1, error)
        # What it says before it has heard of that is given up too.
        sender.try_record(channel.data, record)
        while link_sender.next_message() is not None:
            pass
        link_sender.acknowledge(link_sender.outbox.seq)
    else:
        link_sender.abandon(error)
    await asyncio.wait_for(waiting.wait(), 10)
    assert port.in_flight == 0
    assert channel.data.window.in_flight == channel.telemetry.window.in_flight == 0


async def test_an_acknowledgement_wakes_the_writer_only_for_what_waits() -> None:
    async with shared().lease() as io:
        await io.run(_acknowledge(io))


async def _acknowledge(io: IOThread) -> None:
    sendable = asyncio.Event()
    link_sender = LinkSender(io, sendable)
    link_sender.new_port()
    sender = link_sender.open(1, "job", 1)
    record = b'{"type":"BlockOutput"}'
    for _ in range(PIPELINE):
        assert sender.try_record(sender.channel.data, record)
        assert link_sender.next_message() is not None
    assert sender.try_record(sender.channel.data, record)
    # With so much under way a small batch waits to become a larger one; nobody but the acknowledgement lets it go.
    assert link_sender.next_message() is None
    assert not sendable.is_set()
    link_sender.acknowledge(1)
    assert sendable.is_set()
    assert link_sender.next_message() is not None
    assert link_sender.next_message() is None
    link_sender.acknowledge(2)
    assert link_sender.next_message() is None
    link_sender.acknowledge(link_sender.outbox.seq)
    assert not sendable.is_set()
    # Who arrives wakes it.
    assert sender.try_record(sender.channel.data, record)
    await asyncio.wait_for(sendable.wait(), 10)
    assert link_sender.next_message() is not None
