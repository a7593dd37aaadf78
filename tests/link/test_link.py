"""What a mainframe may say that the schema allows and no mainframe means: each has an answer that is documented."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.client import Mainframe, Session
from asyncblock.errors import ConnectionLost, RemoteProtocolError
from asyncblock.executor import Executor
from asyncblock.executor.attribution.tasks import current_job
from asyncblock.link import JobSender, Link
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.bodies import BodyRef, encode_chunk
from asyncblock.wire.messages import Dispatch

WELCOME = {
    "op": "welcome", "version": 1, "epoch": "e", "token": "t", "resumed": True, "stored": 0, "bodies": {},
    "windows": {}, "limits": {}, "heartbeat": 5.0,
}  # fmt: skip

DISPATCH = {
    "op": "dispatch", "job_id": "s.0", "attempt": 1, "channel": 1, "session_id": "s", "node_id": "n", "stacks": [],
    "block": {}, "inputs": {},
}  # fmt: skip

BYE = {"op": "bye", "code": "stopping", "reason": "", "stop": False}


class Odd:
    """Says its lines after each Hello, and then what it is asked to. On the I/O thread."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self._lines = lines
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport: Transport
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.batches: asyncio.Queue[bytes] = asyncio.Queue()
        self.hellos: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def dial(self) -> Transport:
        ours, self.transport = memory_pair()
        task = asyncio.create_task(self._serve(self.transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ours

    async def _serve(self, transport: Transport) -> None:
        with contextlib.suppress(ConnectionLost):
            self.hellos.put_nowait(orjson.loads(await transport.receive()))
            for line in self._lines:
                await transport.send(orjson.dumps(line))
            while True:
                data = await transport.receive()
                if b'"batch"' in data:
                    self.batches.put_nowait(data)
                    continue
                for each in data.split(b"\n"):
                    self.heard.put_nowait(orjson.loads(each))

    async def heard_of(self, op: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (message := await self.heard.get())["op"] != op:
                pass
        return message


class Host:
    """Takes note of the jobs that come."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, int, int]] = []

    def announcement(self) -> dict[str, Any]:
        return {"languages": ["python"], "packages": {}, "slots": {"async": 1}}

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        self.jobs.append((message.job_id, message.attempt, message.channel))

    def reconnects(self) -> None:
        pass

    def lag(self) -> float:
        return 0.0

    def held(self) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def link_over(self, error: Exception) -> None:
        pass


@asyncblock.block
async def closed_at_its_end(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """End in the turn in which the job's lease is lost."""
    if inputs["kind"] != "stays":
        job: Any = current_job.get()
        asyncio.get_running_loop().call_soon(job.fence, "another attempt has the job")
    if inputs["kind"] == "raises":
        raise ValueError("an error that nobody asks for")
    return {}


@asynccontextmanager
async def linked(odd: Odd) -> AsyncIterator[tuple[Link, IOThread]]:
    async with shared().lease() as io:
        link = await io.run(made(io, odd))
        try:
            yield link, io
        finally:
            await link.close()


async def made(io: IOThread, odd: Odd) -> Link:
    return Link(io, odd.dial, "an odd mainframe")


@pytest.mark.parametrize(
    "field",
    [
        {"heartbeat": 0},
        {"heartbeat": -1.5},
        {"bodies": {"x": 1}},
        {"bodies": {"": 1}},
        {"bodies": {"9" * 5000: 1}},
        {"bodies": {"1": -1}},
        {"stored": 7},
    ],
    ids=["no heartbeat", "a negative one", "a word", "nothing", "a huge number", "fewer bytes than none", "stored"],
)
async def test_a_welcome_that_cannot_be_kept_to_ends_the_link_and_says_why(field: dict[str, Any]) -> None:
    async with linked(Odd({**WELCOME, **field})) as (link, _):
        with pytest.raises(RemoteProtocolError, match=r"welcome|acknowledged"):
            await link.open(10)


@pytest.mark.parametrize("number", [0, (1 << 63) - 1, (1 << 64) - 1])
async def test_limits_of_any_size_are_kept_to(number: int) -> None:
    limits = dict.fromkeys(["reads", "questions"], number)
    windows = dict.fromkeys(["data", "telemetry", "link"], number)
    odd = Odd({**WELCOME, "limits": limits, "windows": windows})
    async with linked(odd) as (link, io):
        await link.open(10)
        asking = asyncio.create_task(link.request("message_service", {}))
        asked = await io.run(odd.heard_of("request"))
        await io.run(odd.transport.send(orjson.dumps({"op": "reply", "id": asked["id"], "result": {"executors": 1}})))
        assert await asking == {"executors": 1}


@pytest.mark.parametrize("field", [{"channel": 0}, {"channel": -1}, {"channel": 1 << 53}, {"attempt": 0}])
async def test_a_dispatch_that_no_hello_could_name_ends_the_link(field: dict[str, int]) -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        host: Any = Host()
        await link.attach(host)
        await io.run(odd.transport.send(orjson.dumps({**DISPATCH, **field})))
        with pytest.raises(RemoteProtocolError, match="'dispatch': field"):
            await link.request("info", {})
        assert not host.jobs


async def test_an_attempt_that_comes_twice_runs_once_whatever_its_channels() -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        host: Any = Host()
        await link.attach(host)
        again = {**DISPATCH, "channel": 2}
        after = {**DISPATCH, "channel": 3, "attempt": 2}
        for line in (DISPATCH, DISPATCH, again, after, BYE):
            await io.run(odd.transport.send(orjson.dumps(line)))
        async with asyncio.timeout(10):
            await io.run(odd.hellos.get())
            hello = await io.run(odd.hellos.get())
        assert host.jobs == [("s.0", 1, 1), ("s.0", 2, 3)]
        assert hello["channels"] == [[1, "s.0", 1], [3, "s.0", 2]]


async def test_more_than_a_download_asked_for_ends_the_link() -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        fetching = asyncio.create_task(Session(link, "s").fetch(BodyRef(1, 10, "0" * 64, "raw", "l")))
        asked = await io.run(odd.heard_of("fetch"))
        await io.run(odd.transport.send(encode_chunk(asked["id"], 0, bytes(11))))
        with pytest.raises(RemoteProtocolError, match="more than the 10 bytes"):
            async with asyncio.timeout(10):
                await link.request("info", {})
        with pytest.raises(RemoteProtocolError, match="more than the 10 bytes"):
            await fetching


@pytest.mark.parametrize(
    ("rows", "next"),
    [([[5, 1], [4, 1]], 6), ([[5, 1], [5, 1]], 6), ([[1, 1], [6, 1]], 7), ([[5, 1], [6, 1]], 6), ([[5, 2]], 0),
     ([[5, 1]], 6), ([[5, 3]], 6)],
)  # fmt: skip
async def test_a_page_whose_rows_are_out_of_order_is_told_to_whoever_reads(rows: list[Any], next: int) -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        reading = asyncio.create_task(link.read("s", 5))
        asked = await io.run(odd.heard_of("read"))
        page = {"op": "page", "id": asked["id"], "next": next, "lines": 2, "rows": rows, "end": False}
        await io.run(odd.transport.send(orjson.dumps(page) + b"\n{}\n{}"))
        with pytest.raises(RemoteProtocolError, match="page"):
            async with asyncio.timeout(10):
                await reading
        assert not link.over


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b'{"records": 1}', b'{"records": [1]}', b"\xff"])
async def test_a_line_that_no_journal_has_is_told_to_whoever_reads(line: bytes) -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        waiting = asyncio.create_task(Session(link, "s").wait())
        asked = await io.run(odd.heard_of("read"))
        page = {"op": "page", "id": asked["id"], "next": 1, "lines": 1, "rows": [[0, 1]], "end": True}
        await io.run(odd.transport.send(orjson.dumps(page) + b"\n" + line))
        with pytest.raises(RemoteProtocolError, match="row 0 of session s"):
            async with asyncio.timeout(10):
                await waiting
        assert not link.over


async def test_whoever_opens_a_link_waits_no_longer_than_it_said_whatever_a_mainframe_asks_for() -> None:
    bye = {"op": "bye", "code": "stopping", "reason": "maintenance", "stop": False, "retry_after": 500.0}
    async with linked(Odd(bye)) as (link, _):
        with pytest.raises(ConnectionLost, match="maintenance"):
            async with asyncio.timeout(20):
                await link.open(0.5)


async def test_a_job_that_is_closed_in_the_turn_in_which_it_ends_leaves_the_executor_as_it_is() -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        async with Executor(blocks=[closed_at_its_end]).attached(Mainframe(link)):
            block = {
                "language": "python", "package": closed_at_its_end.package, "hash": closed_at_its_end.hash,
                "entry": closed_at_its_end.entry, "function": closed_at_its_end.function,
            }  # fmt: skip
            for channel, kind in enumerate(["raises", "returns", "stays"], 1):
                line = {**DISPATCH, "job_id": f"s.{channel}", "channel": channel, "block": block}
                await io.run(odd.transport.send(orjson.dumps({**line, "inputs": {"kind": kind}})))
            async with asyncio.timeout(10):
                while b"BlockFinished" not in await io.run(odd.batches.get()):
                    pass
            # It waits no longer for acknowledgements.
            await io.run(odd.transport.send(orjson.dumps({**BYE, "stop": True})))


async def test_exports_without_end_of_what_is_not_here_end_the_link() -> None:
    odd = Odd(WELCOME)
    async with linked(odd) as (link, io):
        await link.open(10)
        async with Executor().attached(Mainframe(link)):
            over = asyncio.create_task(link.request("info", {}))
            lines = [
                orjson.dumps({"op": "export", "session_id": "s", "job_id": "s.0", "attempt": 1, "place": place})
                for place in range(10_001)
            ]
            await io.run(odd.transport.send(b"\n".join(lines)))
            with pytest.raises(RemoteProtocolError, match="10000 values"):
                async with asyncio.timeout(30):
                    await over


class Slow(Odd):
    """Welcomes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def _serve(self, transport: Transport) -> None:
        self.hellos.put_nowait(orjson.loads(await transport.receive()))
        await self.go.wait()
        self.go.clear()
        await transport.send(orjson.dumps(WELCOME))
        with contextlib.suppress(ConnectionLost):
            while True:
                for each in (await transport.receive()).split(b"\n"):
                    self.heard.put_nowait(orjson.loads(each))


async def test_what_is_announced_between_the_hello_and_the_welcome_is_announced_after_it() -> None:
    """A host that comes, or leaves, just then: otherwise nobody would know for as long as the connection lives."""
    host: Any = Host()
    odd = Slow()
    async with linked(odd) as (link, io):
        opening = asyncio.create_task(link.open(10))
        assert (await io.run(odd.hellos.get()))["executor"] is None
        await link.attach(host)
        await io.run(told(odd))
        await opening
        assert (await io.run(odd.heard_of("announce")))["executor"] == host.announcement()

        odd.transport.abort()
        assert (await io.run(odd.hellos.get()))["executor"] == host.announcement()
        await link.detach()
        await io.run(told(odd))
        assert (await io.run(odd.heard_of("announce")))["executor"] is None


async def told(odd: Slow) -> None:
    odd.go.set()
