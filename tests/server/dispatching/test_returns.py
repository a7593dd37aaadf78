"""Jobs whose values lie in files of a host from which nobody is connected, by peers that speak the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asyncblock.server.settings import Settings

from ...peers import Host, Peer, mainframe
from .test_dispatch import FINISHED, STARTED, until_stored
from .test_placing import HERE, executor, fan, key, output

DISK = "a disk that nobody can guess"
OTHER = "another host, just as secret"
FILE = "d.v-1-00000000.0000000000000000-0000000000000000"
AGAIN: dict[str, Any] = {"retries": {"retries": 3, "backoff": 0.01}}


async def put_on_disk(host: Host) -> tuple[Peer, Peer]:
    """Let an executor put a value on its disk and go away, while another host has nobody that could read it."""
    x, y = host.peer(), host.peer()
    await x.hello("x", executor=executor(disk=DISK), secret="x" * 20)
    await x.ask("start", session_id="s", plan=fan(1, **AGAIN))
    a = await x.until("dispatch")
    await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000), FINISHED)
    await x.until("dispatch")
    await until_stored(x, 1)
    of = {"session_id": "s", "job_id": a["job_id"], "attempt": 1, "place": 0}
    assert (await x.ask("exported", "r2", **of, file=FILE, lasting=True))["error"] is None
    await y.hello("y", executor=executor(OTHER), secret="y" * 20)
    await x.transport.close()
    return x, y


async def test_a_job_waits_until_somebody_is_back_who_can_open_its_files(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        _, y = await put_on_disk(host)
        waiting = await y.until_row("s", "JobWaiting")
        assert "is in a file, and no executor of that host is connected" in waiting["reason"]
        assert DISK not in str(waiting)
        z = host.peer()
        await z.hello("z", executor=executor("one more host that is new", disk=DISK), secret="z" * 20)
        got = await z.until("dispatch")
        assert (got["node_id"], got["files"]) == ("b0", {"v": FILE})
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_job_whose_files_nobody_comes_back_to_fails_when_its_time_is_up(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1, no_executor_timeout=0.3)) as host:
        _, y = await put_on_disk(host)
        rows = await y.rows("s")
    assert [row.get("type") for row in rows].count("JobWaiting") == 1
    assert "needs the var value of handle 'out' of node a" in rows[-1]["error"]


async def test_a_session_that_is_cancelled_waits_for_no_return(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        _, y = await put_on_disk(host)
        await y.until_row("s", "JobWaiting")
        await y.ask("cancel", "r9", session_id="s", reason="enough")
        assert (await y.rows("s"))[-1]["state"] == "cancelled"


async def test_a_process_of_its_own_waits_for_the_host_that_has_its_values(tmp_path: Path) -> None:
    slots = {"async": 9, "spawn": 1}
    async with mainframe(tmp_path) as host:
        x, y = host.peer(), host.peer()
        await x.hello("x", executor={**executor(HERE), "slots": slots}, secret="x" * 20)
        await x.ask("start", session_id="s", plan=fan(2, spawn=True))
        a = await x.until("dispatch")
        await y.hello("y", executor={**executor(OTHER), "slots": {**slots, "spawn": 9}}, secret="y" * 20)
        await x.batch(1, a["channel"], STARTED, {**FINISHED, "result": {"out": key(a, 0, portable=1000)}})
        first = await x.until("spawn")
        await y.ask("info", "r3")
        assert not any(message["op"] == "spawn" for message in y.came)
        session = host.server.sessions.running["s"]
        assert (session.state, len(session.jobs), first["job_id"] in session.jobs) == ("running", 2, True)
