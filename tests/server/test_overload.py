"""Too much at once: senders wait, memory stays bounded, nothing is lost, and what can't go on says why."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from asyncblock.server.journal.writer import Writer
from asyncblock.server.settings import Settings
from asyncblock.wire.windows import DATA_WINDOW

from ..flows import node as block_node
from ..flows import write_flow
from ..peers import Host, Peer, mainframe, node, plan
from ..processes import Command, appears, free_port, start
from ..waits import until_called, until_files

pytestmark = pytest.mark.timeout(120)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def output(value: object) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": "out", "output": value, "done": False, "t": 1}


# ---------------------------------------------------------------------- the mainframe is away

PRODUCER = """
import os
import pathlib

HERE = pathlib.Path(__file__).parent

async def main(inputs, ctx):
    text = "x" * 1000
    accepted = HERE / ("accepted." + ctx.node_id)
    count = 0
    with open(accepted, "wb", buffering=0) as file:
        while not (HERE / "enough").exists():
            await ctx.output({"n": count, "text": text}, "out")
            count += 1
            file.write(b".")
    return {"count": count}
"""


def rss(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def stands_still(paths: list[Path]) -> list[int]:
    """Wait until files have stopped growing, for the writers wait; return their sizes."""
    before: list[int] = []
    async with asyncio.timeout(60):
        while True:
            now = [path.stat().st_size if path.exists() else 0 for path in paths]
            if now == before and all(now):
                return now
            before = now
            await asyncio.sleep(1)


async def test_blocks_wait_while_the_mainframe_is_away_and_everything_arrives_when_it_is_back(tmp_path: Path) -> None:
    """Four jobs produce without end while the mainframe is stopped: a window each is accepted, and memory stays."""
    directory, names = tmp_path / "f", [f"p{n}" for n in range(4)]
    nodes = [block_node(name, PRODUCER, directory, outputs=["out", "count"]) for name in names]
    flow = write_flow(
        directory,
        nodes,
        outputs_from=[{"handle": n, "from_node": [{"node_id": n, "output_handle": "count"}]} for n in names],
    )
    files = [directory / f"accepted.{name}" for name in names]
    port = str(free_port())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", directory, state=tmp_path))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--json", state=tmp_path))
        await submit.until_line('"n":100')
        for file in files:
            await appears(file)
        server.kill(signal.SIGSTOP)
        before, memory = [file.stat().st_size for file in files], rss(executor.process.pid)
        after = await stands_still(files)
        # A window, and what acknowledgements give back that were on their way.
        more = [(late - early) * 1050 for early, late in zip(before, after, strict=True)]
        assert all(0 <= each < 2 * DATA_WINDOW + (1 << 20) for each in more), more
        assert rss(executor.process.pid) - memory < 32 << 20
        server.kill(signal.SIGCONT)
        await until_files(directory, lambda: [file.stat().st_size for file in files] != after)
        (directory / "enough").touch()
        assert await submit.wait() == 0, submit.err
    found = submit.events()
    counts = found[-1]["outputs"]
    for name in names:
        numbers = [e["output"]["n"] for e in found if e["type"] == "BlockOutput" and e["node_id"] == name]
        assert numbers == list(range(counts[name]))
        assert counts[name] > after[names.index(name)]


# ---------------------------------------------------------------------- a slow disk


@contextmanager
def stuck_disk(monkeypatch: pytest.MonkeyPatch, groups: list[list[Any]] | None = None) -> Iterator[threading.Event]:
    """Let the writer's thread wait in each commit until the event is set; note what it commits."""
    moves = threading.Event()
    moves.set()
    apply = Writer._apply

    def slowly(self: Writer, group: list[Any]) -> None:
        moves.wait(30)
        if groups is not None:
            groups.append(group)
        apply(self, group)

    monkeypatch.setattr(Writer, "_apply", slowly)
    try:
        yield moves
    finally:
        moves.set()


async def holder(host: Host, link: str, session: str, **fields: Any) -> tuple[Peer, dict[str, Any]]:
    peer = host.peer()
    await peer.hello(link, slots=1)
    assert (await peer.ask("start", session_id=session, plan=plan(node("n", **fields))))["error"] is None
    return peer, await peer.until("dispatch")


