"""The buffer for bodies, and bodies that are made into it: memory, a file, then waiting; nothing unwanted is held."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncblock.errors import LeaseLost, LocalProtocolError, Unavailable
from asyncblock.link.bodybuffer import BodyBuffer, buffer_of
from asyncblock.link.sender import JobSender, LinkSender
from asyncblock.link.streamedbody import BodyAbandoned
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.wire import frames
from asyncblock.wire.bodies import CHUNK_SIZE, OutgoingBody, Parcel, decode_chunk
from asyncblock.wire.channel import Channel
from asyncblock.wire.messages import Discard, Kept, Whole, decode
from asyncblock.wire.windows import Window

BLOCK = bytes(range(256)) * (CHUNK_SIZE // 256)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path))


def body(n: int = 1) -> OutgoingBody:
    return OutgoingBody(n, "raw", Channel(1, "job", 1, Window(1 << 20)))


def open_files(directory: Path) -> int:
    """Count the descriptors of files in a directory, also of those without a name."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            pass
    return sum(link.startswith(str(directory)) for link in links)


def test_blocks_are_in_memory_first_and_then_in_a_file_without_a_name(tmp_path: Path) -> None:
    buffer, large = BodyBuffer(memory=2 * CHUNK_SIZE, file=8 * CHUNK_SIZE), body()
    blocks = [bytes([i]) * CHUNK_SIZE for i in range(5)] + [b"end"]
    for block in blocks:
        assert buffer.put(large, block)
    assert (buffer.in_memory, buffer.in_file) == (2 * CHUNK_SIZE, 4 * CHUNK_SIZE)
    assert (list(tmp_path.iterdir()), open_files(tmp_path)) == ([], 1)
    whole = b"".join(blocks)
    assert large.content() == whole
    for offset, size in ((0, 10), (CHUNK_SIZE * 2 + 5, CHUNK_SIZE), (CHUNK_SIZE * 5, 100), (len(whole), 1)):
        assert large.read(offset, size) == whole[offset : offset + size]
    buffer.drop(large)
    assert (buffer.in_memory, buffer.in_file) == (0, 0)
    assert open_files(tmp_path) == 0


def test_places_in_the_file_are_used_again() -> None:
    buffer = BodyBuffer(memory=0, file=4 * CHUNK_SIZE)
    first, second = body(1), body(2)
    for each in (first, second):
        for _ in range(2):
            assert buffer.put(each, BLOCK)
    assert not buffer.put(body(3), BLOCK)
    buffer.drop(first)
    third = body(3)
    for i in range(2):
        assert buffer.put(third, bytes([i]) * CHUNK_SIZE)
    assert second.content() == BLOCK * 2
    assert third.content() == b"\0" * CHUNK_SIZE + b"\1" * CHUNK_SIZE
    assert buffer._file is not None
    assert os.fstat(buffer._file.fd).st_size == 4 * CHUNK_SIZE


def test_of_those_that_are_made_the_first_always_finds_room() -> None:
    buffer = BodyBuffer(memory=CHUNK_SIZE, file=CHUNK_SIZE)
    first, second = body(1), body(2)
    for each in (first, second):
        buffer.begin(each)
    assert [buffer.put(second, BLOCK) for _ in range(3)] == [True, True, False]
    assert all(buffer.put(first, BLOCK) for _ in range(5))
    woken: list[int] = []
    buffer.when_room(second, lambda: woken.append(2))
    assert woken == []
    buffer.end(first)
    assert woken == [2]
    assert buffer.put(second, BLOCK)
    for each in (first, second):
        buffer.drop(each)
    assert (buffer.in_memory, buffer.in_file) == (0, 0)


def test_who_waits_is_woken_when_something_is_given_back() -> None:
    buffer = BodyBuffer(memory=CHUNK_SIZE, file=0)
    held, waiting = body(1), body(2)
    buffer.begin(body(3))
    assert buffer.put(held, BLOCK)
    assert not buffer.put(waiting, BLOCK)
    woken: list[str] = []
    buffer.when_room(waiting, lambda: woken.append("later"))
    buffer.drop(held)
    buffer.when_room(waiting, lambda: woken.append("at once"))
    assert woken == ["later", "at once"]


