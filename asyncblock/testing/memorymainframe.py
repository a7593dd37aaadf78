"""A mainframe whose disk is memory: the real gateway, sessions and dispatch, on a journal that outlives a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import MainframeFailed
from ..runtime.iothread import IOThread, inbox_of
from ..server.journal.memoryjournal import MemoryJournal, MemoryStorage
from ..server.livesessions.sessions import Sessions
from ..server.peers.access import ALL_ROLES, Principal
from ..server.reception.gateway import Gateway
from ..server.settings import Settings
from ..server.supervision import Supervisor, in_words
from ..transport import Transport

__all__ = ["MemoryMainframe", "OneLoop"]


class OneLoop(IOThread):
    """An I/O thread that is no thread: links made with it live on the running loop. For virtual time."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self._inbox = inbox_of(self.loop)
        self._tasks = tasks


class MemoryMainframe:
    """A mainframe in memory. Use it with ``async with``; it lives on the loop that entered it.

    ``kill`` is the death of its process, ``start`` its return on the same data.
    """

    def __init__(self, settings: Settings | None = None, *, commit_delay: Callable[[], float] = lambda: 0.0) -> None:
        self.settings = settings or Settings()
        self.storage = MemoryStorage()
        """Its disk."""
        self.journal: MemoryJournal
        self.sessions: Sessions
        self.gateway: Gateway
        self._commit_delay = commit_delay
        self._tasks: asyncio.TaskGroup | None = None
        self._life: asyncio.Task[None] | None = None
        self._failure: MainframeFailed | None = None
        self._stop = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> MemoryMainframe:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        life = self._life
        if life is None:
            return
        self.gateway.dismiss("stopping", "the mainframe is stopping", retry_after=1.0)
        self._life = None
        self._stop.set()
        await life

    async def start(self) -> None:
        """Open the journal and go on from it. Raises what keeps it from that."""
        assert self._life is None, "it runs already"
        self._stop = asyncio.Event()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(ready), name="mainframe in memory")
        await asyncio.wait([ready, self._life], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            life, self._life = self._life, None
            await life

    async def kill(self) -> None:
        """Die as by SIGKILL: what isn't stored is gone, connections end, nothing is said."""
        life, self._life = self._life, None
        if life is None:
            return
        self._tasks = None
        # First, while there is a journal: a transaction that lingers is written, and dies with what else isn't stored.
        self.sessions.close()
        self.journal.abandon()
        life.cancel()
        await asyncio.wait([life])
        # Those that its tasks have started on their way out.
        self.sessions.close()

    def accept_soon(self, transport: Transport) -> None:
        """Serve a connection in a task of the mainframe's; one that is dead hangs up."""
        if self._tasks is None:
            transport.abort()
        else:
            task = self._tasks.create_task(self.gateway.serve(transport, Principal(ALL_ROLES)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _live(self, ready: asyncio.Future[None]) -> None:
        journal = self.journal = MemoryJournal(
            self.storage, on_trouble=self._on_trouble, on_recovered=self._on_recovered, delay=self._commit_delay
        )
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(tasks, self._fail)
            self.sessions = Sessions(journal, asyncio.get_running_loop(), supervisor, self.settings)
            self.gateway = Gateway(self.sessions, journal.epoch, self.settings.heartbeat)
            self.gateway.recover(await journal.links())
            await self.sessions.recover()
            self._tasks = tasks
            ready.set_result(None)
            await self._stop.wait()
            self._tasks = None
            for task in list(self._connections):
                task.cancel()
        self.sessions.close()
        await journal.close()
        if self._failure is not None:
            raise self._failure

    def _fail(self, what: str, error: Exception) -> None:
        """A defect: this mainframe dies of it, and whoever ends it is told."""
        self._failure = MainframeFailed(f"{what} failed: {in_words(error)}")
        self._failure.__cause__ = error
        self._stop.set()

    def _on_trouble(self, error: Exception) -> None:
        self.gateway.trouble = f"the journal can't be written: {error}"
        self.gateway.dismiss("trouble", self.gateway.trouble, retry_after=2.0)

    def _on_recovered(self) -> None:
        self.gateway.trouble = None
