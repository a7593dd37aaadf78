"""Snapshots: a recovery from one gives what a recovery from all rows gives, and takes as long as what follows it."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.flow.references import References
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings

from ...peers import Peer, mainframe, node, plan
from ..recovery_time import fill

pytestmark = pytest.mark.timeout(120)


def inner(name: str) -> dict[str, Any]:
    """A subflow of one node that hands on what that puts out."""
    return {
        "title": name,
        "scope": "p",
        "path": None,
        "inputs_def": [{"handle": "x"}],
        "nodes": [node(f"{name}1", {"x": {"sources": [[None, "x"]]}})],
        "outputs": {"y": [[f"{name}1", "out"]]},
    }


def made() -> dict[str, Any]:
    """A flow with everything that a state can hold: queues, retries, a condition, subflows, blocks asked for."""
    condition = {"cases": [{"handle": "big", "expressions": [], "logical": "AND"}], "default": {"handle": "rest"}}
    retried = node("b", {"v": {"sources": [["a", "out"]]}}, block={"retries": {"retries": 3, "backoff": 0.001}})
    return plan(
        node("a"),
        node("z", concurrency=2),
        retried,
        {"node_id": "c", "kind": "condition", "block": condition, "inputs": {"v": {"sources": [["a", "out"]]}}},
        node("d", {"v": {"sources": [["c", "rest"], ["c", "big"]]}, "w": {"sources": [["z", "out"]]}}, concurrency=3),
        {
            "node_id": "s",
            "kind": "subflow",
            "flow": "f",
            "block": {},
            "inputs": {"x": {"sources": [["b", "out"]]}},
            "concurrency": 2,
        },
        node("e", {"v": {"sources": [["s", "y"]]}}),
        outputs={"out": [["e", "out"]]},
    ) | {"flows": {"f": inner("f")}, "scope": "p", "catalog": {"p::k": {**node("k"), "inputs": {}}}}


class Worker:
    """An executor that does something at random with what it holds."""

    def __init__(self, peer: Peer, chance: random.Random) -> None:
        self.peer = peer
        self.chance = chance
        self.held: dict[int, dict[str, Any]] = {}
        self.seq = 0

    async def act(self) -> None:
        """Take in what came, then say one thing."""
        for message in self.peer.came:
            if message["op"] == "dispatch":
                self.held[message["channel"]] = {**message, "started": False}
            elif message["op"] == "close":
                self.held.pop(message["channel"], None)
        self.peer.came.clear()
        if not self.held:
            return
        channel = self.chance.choice(list(self.held))
        job = self.held[channel]
        if not job["started"]:
            job["started"] = True
            await self._say(channel, {"type": "JobStarted", "t": 1})
            return
        kind = self.chance.choice(["output", "output", "output", "progress", "finish", "fail", "ask", "two"])
        value = self.chance.randrange(100)
        output = {"type": "BlockOutput", "handle": "out", "output": value, "done": False, "t": 1}
        if kind == "output":
            await self._say(channel, output)
        elif kind == "two":
            await self._say(channel, output, {"type": "nonsense", "t": 1}, {**output, "output": "x" * 500})
        elif kind == "progress":
            await self._say(channel, {"type": "BlockProgress", "rate": value, "t": 1})
        elif kind == "ask":
            who = {"session_id": "s", "job_id": job["job_id"], "attempt": job["attempt"]}
            number = self.chance.randrange(3)
            answer = await self.peer.ask(
                "run_block",
                f"{channel}.{self.seq}.{value}",
                block="self::k",
                block_job_id=f"{job['job_id']}.{job['attempt']}.{number}",
                inputs={"i": value},
                **who,
            )
            assert answer["error"] is None, answer["error"]
        elif kind == "fail" and job["node_id"] in ("b", "run_block::self::k"):
            del self.held[channel]
            await self._say(channel, {"type": "BlockFinished", "error": "it failed", "error_type": "E", "t": 1})
        elif kind == "finish" and job["node_id"] not in ("a", "z"):
            del self.held[channel]
            await self._say(channel, {"type": "BlockFinished", "result": {"out": value}, "t": 1})

    async def _say(self, channel: int, *records: object) -> None:
        self.seq += 1
        await self.peer.batch(self.seq, channel, *records)
        while (await self.peer.until("ack"))["seq"] < self.seq:
            pass


async def state_of(directory: Path) -> dict[str, Any] | None:
    """Recover a copy of a data directory, and return the state of its session."""
    async with MainframeServer(directory, Settings(no_executor_timeout=1000)) as server:
        session = server.sessions.running.get("s")
        if session is None:
            return None
        state: dict[str, Any] = orjson.loads(orjson.dumps(session.to_snapshot()))
        state["next"] = session.next_offset
        state["since"] = sorted(state["since"])  # the journal's and the clock's may differ by a moment
        # How references share entries depends on when they were taken out; what they are doesn't.
        for flow in state["run"]["flows"]:
            for queues in flow["queues"].values():
                queues.update({handle: [*References.from_json(entries)] for handle, entries in queues.items()})
        for job in state["jobs"]:
            if job["attempt"] is not None:
                job["attempt"]["held"] = [*References.from_json(job["attempt"]["held"])]
            job["cancelling"] = None  # a cancel that was sent beside the journal is known to a snapshot only
        return state


def forget_snapshots(directory: Path) -> int:
    """Delete the snapshots of a journal; return how many there were."""
    with closing(sqlite3.connect(directory / "journal.db")) as database, database:
        return database.execute("DELETE FROM snapshots").rowcount


@pytest.mark.parametrize(
    ("seed", "large", "asks"),
    [
        *((seed, 250, False) for seed in range(8)),
        *((seed, -1, asks) for seed in (0, 2, 3, 5) for asks in (False, True)),
    ],
)
async def test_a_recovery_with_snapshots_gives_the_same_state_as_one_without(
    tmp_path: Path, seed: int, large: int, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they are made here, or, where ``large`` is small, by another process from the journal.

    That one ``asks`` where it can't read.
    """
    if asks:
        monkeypatch.setattr(MainframeServer, "_readable", lambda _: None)
    monkeypatch.setattr("asyncblock.server.livesessions.sessionrows._SNAPSHOT_SHARE", 0)
    monkeypatch.setattr("asyncblock.server.sessionstate.recovery.LARGE", large)
    chance = random.Random(seed)
    directory = tmp_path / "live"
    settings = Settings(snapshot_bytes=chance.choice([1, 500, 2000]), no_executor_timeout=1000, heartbeat=1000)
    async with mainframe(directory, settings) as host:
        worker = Worker(host.peer(), chance)
        await worker.peer.hello("worker", slots=8)
        assert (await worker.peer.ask("start", session_id="s", plan=made()))["error"] is None
        for _ in range(chance.randrange(20, 120)):
            await worker.act()
            # What was decided meanwhile is sent after a turn of the loop.
            for _ in range(3):
                await asyncio.sleep(0)
            await drained(worker.peer)
        if (task := host.server.sessions.refolding.task) is not None:
            await task
        await host.server.journal.flush()
        last = await host.server.journal.snapshot(host.row("s").session_no)
        ended = host.row("s").state != "running"
    shutil.copytree(directory, tmp_path / "with")
    shutil.copytree(directory, tmp_path / "without")
    assert forget_snapshots(tmp_path / "without") == 1
    assert last is not None
    # Copies are no continuation, and that would end the jobs that are open.
    monkeypatch.setattr("asyncblock.server.journal.epochfile.break_reason", lambda recorded, found: None)
    one, other = await state_of(tmp_path / "with"), await state_of(tmp_path / "without")
    assert one == other
    assert ended or one is not None


