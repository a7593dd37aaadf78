"""A member's part in one partition of its set: it owns the partition, or stands by to.

As the owner it has a mainframe that serves whoever comes; else it tells them who the owner is. ``ownership`` decides
which of the two it is; here that is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, Unpack

from ...errors import AsyncBlockError, MainframeFailed
from ...transport import Transport
from ...transport.websocket import HttpAnswer
from ..jetstream import Overtaken
from ..peers.access import Access
from ..reception.http import HttpDoor
from ..reception.metrics import Measured
from ..supervision import in_words
from .ownership import Act, Beat, Ownership, OwnerState
from .standby import StandbyDoor

__all__ = ["Claim", "Membership", "PartitionMember", "ServedPartition", "TakeOver"]

logger = logging.getLogger("asyncblock.server.cluster")


class ServedPartition(Measured, Protocol):
    """The mainframe of a partition: a ``PartitionServer``. Entering it takes the partition over."""

    failed: asyncio.Event
    failure: MainframeFailed | None

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def prove(self) -> None:
        """Return when something was stored that was written after the call. Raises ``AsyncBlockError``."""
        ...

    async def accept(self, transport: Transport, principal: object) -> None:
        """Serve a connection until it ends."""
        ...

    def executor_gone(self, link_id: str, reason: str) -> None:
        """Take in the evidence that the process behind a link has ended."""
        ...

    def executor_held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        """Take in what a parent sees of its child while the child can't speak."""
        ...


class Claim(TypedDict):
    """Who takes a partition over from whom, and who is told of it."""

    owner: str
    instead_of: str
    on_taken: Callable[[int], None]
    """Told of the term at once."""
    on_overtaken: Callable[[Overtaken], None]


class TakeOver(Protocol):
    """Makes the mainframe of a partition, which is taken over when that is entered."""

    def __call__(self, partition: int, **claim: Unpack[Claim]) -> ServedPartition: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a member's parts in its partitions have in common."""

    member: str
    address: str
    """Where clients reach it."""
    set_name: str
    partitions: int
    access: Access
    origins: frozenset[str]
    tasks: asyncio.TaskGroup
    clock: Callable[[], float]
    """Tells the time by which it listens and waits: one that goes on while the machine sleeps."""
    chance: Callable[[], float]
    connected: Callable[[], bool]
    """Tells whether there is a NATS server at the moment."""
    addresses: Callable[[], list[str]]
    """Where the members are, our own first."""
    take_over: TakeOver
    tell: Callable[[int, Beat], None]
    """Tells the others of a partition's members."""
    fail: Callable[[MainframeFailed], None]
    """Told of what it can't go on with."""


