"""What the mainframe tells an executor of its var values, by a peer that speaks the wire by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asyncblock.server.settings import Settings

from ...peers import HASH, Host, Peer, mainframe, node, plan
from ..dispatching.test_dispatch import FINISHED, STARTED, until_stored

EXECUTOR = {
    "languages": ["python"],
    "packages": {HASH: "p"},
    "slots": {"async": 9},
    "understands": ["release", "live"],
}
VAR = [{"handle": "out", "json_schema": {"contentMediaType": "oomol/var"}}]


def key(job: dict[str, Any], place: int) -> dict[str, Any]:
    found = {"executor": "asyncblock", "handle": "out", "job_id": job["job_id"], "session_id": "s"}
    return {**found, "attempt": job["attempt"], "place": place}


def output(job: dict[str, Any], place: int) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": "out", "output": key(job, place), "done": False, "t": 1}


def flow(**block: Any) -> dict[str, Any]:
    source = node("a", block={"outputs_def": VAR, **block}, group="g")
    return plan(source, node("b", {"v": {"sources": [["a", "out"]]}}, group="g"))


async def executor(host: Host, **fields: Any) -> Peer:
    peer = host.peer()
    await peer.hello("x", executor=EXECUTOR, **fields)
    return peer


async def released(peer: Peer, count: int) -> list[tuple[str, int, int]]:
    """Return what is released, in as many messages as it comes in."""
    found: list[tuple[str, int, int]] = []
    while len(found) < count:
        message = await peer.until("release")
        assert message["session_id"] == "s"
        for job_id, attempt, places in message["values"]:
            found += [(job_id, attempt, place) for first, end in places for place in range(first, end)]
    return found


async def test_values_are_released_when_their_job_has_ended_and_a_welcome_says_what_lives(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = await executor(host)
        token = (await peer.ask("start", session_id="s", plan=flow()))["error"]
        assert token is None
        a = await peer.until("dispatch")
        await peer.batch(1, a["channel"], STARTED, *(output(a, place) for place in range(4)))
        b = await peer.until("dispatch")
        assert b["inputs"] == {"v": key(a, 0)}
        await peer.batch(2, b["channel"], STARTED, FINISHED)
        assert await released(peer, 1) == [(a["job_id"], 1, 0)]
        second = await peer.until("dispatch")
        await peer.batch(3, second["channel"], STARTED, {**FINISHED, "error": "no"})
        assert sorted(await released(peer, 1)) == [(a["job_id"], 1, 1)]


async def test_a_welcome_restates_what_lives_before_and_after_a_restart(tmp_path: Path) -> None:
    for snapshot in (1 << 30, 1):
        await restated(tmp_path / str(snapshot), snapshot)


async def restated(directory: Path, snapshot_bytes: int) -> None:
    async with mainframe(directory, Settings(snapshot_bytes=snapshot_bytes)) as host:
        peer = host.peer()
        token = (await peer.hello("x", executor=EXECUTOR))["token"]
        assert (await peer.until("live"))["sessions"] == {}
        assert (await peer.ask("start", session_id="s", plan=flow()))["error"] is None
        a = await peer.until("dispatch")
        await peer.batch(1, a["channel"], STARTED, *(output(a, place) for place in (0, 1, 2, 5)))
        b = await peer.until("dispatch")
        await peer.batch(2, b["channel"], STARTED, FINISHED)
        c = await peer.until("dispatch")
        expected = {"s": [[a["job_id"], 1, [[0, 3], [5, 6]], [[1, 3], [5, 6]]]]}
        open_jobs = [[job["channel"], job["job_id"], 1] for job in (a, c)]
        again = host.peer()
        await again.hello("x", executor=EXECUTOR, generation=2, token=token, channels=open_jobs)
        live = await again.until("live")
        assert (live["sessions"], live["more"]) == (expected, False)
    async with mainframe(directory, Settings(snapshot_bytes=snapshot_bytes)) as host:
        peer = host.peer()
        await peer.hello("x", executor=EXECUTOR, generation=3, token=token, channels=open_jobs)
        assert (await peer.until("live"))["sessions"] == expected
        await peer.batch(3, a["channel"], FINISHED)
        await until_stored(peer, 3)
        fourth = host.peer()
        await fourth.hello("x", executor=EXECUTOR, generation=4, token=token, channels=open_jobs[1:])
        # All of the first job was seen.
        assert (await fourth.until("live"))["sessions"] == {"s": [[a["job_id"], 1, None, [[1, 3], [5, 6]]]]}
        await fourth.batch(4, c["channel"], STARTED, FINISHED)
        assert await released(fourth, 1) == [(a["job_id"], 1, 1)]
        for seq, place in ((5, 2), (6, 5)):
            last = await fourth.until("dispatch")
            assert last["inputs"] == {"v": key(a, place)}
            await fourth.batch(seq, last["channel"], STARTED, FINISHED)
        assert (await fourth.until("session_ended"))["session_id"] == "s"


async def test_values_that_wait_for_the_end_of_an_attempt_go_when_it_fails(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = await executor(host)
        await peer.ask("start", session_id="s", plan=flow(retries={"retries": 1, "backoff": 0.01}))
        first = await peer.until("dispatch")
        await peer.batch(1, first["channel"], STARTED, output(first, 0), output(first, 1))
        await until_stored(peer, 1)
        await peer.batch(2, first["channel"], {**FINISHED, "error": "no", "error_type": "X"})
        assert await released(peer, 2) == [(first["job_id"], 1, 0), (first["job_id"], 1, 1)]
        second = await peer.until("dispatch")
        await peer.batch(
            3, second["channel"], STARTED, output(second, 0), {**FINISHED, "result": {"out": key(second, 1)}}
        )
        for seq, place in ((4, 0), (5, 1)):
            b = await peer.until("dispatch")
            assert b["inputs"] == {"v": key(second, place)}
            await peer.batch(seq, b["channel"], STARTED, FINISHED)
        assert (await peer.until("session_ended"))["session_id"] == "s"


async def test_records_that_come_too_late_release_their_values(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        old = host.peer()
        token = (await old.hello("old", executor=EXECUTOR))["token"]
        await old.ask("start", session_id="s", plan=flow(retries={"retries": 1, "backoff": 0.01}))
        first = await old.until("dispatch")
        await old.batch(1, first["channel"], STARTED)
        await until_stored(old, 1)
        await old.transport.close()
        new = await executor(host)
        second = await new.until("dispatch")
        late = host.peer()
        jobs = [[first["channel"], first["job_id"], 1]]
        await late.hello("old", executor=EXECUTOR, generation=2, token=token, channels=jobs)
        odd = [7, {"type": "BlockOutput", "handle": [], "output": key(first, 5), "t": 1}, {"type": "BlockOutputs"}]
        await late.batch(2, first["channel"], *odd, output(first, 0))
        assert await released(late, 1) == [(first["job_id"], 1, 0)]
        await new.batch(1, second["channel"], STARTED, FINISHED)
        assert (await new.until("session_ended"))["session_id"] == "s"


async def test_references_of_earlier_versions_go_on_after_a_restart(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        token = (await peer.hello("x", executor=EXECUTOR))["token"]
        await peer.ask("start", session_id="s", plan=flow())
        a = await peer.until("dispatch")
        old = {name: value for name, value in key(a, 0).items() if name not in ("attempt", "place")}
        await peer.batch(1, a["channel"], STARTED, {**output(a, 0), "output": old}, FINISHED)
        b = await peer.until("dispatch")
        assert b["inputs"] == {"v": old}
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello("x", executor=EXECUTOR, generation=2, token=token)
        assert (await peer.until("dispatch"))["inputs"] == {"v": old}
        await peer.batch(2, b["channel"], STARTED, FINISHED)
        assert (await peer.until("session_ended"))["session_id"] == "s"


async def test_peers_that_do_not_understand_it_hear_nothing_of_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello("x", slots=9)
        await peer.ask("start", session_id="s", plan=flow())
        a = await peer.until("dispatch")
        await peer.batch(1, a["channel"], STARTED, output(a, 0), FINISHED)
        b = await peer.until("dispatch")
        await peer.batch(2, b["channel"], STARTED, FINISHED)
        await peer.until("session_ended")
        assert not {"release", "live"} & {message["op"] for message in peer.came}


async def test_a_job_whose_value_died_with_another_process_fails_at_once(tmp_path: Path) -> None:
    source = node("a", block={"outputs_def": VAR}, group="g")
    taker = {"block": {"retries": {"retries": 9, "backoff": 0.01}}, "group": "g"}
    both = plan(source, node("b", {"v": {"sources": [["a", "out"]]}}, **taker))
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        peer = await executor(host)
        await peer.ask("start", session_id="s", plan=both)
        a = await peer.until("dispatch")
        await peer.batch(1, a["channel"], STARTED, output(a, 0), FINISHED)
        b = await peer.until("dispatch")
        await peer.batch(2, b["channel"], STARTED)
        await until_stored(peer, 2)
        other = host.peer()
        await other.hello("y", executor=EXECUTOR)
        await peer.transport.close()
        end = (await other.rows("s"))[-1]
    lost = f"node b needs the var value of handle 'out' of node a (job {a['job_id']}, attempt 1), which was in"
    assert lost in end["error"]
    assert not any(message["op"] == "dispatch" for message in other.came)