async def test_batches_wait_above_the_high_water_mark_and_a_cancel_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stuck_disk(monkeypatch) as disk:
        async with mainframe(tmp_path, Settings(queue_bytes=1 << 20, heartbeat=0.3)) as host:
            one, job_one = await holder(host, "one", "s")
            client = host.peer()
            await client.hello("client")
            disk.clear()
            sent = 0

            async def live() -> None:
                while True:
                    await client.say("ping", lag=0.0)
                    await asyncio.sleep(0.1)

            async def flood() -> None:
                nonlocal sent
                await one.batch(1, job_one["channel"], STARTED)
                for seq in range(2, 200):
                    await one.batch(seq, job_one["channel"], output("x" * 60_000))
                    sent += 60_000

            flooding, living = asyncio.create_task(flood()), asyncio.create_task(live())
            stood: int | None = None
            while stood != sent or sent == 0:
                stood = sent
                await asyncio.sleep(1.2)
            assert sent < 2 << 20
            assert host.server.journal.queued_bytes < 2 << 20
            # Longer than three heartbeats: that nothing is read from it is no silence of its.
            assert host.server.sessions.dispatch.links["one"].connection is not None
            await client.say("request", id="r", method="cancel", params={"session_id": "s", "reason": "enough"})
            assert "enough" in (await one.until("cancel"))["reason"]
            disk.set()
            await flooding
            seq = 0
            while seq < 199:
                seq = (await one.until("ack"))["seq"]
            living.cancel()
        assert sent == 198 * 60_000


async def test_a_cancel_is_committed_before_batches_that_came_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item 5: the writer has several transactions of somebody else's data to do when the cancel comes."""
    groups: list[list[Any]] = []
    with stuck_disk(monkeypatch, groups) as disk:
        async with mainframe(tmp_path) as host:
            one, job_one = await holder(host, "one", "s")
            two, _ = await holder(host, "two", "t")
            client = host.peer()
            await client.hello("client")
            disk.clear()
            groups.clear()
            await one.batch(1, job_one["channel"], STARTED)
            for seq in range(2, 102):
                await one.batch(seq, job_one["channel"], output("x" * 60_000))
            journal = host.server.journal
            await until_called(journal, "write", lambda: journal.queued_bytes >= 100 * 60_000)
            await client.say("request", id="r", method="cancel", params={"session_id": "t", "reason": "enough"})
            # It is said before it is in the journal.
            assert "enough" in (await two.until("cancel"))["reason"]
            disk.set()
            await client.until("reply")
            seq = 0
            while seq < 101:
                seq = (await one.until("ack"))["seq"]
    cancels = [
        number
        for number, group in enumerate(groups)
        if any(b"SessionCancelled" in payload for write in group for _, _, payload in write.entries)
    ]
    # The first was under way when it came; it travels with nobody else's data.
    assert cancels == [1]
    assert len(groups[1]) == 1
    assert len(groups) > 5


async def test_a_session_over_its_disk_limit_fails_and_others_go_on(tmp_path: Path) -> None:
    async with mainframe(tmp_path, Settings(session_bytes=300_000, cancel_grace=0.1)) as host:
        greedy, job = await holder(host, "one", "s")
        modest, other = await holder(host, "two", "t")
        await greedy.batch(1, job["channel"], STARTED)
        for seq in range(2, 12):
            await greedy.batch(seq, job["channel"], output("x" * 60_000))
        assert "disk limit of the session" in (await greedy.until("close"))["reason"]
        end = (await modest.rows("s"))[-1]
        assert end["state"] == "failed"
        assert "disk limit of the session" in end["error"]
        assert "300000 may be" in end["error"]
        await modest.batch(1, other["channel"], STARTED, FINISHED)
        assert (await modest.rows("t"))[-1]["state"] == "succeeded"