class PartitionMember:
    """A member's part in one partition. ``tick`` it each ``BEAT`` seconds, and ``leave`` in the end."""

    def __init__(self, membership: Membership, partition: int, owner: str) -> None:
        """Begin to stand by; ``owner`` is who owned the partition last, as the stream says."""
        self.partition = partition
        self.own = Ownership(membership.member, membership.clock(), membership.chance, owner)
        self._membership = membership
        self._now = membership.clock
        self._standby = StandbyDoor(membership.access, self.own, membership.set_name, membership.connected)
        self._server: ServedPartition | None = None
        self._door: HttpDoor | None = None
        self._silent = False
        self._let_go = asyncio.Event()
        self._reigning: asyncio.Task[None] | None = None
        self._opening = False
        """The partition was taken over, or is to be, and can't be served yet."""
        self._proving: asyncio.Task[None] | None = None
        self._leaving = False
        self._said = ""

    @property
    def server(self) -> ServedPartition | None:
        """The mainframe that serves the partition; None while another member's does, or none."""
        return self._server

    @property
    def speaks(self) -> bool:
        """Tell whether the partition is ours, and clients and executors are served."""
        return self._server is not None and self.own.owns and not self._silent

    @property
    def trouble(self) -> str | None:
        """Why nothing is accepted, or why it wouldn't be taken over, at the moment; None when all is well."""
        server = self._server
        return server.trouble if server is not None and self.speaks else self._standby.trouble

    @property
    def standing(self) -> Mapping[str, int]:
        """What its metrics say of the set."""
        return self._standby.standing()

    @property
    def owner(self) -> str:
        """The member that owns the partition, or owned it last, as far as is known; empty when we have let go of it."""
        if self.own.state not in (OwnerState.STANDBY, OwnerState.CLAIMING):
            return self.own.member
        return "" if self.own.owner == self.own.member else self.own.owner

    # ------------------------------------------------------------------ what happens

    def tick(self) -> None:
        """Take note that time has gone on."""
        if not self._rests:
            self._do(self.own.tick(self._now()))

    def heard(self, beat: Beat) -> None:
        """Take a beat in."""
        if not self._rests:
            self._do(self.own.heard(beat, self._now()))

    def hand_over(self, to: str) -> None:
        """Let another member take over, if it is ours: ``to``, or anybody."""
        self._do(self.own.hand_over(to, self._now()))

    async def leave(self, to: str = "") -> None:
        """Hand over, if it is ours, and claim no more. **Cancellation** leaves that to the partition's task."""
        self._leaving = True
        self.hand_over(to)
        if self._reigning is not None:
            if self.own.state in (OwnerState.CLAIMING, OwnerState.OPENING):
                self._reigning.cancel()
            self._let_go.set()
            await asyncio.wait([self._reigning])
        if self._proving is not None:
            self._proving.cancel()

    async def serve(self, transport: Transport, principal: object) -> None:
        """Serve a connection until it ends. **Cancellation** leaves it to a task of the mainframe's."""
        server = self._server
        if server is None or not self.speaks:
            transport.abort()
            return
        await server.accept(transport, principal)

    async def admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        """Answer a request, or return who comes with a websocket. **Cancellation** is safe."""
        door = self._door
        if door is not None and self.speaks:
            return await door.admit(path, headers)
        return self._standby.answer(path, headers)

    # ------------------------------------------------------------------ what ``ownership`` says

    @property
    def _rests(self) -> bool:
        # Who stands by and is about to leave says nothing: others would hand partitions over to it.
        return self._leaving and self.own.state is OwnerState.STANDBY

    def _do(self, acts: list[Act]) -> None:
        address = self._membership.address
        for act in acts:
            match act:
                case Act.BEAT:
                    self._membership.tell(self.partition, self.own.beat(address, self._now()))
                case Act.RELEASE:
                    self._membership.tell(self.partition, self.own.released(address))
                case Act.CLAIM:
                    self._reigning = self._membership.tasks.create_task(self._reign(), name="asyncblock owner")
                case Act.SILENCE:
                    self._silent = True
                    self._cut()
                    logger.warning(
                        "this member wasn't heard or was held up: it stays silent until %s is known to be its own",
                        self._partition_words,
                    )
                case Act.PROVE:
                    self._proving = self._membership.tasks.create_task(self._prove(), name="asyncblock proof")
                case Act.SPEAK:
                    self._silent = False
                    logger.warning("%s is still ours", self._partition_words)
                case Act.STEP_DOWN:
                    self._silent = True
                    self._cut()
                    self._let_go.set()
                    if self._opening and self._reigning is not None:
                        # What it reads may have been deleted by the other: it would never come to the end.
                        self._reigning.cancel()
                    logger.warning("%s owns %s now; standing by", self.own.owner or "another", self._partition_words)
                case Act.HAND_OVER:
                    self._let_go.set()

    def _cut(self) -> None:
        if self._server is not None:
            self._server.gateway.cut()

    async def _prove(self) -> None:
        server = self._server
        if server is None:
            return
        # Closed: it was let go of meanwhile.
        with suppress(AsyncBlockError):
            await server.prove()
            if server is self._server:
                self._do(self.own.proved(self._now()))

    async def _reign(self) -> None:
        """Take the partition over, serve it until it is to be let go of, and let go."""
        own, with_all, reign = self.own, self._membership, asyncio.current_task()

        def say(what: Callable[[], list[Act]]) -> None:
            # One before may still be closing, and knows nothing of this one.
            if self._reigning is reign:
                self._do(what())

        self._let_go = asyncio.Event()
        self._silent, self._opening = False, True
        server = with_all.take_over(
            self.partition,
            owner=own.member,
            instead_of=own.owner,
            on_taken=lambda term: say(lambda: own.taken(term, self._now())),
            on_overtaken=lambda error: say(lambda: own.overtaken(self._now(), error.owner)),
        )
        try:
            async with server:
                self._opening = False
                self._server = server
                server.gateway.addresses = with_all.addresses
                self._door = HttpDoor(server, with_all.access, with_all.origins, self._standby.standing)
                try:
                    self._do(own.claimed(with_all.address, self._now()))
                    if own.owns:
                        self._say(f"owner of {self._set_words}, term {own.term}")
                    await self._until_let_go(server)
                finally:
                    self._server = self._door = None
        except Overtaken as error:
            owner = error.owner
            say(lambda: own.claim_failed(self._now(), owner))
        except AsyncBlockError as error:
            self._say(f"{self._partition_words} can't be taken over yet: {error}")
            say(lambda: own.claim_failed(self._now()))
        except Exception as error:
            self._fail(error)
        if server.failure is not None:
            with_all.fail(server.failure)
        say(lambda: own.handed_over(self._now()))

    async def _until_let_go(self, server: ServedPartition) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._let_go, server.failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)

    # ------------------------------------------------------------------ what is said of it

    @property
    def _alone(self) -> bool:
        return self._membership.partitions == 1

    @property
    def _partition_words(self) -> str:
        return "the partition" if self._alone else f"partition {self.partition}"

    @property
    def _set_words(self) -> str:
        words = f"set {self._membership.set_name}"
        return words if self._alone else f"partition {self.partition} of {words}"

    def _say(self, words: str) -> None:
        """Say what has changed, once."""
        if words != self._said:
            self._said = words
            logger.warning("%s", words)

    def _fail(self, error: Exception) -> None:
        words = f"the member of {self._set_words} has ended: {in_words(error)}"
        logger.critical("%s", words, exc_info=error)
        failure = MainframeFailed(f"{words}. What was acknowledged is in the cluster: start it again")
        failure.__cause__ = error
        self._membership.fail(failure)
