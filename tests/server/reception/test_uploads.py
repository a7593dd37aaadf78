"""Bodies at the mainframe: one that is being put on disk keeps nobody waiting; what nobody will name goes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncblock.server.settings import Settings
from asyncblock.wire.bodies import encode_chunk

from ...peers import Host, Peer, mainframe, node, plan

DATA = b'"' + b"x" * 150_000 + b'"'
SUM = hashlib.sha256(DATA).hexdigest()
FULL = Settings(synchronous="full")


class HangingDisk:
    """Lets every sync of a body wait until it is told to go on."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._go = threading.Event()
        self._fsync = os.fsync

    def fsync(self, fd: int) -> None:
        if threading.current_thread().name == "asyncblock-bodies" and stat.S_ISREG(os.fstat(fd).st_mode):
            self.asked.set()
            assert self._go.wait(30)
        self._fsync(fd)

    async def is_asked(self) -> None:
        assert await asyncio.to_thread(self.asked.wait, 20)

    def go(self) -> None:
        self._go.set()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Go on at the end, however it ends: the mainframe couldn't close otherwise."""
        try:
            yield
        finally:
            self.go()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingDisk]:
    disk = HangingDisk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    yield disk
    disk.go()


@asynccontextmanager
async def executor(directory: Path, settings: Settings | None = None) -> AsyncIterator[tuple[Host, Peer, list[int]]]:
    """An executor with two jobs; their channels."""
    async with mainframe(directory, settings) as host:
        peer = host.peer()
        welcome = await peer.hello(slots=4)
        assert {"whole", "discard"} <= {*welcome["understands"]}
        await peer.ask("start", session_id="s", plan=plan(node("a"), node("b")), inputs={})
        channels = [(await peer.until("dispatch"))["channel"] for _ in range(2)]
        for seq, channel in enumerate(channels, 1):
            await peer.batch(seq, channel, {"type": "JobStarted", "t": 0})
        await until_acked(peer, 2)
        yield host, peer, channels


async def until_acked(peer: Peer, seq: int) -> None:
    while (await peer.until("ack"))["seq"] < seq:
        pass


async def send_body(peer: Peer, n: int, data: bytes = DATA) -> None:
    for start in range(0, len(data), 64 << 10):
        await peer.transport.send(encode_chunk(n, start, data[start : start + (64 << 10)]))


def output(**fields: Any) -> dict[str, Any]:
    return {"type": "BlockOutput", "t": 0, "handle": "out", "done": False, **fields}


def named(n: int) -> dict[str, Any]:
    return output(body={"n": n, "length": len(DATA), "sha256": SUM, "encoding": "json"})


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("bodies/peer/*"))


async def test_item_2_nothing_waits_for_a_body_that_is_put_on_disk(tmp_path: Path, disk: HangingDisk) -> None:
    async with executor(tmp_path, FULL) as (host, peer, (a, b)):
        with disk.hanging():
            await send_body(peer, 1)
            await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
            await disk.is_asked()
            # Control and the small outputs of another job, in the journal, while the disk hangs.
            await peer.batch(3, b, output(output=1))
            await until_acked(peer, 3)
            await peer.ask("cancel", id="r2", session_id="s", reason="enough")
            assert {(await peer.until("cancel"))["reason"] for _ in range(2)} == {"cancelled: enough"}
            assert not [message for message in peer.came if message["op"] == "kept"]
        assert (await peer.until("kept"))["n"] == 1
        await peer.batch(4, a, named(1))
        await until_acked(peer, 4)
        assert host.server.sessions.journal.bodies.under_way("peer") == {}


async def test_a_kept_body_is_not_checked_again_when_its_record_comes(tmp_path: Path, disk: HangingDisk) -> None:
    async with executor(tmp_path, FULL) as (_, peer, (a, _)):
        disk.go()
        await send_body(peer, 1)
        await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
        await peer.until("kept")
        disk.asked.clear()
        await peer.batch(3, a, named(1))
        await until_acked(peer, 3)
        assert not disk.asked.is_set()


