"""A mainframe's day in two seconds, so that every await of its code is visited; run it for one injected error a line.

``python -m tests.server.faults.story [--slice I/N] [--errors all]`` prints a JSON line for each site: what was raised,
what became of the two sessions beside it, of the mainframe, and whether the log tells of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sqlite3
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from .awaits import Awaits, sites

AWAITS = Awaits()
ERRORS: list[type[Exception]] = [OSError, sqlite3.OperationalError, MemoryError, RuntimeError]
LIMIT = 40.0
"""Seconds for the story with an error in it: pauses before coming back, retries."""


class Log(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter("%(message)s").format(record))


def _flow() -> Any:
    import asyncblock

    names = [f"v{index}" for index in range(45)]

    @asyncblock.block(inputs=[], outputs=[{"handle": name} for name in (*names, "n")])
    async def source(ctx: asyncblock.Context) -> None:
        for name in names:
            await ctx.output({"name": name, "text": "x" * 50_000}, name)
        for n in range(3):
            await ctx.output({"n": n}, "n")
        await ctx.preview({"type": "json", "data": ["y" * 100_000]})

    @asyncblock.block(inputs=[{"handle": name} for name in names], outputs=[{"handle": "all"}, {"handle": "large"}])
    async def gather(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
        return {"all": sorted(value["name"] for value in inputs.values()), "large": "z" * 200_000}

    @asyncblock.block(inputs=[{"handle": "n"}], outputs=[{"handle": "n"}])
    async def count(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
        return {"n": inputs["n"]["n"]}

    flow = asyncblock.Flow("story")
    made = flow.node(source)
    gathered = flow.node(gather, {name: made[name] for name in names})
    counted = flow.node(count, {"n": made["n"]})
    flow.output("all", gathered["all"])
    flow.output("large", gathered["large"])
    flow.output("n", counted["n"])
    for name in names:
        flow.output(name, made[name])

    @asyncblock.block(inputs=[], outputs=[{"handle": "n"}])
    async def ticks(ctx: asyncblock.Context) -> dict[str, int]:
        for n in range(30):
            await ctx.output(n, "n")
            await asyncio.sleep(0.01)
        return {"n": 30}

    beside = asyncblock.Flow("beside")
    beside.output("n", beside.node(ticks)["n"])
    return flow, beside, [source, gather, count, ticks]


async def _tolerant(question: Awaitable[Any]) -> Any:
    """Ask what may be answered with an error: the asker is told, and goes on."""
    from asyncblock.errors import AsyncBlockError

    try:
        return await question
    except (AsyncBlockError, OSError) as error:
        return error


async def _outcome(session: Any) -> str:
    """Return how a session ended; reading it again when a read was answered with an error."""
    from asyncblock.errors import FlowFailed, MainframeFailed, Rejected

    while True:
        try:
            outputs = await session.outputs()
        except Rejected:
            await asyncio.sleep(0.05)
            continue
        except FlowFailed as error:
            return f"failed: {error}"
        except MainframeFailed as error:
            return f"mainframe failed: {error}"
        # The three jobs that count run side by side: any of them may be the last.
        right = outputs.get("n") in (30, 0, 1, 2) and ("v0" not in outputs or outputs["all"][0] == "v0")
        shown = {name: value for name, value in outputs.items() if not name.startswith("v")}
        return "right" if right else f"wrong: {shown}"[:300]


def _settings() -> Any:
    from asyncblock.server import mainframe
    from asyncblock.server.committing import values
    from asyncblock.server.reception import gateway
    from asyncblock.server.settings import Settings

    values.__dict__["_BUDGET"] = 1  # Everything is read from the journal.
    gateway.__dict__["RETRY_AFTER"] = 0.05
    mainframe.__dict__["_TICK"] = 0.01
    return Settings(heartbeat=0.5, queue_bytes=100_000, snapshot_bytes=1 << 19)


async def _odd_peers(server: Any, io: Any) -> None:
    """Connections that end in every way that there is."""
    from asyncblock.transport.memory import memory_pair
    from asyncblock.wire.bodies import encode_chunk

    from ...peers import Peer

    async def connect() -> Peer:
        ours, theirs = memory_pair()
        server.accept_soon(theirs)
        return Peer(ours)

    async def talk() -> None:
        with suppress(Exception):
            await (await connect()).hello("old", version=99)
        with suppress(Exception):
            peer = await connect()
            await peer.transport.send(b"[1]")
            await peer.ended()
        with suppress(Exception):
            peer = await connect()
            await peer.hello("uploader", slots=1)
            await peer.transport.send(encode_chunk(1, 0, b"abc"))
            await peer.transport.send(encode_chunk(2, 0, b"abc"))
            await peer.say("discard", bodies=[1])
            await peer.say("bye", code="closed", reason="done", stop=True)
            await peer.ended()

    await io.run(talk())


def _get(url: str, token: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        answer.read()


async def _http(url: str, token: str) -> None:
    for path in ("/metrics", "/bodies/none-1"):
        with suppress(OSError):
            await asyncio.to_thread(_get, url.replace("ws://", "http://") + path, token)


async def _day(directory: Path) -> dict[str, Any]:
    """Run the story in a mainframe on a directory; return what became of it."""
    import asyncblock
    from asyncblock.client import Mainframe, open_link
    from asyncblock.executor import Executor
    from asyncblock.inprocess.embedding import _accept, memory_link
    from asyncblock.inprocess.hosting import hosted_mainframe, listening
    from asyncblock.runtime.iothread import shared

    flow, beside, blocks = _flow()
    told: dict[str, Any] = {"mainframe": "served"}
    try:
        async with AsyncExitStack() as stack:
            io = await stack.enter_async_context(shared().lease())
            server = await stack.enter_async_context(hosted_mainframe(io, directory, _settings()))
            url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
            link = await stack.enter_async_context(
                memory_link(io, lambda transport: _accept(server, transport), "the client")
            )
            client = Mainframe(link)
            hosting = await stack.enter_async_context(open_link(url, server.token))
            await stack.enter_async_context(Executor(blocks).attached(Mainframe(hosting)))
            first = client.session((await client.start(flow)).session_id)
            second = client.session((await client.start(beside)).session_id)
            told["ids"] = [first.session_id, second.session_id]
            told["sessions"] = list(await asyncio.gather(_outcome(first), _outcome(second)))
            await _tolerant(client.info())
            await _tolerant(first.info())
            await _tolerant(_outputs(first))
            await _odd_peers(server, io)
            await _http(url, server.token)
            await _tolerant(client.prune(older=0.0, keep=1))
            waiting = asyncblock.Flow("waits")
            waiting.output("n", waiting.node(_elsewhere())["n"])
            await _tolerant(client.start(waiting))
    except Exception as error:
        told["mainframe"] = f"{type(error).__name__}: {error}"
    return told


def _elsewhere() -> Any:
    import asyncblock

    @asyncblock.block(inputs=[], outputs=[{"handle": "n"}])
    async def elsewhere(ctx: asyncblock.Context) -> None:
        """Runs nowhere: its session is open when the mainframe ends."""

    return elsewhere


async def _outputs(session: Any) -> None:
    async for _ in session.events():
        pass


async def tell(site: tuple[str, int] | None, error: Exception) -> dict[str, Any]:
    """Run the story with an error at a site, open the directory again, and tell what came of both."""
    log = Log()
    logging.getLogger("asyncblock").addHandler(log)
    AWAITS.armed, AWAITS.error, AWAITS.hits = site, error, 0
    try:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            async with asyncio.timeout(LIMIT):
                told = await _day(directory)
            hits = AWAITS.hits
            AWAITS.armed = site if not hits else None
            async with asyncio.timeout(LIMIT):
                told["again"] = await _look_again(directory, told.get("ids", []))
            hits = AWAITS.hits
    except TimeoutError:
        told, hits = {"mainframe": "hangs"}, AWAITS.hits
    finally:
        AWAITS.armed = None
        logging.getLogger("asyncblock").removeHandler(log)
    return {**told, "hits": hits, "logged": any(str(error) in text for text in log.texts)}


async def _look_again(directory: Path, ids: list[str]) -> Any:
    """Open the directory once more: what ended has ended, what was open goes on."""
    from asyncblock.client import Mainframe
    from asyncblock.executor import Executor
    from asyncblock.inprocess.embedding import _accept, memory_link
    from asyncblock.inprocess.hosting import hosted_mainframe
    from asyncblock.runtime.iothread import shared

    _, _, blocks = _flow()
    try:
        async with AsyncExitStack() as stack:
            io = await stack.enter_async_context(shared().lease())
            server = await stack.enter_async_context(
                hosted_mainframe(io, directory, replace(_settings(), no_executor_timeout=0.3))
            )
            link = await stack.enter_async_context(
                memory_link(io, lambda transport: _accept(server, transport), "the client")
            )
            mainframe = Mainframe(link)
            await stack.enter_async_context(Executor(blocks).attached(mainframe))
            known = [row.session_id for row in await mainframe.sessions()]
            return [await _outcome(mainframe.session(id)) if id in known else "pruned" for id in ids]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    """Tell of every site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slice", default="0/1", metavar="I/N", help="every Nth site, from the Ith")
    parser.add_argument("--all", action="store_true", help="each site with each error; else they take turns")
    options = parser.parse_args()
    start, step = map(int, options.slice.split("/"))
    logging.lastResort = None
    plain = await tell(None, RuntimeError("nothing"))
    print(json.dumps({"visited": sorted(AWAITS.visited), **plain}), flush=True)
    visited = set(AWAITS.visited)
    for index, (file, place, line) in list(enumerate(sites()))[start::step]:
        if (file, place) not in visited:
            continue
        for kind in ERRORS if options.all else [ERRORS[index % len(ERRORS)]]:
            error = kind(f"injected at {file}:{line}")
            told = await tell((file, place), error)
            print(json.dumps({"site": [file, place, line], "error": kind.__name__, **told}), flush=True)


if __name__ == "__main__":
    AWAITS.install()
    asyncio.run(main())
    sys.exit(0)