async def drained(peer: Peer) -> None:
    """Take in what is here already."""
    try:
        async with asyncio.timeout(0.01):
            while True:
                await peer._receive()
    except TimeoutError:
        pass


async def test_a_session_that_recovered_from_a_snapshot_goes_on_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncblock.server.livesessions.sessionrows._SNAPSHOT_SHARE", 0)
    settings = Settings(snapshot_bytes=1)
    output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
    after = node("b", {"v": {"sources": [["a", "out"]]}})
    async with mainframe(tmp_path, settings) as host:
        worker = host.peer()
        token = (await worker.hello("worker", slots=1))["token"]
        await worker.ask("start", session_id="s", plan=plan(node("a"), after, outputs={"last": [["b", "out"]]}))
        first = await worker.until("dispatch")
        await worker.batch(
            1, first["channel"], {"type": "JobStarted", "t": 1}, *[{**output, "output": n} for n in (1, 2)]
        )
        await worker.until("ack")
    async with mainframe(tmp_path, settings) as host:
        worker = host.peer()
        channels = [[first["channel"], first["job_id"], 1]]
        welcome = await worker.hello("worker", slots=1, generation=2, token=token, channels=channels)
        assert (welcome["resumed"], welcome["stored"]) == (True, 1)
        await worker.batch(2, first["channel"], {**output, "output": 3}, {"type": "BlockFinished", "t": 1})
        given = []
        for seq in (3, 4, 5):
            dispatch = await worker.until("dispatch")
            assert dispatch["channel"] > first["channel"]
            given.append(dispatch["inputs"]["v"])
            done = {"type": "BlockFinished", "result": {"out": dispatch["inputs"]["v"] * 10}, "t": 1}
            await worker.batch(seq, dispatch["channel"], {"type": "JobStarted", "t": 1}, done)
        rows = await worker.rows("s")
    assert given == [1, 2, 3]
    assert (rows[-1]["state"], rows[-1]["outputs"]) == ("succeeded", {"last": 30})


async def test_the_clock_of_a_job_goes_on_from_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncblock.server.livesessions.sessionrows._SNAPSHOT_SHARE", 0)
    async with mainframe(tmp_path, Settings(snapshot_bytes=1)) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("n", timeout=1000), node("without a limit")))
        channel = (await worker.until("dispatch"))["channel"]
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1})
        await worker.until("ack")
        before = host.server.sessions.running["s"].to_snapshot()["since"]
    async with MainframeServer(tmp_path) as server:
        assert server.sessions.running["s"].to_snapshot()["since"] == before
    assert len(before) == 1