async def test_a_record_may_come_without_the_question(tmp_path: Path) -> None:
    async with executor(tmp_path) as (_, peer, (a, _)):
        await send_body(peer, 1)
        await peer.batch(3, a, named(1))
        await until_acked(peer, 3)


async def test_a_record_that_comes_before_the_answer_waits_for_it(tmp_path: Path, disk: HangingDisk) -> None:
    async with executor(tmp_path, FULL) as (_, peer, (a, _)):
        await send_body(peer, 1)
        await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
        await peer.batch(3, a, named(1))
        await disk.is_asked()
        assert not [message for message in peer.came if message["op"] == "ack" and message["seq"] == 3]
        disk.go()
        await until_acked(peer, 3)


async def test_a_wrong_sum_ends_the_link(tmp_path: Path) -> None:
    async with executor(tmp_path) as (_, peer, _):
        await send_body(peer, 1)
        await peer.say("whole", n=1, length=len(DATA), sha256="0" * 64)
        bye = await peer.until("bye")
        assert (bye["code"], bye["stop"]) == ("unreadable", True)
        assert "another sha256" in bye["reason"]


@pytest.mark.parametrize("length", [0, 100, len(DATA) + 1])
async def test_a_wrong_length_ends_the_link(tmp_path: Path, length: int) -> None:
    async with executor(tmp_path) as (_, peer, _):
        await send_body(peer, 1)
        await peer.say("whole", n=1, length=length, sha256=SUM)
        assert f"{length} were announced" in (await peer.until("bye"))["reason"]


async def test_what_never_came_cannot_be_whole(tmp_path: Path) -> None:
    async with executor(tmp_path) as (_, peer, _):
        await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
        assert "came with 0 bytes" in (await peer.until("bye"))["reason"]


async def test_nothing_is_added_to_a_whole_body(tmp_path: Path) -> None:
    async with executor(tmp_path) as (_, peer, _):
        await send_body(peer, 1)
        await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
        await peer.until("kept")
        await peer.transport.send(encode_chunk(1, len(DATA), b"more"))
        assert "it was said to be whole before" in (await peer.until("bye"))["reason"]


async def test_an_empty_body_is_kept_too(tmp_path: Path) -> None:
    async with executor(tmp_path) as (_, peer, (a, _)):
        empty = hashlib.sha256(b"").hexdigest()
        await peer.say("whole", n=1, length=0, sha256=empty)
        await peer.until("kept")
        await peer.batch(3, a, output(body={"n": 1, "length": 0, "sha256": empty, "encoding": "raw"}))
        await until_acked(peer, 3)


@pytest.mark.parametrize("whole", [False, True])
async def test_item_2_what_a_cancelled_call_had_sent_is_discarded(tmp_path: Path, whole: bool) -> None:
    async with executor(tmp_path) as (host, peer, (a, _)):
        bodies = host.server.sessions.journal.bodies
        for n in (1, 2):
            await send_body(peer, n)
        if whole:
            await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
            await peer.until("kept")
        await peer.say("discard", bodies=[1, 77])
        await peer.batch(3, a, named(2))
        await until_acked(peer, 3)
        async with asyncio.timeout(10):
            while files(tmp_path) != ["2"] or bodies.under_way("peer"):
                await peer.ask("ping", id="r3")
        link = host.server.sessions.dispatch.links["peer"]
        assert (link.bodies, link.whole, link.unnamed) == ({}, {}, 0)


@pytest.mark.parametrize("bodies", [["1"], [-1], [True], [1 << 62]])
async def test_what_cannot_be_a_number_of_a_body_is_unreadable(tmp_path: Path, bodies: list[object]) -> None:
    async with executor(tmp_path) as (_, peer, _):
        await peer.say("discard", bodies=bodies)
        assert (await peer.until("bye"))["code"] == "unreadable"


async def test_what_is_discarded_is_not_in_the_next_welcome(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        token = (await peer.hello())["token"]
        await send_body(peer, 1)
        await send_body(peer, 2)
        await peer.say("discard", bodies=[1])
        await peer.ask("nothing")
        welcome = await host.peer().hello(generation=2, token=token)
        assert welcome["bodies"] == {"2": len(DATA)}
