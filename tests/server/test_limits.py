"""No way leads to a message of more than 4 MiB: what is too large is refused where it was said, or travels in parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.errors import PayloadTooLarge, Rejected
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings

from ..flows import handle_def, write_flow
from ..flows import node as block_node
from ..peers import Host, mainframe, node, plan

pytestmark = pytest.mark.timeout(90)

LIMIT = 4 << 20
STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def output(handle: str, value: object) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": handle, "output": value, "done": False, "t": 1}


async def test_inputs_that_are_too_many_for_a_message_reach_the_executor_as_bodies(tmp_path: Path) -> None:
    handles = [f"h{n}" for n in range(100)]
    async with mainframe(tmp_path) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        after = node("b", {handle: {"sources": [["a", handle]]} for handle in handles})
        await worker.ask("start", session_id="s", plan=plan(node("a"), after))
        first = await worker.until("dispatch")
        await worker.batch(1, first["channel"], STARTED)
        for seq, handle in enumerate(handles, 2):
            await worker.batch(seq, first["channel"], output(handle, handle * 20_000))
        await worker.batch(102, first["channel"], FINISHED)
        second = await worker.until("dispatch")
        given = dict(second["inputs"])
        for handle, ref in second["bodies"].items():
            await worker.say("fetch", id=7, link=ref["link"], n=ref["n"], offset=0, size=ref["length"])
            given[handle] = orjson.loads(await body(worker, ref["length"]))
        assert given == {handle: handle * 20_000 for handle in handles}
        assert max(worker.sizes) < LIMIT
        named = await host.server.journal.body_rows(host.row("s").session_no)
        assert len(named) == len(second["bodies"]) > 50


async def body(worker: Any, length: int) -> bytes:
    """Receive the chunks of a body that was asked for."""
    data = b""
    while len(data) < length:
        chunk = await worker.transport.receive()
        if chunk[:1] == b"\x01":
            data += chunk[17:]
    return data


async def test_a_block_with_many_values_sends_and_gets_them_whole(tmp_path: Path) -> None:
    """The same through the SDK: ``outputs`` of 6 MB in one call, a job that takes them all, and the flow's outputs."""
    handles = [f"h{n}" for n in range(100)]
    many = block_node(
        "many",
        "async def main(inputs, ctx):\n    await ctx.outputs({f'h{n}': f'h{n}' * 20_000 for n in range(100)})\n",
        tmp_path,
        outputs=handles,
    )
    takes = block_node(
        "takes",
        "async def main(inputs, ctx):\n    return dict(inputs)\n",
        tmp_path,
        inputs=[handle_def(handle) for handle in handles],
        outputs=handles,
        inputs_from=[
            {"handle": handle, "from_node": [{"node_id": "many", "output_handle": handle}]} for handle in handles
        ],
    )
    outputs = [{"handle": h, "from_node": [{"node_id": "takes", "output_handle": h}]} for h in handles]
    path = write_flow(tmp_path, [many, takes], outputs_from=outputs)
    async with asyncblock.embedded() as mainframe_:
        session = await mainframe_.start(path)
        assert await session.outputs() == {handle: handle * 20_000 for handle in handles}
        assert len([event async for event in session]) > 5


async def test_the_rows_of_a_plan_of_many_nodes_come_in_pages_that_fit(tmp_path: Path) -> None:
    nodes = [node(f"n{n}", {"x": {"sources": [], "value": n}}) for n in range(15_000)]
    async with mainframe(tmp_path, Settings(no_executor_timeout=1000)) as host:
        peer = host.peer()
        await peer.hello()
        assert (await peer.ask("start", session_id="s", plan=plan(*nodes)))["error"] is None
        created, offset = 0, 0
        while created < len(nodes):
            await peer.say("read", id=1, session_id="s", offset=offset)
            page = await peer.until("page")
            created += sum(line["type"] == "JobCreated" for line in page["data"])
            offset = page["next"]
        assert offset > 2
        assert max(peer.sizes) < LIMIT
    async with MainframeServer(tmp_path) as server:
        assert len(server.sessions.running["s"].jobs) == len(nodes)


