"""A mainframe that says what the schema allows, however odd: to a real link, with an executor and whoever else waits.

Beside it, on the same I/O thread, the process has a link to a sane mainframe, whose job must not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import orjson

import asyncblock
from asyncblock.client import Mainframe, Session, flow_of
from asyncblock.errors import AsyncBlockError, ConnectionLost
from asyncblock.executor import Executor
from asyncblock.link import Link
from asyncblock.runtime.iothread import IOThread, shared
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.bodies import BodyRef, encode_chunk
from asyncblock.wire.states import Role

from .grammar import JSON, NUMBERS, Grammar
from .memory import Memory

__all__ = ["Lines", "OddMainframe", "fuzz_lower"]

ROUND = 100
"""Messages to one link."""

PATIENCE = 20.0
"""Seconds after which somebody who still waits hangs."""

JOBS = ["s.0", "s.1", "t.0"]
"""Jobs that are really dispatched, among all the odd ones."""

_ticks: asyncio.Queue[int | None] = asyncio.Queue()


@asyncblock.block(inputs=[], outputs=[{"handle": "out"}])
async def innocent(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Say each number that it is given: the job of the sane mainframe."""
    count = 0
    while (number := await _ticks.get()) is not None:
        await ctx.output(number, "out")
        count += 1
    return {"out": count}


