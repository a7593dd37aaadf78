"""Costs are bounded by what is let in: what a peer makes up is neither kept for it, nor said again, nor told on."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.server import serverlimits

from ..peers import Host, Peer, mainframe, node, plan

pytestmark = pytest.mark.timeout(60)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}
EXECUTOR, CLIENT, OBSERVER = (frozenset({role}) for role in ("executor", "client", "observer"))


async def holding(host: Host, made: dict[str, Any] | None = None, session: str = "s") -> tuple[Peer, dict[str, Any]]:
    """Start a session, and return the executor's peer that has its first job, begun."""
    client = host.peer()
    await client.hello(f"starts{session}")
    assert (await client.ask("start", session_id=session, plan=made or plan(node("n"))))["error"] is None
    worker = host.peer(EXECUTOR)
    await worker.hello(f"worker{session}", slots=1)
    dispatch = await worker.until("dispatch")
    await worker.batch(1, dispatch["channel"], STARTED)
    await worker.until("ack")
    return worker, dispatch


def who(dispatch: dict[str, Any]) -> dict[str, Any]:
    return {"session_id": dispatch["session_id"], "job_id": dispatch["job_id"], "attempt": 1}


# ---------------------------------------------------------------------- answers that are kept


async def test_the_answer_to_an_order_that_was_refused_is_not_kept(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        _, dispatch = await holding(host)
        watcher, client = host.peer(OBSERVER), host.peer(CLIENT)
        await watcher.hello("watcher")
        await client.hello("client")
        job = {"session_id": "s", "job_id": dispatch["job_id"]}
        for peer, params, code in (
            (watcher, job, "unauthorized"),
            (client, {**job, "job_id": "none"}, "unknown_job"),
            (client, {"session_id": "s"}, "params"),
        ):
            assert (await peer.ask("cancel_job", id="r1", **params))["error"]["code"] == code
        for method in ("message_service", "cancel_job"):
            assert (await client.ask(method, id="r2", session_id="none", node_id="n", job_id="x"))["error"]
        assert (await client.ask("cancel_job", id="r3", **job))["error"] is None
        kept = [await host.server.journal.request(f"{link}:r{n}") for link in ("watcher", "client") for n in (1, 2, 3)]
    assert [each is not None for each in kept] == [False] * 5 + [True]


async def test_an_answer_that_is_kept_is_told_to_those_who_may_ask_for_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        _, dispatch = await holding(host)
        client = host.peer(CLIENT)
        await client.hello("client")
        order = {"session_id": "s", "job_id": dispatch["job_id"]}
        assert (await client.ask("cancel_job", id="r1", **order))["error"] is None
        await client.say("bye", code="closed", reason="", stop=True)
        await client.ended()
        # Its id is free: nothing of it is there.
        for roles in (OBSERVER, EXECUTOR):
            other = host.peer(roles)
            assert (await other.hello("client"))["op"] == "welcome"
            assert (await other.ask("cancel_job", id="r1", **order))["error"]["code"] == "unauthorized"
            await other.say("bye", code="closed", reason="", stop=True)
            await other.ended()


# ---------------------------------------------------------------------- what is said again


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ({"op": "read", "id": 1, "session_id": "x" * 3_000_000, "offset": 0}, "page"),
        ({"op": "read", "id": 1, "session_id": "\x01" * 500_000, "offset": -1}, "page"),
        ({"op": "fetch", "id": 1, "link": "x" * 3_000_000, "n": 1, "offset": 0, "size": 1}, "fetched"),
        ({"op": "fetch", "id": 1, "link": "\x01" * 500_000, "n": 1, "offset": 0, "size": 1}, "fetched"),
        ({"op": "request", "id": "r", "method": "session", "params": {"session_id": "x" * 3_000_000}}, "reply"),
        ({"op": "request", "id": "r", "method": "x" * 3_000_000, "params": {}}, "reply"),
        ({"op": "request", "id": "r", "method": "sessions", "params": {"prefix": "x" * 3_000_000}}, "reply"),
        ({"op": "request", "id": "r", "method": "start", "params": {"session_id": "x" * 3_000_000}}, "reply"),
        ({"op": "x" * 3_000_000}, "bye"),
        ({"op": "announce", "executor": {"languages": ["x" * 3_000_000]}}, "bye"),
        ({"op": "gone", "link": "x" * 3_000_000, "reason": "y"}, None),
    ],
    ids=lambda each: f"{each['op'][:8]} {each.get('method', '')[:8]}" if isinstance(each, dict) else str(each),
)
async def test_a_name_of_megabytes_is_neither_kept_nor_said_again(
    tmp_path: Path, line: dict[str, Any], answer: str | None
) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        await peer.say(**line)
        if answer is not None:
            said = await peer.until(answer)
            assert len(orjson.dumps({key: value for key, value in said.items() if key != "data"})) < 8000
        if answer != "bye":
            assert (await peer.ask("info", id="r2"))["error"] is None


