"""A set of mainframes in virtual time: members that die, are cut off and hand over, of several partitions.

Who owns what is decided by the members' own code; links, gateways and sessions are the real ones. Simulated are the
network between members, which delays and loses, and a partition's stream, which is a journal in memory: who takes it
over ends what the one before could still store, as the padded takeover does.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Unpack

from asyncblock.errors import MainframeFailed, Unavailable
from asyncblock.server.cluster.memberpartitions import MemberPartitions
from asyncblock.server.cluster.ownership import BEAT, Beat
from asyncblock.server.cluster.partitionmember import Claim, Membership
from asyncblock.server.jetstream import Overtaken
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.server.livesessions.sessions import Sessions
from asyncblock.server.peers.access import Access
from asyncblock.server.reception.gateway import Gateway
from asyncblock.testing import Faults
from asyncblock.transport import Transport

from .world import World

__all__ = ["SetWorld"]

_TAKEOVER = 8
"""Messages of a takeover."""


class SimulatedStream:
    """What a partition holds, and who may append to it."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.term = 0
        self.owner = ""
        self.served: SimulatedPartition | None = None


class SimulatedPartition:
    """The mainframe of a partition, on a member. A ``ServedPartition``."""

    lag = 0.0

    def __init__(self, member: SimulatedMember, partition: int, claim: Claim) -> None:
        self.failed = asyncio.Event()
        self.failure: MainframeFailed | None = None
        self._member = member
        self._world = member.world.partitions[partition]
        self._stream = member.world.streams[partition]
        self._claim = claim
        self._fenced = False
        self.mainframe = self._world.new_mainframe()

    @property
    def trouble(self) -> str | None:
        return self.gateway.trouble

    @property
    def sessions(self) -> Sessions:
        return self.mainframe.sessions

    @property
    def gateway(self) -> Gateway:
        return self.mainframe.gateway

    @property
    def journal(self) -> MemoryJournal:
        return self.mainframe.journal

    async def __aenter__(self) -> SimulatedPartition:
        stream, claim = self._stream, self._claim
        await self._way()
        if stream.owner != claim["instead_of"]:
            raise Overtaken(f"{stream.owner} owns it", stream.owner)
        stream.term += _TAKEOVER
        stream.owner = claim["owner"]
        before, stream.served = stream.served, self
        if before is not None:
            before.fence()
        claim["on_taken"](stream.term)
        await self._way()
        self._check()
        # What another one stores from here on, the one before doesn't; nor does the refusal of its NATS server matter.
        stream.storage = self.mainframe.storage = replace(stream.storage, refuse=None)
        await self.mainframe.start()
        if self._fenced:
            await self.mainframe.kill()
        self._check()
        self._world.mainframe = self.mainframe
        self.refuse()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._fenced or self._member.dead:
            await self.mainframe.kill()
        else:
            try:
                await self.mainframe.__aexit__(*exc)
            except Unavailable:
                # It is cut off: what isn't stored nobody was told of.
                pass

    async def prove(self) -> None:
        # As a journal it tries until it knows.
        while True:
            with suppress(Unavailable):
                await self._way()
                break
        self._check()

    async def accept(self, transport: Transport, principal: object) -> None:
        raise AssertionError("connections come by the world")

    def executor_gone(self, link_id: str, reason: str) -> None:
        raise AssertionError("nobody sees an executor's end")

    def executor_held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        raise AssertionError("nobody looks into an executor")

    def fence(self) -> None:
        """Store nothing any more, for another one has taken over; and learn of it some time later, if at all."""
        self._fenced = True
        if self._stream.storage is self.mainframe.storage and hasattr(self.mainframe, "journal"):
            self.mainframe.journal.abandon()
        delay = self._member.world.chance.uniform(0.01, 0.5)
        asyncio.get_running_loop().call_later(delay, self._learn)

    def refuse(self) -> None:
        """Store nothing while the member is cut off from NATS."""
        self.mainframe.storage.refuse = OSError(110, "no NATS server answers") if self._member.cut else None

    def _learn(self) -> None:
        if not (self._member.cut or self._member.dead):
            self._claim["on_overtaken"](Overtaken("overtaken", self._stream.owner))

    def _check(self) -> None:
        if self._fenced:
            self._learn()
            raise Overtaken(f"{self._stream.owner} owns it", self._stream.owner)

    async def _way(self) -> None:
        """Wait for an answer of NATS."""
        await asyncio.sleep(self._member.world.chance.uniform(0.01, 0.2))
        if self._member.cut:
            await asyncio.sleep(5.0)
            raise Unavailable("no NATS server answers")


