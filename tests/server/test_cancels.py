"""A cancel is sent at once and a dispatch when it is in the journal: the executor hears of it whichever comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..peers import Host, Peer, mainframe, node, plan


async def test_a_cancel_that_overtakes_its_dispatch_is_said_again_behind_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path / "data") as host:
        peer = host.peer()
        await peer.hello(slots=1)
        sessions = host.server.sessions
        started = sessions.new_transaction()
        sessions.start(started, "s", plan(node("a")), {}, "t")
        started.commit()
        cancelled = sessions.new_transaction()
        sessions.cancel(cancelled, "s", "enough")
        cancelled.commit()
        # It was for a job that nobody knew.
        early = await peer.until("cancel", "dispatch")
        assert early["op"] == "cancel"
        dispatched = await peer.until("cancel", "dispatch")
        assert (dispatched["op"], dispatched["job_id"]) == ("dispatch", early["job_id"])
        assert await peer.until("cancel") == early
        await peer.batch(1, dispatched["channel"], {"type": "BlockFinished", "cancelled": True, "t": 1})
        assert (await peer.rows("s"))[-1]["state"] == "cancelled"


async def holding(host: Host, *nodes: dict[str, Any], **block: Any) -> tuple[Peer, Peer, dict[str, Any]]:
    worker, client = host.peer(), host.peer()
    await worker.hello("worker", slots=1)
    await client.hello("client")
    made = plan(node("n", block=block), *nodes, outputs={"o": [["n", "out"]]})
    assert (await client.ask("start", session_id="s", plan=made))["error"] is None
    dispatch = await worker.until("dispatch")
    await worker.batch(1, dispatch["channel"], STARTED)
    await worker.until("ack")
    return worker, client, dispatch


STARTED = {"type": "JobStarted", "t": 1}
OUTPUT = {"type": "BlockOutput", "handle": "out", "output": "late", "done": False, "t": 1}
LOG = {"type": "BlockLog", "log": "cleaning up", "stdio": "stdout", "t": 1}


@pytest.mark.parametrize("end", [{}, {"cancelled": True}, {"error": "no"}], ids=["result", "cancelled", "error"])
@pytest.mark.parametrize("what", ["cancel", "cancel_job"])
async def test_what_a_job_says_after_a_cancel_is_taken_until_it_has_ended(
    tmp_path: Path, what: str, end: dict[str, Any]
) -> None:
    """Outputs, logs, questions: as before. How the job ends is its own word, how its flow does is not."""
    async with mainframe(tmp_path) as host:
        worker, client, dispatch = await holding(host)
        who = {"session_id": "s", "job_id": dispatch["job_id"]}
        order = who if what == "cancel_job" else {"session_id": "s"}
        assert (await client.ask(what, **order, reason="enough"))["error"] is None
        said = await worker.until("cancel")
        assert (said["attempt"], said["reason"].endswith("enough")) == (1, True)
        await worker.batch(2, dispatch["channel"], OUTPUT, LOG)
        await worker.until("ack")
        assert (await worker.ask("query_downstream", id="q", **who, attempt=1))["error"] is None
        await worker.batch(3, dispatch["channel"], {"type": "BlockFinished", "t": 1, **end})
        rows = await client.rows("s")
        said_by_job = [record for row in rows for record in row.get("records", ())]
        assert [each["type"] for each in said_by_job] == ["JobStarted", "BlockOutput", "BlockLog", "BlockFinished"]
        assert not any(row.get("late") or row.get("refused") for row in rows)
        assert not [each for each in worker.came if each["op"] == "refused"]
        last = rows[-1]
        if what == "cancel":
            assert last["state"] == "cancelled"
        elif end:
            assert last["state"] == "failed"
        else:
            # It had ended before it heard of the cancel, or took no notice of it.
            assert (last["state"], last["outputs"]) == ("succeeded", {"o": "late"})


async def test_what_comes_of_an_attempt_that_was_closed_counts_for_nothing(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, client, dispatch = await holding(host, node("m", block={"hash": "n0body"}))
        host.server.executor_gone("worker", "killed")
        await worker.until("close")
        await worker.batch(2, dispatch["channel"], OUTPUT)
        await worker.until("ack")
        last = (await client.rows("s"))[-1]
        assert (last["state"], last.get("outputs", {})) == ("failed", {})
        await worker.batch(3, dispatch["channel"], OUTPUT)
        await worker.until("ack")
        assert [each["reason"] for each in worker.came if each["op"] == "refused"][-1].startswith("no job has channel")


async def test_a_cancel_that_comes_again_is_the_same_one(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, client, dispatch = await holding(host)
        for number in range(2):
            assert (await client.ask("cancel", id=f"c{number}", session_id="s", reason="enough"))["error"] is None
        first = await worker.until("cancel")
        assert (await worker.ask("info"))["error"] is None
        assert [each for each in worker.came if each["op"] == "cancel" and each["reason"] != first["reason"]] == []
        await worker.batch(2, dispatch["channel"], {"type": "BlockFinished", "cancelled": True, "t": 1})
        assert (await client.rows("s"))[-1]["state"] == "cancelled"
