"""Which executor gets a job that has var values, and how their files come to be, by peers that speak the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncblock.server.settings import Settings

from ...peers import HASH, Host, Peer, mainframe, node, plan
from .test_dispatch import FINISHED, STARTED, until_stored

VAR = [{"handle": "out", "json_schema": {"contentMediaType": "oomol/var"}}]
HERE = "a host that nobody can guess"
FILE = "m.v-1-00000000.0000000000000000-0000000000000000"


def executor(host: str | None = HERE, slots: int = 9, **more: Any) -> dict[str, Any]:
    made = {
        "languages": ["python"],
        "packages": {HASH: "p"},
        "slots": {"async": slots},
        "understands": ["release", "live"],
        **more,
    }
    return made if host is None else {**made, "host": host}


async def peers(host: Host, *hosts: str | None) -> list[Peer]:
    """Connect executors with the links ``x``, ``y`` and so on, in this order."""
    made = []
    for link, name in zip("xyz", hosts, strict=False):
        peer = host.peer()
        await peer.hello(link, executor=executor(name), secret=link * 20)
        made.append(peer)
    return made


def key(job: dict[str, Any], place: int, **more: Any) -> dict[str, Any]:
    found = {"executor": "asyncblock", "handle": "out", "job_id": job["job_id"], "session_id": "s"}
    return {**found, "attempt": job["attempt"], "place": place, **more}


def output(job: dict[str, Any], place: int, **more: Any) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": "out", "output": key(job, place, **more), "done": False, "t": 1}


def fan(count: int, *, roams: bool = True, **block: Any) -> dict[str, Any]:
    """A source whose value several nodes take."""
    source = node("a", block={"outputs_def": VAR}, group="g", roams=roams)
    taken = {"v": {"sources": [["a", "out"]]}}
    return plan(source, *(node(f"b{n}", taken, block=block, group="g", roams=roams) for n in range(count)))


async def asks(peer: Peer) -> dict[str, Any]:
    """Return which value a maker is asked for."""
    message = await peer.until("export")
    return {name: message[name] for name in ("session_id", "job_id", "attempt", "place")}


async def test_a_portable_value_comes_to_the_executor_that_does_nothing(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        assert (await x.ask("start", session_id="s", plan=fan(3)))["error"] is None
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        wanted = await asks(x)
        assert wanted == {"session_id": "s", "job_id": a["job_id"], "attempt": 1, "place": 0}
        # One has come to whoever has the value: an export costs something.
        await until_stored(x, 1)
        assert (await x.ask("exported", **wanted, file=FILE))["error"] is None
        first = await y.until("dispatch")
        assert (first["inputs"], first["files"]) == ({"v": key(a, 0, portable=1000)}, {"v": FILE})
        second = await y.until("dispatch")
        third = await x.until("dispatch")
        assert (second["files"], "files" in third) == ({"v": FILE}, False)
        assert {each["node_id"] for each in (first, second, third)} == {"b0", "b1", "b2"}
        # It was written once.
        assert not any(message["op"] == "export" for message in x.came)
        # What proves that a process can open it is told to no reader.
        row = await x.until_row("s", "ValueExported")
        assert row["file"] == FILE and HERE not in str(row)


async def test_what_can_not_be_moved_is_waited_for_at_home(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await x.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, stays="it is a set"))
        got = [await x.until("dispatch") for _ in range(3)]
        assert {job["node_id"] for job in got} == {"b0", "b1", "b2"}
        assert not any(message["op"] == "dispatch" for message in y.came)


@pytest.mark.parametrize("hosts", [(HERE, "another host, just as secret"), (HERE, None), (None, None)])
async def test_other_hosts_get_nothing(tmp_path: Path, hosts: tuple[str | None, str | None]) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, *hosts)
        await x.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        for _ in range(3):
            assert "files" not in await x.until("dispatch")
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_value_whose_export_fails_is_had_at_home(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await x.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        wanted = await asks(x)
        assert (await x.ask("exported", **wanted, error="ValueError: no"))["error"] is None
        assert {(await x.until("dispatch"))["node_id"] for _ in range(3)} == {"b0", "b1", "b2"}
        told = await x.until_row("s", "ValueStays")
        assert (told["job_id"], told["place"], told["reason"]) == (a["job_id"], 0, "ValueError: no")
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_an_exported_value_outlives_its_process_and_serves_retries(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3, retries={"retries": 2, "backoff": 0.01}))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000), FINISHED)
        wanted = await asks(x)
        await x.ask("exported", **wanted, file=FILE)
        first = await y.until("dispatch")
        await x.transport.close()
        await y.batch(1, first["channel"], STARTED, {**FINISHED, "error": "no"})
        nodes = [(await y.until("dispatch")) for _ in range(3)]
        assert [job["files"] for job in nodes] == [{"v": FILE}] * 3
        assert {job["node_id"] for job in nodes} == {"b0", "b1", "b2"}


async def test_a_value_whose_maker_dies_before_the_export_is_lost_with_words(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(lease=0.1)) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000), FINISHED)
        await asks(x)
        await x.transport.close()
        end = (await y.rows("s"))[-1]
    words = f"the var value of handle 'out' of node a (job {a['job_id']}, attempt 1), which was in the memory"
    assert words in end["error"]


async def test_a_maker_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        wanted = await asks(x)
        at_home = await x.until("dispatch")
        jobs = [[job["channel"], job["job_id"], 1] for job in (a, at_home)]
        await x.transport.close()
        again = host.peer()
        await again.hello("x", executor=executor(), generation=2, secret="x" * 20, token="x" * 20, channels=jobs)
        assert await asks(again) == wanted
        await again.ask("exported", **wanted, file=FILE)
        assert (await y.until("dispatch"))["files"] == {"v": FILE}


@pytest.mark.parametrize("snapshot", [1 << 30, 1])
async def test_files_are_known_again_after_a_restart(tmp_path: Path, snapshot: int) -> None:
    async with mainframe(tmp_path, Settings(snapshot_bytes=snapshot)) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        at_home = await x.until("dispatch")
        await x.ask("exported", **(await asks(x)), file=FILE)
        first, second = [await y.until("dispatch") for _ in range(2)]
        await y.batch(1, first["channel"], STARTED)
        await until_stored(y, 1)
    async with mainframe(tmp_path, Settings(snapshot_bytes=snapshot)) as host:
        x, y = host.peer(), host.peer()
        jobs = [[job["channel"], job["job_id"], 1] for job in (a, at_home)]
        await x.hello("x", executor=executor(), generation=2, token="x" * 20, secret="x" * 20, channels=jobs)
        await y.hello("y", executor=executor(), generation=2, token="y" * 20, secret="y" * 20,
                      channels=[[first["channel"], first["job_id"], 1]])  # fmt: skip
        again = await y.until("dispatch")
        assert (again["job_id"], again["files"]) == (second["job_id"], {"v": FILE})


def meeting() -> dict[str, Any]:
    """Two nodes that put out what one job takes."""
    put = {"block": {"outputs_def": VAR}, "group": "g"}
    both = {"l": {"sources": [["l", "out"]]}, "r": {"sources": [["r", "out"]]}}
    return plan(node("l", None, **put), node("r", None, **put), node("join", both, group="g", roams=True))


async def test_producers_whose_values_meet_share_an_executor_until_they_have_proved_portable(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await x.ask("start", session_id="s", plan=meeting())
        both = [await x.until("dispatch"), await x.until("dispatch")]
        assert {job["node_id"] for job in both} == {"l", "r"}
        for seq, job in enumerate(both, 1):
            await x.batch(seq, job["channel"], STARTED, output(job, 0, stays="it is a set"), FINISHED)
        assert (await x.until("dispatch"))["node_id"] == "join"
        assert not any(message["op"] == "dispatch" for message in y.came)


async def test_a_chain_stays_where_it_is_as_long_as_that_has_nothing_else_to_do(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        source = node("a", block={"outputs_def": VAR}, group="g", roams=True)
        middle = node("b", {"v": {"sources": [["a", "out"]]}}, block={"outputs_def": VAR}, group="g", roams=True)
        await x.ask("start", session_id="s", plan=plan(source, middle))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, {**FINISHED, "result": {"out": key(a, 0, portable=1000)}})
        b = await x.until("dispatch")
        assert b["node_id"] == "b"
        await x.batch(2, b["channel"], STARTED, FINISHED)
        await x.until("session_ended")
        assert not any(message["op"] in ("dispatch", "export") for message in (*y.came, *x.came))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"file": "../../etc/passwd"}, "params"),
        ({"file": 3}, "params"),
        ({"place": "0"}, "params"),
        ({"note": 1}, "params"),
        ({"session_id": "another"}, None),
        ({"place": 7}, None),
        ({"job_id": "s.nothing"}, None),
    ],
)
async def test_words_about_files_are_looked_at(tmp_path: Path, change: dict[str, Any], error: str | None) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        wanted = await asks(x)
        answer = await x.ask("exported", **{**wanted, "file": FILE, **change})
        assert (answer["error"] or {}).get("code") == error
        # A stranger's word about it changes nothing either.
        assert (await y.ask("exported", **wanted, file=FILE))["error"] is None
        assert not any(message["op"] == "dispatch" for message in y.came)
        await x.ask("exported", "r2", **wanted, file=FILE)
        assert (await y.until("dispatch"))["files"] == {"v": FILE}


async def test_jobs_that_are_cancelled_while_their_value_is_written_end_and_are_not_sent_with_it(
    tmp_path: Path,
) -> None:
    async with mainframe(tmp_path) as host:
        x, y = await peers(host, HERE, HERE)
        await y.ask("start", session_id="s", plan=fan(3))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0, portable=1000))
        wanted = await asks(x)
        await y.ask("cancel", "r2", session_id="s", reason="enough")
        await x.ask("exported", "r3", **wanted, file=FILE)
        async with asyncio.timeout(10):
            for seq, job in enumerate([a, await x.until("dispatch")], 2):
                await x.batch(seq, job["channel"], {**FINISHED, "cancelled": True})
            rows = await x.rows("s")
        ended = [row["error"] for row in rows if row.get("type") == "JobFailed"]
        assert ended == ["cancelled: enough; its values were still on their way"] * 2
        assert rows[-1]["state"] == "cancelled"
        assert not any(message["op"] == "dispatch" for message in y.came)


@pytest.mark.parametrize("back", [True, False])
async def test_what_is_in_the_memory_of_who_isnt_back_yet_is_no_more_lost_than_its_jobs(
    back: bool, tmp_path: Path
) -> None:
    """After a restart one executor is the first: a job that needs what another one has waits, as long as a lease."""
    async with mainframe(tmp_path) as host:
        x, y = host.peer(), host.peer()
        await x.hello("x", executor=executor(slots=1), secret="x" * 20)
        await y.hello("y", executor=executor(slots=0), secret="y" * 20)
        await x.ask("start", session_id="s", plan=fan(1))
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0))
        await until_stored(x, 1)
    async with mainframe(tmp_path, Settings(lease=60.0 if back else 0.3)) as host:
        x, y = host.peer(), host.peer()
        await y.hello("y", executor=executor(), generation=2, token="y" * 20, secret="y" * 20)
        await y.ask("info", "r1")
        session = host.server.sessions.running["s"]
        assert (session.state, len(session.jobs)) == ("running", 2)
        if not back:
            assert (await y.rows("s"))[-1]["state"] == "failed"
            return
        jobs = [[a["channel"], a["job_id"], 1]]
        await x.hello("x", executor=executor(), generation=2, token="x" * 20, secret="x" * 20, channels=jobs)
        assert (await x.until("dispatch"))["node_id"] == "b0"
        assert not any(message["op"] == "dispatch" for message in y.came)
