"""How values come to other hosts, by peers that speak the wire."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from asyncblock.server.settings import Settings
from asyncblock.wire.bodies import encode_chunk

from ..peers import Host, Peer, mainframe
from .test_dispatch import FINISHED, STARTED, until_stored
from .test_placing import FILE, HERE, executor, fan, output, peers

FAR = "another host, just as secret"
CARRIES: dict[str, Any] = {"understands": ["release", "live", "carry"]}
DATA = bytes(range(256)) * 300
SUM = hashlib.sha256(DATA).hexdigest()
BODY = {"n": 1, "length": len(DATA), "sha256": SUM, "encoding": "raw"}


async def carrying(host: Host, slots: int, size: int) -> tuple[Peer, Peer, dict[str, Any]]:
    """Let a value come that two jobs want, with room for so many jobs where it is, and much of it on another host."""
    x, y = host.peer(), host.peer()
    await x.hello("x", executor=executor(HERE, slots, **CARRIES), secret="x" * 20)
    await x.ask("start", session_id="s", plan=fan(2))
    a = await x.until("dispatch")
    await y.hello("y", executor=executor(FAR, **CARRIES), secret="y" * 20)
    await x.batch(1, a["channel"], STARTED, output(a, 0, portable=size))
    return x, y, a


async def send_body(peer: Peer) -> None:
    for start in range(0, len(DATA), 64 << 10):
        await peer.transport.send(encode_chunk(1, start, DATA[start : start + (64 << 10)]))
    await peer.say("whole", n=1, length=len(DATA), sha256=SUM)
    await peer.until("kept")


async def test_a_job_goes_to_another_host_where_that_has_nothing_to_do(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y, a = await carrying(host, 1, 1000)
        wanted = await x.until("carry")
        assert (wanted["most"], wanted.get("file")) == (Settings().carried_bytes, None)
        of = {name: wanted[name] for name in ("session_id", "job_id", "attempt", "place")}
        assert (await x.ask("carried", **of, body=BODY))["error"]["code"] == "unkept"
        assert (await x.ask("carried", "r2", **of))["error"]["code"] == "params"
        await send_body(x)
        before = host.server.sessions.running["s"].bytes
        assert (await x.ask("carried", "r3", **of, body=BODY))["error"] is None
        assert host.server.sessions.running["s"].bytes >= before + len(DATA)
        first = await y.until("dispatch")
        assert first["carried"] == {"v": {**BODY, "link": "x"}}
        assert "files" not in first
        # What came there is in a file, and goes when it is asked for no more.
        assert (await y.ask("exported", **of, file=FILE))["error"] is None
        assert (await y.until_row("s", "ValueCopied"))["file"] == FILE
        await y.batch(1, first["channel"], STARTED, FINISHED)
        # It is a body now, which costs less to have than to wait for what is busy.
        second = await y.until("dispatch")
        assert second["carried"] == first["carried"]
        await y.batch(2, second["channel"], STARTED, FINISHED)
        await x.batch(2, a["channel"], FINISHED)
        await y.until("session_ended", "release")


async def test_a_large_value_is_waited_for_rather_than_sent_to_another_host(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y, a = await carrying(host, 1, 1 << 30)
        await x.batch(2, a["channel"], FINISHED)
        assert (await x.until("dispatch"))["node_id"] == "b0"
        await x.ask("info")
        assert not any(message["op"] in ("carry", "dispatch") for message in (*x.came, *y.came))


async def test_whoever_can_open_the_file_sends_the_value_of_one_that_has_died(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        x, y, a = await carrying(host, 1, 1000)
        wanted = await x.until("carry")
        of = {name: wanted[name] for name in ("session_id", "job_id", "attempt", "place")}
        w = host.peer()
        await w.hello("w", executor=executor(HERE, 0, **CARRIES), secret="w" * 20)
        assert (await x.ask("exported", **of, file=FILE))["error"] is None
        await x.batch(2, a["channel"], FINISHED)
        await until_stored(x, 2)
        await x.transport.close()
        # Asked of the dead one, which was to write it; then of who has the file.
        again = await w.until("carry")
        assert {name: again[name] for name in of} == of
        assert again["file"] == FILE
        await send_body(w)
        assert (await w.ask("carried", **of, body=BODY))["error"] is None
        got = [await y.until("dispatch") for _ in range(2)]
        assert [each["carried"] for each in got] == [{"v": {**BODY, "link": "w"}}] * 2


async def test_a_value_that_can_not_be_sent_stays_with_the_words(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y, a = await carrying(host, 1, 1000)
        wanted = await x.until("carry")
        of = {name: wanted[name] for name in ("session_id", "job_id", "attempt", "place")}
        assert (await x.ask("carried", **of, error="its file can't be read"))["error"] is None
        assert (await x.until_row("s", "ValueCarried"))["reason"] == "its file can't be read"
        await x.batch(2, a["channel"], FINISHED)
        assert (await x.until("dispatch"))["node_id"] in ("b0", "b1")
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_peer_that_does_not_understand_it_is_never_asked_to_carry(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, None)
        await y.say("announce", executor=executor(FAR, **CARRIES))
        await x.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        for _ in range(3):
            assert "carried" not in await x.until("dispatch")
        assert not any(message["op"] in ("carry", "dispatch") for message in (*x.came, *y.came))
