"""What hostile peers cost: a bounded amount of memory, and others a bounded wait, however much they send.

A hundredth of a million messages of each kind by default. For the figures in SECURITY.md:
``ASYNCBLOCK_HOSTILE=1000000 python -m pytest -q -s tests/security/test_floods.py``
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.client import Mainframe
from asyncblock.errors import AsyncBlockError
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.bodies import encode_chunk
from asyncblock.wire.frames import MAX_MESSAGE

from ..peers import HASH, Peer, channels_named, node, plan
from ..processes import free_port, start
from .innocent import innocent
from .starved import BOUND, Starved

MESSAGES = int(os.environ.get("ASYNCBLOCK_HOSTILE", "10000"))

pytestmark = pytest.mark.timeout(120 + MESSAGES // 500)

MORE_MEMORY = 160 << 20
"""Bytes that a flood may add: a few messages of 4 MiB as objects, the journal's queue, what a link may have waiting."""

_numbers = itertools.count()

JOB = {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": 1}}


@dataclass
class Target:
    """A served mainframe, as whoever means harm sees it."""

    url: str
    pid: int
    directory: Path
    mainframe: Mainframe

    async def peer(self, role: str = "all") -> Peer:
        return Peer(await connect_websocket(self.url, f"token-of-{role}", max_message=MAX_MESSAGE))

    def memory(self) -> int:
        """Return the resident bytes of the mainframe's process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@asynccontextmanager
async def target(directory: Path) -> AsyncIterator[Target]:
    tokens = directory / "tokens"
    tokens.write_text("token-of-all executor,client,observer\n")
    tokens.chmod(0o600)
    port = free_port()
    async with start("serve", "--port", str(port), "--token-file", str(tokens), state=directory) as server:
        await server.until_line("mainframe at", err=True)
        url = f"ws://127.0.0.1:{port}"
        async with asyncblock.connect(url, "token-of-all") as mainframe:
            yield Target(url, server.process.pid, directory, mainframe)


@asynccontextmanager
async def watched(house: Target) -> AsyncIterator[list[float]]:
    """Ask as an innocent client, again and again, beside an innocent job; yield how long the client had to wait."""
    starved = Starved(house.pid)
    async with innocent(house.directory, house.mainframe, house.mainframe, starved), asking(house, starved) as waits:
        yield waits
    assert max(waits) < BOUND


@asynccontextmanager
async def asking(house: Target, starved: Starved) -> AsyncIterator[list[float]]:
    peer = await house.peer()
    await peer.hello(f"innocent{next(_numbers)}")
    waits: list[float] = []
    answered = asyncio.Event()

    async def ask() -> None:
        number = 0
        while True:
            waited = starved.watch(asyncio.get_running_loop().time)
            await peer.ask("session", id=f"i{(number := number + 1)}", session_id="none")
            waits.append(waited())
            answered.set()
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield waits
        assert not asking.done(), "the innocent's connection has ended"
        seen = len(waits)
        async with asyncio.timeout(30):
            while len(waits) < seen + 2:
                answered.clear()
                await answered.wait()
    finally:
        asking.cancel()
        peer.transport.abort()


def lines(count: int, line: Callable[[int], dict[str, Any]], each: int = 1000) -> Iterator[bytes]:
    """Put control lines into messages."""
    for first in range(0, count, each):
        yield b"\n".join(orjson.dumps(line(number)) for number in range(first, min(first + each, count)))


def request(method: str, **params: object) -> Callable[[int], Iterator[bytes]]:
    return lambda count: lines(
        count, lambda n: {"op": "request", "id": f"r{n}", "method": method, "params": {"session_id": "s", **params}}
    )


def simple(op: str, **fields: object) -> Callable[[int], Iterator[bytes]]:
    return lambda count: lines(count, lambda n: {"op": op, **fields})


def numbered(op: str, name: str, **fields: object) -> Callable[[int], Iterator[bytes]]:
    return lambda count: lines(count, lambda n: {"op": op, name: n + 1, **fields})


def records(channel: int | None, record: bytes, each: int) -> Callable[[int], Iterator[bytes]]:
    """Batches of so many records. ``None`` is the channel of the job that the link has."""

    def batches(count: int) -> Iterator[bytes]:
        for seq in range(2, 2 + max(count // each, 1)):
            header = orjson.dumps({"op": "batch", "seq": seq, "channels": [1 if channel is None else channel]})
            yield header + b"\n[" + b",".join([record] * each) + b"]"

    return batches


def changing(*kinds: Callable[[int], dict[str, Any]]) -> Callable[[int], Iterator[bytes]]:
    """Batches of valid records, each of them another one."""

    def batches(count: int) -> Iterator[bytes]:
        numbers, seq = range(count), 1
        for first in range(0, count, 5000):
            some = [kinds[n % len(kinds)](n) | {"t": 1} for n in numbers[first : first + 5000]]
            yield orjson.dumps({"op": "batch", "seq": (seq := seq + 1), "channels": [1]}) + b"\n" + orjson.dumps(some)

    return batches


def value_that_stays(n: int) -> dict[str, Any]:
    where = {"job_id": f"{OWN}.0", "session_id": OWN, "attempt": 1, "place": n}
    return {"executor": "asyncblock", "handle": "x", **where}


def lines_of_one_record(count: int) -> Iterator[bytes]:
    for seq in range(2, 2 + max(count // 10_000, 1)):
        yield orjson.dumps({"op": "batch", "seq": seq, "channels": [1] * 10_000}) + b"\n[7]" * 10_000


def empty_lines(count: int) -> Iterator[bytes]:
    for seq in range(2, 2 + max(count // 10_000, 1)):
        yield orjson.dumps({"op": "batch", "seq": seq, "channels": [1] * 10_000}) + b"\n[]" * 10_000


def many_channels(count: int) -> Iterator[bytes]:
    for seq in range(2, 2 + max(count // 5000, 1)):
        header = orjson.dumps({"op": "batch", "seq": seq, "channels": list(range(100, 5100))})
        yield header + b"\n[1]" * 5000


def chunks(count: int) -> Iterator[bytes]:
    for n in range(1, count + 1):
        yield encode_chunk(n, 0, b"x")


def newlines(count: int) -> Iterator[bytes]:
    for _ in range(max(count // 1_000_000, 1)):
        yield b"\n" * (MAX_MESSAGE - 10)


def bad_json(count: int) -> Iterator[bytes]:
    yield from records(None, b"1e400", 5000)(count)


def few(line: Callable[[int], dict[str, Any]]) -> Callable[[int], Iterator[bytes]]:
    """A thousandth of a flood, for its lines are a thousand times longer than others."""
    return lambda count: lines(max(count // 1000, 50), line, 3)


def orders(method: str, **params: object) -> Callable[[int], Iterator[bytes]]:
    """Orders in the name of the job that the link has, whoever that is."""
    return lambda count: lines(
        count,
        lambda n: {
            "op": "request", "id": f"r{n}", "method": method,
            "params": {"session_id": OWN, "job_id": f"{OWN}.0", "attempt": 1, **params},
        },
    )  # fmt: skip


OWN = "@@own@@"
"""Stands for the session of whoever floods."""

LONG = "x" * 1_000_000

FLOODS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "pings": simple("ping"),
    "unknown methods": request("none"),
    "lists of sessions": request("sessions"),
    "questions": request("info"),
    "cancels of jobs that aren't there": request("cancel_job", job_id="none"),
    "messages to services": request("message_service", node_id="n", payload="x" * 1000),
    "orders of jobs": request("query_downstream", job_id="s.0", attempt=1),
    "reads with one number": simple("read", id=1, session_id="s", offset=1 << 20),
    "reads": numbered("read", "id", session_id="s", offset=1 << 20),
    "reads of what isn't there": numbered("read", "id", session_id="none", offset=0),
    "withdrawn reads": numbered("unread", "id"),
    "fetches": numbered("fetch", "id", link="none", n=1, offset=0, size=1),
    "stalls": simple("stalled", channel=1, seconds=9.0, where="x" * 900),
    "announcements": simple("announce", executor=JOB),
    "ends of unknown processes": numbered("gone", "link_no", link="none", reason=""),
    "discards": numbered("discard", "none", bodies=[5] * 10),
    "empty bodies": numbered("whole", "n", length=0, sha256="0" * 64),
    "tiny bodies": chunks,
    "records of an unknown channel": records(77, b"1", 10_000),
    "records of no type": records(None, b"1", 10_000),
    "records of a long type": records(None, orjson.dumps({"type": "x" * 150, "t": 1}), 5000),
    "records one by one": records(None, b"1", 1),
    "records that can't be read": bad_json,
    "lines without a record": empty_lines,
    "records of many channels": many_channels,
    "empty lines": newlines,
    "records of no type in lines of their own": lines_of_one_record,
    "outputs on handles that nobody declares": changing(
        lambda n: {"type": "BlockOutput", "handle": f"{'h' * 100}{n}", "output": n, "done": False}
    ),
    "outputs that a node takes": changing(
        lambda n: {"type": "BlockOutput", "handle": "out", "output": n, "done": False}
    ),
    "values that stay": changing(
        lambda n: {"type": "BlockOutput", "handle": "x", "output": value_that_stays(n), "done": False}
    ),
    "one value that stays, again and again": changing(
        lambda n: {"type": "BlockOutput", "handle": "out", "output": value_that_stays(0), "done": False}
    ),
    "values for blocks that nobody runs": changing(
        lambda n: {"type": "BlockArguments", "id": f"{'i' * 100}{n}", "values": {"v": n}}
    ),
    "telemetry": changing(
        lambda n: {"type": "BlockPreview", "id": f"{'p' * 100}{n}", "payload": {"type": "text", "data": n}},
        lambda n: {"type": "BlockProgress", "rate": n % 101},
        lambda n: {"type": "BlockLog", "log": f"line {n}", "stdio": "stdout"},
        lambda n: {"type": "BlockCache", "state": "miss", "why": f"{n}"},
    ),
    "weights": orders("update_node_weight", node_id="n", weight=1e300),
    "names of nodes that are not there": orders("update_node_weight", node_id="m" * 90, weight=1),
    "blocks that are not there": orders("run_block", block_job_id="x", block="self::" + "b" * 4000),
    "reads of long names": few(lambda n: {"op": "read", "id": 1, "session_id": LONG, "offset": 0}),
    "many reads of long names": few(lambda n: {"op": "read", "id": n, "session_id": LONG, "offset": 0}),
    "fetches of long names": few(lambda n: {"op": "fetch", "id": n, "link": LONG, "n": 1, "offset": 0, "size": 1}),
    "methods of long names": few(lambda n: {"op": "request", "id": f"r{n}", "method": LONG, "params": {}}),
    "what says that it holds much": simple(
        "ping", held=(1 << 63) - 1, may_hold=(1 << 63) - 1, on_disk=(1 << 63) - 1, may_take=(1 << 63) - 1, lag=1e300
    ),
}


async def greeted(house: Target) -> tuple[Peer, str]:
    """Connect somebody who holds a job and has begun it, with all roles; return its session, too."""
    peer = await house.peer()
    name = f"hostile{next(_numbers)}"
    assert (await peer.hello(name, slots=1))["op"] == "welcome"
    made = plan(node("n"), node("taker", {"v": {"sources": [["n", "out"]]}}))
    assert (await peer.ask("start", session_id=name, plan=made))["error"] is None
    dispatch = await peer.until("dispatch")
    assert (dispatch["channel"], dispatch["job_id"]) == (1, f"{name}.0")
    await peer.batch(1, 1, {"type": "JobStarted", "t": 1})
    await peer.until("ack")
    return peer, name


async def swallow(peer: Peer) -> int:
    """Read what comes to the connection's end; return how many bytes it was."""
    size = 0
    with suppress(AsyncBlockError):
        while True:
            size += len(await peer.transport.receive())
    return size


async def send(peer: Peer, flood: Iterator[bytes], own: str) -> int:
    sent = 0
    with suppress(AsyncBlockError):
        for message in flood:
            message = message.replace(OWN.encode(), own.encode())
            await peer.transport.send(message)
            sent += len(message)
    return sent


def report(kind: str, before: int, after: int, waits: list[float], sent: int, came: int) -> None:
    print(
        f"{kind}: {sent >> 10} KiB sent, {came >> 10} KiB answered, {(after - before) / (1 << 20):+.0f} MiB, "
        f"longest wait of another {max(waits):.3f} s"
    )


@pytest.mark.parametrize("first", range(0, len(FLOODS), 7))
async def test_a_flood_costs_bounded_memory_and_others_a_bounded_wait(tmp_path: Path, first: int) -> None:
    async with target(tmp_path) as house:
        for kind in islice(FLOODS, first, first + 7):
            await flooded(house, kind)


async def flooded(house: Target, kind: str) -> None:
    peer, own = await greeted(house)
    async with watched(house) as waits:
        before = highest = house.memory()
        reading = asyncio.create_task(swallow(peer))
        flooding = asyncio.create_task(send(peer, FLOODS[kind](MESSAGES), own))
        while not flooding.done():
            await asyncio.wait([flooding], timeout=0.05)
            highest = max(highest, house.memory())
        # What was sent last may still be under way: the last word comes behind it.
        with suppress(AsyncBlockError):
            await peer.say("bye", code="closed", reason="", stop=True)
        while not reading.done():
            await asyncio.wait([reading], timeout=0.05)
            highest = max(highest, house.memory())
    report(kind, before, highest, waits, flooding.result(), reading.result())
    assert highest - before < MORE_MEMORY, kind


async def test_who_asks_for_much_and_reads_nothing_holds_a_bounded_amount(tmp_path: Path) -> None:
    async with target(tmp_path) as house:
        peer, own = await greeted(house)
        async with watched(house) as waits:
            before = highest = house.memory()
            flood = request("sessions", limit=1000, state="x" * 1000)(MESSAGES)
            flooding = asyncio.create_task(send(peer, flood, own))
            for _ in range(40):
                await asyncio.wait([flooding], timeout=0.05)
                highest = max(highest, house.memory())
            flooding.cancel()
            peer.transport.abort()
        report("answers that nobody reads", before, highest, waits, 0, 0)
        assert highest - before < MORE_MEMORY


@pytest.mark.parametrize("count", [50_000, 250_000])
async def test_a_greeting_with_very_many_channels_costs_what_its_answers_take(tmp_path: Path, count: int) -> None:
    many = channels_named(count)
    async with target(tmp_path) as house:
        before = highest = house.memory()
        async with watched(house) as waits:
            for number in range(max(MESSAGES * 4 // count, 2)):
                peer = await house.peer()
                said = await peer.hello(f"many{number}", channels=many)
                assert said["op"] == ("welcome" if count == 50_000 else "bye")
                await asyncio.sleep(0.05)
                highest = max(highest, house.memory())
                peer.transport.abort()
        report(f"greetings of {count} channels", before, highest, waits, 0, 0)
        assert highest - before < MORE_MEMORY


async def test_links_that_come_once_are_forgotten(tmp_path: Path) -> None:
    async with target(tmp_path) as house:
        before = house.memory()
        async with watched(house) as waits:
            for number in range(MESSAGES // 50):
                peer = await house.peer()
                await peer.hello(f"once{number}", executor={**JOB, "packages": {f"{n:064}": "p" for n in range(1000)}})
                peer.transport.abort()
        report("links that come once", before, house.memory(), waits, 0, 0)
        assert house.memory() - before < MORE_MEMORY
