"""One bad record is one bad record: it is refused for its job, and no watcher, executor or restart meets it."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.events import events_of_row
from asyncblock.server.peers.lines import read_line
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.bodies import encode_chunk
from asyncblock.wire.messages import Message, Ping

from ..peers import Host, Peer, mainframe, node, plan
from ..waits import until_called
from .served import served

pytestmark = pytest.mark.timeout(90)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def output(value: bytes, before: bytes = b"") -> bytes:
    return b'{"type":"BlockOutput","handle":"out",%b"output":%b,"done":false,"t":1}' % (before, value)


BAD = {
    "half a surrogate pair": output(rb'"\ud800"'),
    "half a pair in a key": output(rb'{"\udfff":1}'),
    "a number beyond doubles": output(b"1e400"),
    "a long number beyond doubles": output(b"9" * 5000),
    "an integer beyond 64 bits": output(b"18446744073709551616"),
    "a negative integer beyond 64 bits": output(b'{"a":[-9223372036854775809]}'),
    "250 levels": output(b"[" * 250 + b"]" * 250),
    "2000 levels": output(b"[" * 2000 + b"]" * 2000),
    "a key twice": output(b'{"a":1,"a":2}'),
    "a field twice": output(b"1", b'"handle":"other",'),
    "a field twice with spaces": output(b'"a:b"', b'"handle" : "o",'),
    "no object": b"7",
    "no type": b'{"t":1}',
}

FINE = {
    "an escaped pair": output(rb'"\ud83d\ude00"'),
    "the largest integer": output(b"18446744073709551615"),
    "the smallest integer": output(b"-9223372036854775808"),
    "a large double": output(b"1e300"),
    "a long fraction": output(b"0.12345678901234567890123456789"),
    "digits in a text": output(b'"18446744073709551616 a:b \\u003a {[,"'),
    "spaces": output(b'{ "a" : [ 1 , 2 ] }'),
    "the same key in two objects": output(b'[{"a":1},{"a":2}]'),
}


async def holding(host: Host, link: str = "worker", **fields: Any) -> tuple[Peer, dict[str, Any]]:
    worker = host.peer()
    await worker.hello(link, slots=2)
    reply = await worker.ask("start", session_id="s", plan=plan(node("n", **fields), outputs={"out": [["n", "out"]]}))
    assert reply["error"] is None
    return worker, await worker.until("dispatch")


async def send_line(peer: Peer, seq: int, channel: int, line: bytes) -> None:
    header = orjson.dumps({"op": "batch", "seq": seq, "channels": [channel]})
    await peer.transport.send(header + b"\n" + line)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_record_that_readers_do_not_take_is_refused_and_the_others_are_taken(
    tmp_path: Path, bad: bytes
) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        line = b"[%b,%b,%b,%b]" % (orjson.dumps(STARTED), output(b"1"), bad, output(b"2"))
        await send_line(worker, 1, dispatch["channel"], line)
        await worker.until("ack")
        refused = [each for each in worker.came if each["op"] == "refused"]
        assert [(each["channel"], each["index"]) for each in refused] == [(dispatch["channel"], 2)]
        # Whoever watches reads every line of the journal, and finds the bad one as text.
        client = host.peer()
        await client.hello("client")
        row = next(each for each in (await read_all(client, "s")) if "refused" in each)
        assert [index for index, _ in row["refused"]] == [2]
        assert row["records"][1]["output"] == 1
        assert row["records"][3]["output"] == 2
        await worker.batch(2, dispatch["channel"], FINISHED)
        rows = await client.rows("s")
    assert (rows[-1]["state"], rows[-1]["outputs"]) == ("succeeded", {"out": 2})
    # A restart folds the same rows.
    async with mainframe(tmp_path) as host:
        again = host.peer()
        await again.hello("again")
        assert (await again.ask("session", session_id="s"))["result"]["state"] == "succeeded"


async def read_all(client: Peer, session: str) -> list[dict[str, Any]]:
    await client.say("read", id=9, session_id=session, offset=0)
    page = await client.until("page")
    found: list[dict[str, Any]] = page["data"]
    return found


@pytest.mark.parametrize("fine", FINE.values(), ids=FINE)
async def test_a_record_that_is_only_unusual_is_taken_as_it_is(fine: bytes) -> None:
    line = b"[%b,%b]" % (orjson.dumps(STARTED), fine)
    read = await read_line(1, line)
    assert (read.bad, read.raw) == ({}, line)


@pytest.mark.parametrize(
    "line", [b"[", b"[1,]", b"[NaN]", b'["\xff"]', b"[1]]", b"{}", b"", b"[1e400,}]", b"[1e400", b"[}", b"[1e400}"]
)
async def test_what_is_no_json_at_all_ends_the_link(tmp_path: Path, line: bytes) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        await send_line(worker, 1, dispatch["channel"], line)
        assert (await worker.until("bye"))["code"] == "unreadable"


OUT_OF_PLACE: list[tuple[list[list[Any]], list[tuple[int, str]]]] = [
    ([[{"type": "BlockProgress", "rate": 1, "t": 1}, STARTED, FINISHED]], [(0, "before JobStarted")]),
    (
        [[{"type": "BlockOutput", "handle": "out", "output": 1, "done": False, "t": 1}], [STARTED]],
        [(0, "before JobSt")],
    ),
    # A job that can't begin, for its code or its inputs can't be had, says nothing but its finish.
    ([[FINISHED], [STARTED]], [(0, "after BlockFinished|no job has channel|its job has finished|its session is over")]),
    ([[STARTED, STARTED]], [(1, "twice")]),
    ([[STARTED], [STARTED]], [(1, "twice")]),
    ([[STARTED, FINISHED, FINISHED]], [(2, "after BlockFinished")]),
    ([[STARTED, FINISHED, {"type": "BlockProgress", "rate": 1, "t": 1}]], [(2, "after BlockFinished")]),
    ([[STARTED, FINISHED], [FINISHED]], [(-1, "no job has channel|its job has finished|its session is over")]),
]


@pytest.mark.parametrize(("batches", "expected"), OUT_OF_PLACE)
async def test_records_out_of_place_are_refused(
    tmp_path: Path, batches: list[list[Any]], expected: list[tuple[int, str]]
) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        for seq, batch in enumerate(batches, 1):
            await worker.batch(seq, dispatch["channel"], *batch)
            while (await worker.until("ack"))["seq"] < seq:
                pass
        refused = [each for each in worker.came if each["op"] == "refused"]
        assert len(refused) == len(expected)
        for each, (index, words) in zip(refused, expected, strict=True):
            assert index in (-1, each["index"])
            assert any(word in each["reason"] for word in words.split("|"))


async def test_refusals_come_once_before_the_acknowledgement_and_those_of_a_channel_are_counted(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        channel = dispatch["channel"]
        progress = {"type": "BlockProgress", "rate": 1, "t": 1}
        # Lines of two channels by turns; of the first one's records each second one is bad.
        lines = [[STARTED, *[progress, 7] * 5], [8], [progress, 7] * 10, [8] * 3, [7, progress], [8]]
        header = {"op": "batch", "seq": 1, "channels": [channel, 77] * 3}
        await worker.transport.send(b"\n".join(map(orjson.dumps, [header, *lines])))
        assert (await worker.until("ack"))["seq"] == 1
        refused = [each for each in worker.came if each["op"] == "refused"]
        one_by_one = [(each["channel"], each["index"]) for each in refused[:16]]
        assert one_by_one == [(channel, n) for n in (2, 4, 6, 8, 10)] + [(77, 0)] + [
            (channel, n) for n in range(12, 32, 2)
        ]
        told = [(each["channel"], each["index"], each.get("count", 1)) for each in refused[16:]]
        assert told == [(77, 0, 4), (channel, 31, 1)]
        # The same batch again, as after a lost acknowledgement: no refusal is said twice.
        await worker.transport.send(b"\n".join(map(orjson.dumps, [header, *lines])))
        await worker.until("ack")
        assert len([each for each in worker.came if each["op"] == "refused"]) == len(refused)
        client = host.peer()
        await client.hello("client")
        rows = [each for each in await read_all(client, "s") if "refused" in each]
        assert sum(len(each["refused"]) for each in rows) == 16
        await worker.batch(2, channel, {"type": "BlockOutput", "handle": "out", "output": 1, "done": False, "t": 1})
        await worker.batch(3, channel, FINISHED)
        assert (await client.rows("s"))[-1]["outputs"] == {"out": 1}


@pytest.mark.parametrize("first", [b"[1e400,}]", b"[", None], ids=["bad grammar", "cut", "no batch"])
async def test_a_job_that_throws_executors_out_ends(tmp_path: Path, first: bytes | None) -> None:
    """An attempt whose first word ends its link counts: the next executor would have the same."""
    async with mainframe(tmp_path) as host:
        again = node("n", block={"retries": {"retries": 2, "backoff": 0.01}})
        client = host.peer()
        await client.hello("client")
        assert (await client.ask("start", session_id="s", plan=plan(again)))["error"] is None
        for number in range(3):
            worker = host.peer()
            await worker.hello(f"worker{number}", slots=1)
            dispatch = await worker.until("dispatch")
            assert dispatch["attempt"] == number + 1
            if first is None:
                await worker.transport.send(b"{broken")
            else:
                await send_line(worker, 1, dispatch["channel"], first)
            assert (await worker.until("bye"))["code"] == "unreadable"
        assert (await client.rows("s"))[-1]["state"] == "failed"


async def test_a_job_beside_the_one_that_ended_the_link_is_handed_out_again(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        await worker.ask("start", id="r2", session_id="t", plan=plan(node("n")))
        other = await worker.until("dispatch")
        await send_line(worker, 1, dispatch["channel"], b"[}")
        await worker.until("bye")
        next_ = host.peer()
        await next_.hello("next", slots=2)
        given = await next_.until("dispatch")
        assert (given["job_id"], given["attempt"]) == (other["job_id"], 2)
        assert (await next_.ask("session", session_id="s"))["result"]["state"] == "failed"


@pytest.mark.parametrize(
    ("n", "size"), [(0, 10), (1 << 53, 10), (1, (64 << 10) + 1)], ids=["number 0", "number 2^53", "more than 64 KiB"]
)
async def test_chunks_that_are_not_as_documented_end_the_link(tmp_path: Path, n: int, size: int) -> None:
    async with mainframe(tmp_path) as host:
        worker, _ = await holding(host)
        await worker.transport.send(encode_chunk(n, 0, b"x" * size))
        bye = await worker.until("bye")
        assert (bye["code"], "chunk" in bye["reason"]) == ("unreadable", True)


async def raw_peer(url: str, data: bytes, *, text: bool) -> dict[str, Any]:
    """Send one websocket message with an opcode of our choice after a greeting; return the answer."""
    transport = await connect_websocket(url, "token-of-executor", max_message=1 << 22)
    peer = Peer(transport)
    await peer.hello(f"raw{secrets.token_hex(4)}")
    await transport._connection.send(data, text=text)  # type: ignore[attr-defined]
    said = await peer.until("bye", "reply")
    transport.abort()
    return said


ASK = b'{"op":"request","id":"r","method":"info","params":{}}'


async def test_text_and_binary_are_told_apart_by_what_they_are_sent_as(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        assert (await raw_peer(house.url, b"  " + ASK, text=True))["op"] == "reply"
        for data, text, words in (
            (b"\xef\xbb\xbf" + ASK, True, "isn't JSON"),
            (b"[" + ASK + b"]", True, "isn't an object with an 'op'"),
            (b"\x01" + b"\0" * 20, True, "a text message"),
            (ASK, False, "a binary message"),
            (b"", False, "a binary message"),
        ):
            said = await raw_peer(house.url, data, text=text)
            assert (said["op"], said["code"]) == ("bye", "unreadable")
            assert words in said["reason"]


async def test_a_half_open_peer_is_noticed_in_three_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        served(tmp_path, Settings(heartbeat=1.0)) as house,
        FaultProxy("127.0.0.1", int(house.url.rpartition(":")[2])) as proxy,
    ):
        peer = Peer(await connect_websocket(f"ws://127.0.0.1:{proxy.port}", "token-of-executor", max_message=1 << 22))
        await peer.hello("half")
        link = house.server.sessions.dispatch.links["half"]
        connection, pings = link.connection, list[Ping]()
        assert connection is not None
        send = connection.send

        def sent(message: Message) -> None:
            if isinstance(message, Ping):
                pings.append(message)
            send(message)

        proxy.half_open(near=True)
        began = max(link.last_heard, connection.transport.heard_at)
        monkeypatch.setattr(connection, "send", sent)
        await until_called(house.server.sessions.dispatch, "lost", lambda: link.connection is None)
        assert asyncio.get_running_loop().time() - began > 2.9
        # No later: a loop that has no time sends fewer of them, not more.
        assert len(pings) <= 3
        peer.transport.abort()


async def test_bad_records_that_come_late_harm_neither_the_session_nor_its_watchers(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, block={"retries": {"retries": 1, "backoff": 0.01}})
        await worker.batch(1, dispatch["channel"], STARTED)
        await worker.until("ack")
        host.server.executor_gone("worker", "killed")
        await worker.until("close")
        await worker.batch(2, dispatch["channel"], 7, {"t": "x"}, {"type": "BlockOutput", "t": []}, STARTED)
        while (await worker.until("ack"))["seq"] < 2:
            pass
        client = host.peer()
        await client.hello("client")
        assert (await client.ask("session", session_id="s"))["result"]["state"] == "running"
        [row] = [each for each in await read_all(client, "s") if each.get("late")]
        assert [index for index, _ in row["refused"]] == [0, 1, 2, 3]
        assert [each.t for each in events_of_row("s", 1, [orjson.dumps(row)])] == [1]
    async with mainframe(tmp_path) as host:
        client = host.peer()
        await client.hello("again")
        assert (await client.ask("session", session_id="s"))["result"]["state"] == "running"


@pytest.mark.parametrize("value", [rb'"\ud800"', b"1e400", b"[" * 1500 + b"]" * 1500])
async def test_a_request_that_readers_do_not_take_is_refused_and_the_link_goes_on(tmp_path: Path, value: bytes) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        line = b'{"op":"request","id":"r","method":"info","params":{"x":%b}}'
        await worker.transport.send(line % value)
        if value[:1] == b"[":
            # So deep that the standard library may not read it either: then it is no request.
            said = await worker.until("reply", "bye")
            assert said["op"] == "bye" or said["error"]["code"] == "params"
            return
        assert "can't be taken" in (await worker.until("reply"))["error"]["message"]
        await worker.batch(1, dispatch["channel"], STARTED, FINISHED)
        assert (await worker.until("ack"))["seq"] == 1
