"""Several partitions of a set, owned by members that are killed, come back and leave, on real NATS servers."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from asyncblock.client.dialling import Dialler
from asyncblock.errors import AsyncBlockError, ConnectionLost
from asyncblock.transport import Transport
from asyncblock.transport.upgrades import PARTITION_HEADER
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.frames import MAX_MESSAGE
from asyncblock.wire.placement import partition_of

from ...peers import Peer, node, plan
from ..jetstream.servers import NatsServers
from .sets import Set, a_set
from .streams import check_stream

PARTITIONS = 4
SOME = 40


class Writer:
    """Starts sessions in a partition, one after the other, whoever owns it; notes those that were acknowledged."""

    def __init__(self, found: Set, partition: int) -> None:
        self.partition = partition
        self.acknowledged: list[str] = []
        self._found = found
        self._token = found.reach[-1]
        self._allowed = asyncio.Semaphore(0)
        self._came = asyncio.Semaphore(0)
        self._due = 0
        self._peer: Peer | None = None

    async def _connect(self, url: str) -> Transport:
        headers = {PARTITION_HEADER: str(self.partition)}
        return await connect_websocket(url, self._token, max_message=MAX_MESSAGE, headers=headers)

    async def peer(self) -> Peer:
        while True:
            dialler = Dialler([each.url for each in self._found.members], self._connect)
            try:
                peer = Peer(await dialler.dial())
                welcome = await peer.hello(f"w{secrets.token_hex(4)}")
            except ConnectionLost:
                continue
            if welcome["op"] == "welcome":
                return peer
            peer.transport.abort()

    async def write(self) -> None:
        ids = (f"p{self.partition}n{number}" for number in count())
        for session_id in (each for each in ids if partition_of(each, PARTITIONS) == self.partition):
            await self._allowed.acquire()
            answer = await self._start(session_id)
            assert answer.get("error") is None, answer
            self.acknowledged.append(session_id)
            self._came.release()

    async def _start(self, session_id: str) -> dict[str, Any]:
        while True:
            self._peer = self._peer or await self.peer()
            try:
                return await self._peer.ask("start", id=session_id, session_id=session_id, plan=plan(node("n")))
            except (AsyncBlockError, TimeoutError):
                # It may have been stored: the same question gets the same answer.
                self._peer.transport.abort()
                self._peer = None

    async def go_on(self) -> None:
        """Wait until what was begun is acknowledged, begin to start ``SOME`` more, and wait for the first of them."""
        async with asyncio.timeout(60):
            for _ in range(self._due):
                await self._came.acquire()
            for _ in range(SOME):
                self._allowed.release()
            for _ in range(3):
                await self._came.acquire()
        self._due = SOME - 3


@pytest.fixture(params=["one_server", "three_servers"])
def nats(request: pytest.FixtureRequest) -> NatsServers:
    found: NatsServers = request.getfixturevalue(request.param)
    return found


@pytest.mark.timeout(300)
async def test_members_own_as_many_partitions_each_and_nothing_acknowledged_is_lost_as_they_come_and_go(
    nats: NatsServers, tmp_path: Path
) -> None:
    async with a_set(nats, tmp_path, partitions=PARTITIONS) as found:
        first, second = found.members
        await found.spread(first, second)
        writers = [Writer(found, partition) for partition in range(PARTITIONS)]

        async def all_go_on() -> None:
            await asyncio.gather(*(each.go_on() for each in writers))

        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(each.write()) for each in writers]
            await all_go_on()
            first.command.kill(signal.SIGKILL)
            await first.command.wait()
            await found.spread(second)
            await all_go_on()
            third = await found.serve()
            await found.spread(second, third)
            await all_go_on()
            second.command.kill(signal.SIGTERM)
            assert await second.command.wait() == 0, second.command.err
            await found.spread(third)
            await all_go_on()
            for each in writing:
                each.cancel()
        for writer in writers:
            peer = await writer.peer()
            answer = await peer.ask("sessions", limit=1000)
            there = Counter(row["session_id"] for row in answer["result"]["sessions"])
            assert max(there.values()) == 1
            assert set(writer.acknowledged) <= set(there)
            # Of the last one nobody knows the answer.
            assert len(there) <= len(writer.acknowledged) + 1
            peer.transport.abort()
            assert await check_stream(found, writer.partition) >= 2