async def test_bodies_count_towards_the_disk_limit(tmp_path: Path) -> None:
    import hashlib

    async with mainframe(tmp_path, Settings(session_bytes=300_000, cancel_grace=0.1)) as host:
        greedy, job = await holder(host, "one", "s")
        await greedy.batch(1, job["channel"], STARTED)
        data = b'"' + b"x" * 199_998 + b'"'
        for n in (1, 2):
            for place in range(0, len(data), 50_000):
                piece = data[place : place + 50_000]
                head = b"\x01" + n.to_bytes(8, "big") + place.to_bytes(8, "big")
                await greedy.transport.send(head + piece)
            ref = {"n": n, "length": len(data), "sha256": hashlib.sha256(data).hexdigest(), "encoding": "json"}
            record = {"type": "BlockOutput", "handle": "out", "body": ref, "done": False, "t": 1}
            await greedy.batch(n + 1, job["channel"], record)
        assert "disk limit of the session" in (await greedy.until("close"))["reason"]


async def test_a_fast_node_before_a_slow_one_grows_the_journal_and_not_the_memory(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker = host.peer()
        await worker.hello("worker", slots=2)
        slow = node("b", {"v": {"sources": [["a", "out"]]}})
        await worker.ask("start", session_id="s", plan=plan(node("a"), slow))
        channel = (await worker.until("dispatch"))["channel"]
        await worker.batch(1, channel, STARTED)
        count = 1500
        for seq in range(2, count + 2):
            await worker.batch(seq, channel, output("x" * 60_000))
            if seq % 100 == 0:
                while (await worker.until("ack"))["seq"] < seq:
                    pass
        session = host.server.sessions.running["s"]
        assert session.bytes > 80 << 20
        assert host.server.sessions.values.size <= 32 << 20
        second = await worker.until("dispatch")
        assert second["inputs"] == {"v": "x" * 60_000}


# ---------------------------------------------------------------------- slow subscribers


async def test_a_slow_subscriber_slows_nobody_and_loses_nothing(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        worker, job = await holder(host, "one", "s")
        slow, quick = host.peer(), host.peer()
        await slow.hello("slow")
        await quick.hello("quick")
        await slow.say("read", id=1, session_id="s", offset=0)
        first = await slow.until("page")
        reading = asyncio.create_task(quick.rows("s"))
        await worker.batch(1, job["channel"], STARTED)
        for seq in range(2, 202):
            await worker.batch(seq, job["channel"], output(seq), output("x" * 30_000))
        await worker.batch(202, job["channel"], FINISHED)
        everything = await reading
        # The slow one has read one page of them all; the session is over, and it goes on from its cursor.
        assert host.row("s").state == "succeeded"
        found, offset = first["data"], first["next"]
        pages = 1
        while found[-1].get("type") != "SessionFinished":
            await slow.say("read", id=1, session_id="s", offset=offset, max_bytes=100_000)
            page = await slow.until("page")
            found, offset, pages = found + page["data"], page["next"], pages + 1
        assert found == everything
        assert pages > 20
        numbers = [r["output"] for row in found for r in row.get("records", ()) if isinstance(r.get("output"), int)]
        assert numbers == list(range(2, 202))


# ---------------------------------------------------------------------- a full disk

FILLS = """
import pathlib

HERE = pathlib.Path(__file__).parent

async def main(inputs, ctx):
    for n in range(400):
        await ctx.output({"n": n, "text": "x" * 40_000}, "out")
        if n == 20:
            await ctx.flush()
            print("begun", flush=True)
            while not (HERE / "go").exists():
                import asyncio
                await asyncio.sleep(0.02)
    return {"count": 400}
"""


@asynccontextmanager
async def small_disk(place: Path, size: str) -> AsyncIterator[Path]:
    """A file system of its own, of some size."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True)  # noqa: ASYNC221  # a moment
    if mounted.returncode != 0:
        pytest.skip("a file system can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # noqa: ASYNC221  # a moment


async def health(port: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}/healthz")


async def until_status(port: str, status: int) -> httpx.Response:
    async with asyncio.timeout(40):
        while (answer := await health(port)).status_code != status:  # noqa: ASYNC110  # HTTP tells nobody of it
            await asyncio.sleep(0.1)
        return answer


async def test_a_full_disk_stops_intake_loudly_and_everything_goes_on_when_there_is_room(tmp_path: Path) -> None:
    directory = tmp_path / "f"
    block = block_node("n", FILLS, directory, outputs=["out", "count"])
    source = [{"node_id": "n", "output_handle": "count"}]
    flow = write_flow(directory, [block], outputs_from=[{"handle": "count", "from_node": source}])
    port = str(free_port())
    async with small_disk(tmp_path / "disk", "64m") as disk, AsyncExitStack() as stack:
        data = disk / "data"
        server = await stack.enter_async_context(start("serve", "--data-dir", data, "--port", port, state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor: Command = await stack.enter_async_context(
            start("executor", "--data-dir", data, "--package", directory, state=tmp_path)
        )
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, "--data-dir", data, "--json", state=tmp_path))
        await submit.until_line("begun")
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(b"\0" * (free - (3 << 20)))
        (directory / "go").touch()
        answer = await until_status(port, 503)
        assert "the disk is full; make room there" in answer.json()["trouble"]
        await server.until_line("nothing is accepted until it can", err=True)
        refused = await stack.enter_async_context(start("sessions", "--data-dir", data, state=tmp_path))
        assert await refused.wait() != 0
        assert "the disk is full" in "".join(refused.err)
        assert submit.process.returncode is None
        (disk / "filler").unlink()
        await until_status(port, 200)
        assert await submit.wait() == 0, submit.err
        found = submit.events()
    assert found[-1]["outputs"] == {"count": 400}
    assert [e["output"]["n"] for e in found if e["type"] == "BlockOutput"] == list(range(400))


async def test_a_mainframe_killed_while_its_disk_is_full_has_lost_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """The block notes outside what ``flush`` told it; the rest is sent again to the mainframe that comes back."""
    directory = tmp_path / "f"
    source = FILLS.replace(
        "        if n == 20:", "        if n % 20 == 0:\n            await told(ctx, n)\n        if n == 20:"
    )
    source += (
        "\nasync def told(ctx, n):\n    await ctx.flush()\n"
        "    with (HERE.parent / 'told').open('a') as told:\n        told.write(f'{n}\\n')\n"
    )
    block = block_node("n", source, directory, outputs=["out", "count"])
    count = [{"node_id": "n", "output_handle": "count"}]
    flow = write_flow(directory, [block], outputs_from=[{"handle": "count", "from_node": count}])
    port = str(free_port())
    async with small_disk(tmp_path / "disk", "64m") as disk, AsyncExitStack() as stack:
        data = disk / "data"
        serve = ("serve", "--data-dir", data, "--port", port)
        first = await stack.enter_async_context(start(*serve, state=tmp_path))
        await first.until_line("mainframe at", err=True)
        below = ("--url", f"ws://127.0.0.1:{port}", "--token", (data / "token").read_text().strip())
        executor = await stack.enter_async_context(start("executor", *below, "--package", directory, state=tmp_path))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", flow, *below, "--json", state=tmp_path))
        await submit.until_line("begun")
        (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free - (3 << 20)))
        (directory / "go").touch()
        await until_status(port, 503)
        first.kill()
        await first.wait()
        told = int((tmp_path / "told").read_text().split()[-1])
        assert 20 <= told < 380
        # Looked at before anybody sends anything again.
        copy = shutil.copytree(data, tmp_path / "copy")
        with closing(sqlite3.connect(copy / "journal.db")) as journal, journal:
            rows = journal.execute("SELECT payload FROM entries ORDER BY id").fetchall()
        journal.close()
        lines = [orjson.loads(line) for (payload,) in rows for line in payload.split(b"\n")]
        stored = [r["output"]["n"] for line in lines for r in line.get("records", ()) if r["type"] == "BlockOutput"]
        assert stored == list(range(len(stored)))
        assert len(stored) > told
        (disk / "filler").unlink()
        second = await stack.enter_async_context(start(*serve, state=tmp_path))
        await second.until_line("mainframe at", err=True)
        assert await submit.wait() == 0, submit.err
        found = submit.events()
    assert found[-1]["outputs"] == {"count": 400}
    assert [e["output"]["n"] for e in found if e["type"] == "BlockOutput"] == list(range(400))
    assert len([e for e in found if e["type"] == "BlockStarted"]) == 1
