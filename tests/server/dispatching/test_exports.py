"""How values come to other hosts, by peers that speak the wire."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from asyncblock.server.settings import Settings
from asyncblock.wire.bodies import encode_chunk

from ...peers import Host, Peer, mainframe
from ...waits import until_files
from .test_dispatch import FINISHED, STARTED, until_stored
from .test_placing import FILE, HERE, executor, fan, output, peers

FAR = "another host, just as secret"
CARRIES: dict[str, Any] = {"understands": ["release", "live", "carry"]}
DATA = bytes(range(256)) * 300
WAITED = "cancelled: enough; its values were still on their way"
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


async def send_body(peer: Peer, start: int = 0) -> None:
    for offset in range(start, len(DATA), 64 << 10):
        await peer.transport.send(encode_chunk(1, offset, DATA[offset : offset + (64 << 10)]))
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


def back(link: str, place: str, *open_jobs: dict[str, Any]) -> dict[str, Any]:
    """Return what an executor says that comes back to a mainframe which has begun anew."""
    channels = [[job["channel"], job["job_id"], job["attempt"]] for job in open_jobs]
    greeting = {"generation": 2, "token": link * 20, "secret": link * 20, "channels": channels}
    return {"executor": executor(place, 1, **CARRIES), **greeting}


def value_of(message: dict[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in ("session_id", "job_id", "attempt", "place")}


@pytest.mark.parametrize("snapshot", [1 << 30, 1])
async def test_after_a_restart_a_value_is_waited_for_whoever_is_the_first_to_come_back(
    tmp_path: Path, snapshot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An upload goes on that is larger than any other may be, before its maker is asked again.
    monkeypatch.setattr("asyncblock.server.reception.uploads.MAX_BODY", 70_000)
    settings = Settings(snapshot_bytes=snapshot)
    async with mainframe(tmp_path, settings) as host:
        x, y, a = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        await x.transport.send(encode_chunk(1, 0, DATA[: 64 << 10]))
        assert (await x.ask("info"))["error"] is None
    async with mainframe(tmp_path, settings) as host:
        y, x = host.peer(), host.peer()
        await y.hello("y", **back("y", FAR))
        await y.ask("info")
        assert not any(message["op"] == "dispatch" for message in y.came)
        welcome = await x.hello("x", **back("x", HERE, a))
        assert welcome["bodies"] == {"1": 64 << 10}
        assert value_of(await x.until("carry")) == of
        await send_body(x, 64 << 10)
        assert (await x.ask("carried", **of, body=BODY))["error"] is None
        got = await y.until("dispatch")
        assert got["carried"] == {"v": {**BODY, "link": "x"}}
        assert [line.get("type") for line in await rows_until(y, "ValueCarried")].count("JobFailed") == 0


async def test_a_job_that_is_cancelled_while_its_value_is_on_its_way_ends_at_once(tmp_path: Path) -> None:
    # Its executor hasn't heard of it: nobody else would say its end before its time to clean up is over.
    async with mainframe(tmp_path, Settings(cancel_grace=3600.0)) as host:
        x, y, a = await carrying(host, 1, 1000)
        await x.until("carry")
        assert (await x.ask("cancel", session_id="s", reason="enough"))["error"] is None
        [failed] = [row for row in await rows_until(x, "JobFailed") if row.get("type") == "JobFailed"]
        assert (failed["node_id"], failed["error"]) == ("b0", WAITED)
        await x.batch(2, a["channel"], {**FINISHED, "cancelled": True})
        await rows_until(x, "SessionFinished")
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_job_whose_time_is_up_while_its_value_is_on_its_way_ends_of_that(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(cancel_grace=3600.0)) as host:
        x, y = host.peer(), host.peer()
        await x.hello("x", executor=executor(HERE, 1, **CARRIES), secret="x" * 20)
        flow = fan(1)
        flow["nodes"][1]["timeout"] = 0.3
        await x.ask("start", session_id="s", plan=flow)
        a = await x.until("dispatch")
        await y.hello("y", executor=executor(FAR, **CARRIES), secret="y" * 20)
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        await x.until("carry")
        [failed] = [row for row in await rows_until(x, "JobFailed") if row.get("type") == "JobFailed"]
        assert failed["error"] == "Timeout: node b0 took longer than 0.3 s"


async def test_a_job_that_is_cancelled_before_its_executor_is_back_ends_when_that_has_never_heard_of_it(
    tmp_path: Path,
) -> None:
    settings = Settings(cancel_grace=3600.0)
    async with mainframe(tmp_path, settings) as host:
        x, _, a = await carrying(host, 1, 1000)
        await x.until("carry")
    async with mainframe(tmp_path, settings) as host:
        x, y = host.peer(), host.peer()
        await x.hello("x", **back("x", HERE, a))
        assert (await x.ask("cancel", session_id="s", reason="enough"))["error"] is None
        await x.until("cancel")
        await y.hello("y", **back("y", FAR))
        [failed] = [row for row in await rows_until(x, "JobFailed") if row.get("type") == "JobFailed"]
        assert (failed["node_id"], failed["error"]) == ("b0", WAITED)
        assert not any(message["op"] == "dispatch" for message in y.came)


async def rows_until(peer: Peer, kind: str) -> list[dict[str, Any]]:
    """Read the rows of the session up to one of some type."""
    found: list[dict[str, Any]] = []
    offset = 0
    while not any(line.get("type") == kind for line in found):
        await peer.say("read", id=1, session_id="s", offset=offset)
        page = await peer.until("page")
        found += page["data"]
        offset = page["next"]
    return found


async def test_a_restart_in_the_middle_of_an_upload_leaves_its_maker_as_much_room_as_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.reception.uploads.MAX_BODY", 70_000)
    async with mainframe(tmp_path) as host:
        x, _, a = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        await x.transport.send(encode_chunk(1, 0, DATA[: 64 << 10]))
        await x.ask("info")
    async with mainframe(tmp_path) as host:
        x = host.peer()
        # Nobody is there yet who would have it asked again.
        await x.hello("x", **back("x", HERE, a))
        await send_body(x, 64 << 10)
        assert (await x.ask("carried", **of, body=BODY))["error"] is None


async def test_two_hosts_that_want_a_value_at_once_get_one_body(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y, _ = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        z = host.peer()
        await z.hello("z", executor=executor("a third host, as secret as the others", 1, **CARRIES), secret="z" * 20)
        await send_body(x)
        assert (await x.ask("carried", **of, body=BODY))["error"] is None
        for peer in (y, z):
            assert (await peer.until("dispatch"))["carried"] == {"v": {**BODY, "link": "x"}}
        assert not any(message["op"] == "carry" for message in x.came)
        # It says so again, for the answer was lost: that changes nothing, and what it sends again goes.
        await send_body(x)
        assert (await x.ask("carried", "r3", **of, body=BODY))["error"] is None
        await x.say("discard", bodies=[1])
        assert [line.get("type") for line in await rows_until(y, "ValueCarried")].count("ValueCarried") == 1
        await y.say("fetch", id=7, link="x", n=1, offset=0, size=10)
        assert (await y.until("chunk"))["data"][-10:] == DATA[:10]


async def test_who_was_not_asked_for_a_value_neither_sends_it_nor_says_that_it_can_not_be(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y, _ = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        forger = host.peer(frozenset({"executor"}))
        await forger.hello("w", executor=executor(HERE, 0, **CARRIES), secret="w" * 20)
        assert (await x.ask("exported", **of, file=FILE))["error"] is None
        await send_body(forger)
        for id, said in (("r1", {"body": BODY}), ("r2", {"error": "no"})):
            assert (await forger.ask("carried", id, **of, **said))["result"] == {"lives": False}
        # Who has no job of the session fetches nothing of it, named or not.
        await send_body(x)
        assert (await x.ask("carried", "r3", **of, body=BODY))["error"] is None
        for n, link in enumerate(("x", "w"), 1):
            await forger.say("fetch", id=n, link=link, n=1, offset=0, size=10)
            assert (
                "may read only bodies of sessions whose jobs its link has" in (await forger.until("fetched"))["error"]
            )
        assert (await y.until("dispatch"))["carried"] == {"v": {**BODY, "link": "x"}}


async def test_a_body_goes_with_the_last_job_that_could_ask_for_it(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    async with mainframe(tmp_path) as host:
        x, y, a = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        await send_body(x)
        await x.ask("carried", **of, body=BODY)
        before = host.server.sessions.running["s"].bytes
        for seq in (1, 2):
            job = await y.until("dispatch")
            assert [*bodies.glob("*/*")] == [bodies / "x" / "1"]
            await y.batch(seq, job["channel"], STARTED, FINISHED)
        await until_files(bodies, lambda: not [*bodies.glob("*/*")])
        assert host.server.sessions.running["s"].bytes < before - len(DATA) + 10_000
        assert await host.server.journal.body_rows(host.server.sessions.running["s"].number) == []
        # The maker's job goes on.
        await x.batch(2, a["channel"], FINISHED)
        assert (await x.rows("s"))[-1]["state"] == "succeeded"


async def test_a_body_goes_with_its_session(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    async with mainframe(tmp_path, Settings(cancel_grace=0.1)) as host:
        x, y, a = await carrying(host, 1, 1000)
        of = value_of(await x.until("carry"))
        await send_body(x)
        await x.ask("carried", **of, body=BODY)
        job = await y.until("dispatch")
        await y.batch(1, job["channel"], STARTED)
        await y.ask("cancel", "r2", session_id="s", reason="enough")
        await y.batch(2, job["channel"], {**FINISHED, "cancelled": True})
        await x.batch(2, a["channel"], {**FINISHED, "cancelled": True})
        assert (await y.rows("s"))[-1]["state"] == "cancelled"
        await until_files(bodies, lambda: not [*bodies.glob("*/*")])
        assert (await host.server.journal.totals())["cancelled"][1] < len(DATA)


async def test_what_a_maker_was_sending_that_stays_away_goes_when_its_lease_is_over(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    async with mainframe(tmp_path, Settings(lease=0.05)) as host:
        x, y, _ = await carrying(host, 1, 1000)
        await x.until("carry")
        await x.transport.send(encode_chunk(1, 0, DATA[: 64 << 10]))
        await x.ask("info")
        await until_files(bodies, lambda: [*bodies.glob("*/*")])
        await host.server.gateway.expire()
        assert host.server.sessions.dispatch.links["x"].bodies == {1: 64 << 10}
        await x.transport.close()
        assert (await y.rows("s"))[-1]["state"] == "failed"
        await host.server.gateway.expire()
        await until_files(bodies, lambda: not [*bodies.glob("*/*")])
