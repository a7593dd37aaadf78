"""A member of a set: a process that owns the set's partition, or stands by to.

It listens all its life. As the owner it has a mainframe that serves whoever comes; else it tells them who the owner is.
``ownership`` decides which of the two it is; here that is done.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from ...errors import AsyncBlockError, MainframeFailed, Unavailable
from ...transport import Transport
from ...transport.upgrades import OWNER_HEADER
from ...transport.websocket import HttpAnswer, is_loopback, serve_websocket
from ...wire.frames import MAX_MESSAGE
from ..access import Access
from ..http import HttpDoor
from ..jetstream import Overtaken
from ..jetstream.natsstore import NatsRefused, NatsStore, NatsUnsure
from ..journal.datadir import DataDir
from ..settings import Settings
from ..supervision import in_words
from .beats import beat_subject, decode_beat, encode_beat, hand_over_subject
from .clusterservers import ClusterServers
from .clusterset import SetDescription, read_set
from .memberaddresses import MemberAddresses
from .ownership import BEAT, Act, Beat, Ownership, OwnerState
from .partitionserver import PartitionServer
from .standby import StandbyDoor

__all__ = ["ClusterMember"]

logger = logging.getLogger("asyncblock.server.cluster")

_PARTITION = 0
"""The set's only one."""

_BEATS_WAITING = 8
"""Beats that wait for the connection; later ones say more."""

