"""Item 3: late records change nothing and can be looked at; a job goes only where its package is the same."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.server.settings import Settings

from ...peers import HASH, Peer, mainframe, node, plan
from ...processes import run

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def output(value: object) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": "out", "output": value, "done": False, "t": 1}


async def until_stored(peer: Peer, seq: int) -> None:
    while (await peer.until("ack"))["seq"] < seq:
        pass


async def test_late_records_of_an_old_attempt_change_nothing_and_are_shown_by_watch(tmp_path: Path) -> None:
    """The first executor is away for longer than its lease, comes back, and says all that it has to say."""
    retried = node("a", block={"retries": {"retries": 1, "backoff": 0.01}})
    taker = node("b", {"v": {"sources": [["a", "out"]]}})
    flow = plan(retried, taker, outputs={"last": [["b", "out"]]})
    async with mainframe(tmp_path / "data", Settings(lease=0.2)) as host, host.server.listen("127.0.0.1", 0) as url:
        old = host.peer()
        token = (await old.hello("old", slots=1))["token"]
        assert (await old.ask("start", session_id="s", plan=flow))["error"] is None
        first = await old.until("dispatch")
        await old.batch(1, first["channel"], STARTED, output("old 1"))
        await until_stored(old, 1)
        await old.transport.close()
        new = host.peer()
        await new.hello("new", slots=2)
        second = await new.until("dispatch")
        assert (second["job_id"], second["attempt"]) == (first["job_id"], 2)
        await new.batch(1, second["channel"], STARTED, output("new 1"))

        late = host.peer()
        open_jobs = [[first["channel"], first["job_id"], 1]]
        welcome = await late.hello("old", generation=2, token=token, channels=open_jobs)
        assert (welcome["resumed"], welcome["stored"]) == (True, 1)
        assert (await late.until("close"))["attempt"] == 1
        await late.batch(2, first["channel"], output("old 2"), FINISHED)
        await until_stored(late, 2)

        await new.batch(2, second["channel"], output("new 2"), FINISHED)
        for seq, value in ((3, "new 1"), (4, "new 2")):
            taken = await new.until("dispatch")
            assert taken["inputs"] == {"v": value}
            await new.batch(seq, taken["channel"], STARTED, {**FINISHED, "result": {"out": value.upper()}})
        end = (await new.rows("s"))[-1]
        assert (end["state"], end["outputs"]) == ("succeeded", {"last": "NEW 2"})

        watch = ("watch", "s", "--url", url, "--token", host.server.token)
        told, shown = await asyncio.gather(run(*watch, state=tmp_path), run(*watch, "--json", state=tmp_path))
    assert "a: 2 records of attempt 1, which was over, are kept and not used" in told.out
    [kept] = [event for event in map(orjson.loads, shown.out) if event["type"] == "LateRecords"]
    assert (kept["job_id"], kept["attempt"], kept["link"]) == (first["job_id"], 1, "old")
    assert kept["records"] == [output("old 2"), FINISHED]
    # What the old attempt had said in time is there too, and wasn't handed on.
    assert [e["output"] for e in map(orjson.loads, shown.out) if e["type"] == "BlockOutput" and e["attempt"] == 1] == [
        "old 1"
    ]


async def test_a_job_waits_for_its_package_s_hash_and_fails_naming_both(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=0.3)) as host:
        other = host.peer()
        announced = {"languages": ["python"], "packages": {"0ther" * 8: "p"}, "slots": {"async": 4}}
        await other.hello("other", executor=announced)
        began = asyncio.get_running_loop().time()
        assert (await other.ask("start", session_id="s", plan=plan(node("n"))))["error"] is None
        end = (await other.rows("s"))[-1]
        assert asyncio.get_running_loop().time() - began >= 0.3
        assert end["state"] == "failed"
        assert f"needs python and package 'p' with hash {HASH}; executors have 'p' 0ther0ther0t" in end["error"]
        assert "within 0.3 s" in end["error"]
        assert all(message["op"] != "dispatch" for message in other.came)


_OTHER = {"languages": ["python"], "packages": {"0ther" * 8: "p"}, "slots": {"async": 4}}


async def test_jobs_that_wait_in_vain_are_looked_at_in_steps_and_each_node_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.dispatching.absence._LOOKED_AT", 7)
    nodes = [node(f"n{number}") for number in range(100)]
    async with mainframe(tmp_path, Settings(no_executor_timeout=20)) as host:
        other = host.peer()
        await other.hello("other", executor=_OTHER)
        assert (await other.ask("start", session_id="s", plan=plan(*nodes)))["error"] is None
        [lack] = host.server.sessions.dispatch.absence._lacks.values()
        told = set()
        while len(lack.told) < len(nodes):
            told.add(len(lack.told))
            await other.ask("info")
        assert len(told) > 2
        # Looked at again, for somebody has come: there is nothing new to say.
        await host.peer().hello("third", executor=_OTHER)
        await other.ask("cancel", session_id="s", reason="enough")
        rows = await other.rows("s")
    assert Counter(row["node_id"] for row in rows if row.get("type") == "JobWaiting") == Counter(
        each["node_id"] for each in nodes
    )


async def test_of_jobs_whose_time_is_up_one_fails_the_flow_and_of_the_others_nothing_is_said(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=0.3)) as host:
        other = host.peer()
        await other.hello("other", executor=_OTHER)
        nodes = [node(f"n{number}") for number in range(100)]
        assert (await other.ask("start", session_id="s", plan=plan(*nodes)))["error"] is None
        rows = await other.rows("s")
    assert rows[-1]["state"] == "failed"
    assert len([row for row in rows if row.get("type") == "JobFailed"]) == 1


async def test_a_job_that_waits_for_its_package_goes_to_who_comes_with_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=20)) as host:
        client, executor = host.peer(), host.peer()
        await client.hello("client")
        assert (await client.ask("start", session_id="s", plan=plan(node("n"))))["error"] is None
        await executor.hello("executor", slots=1)
        assert (await executor.until("dispatch"))["node_id"] == "n"


async def test_a_job_that_waits_takes_little_memory(tmp_path: Path) -> None:
    """Without the values themselves, of which a bounded part is in memory: measured by what Python allocates."""
    few, many, by_batch = 1000, 4000, 500
    consumer = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    async with mainframe(tmp_path, Settings(no_executor_timeout=1000)) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("a"), consumer))
        channel = (await worker.until("dispatch"))["channel"]
        await worker.batch(1, channel, STARTED)
        jobs = host.server.sessions.running["s"].jobs

        async def wait_for(count: int) -> None:
            seq = 2 + len(jobs) // by_batch
            while len(jobs) <= count:
                await worker.batch(seq, channel, *map(output, range(by_batch)))
                await until_stored(worker, seq)
                while len(jobs) <= (seq - 1) * by_batch:  # noqa: ASYNC110  # they come to be in turns of the loop
                    await asyncio.sleep(0)
                seq += 1
            gc.collect()

        await wait_for(few)
        tracemalloc.start()
        try:
            before, first = tracemalloc.take_snapshot(), len(jobs)
            await wait_for(many)
            grown = tracemalloc.take_snapshot().compare_to(before, "filename")
        finally:
            tracemalloc.stop()
    of_values = ("server/committing/values.py", "server/peers/lines.py")
    ours = sum(
        each.size_diff
        for each in grown
        if "/asyncblock/" in each.traceback[0].filename and not each.traceback[0].filename.endswith(of_values)
    )
    assert ours / (len(jobs) - first) < 1080
