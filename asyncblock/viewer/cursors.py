"""One cursor over each session that is watched, and the fold that all its tabs share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Final

from .. import events
from ..errors import AsyncBlockError, ConnectionLost
from ..flow.plan import Plan
from ..page import State, StateLimits
from ..page.state import SESSION
from ..page.views import feeds_of
from .history import History, Index
from .sources import Watched
from .told import in_words

__all__ = ["Following", "Followings"]

logger = logging.getLogger("asyncblock.viewer")

_LIMITS: Final = StateLimits(head=0, tail=0, lines=0, previews=10_000, payloads=32 << 20)
"""Lines aren't kept: ``History`` reads those that are shown."""

_IDLE: Final = 4
"""Sessions that are followed for a while after the last tab has left them: it may come back."""

_TURN: Final = 400
"""Events that are folded in one step; then other tasks of the loop have a turn."""


class Following:
    """A session as it is now. ``version`` grows with each event; nodes say at which one they have changed."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.watched: Watched | None = None
        self.plan: Plan | None = None
        self.state = State(_LIMITS)
        self.index = Index()
        self.history: History | None = None
        self.version = 0
        self.changed: dict[str, int] = {}
        """The version of a node's last change, by its path."""
        self.begun = 0
        """The version at which everything was read anew, because the mainframe has another journal."""
        self.error: str | None = None
        """Why it can't be followed."""
        self.opened = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set when everything has been read that was there when the session was opened."""
        self._waiting: set[asyncio.Event] = set()
        self._anew = asyncio.Event()
        self._read_out = False
        """It was read to where it ends, or breaks off."""

    @property
    def word(self) -> str:
        """The session's state for people: ``interrupted`` when its process was killed before its end."""
        if self.state.over:
            return self.state.state
        return "interrupted" if self.watched is not None and self.watched.recording.interrupted else "running"

    @property
    def ended(self) -> bool:
        """Tell whether nothing will come any more."""
        return self.word != "running"

    @property
    def may_cancel(self) -> bool:
        """Tell whether it runs, and the page may cancel it."""
        return self.watched is not None and self.watched.cancel is not None and not self.ended

    @property
    def may_retry(self) -> bool:
        """Tell whether it failed or was cancelled, and the page may run it again from there."""
        return self.watched is not None and self.watched.retry is not None and self.word in ("failed", "cancelled")

    @property
    def may_resume(self) -> bool:
        """Tell whether its process was killed, and the page may go on with it."""
        return self.watched is not None and self.watched.resume is not None and self.word == "interrupted"

    async def look(self) -> None:
        """Follow the session to where it goes on, if it was read to the end here. **Cancellation** is safe."""
        watched = self.watched
        if watched is not None and self._read_out and not self.state.over and await watched.moved():
            self._anew.set()

    def next_change(self) -> asyncio.Event:
        """Return what is set at the next change."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Stop waiting for a change."""
        self._waiting.discard(event)

    def _tell(self) -> None:
        if self._waiting:
            for each in self._waiting:
                each.set()
            self._waiting.clear()

    async def run(self, open: Callable[[], AbstractAsyncContextManager[Watched]]) -> None:
        """Follow the session until it ends, and keep it open then.

        **Cancellation** closes it.
        """
        try:
            async with AsyncExitStack() as stack:
                self.watched = await stack.enter_async_context(open())
                while True:
                    await self._follow(self.watched)
                    self._read_out = True
                    self.caught_up.set()
                    self._tell()
                    # Panels go on asking for lines and values, also from the journal that was open before.
                    self.watched = await self._elsewhere(stack, open)
                    self._read_out = False
        except AsyncBlockError as error:
            self.error = in_words(error)
            logger.info("session %s can't be followed: %s", self.session_id, error)
        except Exception as error:
            # A defect of ours ends this cursor, and nothing else.
            self.error = f"the page failed at this session: {type(error).__name__}: {error}"
            logger.exception("session %s can't be followed", self.session_id)
        finally:
            self.opened.set()
            self.caught_up.set()
            self.version += 1
            self._tell()

    async def _elsewhere(
        self, stack: AsyncExitStack, open: Callable[[], AbstractAsyncContextManager[Watched]]
    ) -> Watched:
        """Wait until the session goes on elsewhere, and open it there."""
        while True:
            await self._anew.wait()
            self._anew.clear()
            try:
                return await stack.enter_async_context(open())
            except AsyncBlockError as error:
                # If it has gone on and ended at once, it is read where it was.
                logger.info("session %s doesn't go on: %s", self.session_id, error)

    async def _follow(self, watched: Watched) -> None:
        while True:
            try:
                self.plan = await watched.recording.plan()
            except ConnectionLost:
                raise
            except AsyncBlockError:
                self.plan = None
            self._begin(watched)
            try:
                await self._take_all(watched)
                return
            except ConnectionLost as error:
                # The mainframe has another journal: places in the old one mean nothing there.
                logger.info("session %s is read anew: %s", self.session_id, error)

    def _begin(self, watched: Watched) -> None:
        feeds = feeds_of(self.plan) if self.plan is not None else None
        self.state = State(_LIMITS, feeds)
        self.index = Index()
        self.state.log = self.index.log(self.state)
        self.history = History(watched.recording, feeds, self.state)
        self.version += 1
        self.begun = self.version
        self.changed = {}
        self.opened.set()

    async def _take_all(self, watched: Watched) -> None:
        taken = 0
        last = watched.rows - 1 if watched.rows is not None else None
        async with aclosing(watched.recording.events(self.state.read_on())) as found:  # type: ignore[type-var]  # an async generator
            async for event in found:
                self._take(event)
                taken += 1
                if last is not None and event.offset >= last:
                    self.caught_up.set()
                    last = None
                if taken % _TURN == 0:
                    self._tell()
                    await asyncio.sleep(0)
                elif self._waiting:
                    self._tell()

    def _take(self, event: events.AnyEvent) -> None:
        state = self.state
        state.take(event)
        self.version += 1
        job_id = getattr(event, "job_id", None)
        if job_id is not None:
            job = state.jobs.get(job_id)
            if job is not None:
                self.changed[job.node] = self.version
                self.index.note(event, job.node, state)
        else:
            # An event of the session as a whole may change all nodes: its end ends their jobs.
            for path in state.nodes:
                if path != SESSION:
                    self.changed[path] = self.version