_PING = 1
"""Seconds between NATS's own pings: a server that hangs is left after two of them."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
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
        self._partitions = partitions
        self._description: SetDescription
        self._store: NatsStore
        self._own: Ownership
        self._standby: StandbyDoor | None = None
        self._server: PartitionServer | None = None
        self._door: HttpDoor | None = None
        self._access: Access
        self._silent = False
        self._addresses = MemberAddresses()
        self._let_go = asyncio.Event()
        self._reigning: asyncio.Task[None] | None = None
        self._opening = False
        """The partition was taken over, or is to be, and can't be served yet."""
        self._telling: asyncio.Task[None] | None = None
        self._proving: asyncio.Task[None] | None = None
        self._said = ""
        self._outgoing: asyncio.Queue[Beat] = asyncio.Queue()
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
            self._description = await read_set(self._store, self._set_name, self._partitions)
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
        """Take in the evidence that the process behind a link has ended (whoever started it saw its exit)."""
        if self._server is not None:
            self._server.executor_gone(link_id, reason)

    def executor_held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        """Take in what a parent sees of its child while the child can't speak: where it stands, that it works."""
        if self._server is not None:
            self._server.executor_held(link_id, seconds, threads, works)

    # ------------------------------------------------------------------ standing by

    async def _stand_by(self) -> None:
        names = self._description.names(_PARTITION)
        try:
            said = await self._store.get(names.stream, last_by_subj=names.own)
        except (NatsRefused, NatsUnsure) as error:
            raise Unavailable(f"stream {names.stream} can't be read: {error}") from error
        owner = "" if said is None else str(orjson.loads(said.data)["owner"])
        name = f"{self.address.partition('//')[2]}/{secrets.token_hex(3)}"
        self._own = Ownership(name, _now(), random.random, owner)
        self._standby = StandbyDoor(self._access, self._own, self._set_name, lambda: self._store.connected)
        await self._store.listen(beat_subject(names), self._hear)
        await self._store.listen(hand_over_subject(names), self._asked)
        self._telling = self._tasks.create_task(self._tell(), name="asyncblock beats")
        self._tick()

    def _tick(self) -> None:
        # A timer, not a task: after a pause of the process it runs before anything that came in meanwhile is answered.
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._tick)
        self._do(self._own.tick(_now()))

    async def _hear(self, data: bytes, _: str) -> None:
        heard = decode_beat(data)
        if heard is not None:
            self._addresses.heard(heard.beat.address, _now())
            self._do(self._own.heard(heard.beat, _now()))

    async def _asked(self, data: bytes, reply: str) -> None:
        """Somebody wants the owner to hand over."""
        if not self._own.owns or not reply:
            return
        try:
            to = orjson.loads(data)["to"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        if isinstance(to, str):
            with suppress(NatsUnsure):
                await self._store.tell(reply, self._own.member.encode())
            self._do(self._own.hand_over(to, _now()))

    async def _tell(self) -> None:
        """Tell the others what there is to tell, as long as there is a connection."""
        subject = beat_subject(self._description.names(_PARTITION))
        while True:
            beat = await self._outgoing.get()
            with suppress(NatsUnsure):
                await self._store.tell(subject, encode_beat(beat, int(time.time() * 1000)), flush=False)

    # ------------------------------------------------------------------ what ``ownership`` says

    def _do(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case Act.BEAT:
                    self._queue(self._own.beat(self.address, _now()))
                case Act.RELEASE:
                    self._queue(self._own.released(self.address))
                case Act.CLAIM:
                    self._reigning = self._tasks.create_task(self._reign(), name="asyncblock owner")
                case Act.SILENCE:
                    self._silent = True
                    self._cut()
                    logger.warning("not heard, or held up: nothing is said until the partition is known to be ours")
                case Act.PROVE:
                    self._proving = self._tasks.create_task(self._prove(), name="asyncblock proof")
                case Act.SPEAK:
                    self._silent = False
                    logger.warning("the partition is still ours")
                case Act.STEP_DOWN:
                    self._silent = True
                    self._cut()
                    self._let_go.set()
                    if self._opening and self._reigning is not None:
                        # What it reads may have been deleted by the other: it would never come to the end.
                        self._reigning.cancel()
                    logger.warning("%s owns the partition now; standing by", self._own.owner or "another")
                case Act.HAND_OVER:
                    self._let_go.set()

    def _queue(self, beat: Beat) -> None:
        if self._outgoing.qsize() < _BEATS_WAITING:
            self._outgoing.put_nowait(beat)

    def _cut(self) -> None:
        if self._server is not None:
            self._server.gateway.cut()

    async def _prove(self) -> None:
        server = self._server
        if server is None:
            return
        # Closed: it was let go of meanwhile.
        with suppress(AsyncBlockError):
            await server.journal.prove()
            if server is self._server:
                self._do(self._own.proved(_now()))

    async def _reign(self) -> None:
        """Take the partition over, serve it until it is to be let go of, and let go."""
        own, standby, reign = self._own, self._standby, asyncio.current_task()
        assert standby is not None

        def say(what: Callable[[], list[Act]]) -> None:
            # One before may still be closing, and knows nothing of this one.
            if self._reigning is reign:
                self._do(what())

        self._let_go = asyncio.Event()
        self._silent, self._opening = False, True
        server = PartitionServer(
            self.place,
            self._servers,
            self._description,
            _PARTITION,
            self.settings,
            owner=own.member,
            instead_of=own.owner,
            on_taken=lambda term: say(lambda: own.taken(term, _now())),
            on_overtaken=lambda error: say(lambda: own.overtaken(_now(), error.owner)),
        )
        try:
            async with server:
                self._opening = False
                self._server = server
                server.gateway.addresses = lambda: self._addresses.known(self.address, _now())
                self._door = HttpDoor(server, self._access, self.settings.origins, standby.standing)
                try:
                    self._do(own.claimed(self.address, _now()))
                    if own.owns:
                        self._say(f"owner of set {self._set_name}, term {own.term}")
                    await self._until_let_go(server)
                finally:
                    self._server = self._door = None
        except Overtaken as error:
            owner = error.owner
            say(lambda: own.claim_failed(_now(), owner))
        except AsyncBlockError as error:
            self._say(f"the partition can't be taken over yet: {error}")
            say(lambda: own.claim_failed(_now()))
        except Exception as error:
            self._fail(error)
        if server.failure is not None:
            self.failure = server.failure
            self.failed.set()
        say(lambda: own.handed_over(_now()))

    async def _until_let_go(self, server: PartitionServer) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._let_go, server.failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _say(self, words: str) -> None:
        """Say what has changed, once."""
        if words != self._said:
            self._said = words
            logger.warning("%s", words)

    def _fail(self, error: Exception) -> None:
        words = f"the member of set {self._set_name} has ended: {in_words(error)}"
        logger.critical("%s", words, exc_info=error)
        self.failure = MainframeFailed(f"{words}. What was acknowledged is in the cluster: start it again")
        self.failure.__cause__ = error
        self.failed.set()

    async def _leave(self) -> None:
        """Hand over, if it is ours, and say no more."""
        if self._timer is None:
            return
        self._do(self._own.hand_over("", _now()))
        if self._reigning is not None:
            if self._own.state in (OwnerState.CLAIMING, OwnerState.OPENING):
                self._reigning.cancel()
            self._let_go.set()
            await asyncio.wait([self._reigning])
        self._timer.cancel()
        self._timer = None
        for task in (self._telling, self._proving):
            if task is not None:
                task.cancel()
        subject = beat_subject(self._description.names(_PARTITION))
        # The task that tells may be slower than the end of the connection.
        while not self._outgoing.empty():
            beat = self._outgoing.get_nowait()
            with suppress(NatsUnsure):
                await self._store.tell(subject, encode_beat(beat, int(time.time() * 1000)))

    # ------------------------------------------------------------------ who comes

    async def _serve(self, transport: Transport, principal: object) -> None:
        server = self._server
        if server is None or not self._speaks:
            transport.abort()
            return
        await server.accept(transport, principal)

    @property
    def _speaks(self) -> bool:
        return self._own.owns and not self._silent

    async def _admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        door = self._door
        if door is not None and self._speaks:
            return await door.admit(path, headers)
        if self._standby is None:
            return HttpAnswer(503, b"this mainframe has just begun\n", more={OWNER_HEADER: "", "Retry-After": "1"})
        return self._standby.answer(path, headers)
