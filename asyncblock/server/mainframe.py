"""The mainframe server: journal, sessions, dispatch and gateway put together on the running event loop."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import MainframeFailed, Unavailable
from ..transport import Transport
from ..transport.websocket import is_loopback, serve_websocket
from ..wire.frames import MAX_MESSAGE
from ..wire.placement import Placement
from .journal import Journal, SqliteJournal
from .journal.datadir import DataDir
from .livesessions.sessions import Sessions
from .peers.access import ALL_ROLES, Access, Principal
from .reception.gateway import RETRY_AFTER, Gateway
from .reception.http import HttpDoor
from .reception.metrics import measured
from .serverlimits import MAX_WORDS
from .settings import Settings
from .supervision import Supervisor, in_words

__all__ = ["MainframeServer", "Settings"]

logger = logging.getLogger("asyncblock.server")


_TICK = 1.0
"""Seconds between two measurements of the loop's lag."""

_FORGET_INTERVAL = 600.0
"""Seconds between two looks at what is old enough to be forgotten."""


class ServedJournal(Journal, Protocol):
    """A journal that a mainframe serves."""

    on_defect: Callable[[str, Exception], None]
    """Told of an error that ends one of its tasks or threads."""


class MainframeServer:
    """A mainframe on one data directory. Run it with ``async with``; it lives on the loop that entered it.

    Raises ``Unavailable`` when the data directory is in use or not writable. When an error is met that it can't go on
    with, ``failed`` is set: leave the ``async with`` then, and tell of ``failure``.
    """

    def __init__(self, data_dir: Path, settings: Settings | None = None) -> None:
        self.data_dir = data_dir
        self.settings = settings or Settings()
        self.token = ""
        """The token with all roles that belongs to this data directory."""
        self.place: DataDir
        self.journal: ServedJournal
        self.sessions: Sessions
        self.gateway: Gateway
        self.trouble: str | None = None
        """Why nothing is accepted at the moment; None when all is well."""
        self.lag = 0.0
        """Seconds by which the loop ran late when it was last measured."""
        self.failure: MainframeFailed | None = None
        """What it can't go on with; None when all is well."""
        self.placement = Placement()
        """Which sessions it takes."""
        self.failed = asyncio.Event()
        """Set with ``failure``: the caller that runs the mainframe leaves its ``async with`` then."""
        self.supervisor: Supervisor
        self._stack = AsyncExitStack()
        self._connections: set[asyncio.Task[None]] = set()
        self._back_after = 1.0
        """Seconds after which those come back that were connected when it stopped."""

    async def __aenter__(self) -> MainframeServer:
        try:
            await self._open()
        except ExceptionGroup as group:
            # What kept it from opening, without the task group in which that happened.
            raise group.exceptions[0] from None
        return self

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            self.journal = await self._open_journal(stack)
            self.supervisor = Supervisor(await stack.enter_async_context(asyncio.TaskGroup()), self._fail)
            stack.callback(self.supervisor.stop)
            self.journal.on_defect = self.supervisor.broken
            loop = asyncio.get_running_loop()
            self.sessions = Sessions(self.journal, loop, self.supervisor, self.settings, self._readable(), alone=False)
            self.sessions.placement = self.placement
            self.gateway = Gateway(self.sessions, self.journal.epoch, self.settings.heartbeat)
            self.gateway.recover(await self.journal.links())
            broken = self.journal.opening.changed
            if broken is not None:
                words = "%s may not hold everything that was acknowledged: %s; it is journal %s from here on"
                logger.error(words, self.data_dir, broken, self.journal.epoch)
                if lost := self.journal.opening.lost_bodies:
                    logger.error("%d large values that the journal names aren't there whole", len(lost))
            recovered = await self.sessions.recover(broken)
            for chore, what in (
                (self._measure_lag, "measuring the loop's lag"),
                (self._forget, "forgetting old links"),
            ):
                stack.callback(self.supervisor.keep(chore, what).cancel)
            if recovered:
                logger.info("%d sessions go on from the journal", recovered)
            self._stack = stack.pop_all()

    async def _open_journal(self, stack: AsyncExitStack) -> ServedJournal:
        """Open what it serves, and leave to the stack what closes it; ``place`` and ``token`` are known then."""
        self.place = stack.enter_context(DataDir.open(self.data_dir))
        self.token = self.place.token()
        journal = await SqliteJournal.open(
            self.place,
            synchronous=self.settings.synchronous,
            on_trouble=self._on_trouble,
            on_recovered=self._on_recovered,
        )
        stack.push_async_callback(journal.close)
        return journal

    def _readable(self) -> Path | None:
        """Return where another process of this machine can read the journal; None where it has to ask."""
        return self.place.path

    async def __aexit__(self, *exc: object) -> None:
        self.gateway.dismiss("stopping", "the mainframe is stopping", retry_after=self._back_after)
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        self.sessions.close()
        await self._stack.aclose()

    def accept_soon(self, transport: Transport, roles: frozenset[str] = ALL_ROLES) -> None:
        """Serve a connection in a task of the mainframe's."""
        self._begin(transport, Principal(roles))

    async def accept(self, transport: Transport, principal: object) -> None:
        """Serve a connection, in a task of the mainframe's, until it ends. **Cancellation** leaves it to that task."""
        task = self._begin(transport, principal)
        if task is not None:
            await asyncio.wait([task])

    def _begin(self, transport: Transport, principal: object) -> asyncio.Task[None] | None:
        task = self.supervisor.begin(self.gateway.serve(transport, principal), "serving a connection")
        if task is None:
            transport.abort()
            return None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return task

    @asynccontextmanager
    async def listen(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen for websockets and yield the address (``ws://host:port``).

        Raises ``Unavailable`` when the port is taken, or for an address beyond loopback without TLS.
        """
        if not is_loopback(host) and tls is None and not self.settings.insecure:
            raise Unavailable(
                f"{host} can be reached from other machines and there is no TLS: anyone on the way could read the "
                "token. Give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure if the network is trusted"
            )
        door = HttpDoor(self, Access(self.token, self.settings.token_file), self.settings.origins)
        async with serve_websocket(
            self.gateway.serve, door.admit, host, port, max_message=MAX_MESSAGE, tls=tls
        ) as bound:
            name = f"[{host}]" if ":" in host else host
            yield f"{'ws' if tls is None else 'wss'}://{name}:{bound}"
            self.gateway.dismiss("stopping", "the mainframe is stopping", retry_after=1.0)

    def executor_gone(self, link_id: str, reason: str) -> None:
        """Take in the evidence that the process behind a link has ended: the process that started it saw its exit."""
        link = self.sessions.dispatch.links.get(link_id)
        if link is not None:
            with self.supervisor.watching("ending a link"):
                self.sessions.dispatch.gone(link, reason)

    def executor_held(self, link_id: str, seconds: float, threads: list[Any], works: bool) -> None:
        """Take in what a parent sees of its child while the child can't speak: where it stands, that it works."""
        with self.supervisor.watching("taking in a stalled process"):
            self.sessions.dispatch.held(link_id, seconds, threads, works)

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            self.lag = loop.time() - due
            self.sessions.timings.loop_delay.observe(self.lag)
            if self.settings.watch is not None:
                self.settings.watch.measured(lambda: measured(self))

    async def _forget(self) -> None:
        """Forget what won't be asked for again."""
        await asyncio.sleep(_TICK)
        while True:
            await self.gateway.expire()
            self.gateway.drop_answers()
            await asyncio.sleep(_FORGET_INTERVAL)

    def _fail(self, what: str, error: Exception) -> None:
        """End: say why, accept nothing more, and let the caller that runs this mainframe leave it."""
        words = f"the mainframe on {self.data_dir} has ended, for {what} failed: {in_words(error)}"
        self.failure = MainframeFailed(f"{words}. What was acknowledged is in the journal: start it again to go on")
        self.failure.__cause__ = error
        logger.critical("%s", words, exc_info=error)
        self.trouble = self.gateway.trouble = words
        self.gateway.dismiss("failed", words[:MAX_WORDS], retry_after=RETRY_AFTER)
        self.failed.set()

    def _on_trouble(self, error: Exception) -> None:
        self.trouble = self.gateway.trouble = f"the journal can't be written: {error}"
        logger.error("%s; nothing is accepted until it can", self.trouble)
        self.gateway.dismiss("trouble", self.trouble, retry_after=RETRY_AFTER)

    def _on_recovered(self) -> None:
        self.trouble = self.gateway.trouble = None
        logger.warning("the journal can be written again")