@asyncblock.block
async def odd(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """A job of the odd mainframe: it says something, and some of them wait until they are told to end."""
    await ctx.output(1, "out")
    await ctx.report_progress(0.5)
    if len(inputs) % 2:
        await asyncio.Event().wait()
    return {}


class Lines:
    """Makes messages downwards."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.grammar = Grammar(chance, Role.LOWER)
        self.grammar.ids = [*self.grammar.ids, "s", "t", *JOBS]
        self.requests: list[str] = ["none"]
        """Ids of what the link has asked for; with what was never asked."""
        self.reads: list[int] = [0]
        self.fetches: list[tuple[int, int, int]] = [(0, 0, 10)]
        self.stored = 0
        """The last batch that came."""

    def message(self) -> bytes:
        """Return a message that the schema allows."""
        if self.chance.random() < 0.05:
            return self._chunk()
        return b"\n".join(self.line())

    def line(self) -> list[bytes]:
        """Return a control line, with the lines that belong to it."""
        chance, grammar = self.chance, self.grammar
        # Most of what ends a link comes rarely, so that the rest meets a link that has something under way.
        op = "bye" if chance.random() < 0.01 else "welcome" if chance.random() < 0.002 else chance.choice(grammar.ops)
        message = grammar.make(grammar.defs[f"message.{op}"], 0)
        message.pop("on", None)
        usual = chance.random() < 0.98
        data: list[bytes] = []
        match op:
            case "dispatch":
                self._dispatch(message, usual=usual)
            case "bye":
                # Links stay away for as long as they are asked to, up to ten minutes.
                message["retry_after"] = chance.choice([None, -1e300, 0, 0.01])
            case "ack" if usual:
                message["seq"] = chance.randint(-1, self.stored)
            case "ping" if usual:
                message["stored"] = chance.randint(-1, self.stored)
            case "reply":
                message["id"] = chance.choice(self.requests)
            case "page":
                message["id"] = chance.choice(self.reads)
                data = [orjson.dumps(chance.choice(ROWS)) for _ in range(chance.randint(0, 3))]
                if usual:
                    message |= {"rows": [[n, 1] for n in range(len(data))], "next": len(data), "end": False}
                message["lines"] = len(data)
            case "fetched":
                message["id"] = chance.choice(self.fetches)[0]
            case "close" | "refused" if usual:
                message["channel"] = chance.randint(0, 4)
        if op in ("cancel", "close", "export", "spawn") and usual:
            message["job_id"] = chance.choice(JOBS)
            if "attempt" in message:
                message["attempt"] = chance.randint(1, 2)
        return [orjson.dumps(message), *data]

    def _dispatch(self, message: dict[str, Any], *, usual: bool) -> None:
        chance = self.chance
        if usual:
            message |= {"channel": chance.randint(1, 4), "attempt": chance.randint(1, 2)}
        if chance.random() < 0.7:
            message |= {"job_id": chance.choice(JOBS), "session_id": chance.choice("st")}
            message["block"] = {
                "language": "python", "package": odd.package, "hash": odd.hash, "entry": odd.entry,
                "function": odd.function,
            }  # fmt: skip
            message["bodies"] = {}

    def _chunk(self) -> bytes:
        id, offset, size = self.chance.choice(self.fetches)
        if self.chance.random() < 0.2:
            offset = abs(self.chance.choice(NUMBERS))
        return encode_chunk(id, offset, bytes(self.chance.choice([0, 1, size, 64 << 10])))

    def welcome(self) -> bytes:
        """Return a first Welcome, rarely one that ends the link."""
        message = {
            "op": "welcome", "version": 1, "epoch": "e", "token": "t", "resumed": True, "stored": self.stored,
            "bodies": {}, "windows": {}, "limits": {}, "heartbeat": 5.0, "understands": ["whole", "discard"],
        }  # fmt: skip
        if self.chance.random() < 0.2:
            name = self.chance.choice(["epoch", "resumed", "stored", "bodies", "windows", "limits", "heartbeat"])
            message[name] = self.grammar.make(self.grammar.defs["message.welcome"]["properties"][name], 0)
        return orjson.dumps(message)

    def take(self, data: bytes) -> list[bytes]:
        """Take in what a link says; return what to answer."""
        if data[:1] == b"\x01":
            return []
        lines, answers = data.split(b"\n"), []
        while lines:
            message = orjson.loads(lines.pop(0))
            match message["op"]:
                case "batch":
                    del lines[: len(message["channels"])]
                    self.stored = message["seq"]
                    if self.chance.random() < 0.8:
                        answers.append(orjson.dumps({"op": "ack", "seq": self.stored}))
                case "request":
                    self.requests = [*self.requests[-5:], message["id"]]
                case "read":
                    self.reads = [*self.reads[-5:], message["id"]]
                case "fetch":
                    asked = (message["id"], message["offset"], message["size"])
                    self.fetches = [*self.fetches[-5:], asked]
        return answers


ROWS: list[Any] = [
    *JSON,
    {"type": "SessionStarted", "t": 1, "plan": {}},
    {"type": "SessionFinished", "t": 1},
    {"records": [{"type": "BlockOutput", "t": 1, "handle": "h", "output": 1}], "job_id": "s.0", "node_id": "n",
     "attempt": 1, "link": "l"},
    {"records": [{}], "job_id": "s.0", "node_id": "n", "attempt": 1, "link": "l"},
    {"records": {"a": 1}},
]  # fmt: skip


class OddMainframe:
    """Serves the connections of one link, one after the other. Lives on the I/O thread."""

    def __init__(self, lines: Lines, messages: int) -> None:
        self._lines = lines
        self._left = messages
        self._tasks: set[asyncio.Task[None]] = set()
        self.said = 0

    async def dial(self) -> Transport:
        """Accept a connection."""
        ours, theirs = memory_pair()
        task = asyncio.create_task(self._serve(theirs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ours

    async def _serve(self, transport: Transport) -> None:
        with contextlib.suppress(ConnectionLost):
            await transport.receive()
            await transport.send(self._lines.welcome())
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(transport))
                try:
                    await self._talk(transport)
                except ConnectionLost:
                    pass
                finally:
                    reading.cancel()

    async def _talk(self, transport: Transport) -> None:
        while self._left > 0:
            self._left -= 1
            self.said += 1
            await transport.send(self._lines.message())
            for _ in range(3):
                await asyncio.sleep(0)
        code = self._lines.chance.choice(["stopping", "unauthorized", "unreadable", "é", ""])
        await transport.send(orjson.dumps({"op": "bye", "code": code, "reason": "", "stop": True}))

    async def _read(self, transport: Transport) -> None:
        with contextlib.suppress(ConnectionLost):
            while True:
                for line in self._lines.take(await transport.receive()):
                    await transport.send(line)


async def fuzz_lower(seed: int, *, messages: int, seconds: float) -> dict[str, int]:
    """Say so many messages to links, for no longer than that; return how often they ended by which error."""
    lines = random.Random(seed)
    ends: dict[str, int] = {"messages": 0}
    until = time.monotonic() + seconds
    number = 0
    with troubles() as found, unpickled() as classes:
        async with asyncblock.embedded() as sane, running(sane) as tick:
            memory: Memory | None = None
            while ends["messages"] < messages and time.monotonic() < until:
                number += 1
                made = Lines(random.Random(lines.randrange(1 << 32)))
                said, errors = await asyncio.wait_for(_one(made), 2 * PATIENCE)
                ends["messages"] += said
                for each in errors:
                    ends[each] = ends.get(each, 0) + 1
                await tick(number)
                if number % 20 == 0:
                    gc.collect()
                    # What is imported and kept once is there by now.
                    memory = memory or Memory()
                    ends["MiB"] = memory.check() >> 20
                assert not found, found
        gc.collect()
    assert not found, found
    assert not classes, classes
    return ends


async def _one(lines: Lines) -> tuple[int, list[str]]:
    """Let a link have a mainframe that is odd; return how much that said, and how everybody's waiting ended."""
    async with shared().lease() as io:
        mainframe = OddMainframe(lines, ROUND)
        link = await io.run(_made(io, mainframe))
        waiting: list[asyncio.Task[str]] = []
        try:
            await link.open(5.0)
            async with Executor(blocks=[odd]).attached(Mainframe(link)):
                waiting += [asyncio.create_task(_ended(act)) for act in _acts(link, Session(link, "s"))]
                async with asyncio.timeout(PATIENCE):
                    ends = await asyncio.gather(*waiting)
                    # Whoever has an answer may have had it long ago: the rest is still said.
                    ends.append(await _ended(lambda: _over(link)))
        except AsyncBlockError as error:
            ends = [type(error).__name__]
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.wait_for(link.close(), PATIENCE)
        return mainframe.said, ends


def _acts(link: Link, session: Session) -> list[Callable[[], Awaitable[object]]]:
    """Return what one may wait for."""
    return [
        lambda: link.request("info", {}),
        lambda: link.request("cancel", {"session_id": "s", "reason": ""}, id="s"),
        session.wait,
        session.plan,
        lambda: _all_events(session),
        lambda: session.fetch(BodyRef(1, 100, "0" * 64, "raw", "l")),
        lambda: session.fetch(BodyRef(2, 3 << 20, "0" * 64, "json", "l")),
    ]


async def _made(io: IOThread, mainframe: OddMainframe) -> Link:
    return Link(io, mainframe.dial, "an odd mainframe")


async def _all_events(session: Session) -> None:
    async with aclosing(session.events()) as events:  # type: ignore[type-var]  # an async generator
        async for _ in events:
            pass


async def _over(link: Link) -> None:
    """Ask until nothing is answered any more."""
    while True:
        try:
            await link.request("info", {})
        except AsyncBlockError:
            if link.over:
                raise


async def _ended(act: Callable[[], Awaitable[object]]) -> str:
    """Wait for something; return which of our errors it ended by, or that it has ended well."""
    try:
        await act()
    except AsyncBlockError as error:
        return type(error).__name__
    return "answered"


@asynccontextmanager
async def running(sane: Mainframe) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Run the innocent job; what is given lets it say a number, and waits until that is in the journal."""
    session = await sane.start(flow_of(innocent))
    events = session.events()

    async def tick(number: int) -> None:
        _ticks.put_nowait(number)
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                if isinstance(event, asyncblock.events.BlockOutput) and event.output == number:
                    return
        raise AssertionError(f"the innocent job has ended before it said {number}")

    yield tick
    _ticks.put_nowait(None)
    async with asyncio.timeout(PATIENCE):
        await session.outputs()


@contextmanager
def troubles() -> Iterator[list[str]]:
    """Collect what event loops and the I/O thread say of errors that reached nobody."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # The link says as an error, too, what a Welcome has ended.
            if record.exc_info or record.name != "asyncblock.link":
                found.append(self.format(record))

    collector = Collector(logging.ERROR)
    names = ["asyncio", "asyncblock.iothread", "asyncblock.link"]
    loggers = [logging.getLogger(name) for name in names]
    package = logging.getLogger("asyncblock")
    level = package.level
    package.setLevel(logging.ERROR)
    for each in loggers:
        each.addHandler(collector)
    try:
        yield found
    finally:
        package.setLevel(level)
        for each in loggers:
            each.removeHandler(collector)


_watched: list[list[str]] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and _watched:
        _watched[-1].append(".".join(map(str, args)))


@contextmanager
def unpickled() -> Iterator[list[str]]:
    """Collect the classes and functions that anything in this process unpickles."""
    if _audit not in _hooks:
        sys.addaudithook(_audit)
        _hooks.append(_audit)
    found: list[str] = []
    _watched.append(found)
    try:
        yield found
    finally:
        _watched.remove(found)


_hooks: list[object] = []
