"""A member of a set: a process that owns partitions of the set, or stands by to.

It listens all its life. Of each partition it is the owner, or tells whoever comes who is (``partitionmember``); the
partitions are spread evenly over the members that live (``partitionshares``).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack

import orjson

from ...errors import MainframeFailed, Unavailable
from ...transport import Transport
from ...transport.upgrades import OWNER_HEADER
from ...transport.websocket import HttpAnswer, is_loopback, serve_websocket
from ...wire.frames import MAX_MESSAGE
from ..jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure
from ..journal.datadir import DataDir
from ..peers.access import Access
from ..settings import Settings
from .beats import beat_subject, decode_beat, encode_beat, hand_over_subject
from .clusterservers import ClusterServers
from .clusterset import SetDescription, read_set
from .memberaddresses import MemberAddresses
from .memberdoor import MemberDoor
from .memberpartitions import MemberPartitions
from .ownership import BEAT, Beat
from .partitionmember import Claim, Membership, PartitionMember
from .partitionserver import PartitionServer

__all__ = ["ClusterMember"]

_BEATS_WAITING: Final = 8
"""Beats of each partition that wait for the connection; later ones say more."""

_PING: Final = 1
"""Seconds between NATS's own pings: a server that hangs is left after two of them."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where there is one, a clock that goes on while the machine sleeps."""


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class ClusterMember:
    """A member of a set, on a data directory of its own. Run it with ``async with``, and let it ``listen``.

    Raises ``Unavailable`` when there is no such set, or the cluster doesn't keep what the set demands. When it meets an
    error that it can't go on with, ``failed`` is set: leave the ``async with`` then, and tell of ``failure``.
    """

    def __init__(
        self,
        data_dir: Path,
        servers: ClusterServers,
        set_name: str,
        settings: Settings | None = None,
        *,
        partitions: int | None = None,
        advertise: str | None = None,
    ) -> None:
        """``advertise`` is the address by which others reach it, if that isn't the one that it listens on."""
        self.data_dir = data_dir
        self.settings = settings or Settings()
        self.place: DataDir
        self.token = ""
        """The set's token, with all roles."""
        self.failure: MainframeFailed | None = None
        """What it can't go on with; None when all is well."""
        self.failed = asyncio.Event()
        """Set with ``failure``."""
        self.address = advertise or ""
        """Where clients reach it."""
        self._servers = servers
        self._set_name = set_name
        self._given = partitions
        self._description: SetDescription
        self._store: NatsStore
        self._access: Access
        self._partitions: MemberPartitions | None = None
        self._door: MemberDoor | None = None
        self._addresses = MemberAddresses()
        self._outgoing: asyncio.Queue[tuple[int, Beat]] = asyncio.Queue()
        self._telling: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup
        self._timer: asyncio.TimerHandle | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> ClusterMember:
        async with AsyncExitStack() as stack:
            self.place = stack.enter_context(DataDir.open(self.data_dir))
            if self.place.journal_path.stat().st_size:
                raise Unavailable(
                    f"{self.data_dir} has a journal of its own, which a member of a set doesn't read; give it another "
                    "directory (--data-dir)"
                )
            options: dict[str, Any] = {**self._servers.who, "ping_interval": _PING}
            self._store = await NatsStore.open(self._servers.urls, name="asyncblock member", **options)
            stack.push_async_callback(self._store.close)
            self._description = await read_set(self._store, self._set_name, self._given)
            self.token = self._description.token
            self.place.take_token(self.token)
            self._access = Access(self.token, self.settings.token_file)
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._leave()
        await self._stack.aclose()

    @asynccontextmanager
    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen, stand by from the first time on, and yield the address.

        Raises ``Unavailable`` when the port is taken, or for an address beyond loopback without TLS.
        """
        if not is_loopback(host) and tls is None and not self.settings.insecure:
            raise Unavailable(
                f"{host} can be reached from other machines and there is no TLS: anyone on the way could read the "
                "token. Give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure if the network is trusted"
            )
        async with serve_websocket(self._serve, self._admit, host, port, max_message=MAX_MESSAGE, tls=tls) as bound:
            name = f"[{host}]" if ":" in host else host
            url = f"{'ws' if tls is None else 'wss'}://{name}:{bound}"
            if self._timer is None:
                self.address = self.address or url
                await self._stand_by()
            yield url

    def executor_gone(self, link_id: str, reason: str) -> None:
        """Take in the evidence that the process behind a link has ended: the process that started it saw its exit."""
        for each in self._partitions or ():
            if each.server is not None:
                each.server.executor_gone(link_id, reason)

    def executor_held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        """Take in what a parent sees of its child while the child can't speak: where it stands, that it works."""
        for each in self._partitions or ():
            if each.server is not None:
                each.server.executor_held(link_id, seconds, threads, works)

    # ------------------------------------------------------------------ standing by

    async def _stand_by(self) -> None:
        description = self._description
        owners = [await self._last_owner(partition) for partition in range(description.partitions)]
        partitions = self._partitions = MemberPartitions(
            Membership(
                member=f"{self.address.partition('//')[2]}/{secrets.token_hex(3)}",
                address=self.address,
                set_name=self._set_name,
                partitions=description.partitions,
                access=self._access,
                origins=self.settings.origins,
                tasks=self._tasks,
                clock=_now,
                chance=random.random,
                connected=lambda: self._store.connected,
                addresses=lambda: self._addresses.known(self.address, _now()),
                take_over=self._take_over,
                tell=self._queue,
                fail=self._fail,
            ),
            owners,
        )
        self._door = MemberDoor(partitions, self._access, self._set_name)
        for each in partitions:
            names = description.names(each.partition)
            await self._store.listen(beat_subject(names), partial(self._hear, partitions, each.partition))
            await self._store.listen(hand_over_subject(names), partial(self._asked, each))
        self._telling = self._tasks.create_task(self._tell(), name="asyncblock beats")
        self._tick(partitions)

    def _take_over(self, partition: int, **claim: Unpack[Claim]) -> PartitionServer:
        return PartitionServer(self.place, self._servers, self._description, partition, self.settings, **claim)

    async def _last_owner(self, partition: int) -> str:
        names = self._description.names(partition)
        try:
            said = await self._store.get(names.stream, last_by_subj=names.own)
        except (NatsRefused, NatsUnsure) as error:
            raise Unavailable(f"stream {names.stream} can't be read: {error}") from error
        return "" if said is None else str(orjson.loads(said.data)["owner"])

    def _tick(self, partitions: MemberPartitions) -> None:
        # A timer, not a task: after a pause of the process it runs before anything that came in meanwhile is answered.
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._tick, partitions)
        partitions.tick()

    async def _hear(self, partitions: MemberPartitions, partition: int, data: bytes, _: str) -> None:
        heard = decode_beat(data)
        if heard is not None:
            self._addresses.heard(heard.beat.address, _now())
            partitions.heard(partition, heard.beat)

    async def _asked(self, partition: PartitionMember, data: bytes, reply: str) -> None:
        """Somebody wants the owner to hand over."""
        if not partition.own.owns or not reply:
            return
        try:
            to = orjson.loads(data)["to"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        if isinstance(to, str):
            with suppress(NatsUnsure):
                await self._store.tell(reply, partition.own.member.encode())
            partition.hand_over(to)

    def _queue(self, partition: int, beat: Beat) -> None:
        if self._outgoing.qsize() < _BEATS_WAITING * self._description.partitions:
            self._outgoing.put_nowait((partition, beat))

    async def _tell(self) -> None:
        """Tell the others what there is to tell, as long as there is a connection."""
        while True:
            await self._tell_one(*await self._outgoing.get(), flush=False)

    async def _tell_one(self, partition: int, beat: Beat, *, flush: bool) -> None:
        subject = beat_subject(self._description.names(partition))
        with suppress(NatsUnsure):
            await self._store.tell(subject, encode_beat(beat, int(time.time() * 1000)), flush=flush)

    def _fail(self, failure: MainframeFailed) -> None:
        self.failure = failure
        self.failed.set()

    async def _leave(self) -> None:
        """Hand over what is ours, and say no more."""
        if self._timer is None or self._partitions is None:
            return
        await self._partitions.leave()
        self._timer.cancel()
        self._timer = None
        if self._telling is not None:
            self._telling.cancel()
        # The task that tells may be slower than the end of the connection.
        while not self._outgoing.empty():
            await self._tell_one(*self._outgoing.get_nowait(), flush=True)

    # ------------------------------------------------------------------ who comes

    async def _serve(self, transport: Transport, caller: object) -> None:
        assert self._door is not None
        await self._door.serve(transport, caller)

    async def _admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        if self._door is None:
            return HttpAnswer(503, b"this mainframe has just begun\n", more={OWNER_HEADER: "", "Retry-After": "1"})
        return await self._door.admit(path, headers)