class SimulatedMember:
    """A member's process: one life after the other."""

    def __init__(self, world: SetWorld, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = True
        self.cut = False
        """Cut off from NATS, and so from the other members."""
        self.parts: MemberPartitions
        self.lives = 0
        self._tasks: asyncio.TaskGroup
        self._life: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin a life."""
        self.dead, self.cut = False, False
        self.lives += 1
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready))
        await ready.wait()

    async def _live(self, ready: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            membership = Membership(
                member=f"{self.name}{self.lives}",
                address=f"ws://{self.name}",
                set_name="simulated",
                partitions=len(self.world.streams),
                access=Access("t", None),
                origins=frozenset(),
                tasks=tasks,
                clock=loop.time,
                chance=self.world.chance.random,
                connected=lambda: not self.cut,
                addresses=list,
                take_over=self._take_over,
                tell=lambda partition, beat: self.world.tell(self, partition, beat),
                fail=self.world.failures.append,
            )
            self.parts = MemberPartitions(membership, [stream.owner for stream in self.world.streams])
            self._tick()
            ready.set()
            await asyncio.Event().wait()

    def _take_over(self, partition: int, **claim: Unpack[Claim]) -> SimulatedPartition:
        return SimulatedPartition(self, partition, claim)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._tick)
        self.parts.tick()
        self.world.check()

    def take(self, partition: int, beat: Beat, life: int) -> None:
        """Hear a beat that was on its way."""
        if not (self.dead or self.cut) and life == self.lives:
            self.parts.heard(partition, beat)
            self.world.check()

    def owned(self) -> list[int]:
        """Return the partitions that it speaks for."""
        return [] if self.dead else [each.partition for each in self.parts if each.speaks]

    def set_cut(self, cut: bool) -> None:
        """Cut it off from NATS, or end that."""
        self.cut = cut
        for stream in self.world.streams:
            if stream.served is not None and stream.served._member is self:
                stream.served.refuse()

    async def leave(self) -> None:
        """End as by SIGTERM."""
        await self.parts.leave()
        await self._end()

    async def kill(self) -> None:
        """Die as by SIGKILL: nothing is said, and what isn't stored is gone."""
        self.dead = True
        for stream in self.world.streams:
            if (
                stream.served is not None
                and stream.served._member is self
                and hasattr(stream.served.mainframe, "journal")
            ):
                await stream.served.mainframe.kill()
        await self._end()

    async def _end(self) -> None:
        self.dead = True
        if self._timer is not None:
            self._timer.cancel()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])


class PartitionWorld(World):
    """The clients and executors of one partition, and its mainframe, wherever that is."""

    def __init__(self, whole: SetWorld, partition: int, seed: int, faults: Callable[[], Faults]) -> None:
        super().__init__(seed, faults)
        self.prefix = f"p{partition}s"
        self._whole = whole
        self._partition = partition

    async def begin(self) -> None:
        """The members see to it."""

    def accept(self, transport: Transport) -> None:
        for member in self._whole.members:
            if self._partition in member.owned():
                server = member.parts[self._partition].server
                assert isinstance(server, SimulatedPartition)
                server.mainframe.accept_soon(transport)
                return
        transport.abort()


class SetWorld:
    """Everything, by one seed. Use it with ``async with`` on a virtual loop."""

    def __init__(self, seed: int, partitions: int, members: int, faults: Callable[[], Faults] = Faults) -> None:
        self.chance = random.Random(seed)
        self.loss = 0.0
        """The part of the beats that get lost."""
        self.failures: list[MainframeFailed] = []
        self.partitions = [PartitionWorld(self, each, seed + each, faults) for each in range(partitions)]
        self.streams: list[SimulatedStream] = []
        self.members = [SimulatedMember(self, name) for name in "abcdefgh"[:members]]
        self._looked = asyncio.Event()

    async def __aenter__(self) -> SetWorld:
        self.streams = [SimulatedStream(MemoryStorage()) for _ in self.partitions]
        for member in self.members:
            await member.start()
        for world in self.partitions:
            await world.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for world in self.partitions:
            await world.__aexit__(*exc)
        for member in self.members:
            if not member.dead:
                await member.kill()

    def tell(self, sender: SimulatedMember, partition: int, beat: Beat) -> None:
        """Let the members hear a beat, the sender, too, unless it gets lost."""
        if sender.cut or sender.dead or self.chance.random() < self.loss:
            return
        loop = asyncio.get_running_loop()
        for each in self.members:
            loop.call_later(self.chance.uniform(0.001, 0.02), each.take, partition, beat, each.lives)

    def check(self) -> None:
        """Hold that no two speak for a partition."""
        counts = Counter(partition for member in self.members for partition in member.owned())
        assert all(count == 1 for count in counts.values()), f"two own one of {counts}"
        self._looked.set()

    @property
    def spread(self) -> list[int]:
        """How many partitions each member that lives speaks for."""
        return sorted(len(member.owned()) for member in self.members if not member.dead)

    async def until_spread(self, wanted: list[int]) -> None:
        """Wait until the members speak for as many partitions as this says."""
        async with asyncio.timeout(120):
            while self.spread != wanted:
                self._looked.clear()
                await self._looked.wait()

    async def settle(self) -> int:
        """Heal everything; wait until partitions are spread, and sessions have ended; audit. Return the outputs."""
        self.loss = 0.0
        for member in self.members:
            member.set_cut(False)
            if member.dead:
                await member.start()
        even, more = divmod(len(self.partitions), len(self.members))
        wanted = sorted(even + (place < more) for place in range(len(self.members)))
        await self.until_spread(wanted)
        terms = [stream.term for stream in self.streams]
        found = [await world.settle() for world in self.partitions]
        assert [stream.term for stream in self.streams] == terms, "a partition moved without a reason"
        assert self.spread == wanted
        assert not self.failures, self.failures
        return sum(each.journaled for each in found)
