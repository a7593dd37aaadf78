"""A set under chaos: members in processes of their own, each with a fault proxy before its door and one for its way to
each NATS node."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ...server.cluster.beats import beat_subject, decode_beat
from ...server.cluster.clusterset import SetDescription
from ...server.cluster.ownership import OwnerState
from ...server.jetstream import PartitionNames
from ...server.jetstream.natsstore import NatsStore
from ..proxy import FaultProxy
from .keptprocess import KeptProcess, free_port
from .natsnodes import NatsNodes
from .proxies import FaultProxies

__all__ = ["ChaosMember", "ChaosSet"]

SET_NAME = "chaos"

_OWNED = 60.0
"""Seconds that a set has to get its first owner."""


@dataclass(frozen=True, slots=True, eq=False)
class ChaosMember:
    """A mainframe of the set."""

    process: KeptProcess
    port: int
    door: FaultProxy
    """Where clients and executors reach it."""
    nats: FaultProxies
    """Its ways to the NATS nodes."""

    @property
    def url(self) -> str:
        """Its address, which it tells the others, too."""
        return f"ws://127.0.0.1:{self.door.port}"


class ChaosSet:
    """So many members of a set. Use it with ``async with``; leaving ends them, and nothing else."""

    def __init__(self, directory: Path, nodes: NatsNodes, count: int, command: Sequence[str]) -> None:
        """``command`` is that of a mainframe: what makes a member of it comes behind."""
        self.nodes = nodes
        self.members: list[ChaosMember] = []
        self.terms: list[int] = []
        """Those of all owners that were heard, in order."""
        self.description: SetDescription
        self._directory = directory
        self._count = count
        self._command = list(command)
        self._doors = itertools.count()
        self._owner = ""
        self._owned = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> ChaosSet:
        self.description = await self.nodes.make_set(SET_NAME)
        async with AsyncExitStack() as stack:
            ears = await NatsStore.open(self.nodes.urls, name="chaos")
            stack.push_async_callback(ears.close)
            await ears.listen(beat_subject(self.names), self._hear)
            for number in range(self._count):
                self.members.append(await self._member(stack, number))
            async with asyncio.timeout(_OWNED):
                await self.until_owners(1)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        # All at once: who hands over to one that is to leave as well waits for it.
        async with asyncio.TaskGroup() as tasks:
            for member in self.members:
                tasks.create_task(member.process.leave())
        await self._stack.aclose()

    @property
    def names(self) -> PartitionNames:
        """The names of its partition."""
        return PartitionNames(SET_NAME)

    @property
    def token(self) -> str:
        """The set's token."""
        return self.description.token

    @property
    def url(self) -> str:
        """The addresses of all members."""
        return ",".join(member.url for member in self.members)

    @property
    def doors(self) -> FaultProxies:
        """Where clients and executors come in."""
        return FaultProxies([member.door for member in self.members])

    @property
    def owner(self) -> ChaosMember:
        """The member that was heard last as the owner."""
        return next((each for each in self.members if each.url == self._owner), self.members[0])

    async def until_owners(self, count: int) -> None:
        """Wait until so many owners were heard, one after the other. **Cancellation** is safe."""
        while len(self.terms) < count:
            self._owned.clear()
            await self._owned.wait()

    def pids(self) -> list[int]:
        """Return the process ids of the members and the nodes that run."""
        return [*(pid for member in self.members for pid in member.process.pids), *self.nodes.pids()]

    def door(self) -> int:
        """Return a port behind which a member is, without a proxy: another one each time."""
        return self.members[next(self._doors) % len(self.members)].port

    def calm(self) -> None:
        """Let everything flow and run again."""
        self.nodes.calm()
        for member in self.members:
            member.nats.resume()
            member.process.tell(signal.SIGCONT)

    async def _member(self, stack: AsyncExitStack, number: int) -> ChaosMember:
        port = free_port()
        door = await stack.enter_async_context(FaultProxy("127.0.0.1", port))
        ways = [await stack.enter_async_context(FaultProxy("127.0.0.1", each)) for each in self.nodes.ports]
        place = self._directory / f"member{number}"
        command = [
            *self._command,
            *("--cluster", ",".join(f"nats://127.0.0.1:{way.port}" for way in ways), "--name", SET_NAME),
            *("--advertise", f"ws://127.0.0.1:{door.port}", "--port", str(port), "--data-dir", str(place)),
        ]
        process = KeptProcess(f"member {number}", command, place.with_suffix(".log"))
        return ChaosMember(await stack.enter_async_context(process), port, door, FaultProxies(ways))

    async def _hear(self, data: bytes, _: str) -> None:
        heard = decode_beat(data)
        if heard is None or heard.beat.state != OwnerState.OWNER.value:
            return
        if not self.terms or heard.beat.term > self.terms[-1]:
            self.terms.append(heard.beat.term)
            self._owner = heard.beat.address
            self._owned.set()