async def test_a_plan_that_is_too_large_is_refused_with_its_size(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        default = plan(node("n"))
        default["inputs_def"] = [{"handle": "x", "value": "v" * (2 << 20)}]
        reply = await peer.ask("start", session_id="s", plan=default)
        assert (reply["error"]["code"], "3145728 may be" in reply["error"]["message"]) == ("too_large", True)
        block = plan(node("n", block={"description": "d" * (3 << 19)}))
        reply = await peer.ask("start", "r2", session_id="s", plan=block)
        assert (reply["error"]["code"], "node n" in reply["error"]["message"]) == ("too_large", True)
        assert host.server.sessions.rows == {}


async def test_a_request_over_the_limit_raises_at_the_call(tmp_path: Path) -> None:
    path = write_flow(
        tmp_path,
        [
            block_node(
                "n",
                "async def main(inputs, ctx):\n    return {'out': len(inputs['v'])}\n",
                tmp_path,
                inputs=[handle_def("v")],
                inputs_from=[{"handle": "v", "from_flow": [{"input_handle": "v"}]}],
            )
        ],
        inputs_def=[handle_def("v")],
        outputs_from=[{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}],
    )
    async with asyncblock.embedded() as mainframe_:
        with pytest.raises(PayloadTooLarge, match="the input 'v' has"):
            await mainframe_.start(path, {"v": "x" * (5 << 20)})
        with pytest.raises(Rejected, match="3145728 may be"):
            await mainframe_.start(path, {"v": "x" * (7 << 19)})
        session = await mainframe_.start(path, {"v": "x" * (5 << 19)})
        assert await session.outputs() == {"out": 5 << 19}


async def test_a_list_of_very_many_sessions_is_cut_to_what_fits(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=1000)) as host:
        peer = host.peer()
        await peer.hello()
        for n in range(1100):
            title = "\u0001" * 500
            assert (await peer.ask("start", session_id=f"s{n}", plan=plan(node("n")), title=title))["error"] is None
        reply = await peer.ask("sessions", limit=10**6)
        assert len(reply["result"]["sessions"]) == 1000
        assert max(peer.sizes) < LIMIT


async def test_a_greeting_with_ten_thousand_channels_is_taken_in(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        channels = [[n, f"{'5e55' * 8}.{n}.1.{n}", 1] for n in range(1, 10_001)]
        assert (await peer.hello(slots=1, channels=channels))["op"] == "welcome"
        for _ in channels:
            await peer.until("close")
        assert max(peer.sizes) < LIMIT


async def test_a_line_of_records_that_no_reader_could_be_given_is_unreadable(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("n")))
        channel = (await worker.until("dispatch"))["channel"]
        await worker.batch(1, channel, STARTED, output("out", "x" * (3 << 20)))
        assert "2097152 may be" in (await worker.until("bye"))["reason"]


async def test_a_body_over_the_limit_and_bodies_that_nothing_names_are_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.reception.uploads.MAX_BODY", 100_000)
    async with mainframe(tmp_path, Settings(unnamed_bytes=150_000)) as host:
        one, two = host.peer(), host.peer()
        await one.hello("one", slots=1)
        # Who could send values for other hosts has no more room before it is asked for one.
        can = {
            "languages": ["python"],
            "packages": {},
            "slots": {"async": 1},
            "understands": ["release", "live", "carry"],
        }
        await two.hello("two", executor=can)
        for start in range(0, 120_000, 60_000):
            await one.transport.send(chunk(1, start, 60_000))
        assert "more than 100000 bytes" in (await one.until("bye"))["reason"]
        for n in range(1, 4):
            await two.transport.send(chunk(n, 0, 60_000))
        assert "no record names" in (await two.until("bye"))["reason"]


def chunk(n: int, offset: int, size: int) -> bytes:
    return b"\x01" + n.to_bytes(8, "big") + offset.to_bytes(8, "big") + b"x" * size


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"max_sessions": 1}, "1 sessions run already"), ({"max_links": 1}, "1 links are open")],
)
async def test_sessions_and_links_have_limits_that_say_so(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=1000, **settings)) as host:
        peer = host.peer()
        await peer.hello()
        assert (await peer.ask("start", session_id="s", plan=plan(node("n"))))["error"] is None
        if "max_links" in settings:
            bye = await host.peer().hello("other")
            assert (bye["stop"], bye["retry_after"], bye["reason"]) == (False, 5.0, words)
        else:
            reply = await peer.ask("start", "r2", session_id="t", plan=plan(node("n")))
            assert (reply["error"]["code"], reply["error"]["message"]) == ("overload", words)


