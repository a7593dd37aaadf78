"""How long a mainframe takes to go on with a session of many outputs: ``python -m tests.server.recovery_time 10000000``.

The journal is made by the mainframe's own code, from batches as an executor sends them.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import orjson

from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings

from ..peers import Peer, mainframe, node, plan

BATCH = 5000


async def fill(directory: Path, outputs: int, settings: Settings) -> None:
    """Begin a session whose only job has sent so many outputs and hasn't ended."""
    async with mainframe(directory, settings) as host:
        worker = host.peer()
        await worker.hello("worker", slots=1)
        assert (await worker.ask("start", session_id="s", plan=plan(node("n"))))["error"] is None
        channel = (await worker.until("dispatch"))["channel"]
        await worker.batch(1, channel, {"type": "JobStarted", "t": 1})
        sent, seq = 0, 1
        while sent < outputs:
            count = min(BATCH, outputs - sent)
            seq += 1
            await worker.batch(seq, channel, *[output(n) for n in range(sent, sent + count)])
            sent += count
            if seq % 16 == 0:
                await acknowledged(worker, seq - 8)
        await acknowledged(worker, seq)


async def acknowledged(worker: Peer, seq: int) -> None:
    while (await worker.until("ack"))["seq"] < seq:
        pass


def output(n: int) -> dict[str, object]:
    return {"type": "BlockOutput", "handle": "out", "output": n, "done": False, "t": 1764000000000}


async def measure(outputs: int) -> dict[str, object]:
    """Make a journal, open it, and return the figures."""
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        await fill(Path(place), outputs, Settings())
        made = time.perf_counter() - began
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        async with MainframeServer(Path(place)) as server:
            recovered = time.perf_counter() - began
            session = server.sessions.running["s"]
            assert session.counted == outputs
            size = session.bytes
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "outputs": outputs,
        "journal_bytes": size,
        "made_s": round(made, 1),
        "recovered_s": round(recovered, 2),
        "peak_rss_kib": [before, after],
    }


if __name__ == "__main__":
    print(orjson.dumps(asyncio.run(measure(int(sys.argv[1])))).decode())