class Followings:
    """The sessions that are watched, each by a task of its own. ``close`` ends them."""

    def __init__(self, open: Callable[[str], AbstractAsyncContextManager[Watched]]) -> None:
        self._open = open
        self._known: dict[str, tuple[Following, asyncio.Task[None]]] = {}
        self._users: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def watching(self, session_id: str) -> AsyncIterator[Following]:
        """Watch a session for the duration of the block.

        **Cancellation** is safe. Raises ``Unavailable`` with what was tried when it can't be opened.
        """
        there = self._known.pop(session_id, None)
        if there is None or there[0].error is not None:
            following = Following(session_id)
            task = asyncio.create_task(following.run(partial(self._open, session_id)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            there = (following, task)
        # The last ones that were watched stand last.
        self._known[session_id] = there
        self._users[session_id] = self._users.get(session_id, 0) + 1
        try:
            await there[0].opened.wait()
            await there[0].look()
            yield there[0]
        finally:
            self._users[session_id] -= 1
            if not self._users[session_id]:
                del self._users[session_id]
            self._let_go()

    def _let_go(self) -> None:
        idle = [each for each in self._known if each not in self._users]
        for each in idle[: max(len(idle) - _IDLE, 0)]:
            _, task = self._known.pop(each)
            task.cancel()

    async def close(self) -> None:
        """Follow nothing any more."""
        self._known.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
