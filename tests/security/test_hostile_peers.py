"""Peers that mean harm, or are broken: they are told so once, and harm nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.errors import ConnectionLost
from asyncblock.server.settings import Settings

from ..peers import Host, Peer, mainframe, node, plan

pytestmark = pytest.mark.timeout(60)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def output(value: object, handle: str = "out") -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": handle, "output": value, "done": False, "t": 1}


async def holding(host: Host, link: str = "worker", session: str = "s") -> tuple[Peer, dict[str, Any]]:
    """Start a session of one job, and return the peer that holds it with the dispatch."""
    worker = host.peer()
    await worker.hello(link, slots=1)
    assert (await worker.ask("start", session_id=session, plan=plan(node("n"))))["error"] is None
    return worker, await worker.until("dispatch")


async def goes_on(host: Host) -> None:
    """Check that the mainframe serves others."""
    client = host.peer()
    await client.hello("another")
    assert (await client.ask("sessions"))["error"] is None


@pytest.mark.parametrize("link", ["../x", "/etc", "a/b", "", ".", "a\x00b", "x" * 101, "é", "-x"])
async def test_a_link_id_that_is_no_plain_name_is_refused_in_the_greeting(tmp_path: Path, link: str) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        answer = await peer.hello(link)
        assert (answer["op"], answer["code"], answer["stop"]) == ("bye", "unreadable", True)
        await goes_on(host)
    assert list((tmp_path / "bodies").iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": 1 << 63},
        {"generation": -1},
        {"channels": [[[], "s.1", 1]]},
        {"channels": [[1, "s.1", "x"]]},
        {"channels": [7]},
        {"boot": "b" * 5000},
        {"version": 2},
    ],
)
async def test_a_greeting_that_makes_no_sense_is_answered_and_harms_nobody(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with mainframe(tmp_path) as host:
        answer = await host.peer().hello(**fields)
        assert (answer["op"], answer["stop"]) == ("bye", True)
        await goes_on(host)


async def test_a_resume_token_that_was_guessed_leaves_the_link_to_its_owner(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        answer = await host.peer().hello("worker", slots=1, generation=2, token="0" * 32)
        assert (answer["op"], answer["code"]) == ("bye", "unauthorized")
        await worker.batch(1, dispatch["channel"], STARTED, FINISHED)
        assert (await worker.until("ack"))["seq"] == 1
        assert (await worker.rows("s"))[-1]["state"] == "succeeded"


async def test_an_executor_can_not_write_for_the_job_of_another_link(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        thief = host.peer(frozenset({"executor"}))
        await thief.hello("thief", slots=1)
        await thief.batch(1, dispatch["channel"], STARTED, output(666), FINISHED)
        assert "no job has channel" in (await thief.until("refused"))["reason"]
        who = {"session_id": "s", "job_id": dispatch["job_id"], "attempt": 1}
        reply = await thief.ask("update_node_weight", node_id="n", weight=1, **who)
        assert reply["error"]["code"] == "not_held"
        await thief.say("read", id=1, session_id="s", offset=0)
        assert "may not read" in (await thief.until("page"))["error"]
        await worker.batch(1, dispatch["channel"], STARTED, FINISHED)
        rows = await worker.rows("s")
    assert "666" not in str(rows)
    assert rows[-1]["state"] == "succeeded"


@pytest.mark.parametrize(
    ("roles", "method", "params"),
    [
        ({"executor"}, "start", {"session_id": "x", "plan": plan(node("n"))}),
        ({"observer"}, "start", {"session_id": "x", "plan": plan(node("n"))}),
        ({"executor"}, "cancel", {"session_id": "s"}),
        ({"observer"}, "cancel", {"session_id": "s"}),
        ({"observer"}, "cancel_job", {"session_id": "s", "job_id": "s.0"}),
        ({"observer"}, "message_service", {"session_id": "s", "node_id": "n"}),
        ({"observer"}, "prune", {"keep": 0}),
        ({"executor"}, "sessions", {}),
    ],
)
async def test_a_token_does_what_its_roles_allow_and_no_more(
    tmp_path: Path, roles: set[str], method: str, params: dict[str, Any]
) -> None:
    async with mainframe(tmp_path) as host:
        await holding(host)
        peer = host.peer(frozenset(roles))
        await peer.hello()
        assert (await peer.ask(method, **params))["error"]["code"] == "unauthorized"
        assert host.row("s").state == "running"


@pytest.mark.parametrize("roles", [{"client"}, {"observer"}, set[str]()])
async def test_who_may_not_run_blocks_is_turned_away_as_an_executor(tmp_path: Path, roles: set[str]) -> None:
    async with mainframe(tmp_path) as host:
        answer = await host.peer(frozenset(roles)).hello(slots=1)
        assert (answer["op"], answer["code"]) == ("bye", "unauthorized")
        peer = host.peer(frozenset(roles))
        await peer.hello("second")
        await peer.say("announce", executor={"languages": [], "packages": {}, "slots": {"async": 1}})
        assert (await peer.until("bye"))["code"] == "unauthorized"


async def test_a_reader_stays_in_its_session_wherever_it_asks_to_begin(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        await worker.batch(1, dispatch["channel"], STARTED, FINISHED)
        await worker.rows("s")
        await worker.transport.close()
        second, _ = await holding(host, "second", "t")
        numbers = [host.row(name).session_no for name in ("s", "t")]
        assert numbers[1] == numbers[0] + 1
        for offset in (1 << 32, (1 << 32) + 1, 1 << 62, (1 << 63) - 1):
            await second.say("read", id=5, session_id="s", offset=offset)
            page = await second.until("page")
            assert (page["data"], page["rows"]) == ([], [])
        await goes_on(host)


@pytest.mark.parametrize(
    "fields",
    [
        {"link": "../../etc", "n": 1, "offset": 0, "size": 10},
        {"link": "a\x00b", "n": 1, "offset": 0, "size": 10},
        {"link": "worker", "n": -1, "offset": 0, "size": 10},
        {"link": "worker", "n": 1 << 63, "offset": 0, "size": 10},
        {"link": "worker", "n": 1, "offset": (1 << 63) + 5, "size": 10},
        {"link": "worker", "n": 1, "offset": -5, "size": 10},
        {"link": "nobody", "n": 1, "offset": 0, "size": 1 << 60},
    ],
)
async def test_a_fetch_of_what_is_no_body_is_answered_with_an_error(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        await peer.say("fetch", id=1, **fields)
        assert (await peer.until("fetched"))["error"]


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


@pytest.mark.parametrize("levels", [300, 1000, 900_000])
async def test_records_that_are_nested_too_deep_are_refused(tmp_path: Path, levels: int) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        await worker.batch(1, dispatch["channel"], STARTED)
        record = b'[{"type":"BlockOutput","handle":"out","output":%b,"done":false,"t":1}]' % nested(levels)
        header = orjson.dumps({"op": "batch", "seq": 2, "channels": [dispatch["channel"]]})
        await worker.transport.send(header + b"\n" + record)
        refused = await worker.until("refused")
        assert (refused["index"], "nested more than 200 levels" in refused["reason"]) == (1, True)
        await worker.batch(3, dispatch["channel"], output(1), FINISHED)
        client = host.peer()
        await client.hello("client")
        rows = await client.rows("s")
    assert rows[-1]["state"] == "succeeded"


async def test_values_as_deep_as_senders_allow_come_out_at_the_other_end(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker = host.peer()
        await worker.hello("worker", slots=5)
        after = node("b", {"v": {"sources": [["a", "out"]]}})
        made = plan(node("a"), after, outputs={"out": [["a", "out"]]})
        assert (await worker.ask("start", session_id="s", plan=made))["error"] is None
        first = await worker.until("dispatch")
        value = orjson.loads(nested(190))
        await worker.batch(1, first["channel"], STARTED, output(value), FINISHED)
        second = await worker.until("dispatch")
        assert second["inputs"] == {"v": value}
        await worker.batch(2, second["channel"], STARTED, FINISHED)
        assert (await worker.rows("s"))[-1]["outputs"] == {"out": value}


async def test_a_request_that_is_nested_too_deep_is_refused_and_starts_nothing(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        value = orjson.loads(nested(240))
        reply = await peer.ask("start", session_id="s", plan=plan(node("n")), inputs={"x": value})
        assert "nested" in reply["error"]["message"]
        assert host.server.sessions.rows == {}


async def test_a_batch_of_more_records_than_may_be_is_unreadable(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        header = orjson.dumps({"op": "batch", "seq": 1, "channels": [dispatch["channel"]]})
        await worker.transport.send(header + b"\n[" + b",".join([b"1"] * 1_000_000) + b"]")
        assert "1000000 records" in (await worker.until("bye"))["reason"]
        await goes_on(host)


async def test_refusals_and_their_row_stay_small_whatever_was_refused(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        await worker.batch(1, dispatch["channel"], *[{"type": "x" * 1000, "t": 1}] * 1500)
        await worker.until("ack")
        refused = [m for m in worker.came if m["op"] == "refused"]
        await worker.batch(2, dispatch["channel"], STARTED, FINISHED)
        rows = await worker.rows("s")
    assert all(len(each["reason"]) <= 150 for each in refused)
    [row] = [row for row in rows if row.get("refused")]
    assert len(row["refused"]) == 1500
    assert max(worker.sizes) < 4 << 20


async def test_who_asks_and_does_not_listen_is_not_read_any_more(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(heartbeat=0.2)) as host:
        peer = host.peer()
        await peer.hello()
        line = orjson.dumps({"op": "request", "id": "r" * 1000, "method": "x" * 5000, "params": {}})
        with pytest.raises(ConnectionLost):
            async with asyncio.timeout(30):
                while True:
                    await peer.transport.send(b"\n".join([line] * 100))
        await goes_on(host)


async def test_an_id_or_method_of_megabytes_is_not_said_again(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        reply = await peer.ask("\u0001" * 500_000)
        assert len(reply["error"]["message"]) <= 1000
        await peer.say("request", id="i" * 2_000_000, method="sessions", params={})
        assert (await peer.until("bye"))["code"] == "unreadable"


async def test_who_connects_and_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncblock.server.reception.gateway._GREETING_TIMEOUT", 0.2)
    async with mainframe(tmp_path) as host:
        await host.peer().ended()
        assert host.server.gateway.connections == 0


@pytest.mark.parametrize(
    "block",
    [
        {"entry": "../secret.py"},
        {"entry": "/etc/passwd"},
        {"dir": "../.."},
        {"dir": "/"},
        {"entry": "a/../../b.py"},
    ],
)
async def test_a_plan_whose_entry_leads_out_of_its_package_is_refused(tmp_path: Path, block: dict[str, Any]) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        reply = await peer.ask("start", session_id="s", plan=plan(node("n", block=block)))
        assert reply["error"]["code"] == "invalid_flow"
        assert "leads out of its package" in reply["error"]["message"]