def test_a_dropped_body_takes_nothing() -> None:
    buffer, large = BodyBuffer(memory=CHUNK_SIZE, file=CHUNK_SIZE), body()
    buffer.drop(large)
    assert all(buffer.put(large, BLOCK) for _ in range(5))
    assert (large.blocks, buffer.in_memory, buffer.in_file) == ([], 0, 0)


def test_a_disk_that_refuses_adds_nothing_and_the_place_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, large = BodyBuffer(memory=CHUNK_SIZE, file=8 * CHUNK_SIZE), body()
    assert buffer.put(large, BLOCK)

    def full(fd: int, data: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            buffer.put(large, BLOCK)
    assert (large.length, buffer.in_file) == (CHUNK_SIZE, 0)
    assert buffer.put(large, BLOCK)
    assert large.content() == BLOCK * 2


def test_the_file_goes_with_its_buffer(tmp_path: Path) -> None:
    buffer = BodyBuffer(memory=0, file=CHUNK_SIZE)
    large = body()
    assert buffer.put(large, BLOCK)
    assert open_files(tmp_path) == 1
    del buffer, large
    gc.collect()
    assert open_files(tmp_path) == 0


def test_the_sizes_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_BODY_MEMORY", "1000")
    monkeypatch.setenv("ASYNCBLOCK_BODY_FILE", "0")
    io = IOThread()
    buffer = buffer_of(io)
    assert buffer is buffer_of(io)
    assert (buffer.memory_limit, buffer.file_limit) == (1000, 0)
    monkeypatch.setenv("ASYNCBLOCK_BODY_FILE", "lots")
    with pytest.raises(LocalProtocolError, match="ASYNCBLOCK_BODY_FILE is 'lots'"):
        buffer_of(IOThread())


# ---------------------------------------------------------------------- bodies


async def on_a_link_sender(check: Any, *args: Any) -> None:
    async with shared().lease() as io:
        await asyncio.wait_for(io.run(check(io, *args)), 20)


def link_sender_of(io: IOThread, *, understands: bool = True) -> tuple[LinkSender, JobSender]:
    link_sender = LinkSender(io, asyncio.Event())
    link_sender.buffer = BodyBuffer(memory=2 * CHUNK_SIZE, file=64 * CHUNK_SIZE)
    link_sender.resume(0, {}, [Whole.op, Discard.op] if understands else [])
    return link_sender, link_sender.open(1, "job", 1)


async def taken(link_sender: LinkSender) -> bytes:
    """Take the next message, when there is one."""
    while (message := link_sender.next_message()) is None:
        await link_sender._sendable.wait()
    return message


def control(message: bytes) -> Any:
    [(header, _)] = frames.split(message)
    return decode(header)


class Gate:
    """Pieces of which the later ones come when they are let."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(4):
            yield BLOCK
        self.reached.set()
        assert self.open.wait(20)
        if self._error is not None:
            raise self._error
        yield BLOCK
        yield b"end"


WHOLE = BLOCK * 5 + b"end"


async def test_item_2_chunks_leave_while_the_rest_is_still_being_made() -> None:
    await on_a_link_sender(_stream)


async def _stream(io: IOThread) -> None:
    link_sender, sender = link_sender_of(io)
    streamed, gate = sender.streamed_body(telemetry=False), Gate()
    streamed.begin(iter(gate), "raw")
    making = asyncio.create_task(asyncio.to_thread(streamed.make, "it"))
    came = b"".join([bytes(decode_chunk(await taken(link_sender))[2]) for _ in range(4)])
    assert came == BLOCK * 4
    assert not making.done()
    # What else the job says passes what is being made.
    sender.try_record(sender.channel.data, b'{"type":"BlockOutput"}')
    assert b"BlockOutput" in await taken(link_sender)
    gate.open.set()
    assert await making
    came += b"".join([bytes(decode_chunk(await taken(link_sender))[2]) for _ in range(2)])
    assert came == WHOLE
    asked = control(await taken(link_sender))
    assert asked == Whole(streamed.body.n, len(WHOLE), hashlib.sha256(WHOLE).hexdigest())
    assert streamed.body.ref.sha256 == asked.sha256
    # Its record waits for the mainframe to have it; those of other jobs don't.
    sender.try_accept(sender.channel.data, Parcel(b'{"type":"named"}', [streamed.body]))
    sender.try_record(sender.channel.data, b'{"type":"behind"}')
    other = link_sender.open(2, "other", 1)
    other.try_record(other.channel.data, b'{"type":"passes"}')
    passing = await taken(link_sender)
    assert b"passes" in passing
    assert b"named" not in passing
    assert link_sender.next_message() is None
    link_sender.kept(streamed.body.n)
    named = await taken(link_sender)
    assert named.index(b"named") < named.index(b"behind")
    link_sender.acknowledge(link_sender.outbox.seq)
    assert (link_sender.outbox.bodies, link_sender.buffer.in_memory, link_sender.buffer.in_file) == ({}, 0, 0)
    assert link_sender.idle


@pytest.mark.parametrize(
    "when", ["before it is begun", "while it is made", "while it waits for room", "when it is made"]
)
async def test_item_2_an_abandoned_draft_is_discarded_on_both_sides(when: str) -> None:
    await on_a_link_sender(_abandon, when)


async def _abandon(io: IOThread, when: str) -> None:
    link_sender, sender = link_sender_of(io)
    if when == "while it waits for room":
        link_sender.buffer = BodyBuffer(memory=2 * CHUNK_SIZE, file=0)
        link_sender.buffer.begin(body(77))
    streamed, gate = sender.streamed_body(telemetry=False), Gate()
    if when == "before it is begun":
        streamed.abandon()
        with pytest.raises(BodyAbandoned):
            streamed.begin(iter(gate), "raw")
        return
    streamed.begin(iter(gate), "raw")
    making = asyncio.create_task(asyncio.to_thread(streamed.make, "it"))
    if when == "while it is made":
        await asyncio.to_thread(gate.reached.wait, 20)
        await taken(link_sender)
    elif when == "while it waits for room":
        assert not await making
        await taken(link_sender)
    else:
        gate.open.set()
        assert await making
        while frames.is_text(await taken(link_sender)) is False:
            pass
    streamed.abandon()
    streamed.abandon()
    while not frames.is_text(message := await taken(link_sender)):
        pass
    assert control(message) == Discard([streamed.body.n])
    gate.open.set()
    if when == "while it is made":
        with pytest.raises(BodyAbandoned):
            await making
    assert (link_sender.outbox.bodies, link_sender.buffer.in_memory, link_sender.buffer.in_file) == ({}, 0, 0)
    assert link_sender.next_message() is None


async def test_a_draft_whose_job_is_over_is_given_up() -> None:
    await on_a_link_sender(_close)


async def _close(io: IOThread) -> None:
    link_sender, sender = link_sender_of(io)
    streamed, gate = sender.streamed_body(telemetry=False), Gate()
    streamed.begin(iter(gate), "raw")
    making = asyncio.create_task(asyncio.to_thread(streamed.make, "it"))
    await taken(link_sender)
    link_sender.close(1, LeaseLost("the lease ended"))
    gate.open.set()
    with pytest.raises(BodyAbandoned):
        await making
    assert (link_sender.outbox.bodies, link_sender.buffer.in_memory, link_sender.buffer.in_file) == ({}, 0, 0)


async def test_an_error_in_the_pieces_passes_and_a_disk_s_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    await on_a_link_sender(_fail, monkeypatch)


async def _fail(io: IOThread, monkeypatch: pytest.MonkeyPatch) -> None:
    _, sender = link_sender_of(io)
    gate = Gate(error=ValueError("the author's"))
    gate.open.set()
    streamed = sender.streamed_body(telemetry=False)
    streamed.begin(iter(gate), "raw")
    with pytest.raises(ValueError, match="the author's"):
        streamed.make("it")
    streamed.abandon()

    def full(fd: int, data: object, offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", full)
    streamed = sender.streamed_body(telemetry=False)
    streamed.begin(iter(Gate()), "raw")
    words = r"^the value for handle 'x' has to wait in a temporary file in /.*Input/output error.*ASYNCBLOCK_BODIES_DIR"
    with pytest.raises(Unavailable, match=words):
        streamed.make("the value for handle 'x'")
    streamed.abandon()


async def test_a_body_is_asked_for_again_on_the_next_connection_and_goes_on_where_it_was() -> None:
    await on_a_link_sender(_resume)


async def _resume(io: IOThread) -> None:
    link_sender, sender = link_sender_of(io)
    streamed = sender.streamed_body(telemetry=False)
    streamed.begin(iter([BLOCK, BLOCK, b"end"]), "raw")
    assert await asyncio.to_thread(streamed.make, "it")
    sender.try_accept(sender.channel.data, Parcel(b'{"type":"named"}', [streamed.body]))
    messages = [await taken(link_sender) for _ in range(4)]
    assert control(messages[-1]).n == streamed.body.n
    link_sender.outbox.disconnect()
    # The mainframe has one of a call that was cancelled while there was no connection.
    link_sender.resume(0, {streamed.body.n: CHUNK_SIZE, 99: 5}, [Whole.op, Discard.op])
    assert control(await taken(link_sender)) == Discard([99])
    again = b""
    while not frames.is_text(message := await taken(link_sender)):
        number, offset, piece = decode_chunk(message)
        assert (number, offset) == (streamed.body.n, CHUNK_SIZE + len(again))
        again += piece
    assert again == BLOCK + b"end"
    assert control(message) == Whole(streamed.body.n, streamed.body.length, streamed.body.sha256)
    link_sender.kept(streamed.body.n)
    assert b"named" in await taken(link_sender)
    # Its record is on its way: what is discarded now isn't this one.
    link_sender.close(1, LeaseLost("the lease ended"))
    assert list(link_sender.outbox.bodies) == [streamed.body.n]
    link_sender.acknowledge(1)
    assert link_sender.buffer.in_memory == 0


async def test_item_2_a_batch_that_is_sent_again_waits_for_its_bodies_and_control_passes() -> None:
    await on_a_link_sender(_resend)


async def _resend(io: IOThread) -> None:
    link_sender, sender = link_sender_of(io)
    streamed = sender.streamed_body(telemetry=False)
    streamed.begin(iter([BLOCK, b"end"]), "raw")
    assert await asyncio.to_thread(streamed.make, "it")
    sender.try_accept(sender.channel.data, Parcel(b'{"type":"named"}', [streamed.body]))
    for _ in range(3):
        await taken(link_sender)
    link_sender.kept(streamed.body.n)
    named = await taken(link_sender)
    link_sender.outbox.disconnect()
    # The mainframe was restarted: it has the body and has forgotten that it was checked.
    link_sender.resume(0, {streamed.body.n: streamed.body.length}, [Whole.op, Discard.op])
    assert control(await taken(link_sender)).n == streamed.body.n
    assert link_sender.next_message() is None
    link_sender.outbox.control(b'{"op":"ping"}')
    assert await taken(link_sender) == b'{"op":"ping"}'
    # Its job may be over meanwhile.
    link_sender.close(1, LeaseLost("the lease ended"))
    link_sender._sendable.clear()
    link_sender.kept(streamed.body.n)
    assert link_sender._sendable.is_set()
    assert await taken(link_sender) == named


async def test_a_mainframe_that_knows_neither_is_neither_asked_nor_told() -> None:
    await on_a_link_sender(_older)


async def _older(io: IOThread) -> None:
    link_sender, sender = link_sender_of(io, understands=False)
    streamed = sender.streamed_body(telemetry=False)
    streamed.begin(iter([BLOCK, b"end"]), "raw")
    assert await asyncio.to_thread(streamed.make, "it")
    sender.try_accept(sender.channel.data, Parcel(b'{"type":"named"}', [streamed.body]))
    messages = [await taken(link_sender) for _ in range(3)]
    assert [frames.is_text(message) for message in messages] == [False, False, True]
    assert b"named" in messages[-1]
    dropped = sender.small_body(BLOCK, "raw", force=True)
    assert dropped is not None
    await taken(link_sender)
    link_sender.forget([dropped])
    assert link_sender.next_message() is None


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    assert Kept(5) == decode({"op": "kept", "n": 5})
