"""Slots of one executor that the owners of several partitions hand jobs out for."""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe, Session
from asyncblock.client.resolving import plan_of
from asyncblock.wire.placement import partition_of

from ..flows import all_of, end_of
from ..server.cluster.sets import a_set
from ..server.jetstream.servers import NatsServers, nats_servers

PARTITIONS = 2
SLOTS = 4
JOBS = 24
"""Jobs of each partition: as good as endless."""

SECONDS = 0.1
"""How long each job takes."""


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


class Watch:
    """What runs in this process, as its blocks see it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[int] = []
        """Partitions of the jobs that have begun, in that order."""
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def begins(self, session_id: str) -> None:
        with self._lock:
            self.begun.append(partition_of(session_id, PARTITIONS))
            self.running += 1
            self.most = max(self.most, self.running)

    def ends(self) -> None:
        with self._lock:
            self.running -= 1


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(sys.modules[__name__], "_watch", made)
    return made


_watch = Watch()


@asyncblock.block
async def works(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Take a while."""
    watch = _watch
    watch.begins(ctx.session_id)
    await asyncio.to_thread(watch.go.wait)
    await asyncio.sleep(SECONDS)
    watch.ends()
    return {"out": 1}


@asyncblock.block
def works_in_thread(inputs: dict[str, Any], ctx: asyncblock.SyncContext) -> dict[str, Any]:
    """Take a while, in a thread."""
    watch = _watch
    watch.begins(ctx.session_id)
    watch.go.wait()
    time.sleep(SECONDS)
    watch.ends()
    return {"out": 1}


async def start_in(mainframe: Mainframe, block: Any, counts: dict[int, int]) -> list[Session]:
    """Start so many sessions in each partition, in turns."""
    flow = asyncblock.Flow("works")
    flow.output("out", flow.node(block, {})["out"])
    left, sessions = dict(counts), list[Session]()
    while any(left.values()):
        session_id = secrets.token_hex(8)
        partition = partition_of(session_id, PARTITIONS)
        if left.get(partition):
            left[partition] -= 1
            params = {"session_id": session_id, "plan": plan_of(flow).to_json()}
            await mainframe.links.of(session_id).request("start", params, id=session_id)
            sessions.append(mainframe.session(session_id))
    return sessions


async def given_back(sessions: list[Session]) -> int:
    """Wait until sessions have succeeded; return how often jobs of them were given back."""
    found = [[event async for event in session.events()] for session in sessions]
    assert all(end_of(each).state == "succeeded" for each in found)
    return sum(len(all_of(each, events.JobReleased)) for each in found)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", [works, works_in_thread], ids=["loop", "threads"])
async def test_partitions_with_endless_jobs_have_the_same_share_of_the_slots(
    nats: NatsServers, tmp_path: Path, watch: Watch, block: Any
) -> None:
    async with a_set(nats, tmp_path, partitions=PARTITIONS) as found:
        await found.spread(*found.members)
        _, url, _, token = found.reach
        executor = asyncblock.Executor([block], async_slots=SLOTS, sync_slots=SLOTS)
        async with asyncblock.connect(url, token) as mainframe, executor.attached(mainframe):
            # What the first one has begun fills all slots, until all jobs are there.
            sessions = await start_in(mainframe, block, {0: JOBS})
            sessions += await start_in(mainframe, block, {1: JOBS})
            watch.go.set()
            both = await given_back(sessions)
            assert len(watch.begun) == 2 * JOBS
            assert watch.most <= SLOTS
            # As long as each has more to do.
            shared = watch.begun[SLOTS : 2 * JOBS - SLOTS]
            shared = shared[: max(n for n in range(len(shared)) if {0, 1} <= set(shared[n:])) + 1]
            runs = [len(list(each)) for _, each in groupby(shared)]
            assert 0.4 <= shared.count(0) / len(shared) <= 0.6, watch.begun
            # It waits for one job at most, and the others begin no more than that meanwhile.
            assert max(runs) <= SLOTS, watch.begun
            # Each was told once that no slot is free; since then they are offered.
            assert both <= 4 * SLOTS, (both, watch.begun)

            # Alone, a partition has all slots, and nothing is given back.
            watch.most = 0
            sessions = await start_in(mainframe, block, {1: JOBS})
            assert await given_back(sessions) == 0
            assert watch.most == SLOTS