async def test_a_snapshot_of_an_unknown_form_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path, 1000, Settings(snapshot_bytes=1000))
    monkeypatch.setattr("asyncblock.server.sessionstate.recovery.VERSION", 99)
    async with MainframeServer(tmp_path) as server:
        assert server.sessions.running["s"].counted == 1000


async def test_recovery_reads_what_follows_the_last_snapshot_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path, 100_000, Settings(snapshot_bytes=1 << 20))
    async with MainframeServer(tmp_path) as server:
        session = server.sessions.running["s"]
        snapshot = await server.journal.snapshot(session.number)
        assert snapshot is not None
        assert session.counted == 100_000
        assert session.bytes > 6 << 20
        rest = await server.journal.page(session.number, snapshot.offset, 64 << 20)
        assert sum(len(payload) for _, payload in rest) < 2 << 20


async def test_a_snapshot_of_many_jobs_is_made_beside_the_mainframe_and_read_by_the_next(tmp_path: Path) -> None:
    jobs = 3000
    settings = Settings(snapshot_bytes=100_000, no_executor_timeout=1000)
    after = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    async with mainframe(tmp_path, settings) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("a"), after))
        channel = (await worker.until("dispatch"))["channel"]
        output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, *[{**output, "output": n} for n in range(jobs)])
        session = host.server.sessions.running["s"]
        while (task := host.server.sessions.refolding.task) is None or len(session.jobs) < jobs + 1:
            # Each question is answered between two steps of what follows from the batch.
            await worker.ask("info")
        await task
        await host.server.journal.flush()
        snapshot = await host.server.journal.snapshot(session.number)
    assert snapshot is not None
    assert len(snapshot.payload) < 100 * jobs
    async with MainframeServer(tmp_path, settings) as server:
        assert len(server.sessions.running["s"].jobs) == jobs + 1


async def test_where_no_process_can_be_had_sessions_go_on_without_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asyncblock.server.sessionstate.recovery.LARGE", -1)
    monkeypatch.setattr("asyncblock.server.sessionstate.refolding._PROGRAM", "asyncblock.nothing")
    async with mainframe(tmp_path, Settings(snapshot_bytes=1)) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("a")))
        channel = (await worker.until("dispatch"))["channel"]
        task = host.server.sessions.refolding.task
        assert task is not None
        await task
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, {"type": "BlockFinished", "t": 1})
        assert (await worker.rows("s"))[-1]["state"] == "succeeded"
    assert "no snapshot of session s could be made: RuntimeError: the process that makes it ended with 1" in caplog.text


async def test_jobs_that_follow_from_one_batch_are_created_in_steps_and_ended_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps others are served."""
    monkeypatch.setattr("asyncblock.server.livesessions.sessionend._DROPPED", 5)
    monkeypatch.setattr("asyncblock.server.committing.transaction.JOBS", 2)
    jobs = 2500
    after = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    settings = Settings(no_executor_timeout=1000)
    async with mainframe(tmp_path, settings) as host:
        worker, other = host.peer(), host.peer()
        await worker.hello("worker", slots=1)
        await other.hello("other")
        await worker.ask("start", session_id="s", plan=plan(node("a"), after))
        session = host.server.sessions.running["s"]
        channel = (await worker.until("dispatch"))["channel"]
        output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, *[{**output, "output": n} for n in range(jobs)])
        await worker.until("ack")
        assert len(session.jobs) < jobs
        seen = {len(session.jobs)}
        while len(session.jobs) < jobs + 1:
            await other.ask("info")
            seen.add(len(session.jobs))
        assert len(seen) > 2
        await worker.ask("cancel", session_id="s", reason="enough")
        assert len(session.jobs) > jobs / 2
        await worker.batch(2, channel, {"type": "BlockFinished", "cancelled": True, "t": 1})
        rows = await worker.rows("s")
    assert rows[-1]["state"] == "cancelled"
    assert len([row for row in rows if row.get("type") == "JobCreated"]) == jobs + 1


async def test_a_mainframe_that_is_killed_between_two_steps_goes_on_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many steps that the first batch is surely stored before the last one.
    monkeypatch.setattr("asyncblock.server.committing.transaction.JOBS", 1)
    jobs = 2500
    after = node("b", {"v": {"sources": [["a", "out"]]}}, concurrency=-1)
    settings = Settings(no_executor_timeout=1000)
    async with mainframe(tmp_path / "live", settings) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        await worker.ask("start", session_id="s", plan=plan(node("a"), after))
        session = host.server.sessions.running["s"]
        channel = (await worker.until("dispatch"))["channel"]
        output = {"type": "BlockOutput", "handle": "out", "done": False, "t": 1}
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1}, *[{**output, "output": n} for n in range(jobs)])
        await worker.until("ack")
        assert len(session.jobs) < jobs
    async with mainframe(tmp_path / "live", settings) as host:
        session = host.server.sessions.running["s"]
        while len(session.jobs) < jobs + 1:
            await host.server.journal.flush()
            await asyncio.sleep(0)
        assert {job.node_id for job in session.jobs.values()} == {"a", "b"}