async def test_reads_and_fetches_of_a_connection_have_a_limit(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(max_reads=3, no_executor_timeout=1000)) as host:
        peer = host.peer()
        await peer.hello()
        await peer.ask("start", session_id="s", plan=plan(node("n")))
        for id in range(4):
            await peer.say("read", id=id, session_id="s", offset=50)
        page = await peer.until("page")
        assert (page["id"], page["error"]) == (3, "3 reads wait already on this link")


# ---------------------------------------------------------------------- orders that come twice


async def test_an_order_that_comes_twice_has_one_answer_across_a_restart_too(tmp_path: Path) -> None:
    settings = Settings(no_executor_timeout=1000)
    params = {"session_id": "s", "job_id": "s.0"}
    async with mainframe(tmp_path, settings) as host:
        peer, token = await asker(host)
        started = await peer.ask("start", "r1", session_id="s", plan=plan(node("n")))
        assert (await peer.ask("start", "r1", session_id="s", plan=plan(node("n"))))["result"] == started["result"]
        first = await peer.ask("cancel_job", "r2", **params)
        assert first["error"] is None
        await peer.ask("cancel", "r3", session_id="s")
        assert (await peer.ask("cancel_job", "r2", **params))["result"] == first["result"]
        assert (await peer.ask("cancel_job", "r4", **params))["error"]["code"] == "unknown_job"
    async with mainframe(tmp_path, settings) as host:
        peer, _ = await asker(host, generation=2, token=token)
        assert (await peer.ask("cancel_job", "r2", **params))["result"] == first["result"]
        assert (await peer.ask("cancel_job", "r4", **params))["error"]["code"] == "unknown_job"
        assert (await peer.ask("start", "r1", session_id="s", plan=plan(node("n"))))["result"] == started["result"]
        assert (await peer.ask("cancel", "r3", session_id="s"))["error"] is None
        assert len((await peer.ask("sessions", "r5"))["result"]["sessions"]) == 1


async def asker(host: Host, **fields: Any) -> tuple[Any, str]:
    peer = host.peer()
    return peer, str((await peer.hello("asker", **fields))["token"])


# ---------------------------------------------------------------------- links that are over


async def test_a_link_that_says_goodbye_is_forgotten_with_what_it_left(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello("leaver", slots=1)
        await peer.transport.send(chunk(1, 0, 1000))
        await peer.say("ping", lag=0.0)
        await peer.say("bye", code="closed", reason="done", stop=True)
        await peer.ended()
        await host.server.journal.flush()
        assert "leaver" not in host.server.sessions.dispatch.links
        assert await host.server.journal.links() == []
        # Its bodies go after the commit, by a task of the mainframe's, which an end that comes now would cancel.
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "asyncblock deleting bodies"))
    async with MainframeServer(tmp_path) as server:
        assert server.journal.bodies.under_way("leaver") == {}


async def test_a_link_that_stays_away_is_forgotten_unless_it_holds_a_job(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(link_expiry=0.0)) as host:
        idle, busy, here = host.peer(), host.peer(), host.peer()
        await here.hello("here")
        await idle.hello("idle")
        await busy.hello("busy", slots=1)
        await busy.ask("start", session_id="s", plan=plan(node("n")))
        await busy.until("dispatch")
        for peer in (idle, busy):
            await peer.transport.close()
            await peer.ended()
        while host.server.gateway.connections > 1:
            await here.ask("sessions")
        await host.server.gateway.expire()
        await host.server.journal.flush()
        assert {row.link_id for row in await host.server.journal.links()} == {"busy", "here"}


async def test_records_that_come_after_the_end_of_their_session_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.sessionstate.deadlines._GRACE_MARGIN", 0.1)
    async with mainframe(tmp_path, Settings(cancel_grace=0.1)) as host:
        worker, late = host.peer(), host.peer()
        await worker.hello("worker", slots=1)
        await late.hello("late")
        await worker.ask("start", session_id="s", plan=plan(node("n", timeout=0.1)))
        channel = (await worker.until("dispatch"))["channel"]
        await worker.until("close")
        rows = await late.rows("s")
        await worker.batch(1, channel, STARTED, output("out", 1), FINISHED)
        assert (await worker.until("ack"))["seq"] == 1
        assert await late.rows("s") == rows
        assert rows[-1]["type"] == "SessionFinished"
        assert host.server.sessions.dispatch.links["worker"].attempts == {}
        await late.say("read", id=1, session_id="s", offset=-1)
        assert (await late.until("page"))["data"][-1]["type"] == "SessionFinished"
