"""The mainframe that our executors see under another engine: greeting, acknowledgements, bodies, requests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncblock.bridge.executorlink import BRIDGE, ExecutorLink, Links, TakenBatch
from asyncblock.errors import Rejected
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.bodies import decode_chunk, encode_chunk
from asyncblock.wire.messages import Dispatch

from ..peers import Peer

OUTPUT = {"type": "BlockOutput", "handle": "a", "output": 1, "t": 1}


class Host:
    """Takes what comes, and lets it go when the test says so."""

    def __init__(self) -> None:
        self.came: list[tuple[int, dict[str, Any]]] = []
        self.held: list[tuple[ExecutorLink, TakenBatch]] = []
        self.links: list[ExecutorLink] = []
        self.open = {1}

    def record(self, link: ExecutorLink, channel: int, record: dict[str, Any], batch: TakenBatch) -> str | None:
        self.came.append((channel, record))
        if record["type"] == "JobStarted":
            return "it is out of place"
        batch.open += 1
        self.held.append((link, batch))
        return None

    def ready(self, link: ExecutorLink) -> None:
        self.links.append(link)

    def counts_as_open(self, link: ExecutorLink, channel: int) -> bool:
        return channel in self.open

    def stalled(self, link: ExecutorLink, channel: int, seconds: float, where: str) -> None:
        self.came.append((channel, {"where": where}))

    async def answer(self, link: ExecutorLink, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "unheard":
            raise Rejected("nobody knows it", code="method")
        self.came.append((0, params))
        return {"number": len(self.came)}

    async def rows(self, offset: int) -> list[tuple[int, bytes]]:
        return [(offset, b'{"a":1}'), (offset + 1, b'{"a":2}')]

    def body(self, n: int) -> bytes | None:
        return b"x" * 100_000 if n == 1 else None


@asynccontextmanager
async def connected(links: Links) -> AsyncIterator[Peer]:
    ours, theirs = memory_pair()
    serving = asyncio.create_task(links.serve(theirs, None))
    peer = Peer(ours)
    try:
        yield peer
    finally:
        ours.abort()
        await serving


async def test_a_batch_is_acknowledged_when_its_host_lets_all_of_it_go() -> None:
    host = Host()
    async with connected(Links("t", host)) as peer:
        welcome = await peer.hello("e", slots=4)
        assert (welcome["epoch"], welcome["resumed"], welcome["stored"]) == (BRIDGE, True, 0)
        await peer.batch(1, 1, OUTPUT)
        await peer.batch(2, 1, OUTPUT, OUTPUT)
        await peer.say("request", id="r", method="x", params={})
        await peer.until("reply")
        assert [each["op"] for each in peer.came] == []
        # The later one first: an acknowledgement is of all before it, too.
        for link, batch in reversed(host.held):
            link.let_go(batch)
        assert (await peer.until("ack"))["seq"] == 2


async def test_what_comes_again_after_a_lost_connection_is_taken_once() -> None:
    host = Host()
    links = Links("t", host)
    async with connected(links) as peer:
        token = (await peer.hello("e", slots=4))["token"]
        await peer.batch(1, 1, OUTPUT)
        await peer.ask("x")
    for link, batch in host.held:
        link.let_go(batch)
    async with connected(links) as peer:
        welcome = await peer.hello("e", slots=4, token=token, generation=2, channels=[[1, "j", 1], [2, "k", 1]])
        assert (welcome["resumed"], welcome["stored"]) == (True, 1)
        assert (await peer.until("close"))["channel"] == 2
        await peer.batch(1, 1, OUTPUT)
        await peer.batch(2, 1, OUTPUT)
        await peer.ask("x", id="r2")
    assert len([record for _, record in host.came if "handle" in record]) == 2
    async with connected(links) as peer:
        # Whose token is another one's is somebody else.
        assert (await peer.hello("e", slots=4, token="other"))["resumed"] is False


async def test_wrong_records_are_refused_and_those_of_ended_jobs_skipped() -> None:
    host = Host()
    async with connected(Links("t", host)) as peer:
        await peer.hello("e", slots=4)
        await peer.batch(1, 1, {"type": "Nothing"}, {"type": "JobStarted", "t": 1})
        refused = [await peer.until("refused") for _ in range(2)]
        assert [each["index"] for each in refused] == [0, 1]
        assert "unknown record type" in refused[0]["reason"] and refused[1]["reason"] == "it is out of place"
        assert (await peer.until("ack"))["seq"] == 1
        host.open.clear()
        await peer.batch(2, 1, OUTPUT)
        assert (await peer.until("ack"))["seq"] == 2


async def test_bodies_go_both_ways() -> None:
    host = Host()
    async with connected(Links("t", host)) as peer:
        await peer.hello("e", slots=4)
        await peer.transport.send(encode_chunk(1, 0, b"abc"))
        await peer.transport.send(encode_chunk(1, 2, b"cd"))
        await peer.say("whole", n=1, length=4, sha256=hashlib.sha256(b"abcd").hexdigest())
        assert (await peer.until("kept"))["n"] == 1
        assert bytes(host.links[0].bodies[1]) == b"abcd"
        await peer.say("fetch", id=5, link=BRIDGE, n=1, offset=10, size=70_000)
        pieces = [decode_chunk((await peer.until("chunk"))["data"]) for _ in range(2)]
        assert (await peer.until("fetched"))["error"] is None
        assert [(id, offset, len(piece)) for id, offset, piece in pieces] == [(5, 10, 65536), (5, 65546, 4464)]
        await peer.say("fetch", id=6, link=BRIDGE, n=2, offset=0, size=1)
        assert "isn't here" in (await peer.until("fetched"))["error"]
        await peer.say("whole", n=1, length=4, sha256="0" * 64)
        assert (await peer.until("bye"))["code"] == "unreadable"


async def test_the_same_request_gets_the_same_answer() -> None:
    async with connected(Links("t", Host())) as peer:
        await peer.hello("e", slots=4)
        first, again = await peer.ask("x"), await peer.ask("x")
        assert first == again and first["result"] == {"number": 1}
        assert (await peer.ask("unheard", id="r2"))["error"] == {"code": "method", "message": "nobody knows it"}


async def test_rows_are_read_and_jobs_given() -> None:
    host = Host()
    async with connected(Links("t", host)) as peer:
        await peer.hello("e", slots=4, next_channel=9)
        await peer.say("read", id=3, session_id="s", offset=4)
        page = await peer.until("page")
        assert (page["next"], page["rows"], page["data"]) == (6, [[4, 1], [5, 1]], [{"a": 1}, {"a": 2}])
        [link] = host.links
        assert link.takes_jobs
        assert link.dispatch(lambda channel: Dispatch("j", 1, channel, "s", "n", [], {}, {})) == 9
        assert (await peer.until("dispatch"))["channel"] == 9
        await peer.say("announce", executor=None)
        await peer.ask("x")
        assert not link.takes_jobs


async def test_what_is_no_greeting_ends_the_connection() -> None:
    async with connected(Links("t", Host())) as peer:
        await peer.say("ping")
        assert (await peer.until("bye"))["code"] == "unreadable"