async def test_a_name_that_is_not_known_is_compared_with_few_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def matches(name: str, names: Sequence[str], *more: Any) -> list[str]:
        compared.append(len(names))
        return real(name, names, *more)

    real = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", matches)
    names = [f"{'n' * 80}{n}" for n in range(5000)]
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, plan(node("n"), *map(node, names)))
        for name, meant in (("n" * 84, True), ("m" * 1_000_000, False), ("N" * 90, False)):
            reply = await worker.ask("update_node_weight", id=name[:9], **who(dispatch), node_id=name, weight=1)
            assert reply["error"]["code"] == "unknown_node"
            assert ("Did you mean" in reply["error"]["message"]) == meant
    assert compared and max(compared) <= 200


# ---------------------------------------------------------------------- what is believed of a peer


async def test_what_peers_say_that_they_hold_is_an_executors_word_and_adds_up(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    async with mainframe(tmp_path) as host:
        workers = [host.peer() for _ in range(3)]
        for number, peer in enumerate(workers):
            await peer.hello(f"worker{number}")
            await peer.say("ping", held=most, may_hold=most, on_disk=most, may_take=most)
            assert (await peer.ask("info"))["error"] is None
        watcher = host.peer(OBSERVER)
        await watcher.hello("watcher")
        before = (await watcher.ask("info"))["result"]["var_values"]
        assert before["held_bytes"] == before["disk_bytes"] == 3 * serverlimits.MAX_HELD
        await watcher.say("ping", held=12345, may_hold=54321)
        assert (await watcher.ask("info", id="r2"))["result"]["var_values"] == before
        await workers[0].say("ping", held=-5, may_hold=-5, on_disk=-5, may_take=-5)
        await workers[0].ask("info", id="r2")
        after = (await watcher.ask("info", id="r3"))["result"]["var_values"]
        assert list(after.values()) == [2 * serverlimits.MAX_HELD] * 4


async def test_how_the_mainframe_is_can_be_told_whatever_executors_announce(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        for number in range(4):
            worker = host.peer(EXECUTOR)
            packages = {f"{n:0200}": "p" for n in range(10_000)}
            can = {"languages": [f"{n:0200}" for n in range(100)], "packages": packages, "slots": {"async": 1}}
            assert (await worker.hello(f"worker{number}", executor=can))["op"] == "welcome"
        client = host.peer()
        await client.hello("client")
        asked = plan(node("n", block={"package": "p" * 1_000_000, "hash": "n0body"}))
        assert (await client.ask("start", session_id="s", plan=asked))["error"] is None
        reply = await client.ask("info", id="r2")
        assert reply["error"] is None
        assert [len(each["packages"]) for each in reply["result"]["offers"]] == [(1 << 18) // 203] * 4
        few = host.peer(EXECUTOR)
        await few.hello("few", executor={"languages": ["python"], "packages": {"h": "p"}, "slots": {"async": 1}})
        assert ["h"] in [each["packages"] for each in (await client.ask("info", id="r3"))["result"]["offers"]]


async def test_what_stands_behind_a_hello_in_its_message_is_heard(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        hello = {"op": "hello", "version": 1, "link": "l", "boot": "b", "generation": 1}
        asks = [{"op": "request", "id": f"r{n}", "method": "info", "params": {}} for n in range(2)]
        await peer.transport.send(b"\n".join(map(orjson.dumps, [hello, *asks])))
        assert (await peer.until("welcome", "reply"))["op"] == "welcome"
        # Threads read for them side by side: which answer comes first isn't promised.
        assert {(await peer.until("reply"))["id"] for _ in asks} == {"r0", "r1"}
        wrong = host.peer()
        await wrong.transport.send(b"\n".join(map(orjson.dumps, [{**hello, "link": "m"}, {"op": "nod"}])))
        assert (await wrong.until("bye"))["code"] == "unreadable"


async def test_an_executor_reads_no_more_of_a_session_when_its_job_is_over(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, plan(node("n"), node("m", block={"hash": "n0body"})))
        rows = host.row("s")
        await worker.say("read", id=7, session_id="s", offset=0)
        first = await worker.until("page")
        assert first["error"] is None and rows.state == "running"
        # It waits for what comes later, and its own job ends before that.
        await worker.say("read", id=8, session_id="s", offset=first["next"] + 50)
        await worker.batch(2, dispatch["channel"], FINISHED)
        await worker.until("ack")
        client = host.peer()
        await client.hello("client")
        await client.ask("cancel", session_id="s")
        await client.rows("s")
        await worker.say("read", id=9, session_id="s", offset=0)
        pages = {}
        while 9 not in pages:
            page = await worker.until("page")
            pages[page["id"]] = page
        for page in pages.values():
            assert (page["data"], "may not read" in page["error"]) == ([], True)


# ---------------------------------------------------------------------- what a job makes up


def catalogued() -> dict[str, Any]:
    return {**plan(node("n")), "catalog": {"p::x": node("x")}, "scope": "p"}


async def test_values_for_blocks_that_nobody_runs_are_as_few_as_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.jobstate.arguments.MAX_ARGUMENTS", 20)
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, catalogued())
        channel, job = dispatch["channel"], host.server.sessions.running["s"].jobs[dispatch["job_id"]]
        ids = [f"{dispatch['job_id']}.1.b{n}" for n in range(30)]
        records = [{"type": "BlockArguments", "id": each, "values": {"v": 1}, "t": 1} for each in ids]
        await worker.batch(2, channel, *records)
        await worker.until("ack")
        refused = [each for each in worker.came if each["op"] == "refused"]
        assert [each["index"] for each in refused] == list(range(21, 31))
        assert "wait for their run_block" in refused[0]["reason"]
        assert len(job.arguments.keys()) == 20
        # What an order has named is nobody's any more, and others have room.
        for each in ids[:2]:
            reply = await worker.ask("run_block", id=each, **who(dispatch), block_job_id=each, block="self::x")
            assert reply["error"] is None
        assert len(job.arguments.keys()) == 18
        await worker.batch(3, channel, *records[20:23])
        await worker.until("ack")
        assert [each["index"] for each in worker.came if each["op"] == "refused"][10:] == [33]
    async with mainframe(tmp_path) as host:
        # A restart reads the same.
        job = host.server.sessions.running["s"].jobs[dispatch["job_id"]]
        assert sorted(job.arguments.keys()) == sorted(ids[2:22])


async def test_an_order_with_inputs_of_megabytes_is_refused(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, catalogued())
        block = f"{dispatch['job_id']}.1.b"
        order = {**who(dispatch), "block_job_id": block, "block": "self::x"}
        reply = await worker.ask("run_block", **order, inputs={"v": "x" * 1_500_000})
        assert reply["error"]["code"] == "too_large"
        assert "BlockArguments" in reply["error"]["message"]
        assert (await worker.ask("run_block", id="r2", **order, inputs={"v": "x" * 1_000_000}))["error"] is None


async def test_handles_that_a_peer_makes_up_are_not_remembered(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        outputs = [
            {"type": "BlockOutput", "handle": f"made up {n}", "output": n, "done": False, "t": 1} for n in range(5000)
        ]
        await worker.batch(2, dispatch["channel"], *outputs)
        await worker.until("ack")
        assert len(host.server.sessions.running["s"].jobs[dispatch["job_id"]].consumed) <= 1000


# ---------------------------------------------------------------------- requests with odd numbers

ODD = [-(1 << 63), -1, 0, (1 << 31), (1 << 63) - 1, (1 << 64) - 1]


@pytest.mark.parametrize("number", ODD)
async def test_numbers_at_the_ends_of_what_json_has_are_no_defect_of_the_mainframe(tmp_path: Path, number: int) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host)
        client = host.peer()
        await client.hello("client")
        asks: list[tuple[Peer, str, dict[str, Any]]] = [
            (client, "sessions", {"limit": number}),
            (client, "sessions", {"before": [number, "s"]}),
            (client, "prune", {"older_ms": abs(number)}),
            (client, "prune", {"keep": abs(number)}),
            (worker, "update_node_weight", {**who(dispatch), "node_id": "n", "weight": abs(number)}),
            (worker, "query_downstream", {**who(dispatch), "attempt": number}),
            (worker, "exported", {**who(dispatch), "place": number, "error": "no"}),
            (worker, "exported", {**who(dispatch), "attempt": number, "place": 0, "error": "no"}),
            (worker, "executor_held", {"link": "none", "seconds": number, "threads": [], "works": True}),
        ]
        for place, (peer, method, params) in enumerate(asks):
            reply = await peer.ask(method, id=f"q{place}", **params)
            code = None if reply["error"] is None else reply["error"]["code"]
            assert code in (None, "params", "not_held"), (method, params, reply)
        await worker.say("stalled", channel=dispatch["channel"], seconds=number, where="main (a.py:1)")
        for id, op, more in (
            (1, "read", {"session_id": "s", "offset": number}),
            (number, "read", {"session_id": "s", "offset": 0}),
            (3, "fetch", {"link": "l", "n": 1, "offset": abs(number), "size": abs(number)}),
        ):
            await client.say(op, id=id, **more)
            await client.say("unread", id=id)
        assert (await client.ask("session", id="last", session_id="s"))["result"]["state"] == "running"
        await worker.batch(2, dispatch["channel"], FINISHED)
        async with asyncio.timeout(20):
            assert (await client.rows("s"))[-1]["state"] == "succeeded"


@pytest.mark.parametrize("weight", [1e308, 1.7976931348623157e308, 1e9, 5e-324, 0])
async def test_weights_of_any_size_leave_a_flow_its_progress(tmp_path: Path, weight: float) -> None:
    async with mainframe(tmp_path) as host:
        worker, dispatch = await holding(host, plan(node("n"), node("m")))
        for number, name in enumerate(("n", "m")):
            reply = await worker.ask("update_node_weight", f"w{number}", **who(dispatch), node_id=name, weight=weight)
            assert (reply["error"] is None) == (weight <= 1e9), reply
        await worker.batch(2, dispatch["channel"], {"type": "BlockProgress", "rate": 50, "t": 1}, FINISHED)
        second = await worker.until("dispatch")
        client = host.peer()
        await client.hello("client")
        progress = (await client.ask("session", session_id="s"))["result"]["progress"]
        assert progress is None or 0 <= progress <= 100
        await worker.batch(3, second["channel"], STARTED, FINISHED)
        assert (await client.rows("s"))[-1]["state"] == "succeeded"
