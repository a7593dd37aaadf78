"""Latency: ``await ctx.output(...)`` and ``await ctx.flush()`` on an idle system: the value is in the journal.

Beside it, in the same run: a bare ``websockets`` echo and an SQLite commit of one row (WAL, ``synchronous=NORMAL``),
made inline. The two are what the round trip can't do without. Bias: against us, for that commit follows the one before
it at once; after half a millisecond of rest, as ours, it takes three times as long. For us, where uvloop is installed:
the echo runs on the standard loop, as it comes; what it takes on uvloop stands in the conditions. The garbage
collector comes as rarely as in an executor process of ours.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from importlib import import_module
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from asyncblock import Context, Executor, Flow, block

from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns
from .ticker import percentile

__all__ = ["cases", "commit", "echo", "measure", "round_trip"]

_times: list[float] = []


@block(inputs=[{"handle": "count"}], outputs=[{"handle": "out"}])
async def ping(inputs: dict[str, Any], ctx: Context) -> None:
    """Send one value at a time."""
    for _ in range(inputs["count"]):
        began = time.perf_counter()
        await ctx.output("x" * 98, "out")
        await ctx.flush()
        _times.append((time.perf_counter() - began) * 1000)


async def round_trip(count: int) -> dict[str, float]:
    """Measure ours."""
    flow = Flow("latency")
    flow.node(ping, inputs={"count": count})
    async with open_plant() as (_, mainframe):
        async with Executor(blocks=[ping]).attached(mainframe):
            session = await mainframe.start(flow.plan())
            await session.outputs()
    return {"p50": statistics.median(_times), "p99": percentile(_times, 0.99)}


async def echo(count: int) -> dict[str, float]:
    """Measure a bare websocket's echo from another process, which runs on a loop as this one's."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.latency", loop), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    times = []
    try:
        port = int(await server.stdout.readline())
        async with connect(f"ws://127.0.0.1:{port}", compression=None, ping_interval=None) as websocket:
            for _ in range(count):
                began = time.perf_counter()
                await websocket.send(b"x" * 150)
                await websocket.recv()
                times.append((time.perf_counter() - began) * 1000)
    finally:
        server.terminate()
        await server.wait()
    return {"p50": statistics.median(times), "p99": percentile(times, 0.99)}


def commit(count: int) -> dict[str, float]:
    """Measure an SQLite commit of one small row."""
    times = []
    with tempfile.TemporaryDirectory() as directory:
        database = sqlite3.connect(f"{directory}/bench.db", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, payload BLOB)")
        for _ in range(count):
            began = time.perf_counter()
            database.execute("INSERT INTO entries (payload) VALUES (?)", (b"x" * 200,))
            times.append((time.perf_counter() - began) * 1000)
        database.close()
    return {"p50": statistics.median(times), "p99": percentile(times, 0.99)}


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    subject = Subject("asyncblock", "benchmarks.latency:round_trip", _count(quick))
    return [Case("", subject, "p50", "ms p50")]


def _count(quick: bool) -> dict[str, int]:
    return {"count": 200 if quick else 3000}


def measure(quick: bool) -> Result:
    """Measure ours and its two parts."""
    count = _count(quick)
    (ours,) = cases(quick)
    subjects = [
        ours.subject,
        Subject("websockets echo", "benchmarks.latency:echo", count, rival=True),
        Subject("websockets echo on our loop", "benchmarks.latency:echo", count),
        Subject("SQLite commit", "benchmarks.latency:commit", count, rival=True),
    ]
    figures = measure_in_turns(subjects, 1 if quick else 5).figures
    parts = figures["websockets echo"]["p50"] + figures["SQLite commit"]["p50"]
    return Result(
        name="latency",
        unit=ours.unit,
        asyncblock=figures["asyncblock"]["p50"],
        rivals={"websockets echo + SQLite commit": parts},
        must={"": "<= 2.5x the echo and the commit"},
        conditions={
            "value": "100 bytes of text, one at a time, journal synchronous=normal",
            "p50": {name: round(each["p50"], 3) for name, each in figures.items()},
            "p99": {name: round(each["p99"], 2) for name, each in figures.items()},
            "peak MB": {name: round(each["peak_mb"]) for name, each in figures.items()},
        },
    )


async def _serve() -> None:
    async def answer(websocket: ServerConnection) -> None:
        async for message in websocket:
            await websocket.send(message)

    async with serve(answer, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    factory = None if sys.argv[1] == "asyncio" else import_module(sys.argv[1]).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve())
