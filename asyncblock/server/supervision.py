"""Supervision: who owns the mainframe's tasks and timers, and what becomes of an error that none of them expected.

Each has one of three fates, stated where it is begun:

* its *session* fails with the reason, and no other one notices (``begin`` and ``later`` with a session);
* it is done *again* after a pause, with a word in the log (``keep``);
* the *server* ends, loudly: what it holds in memory may be wrong, and the journal has everything that was
  acknowledged (``begin`` and ``later`` without a session).

What serves a connection has fates of its own: a request or a read gets the error as its answer (``answers``,
``readers``), a defect met in a link's messages ends that link, and what the disk did to it only its connection
(``gateway``). Tasks and timers of the server are made here or in the task group of a connection, nowhere else:
``tests/server/test_supervision.py`` reads the source for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from ..errors import Closed

__all__ = ["Breakable", "Supervisor", "in_words"]

logger = logging.getLogger("asyncblock.server")

_PAUSES: Final = (1.0, 60.0)
"""Seconds before a chore is done again after an error: the first pause, doubled each time, and the longest."""


class Breakable(Protocol):
    """A session, as far as supervision goes."""

    session_id: str

    @property
    def ended(self) -> bool:
        """Tell whether it has reached its terminal state."""

    def break_off(self, reason: str) -> None:
        """End it as failed, whatever state it is in."""


def in_words(error: BaseException) -> str:
    """Return an error's type and text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Supervisor:
    """Owns what runs beside the connections. ``end_server`` is called with what failed, once."""

    def __init__(self, tasks: asyncio.TaskGroup, end_server: Callable[[str, Exception], None]) -> None:
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._end_server = end_server
        self._ended = False
        self._begun: set[asyncio.Task[None]] = set()
        self.closed = False
        """The mainframe is closing: nothing new begins, and what fails because of that isn't told."""

    def begin(
        self, coroutine: Coroutine[Any, Any, None], what: str, session: Breakable | None = None
    ) -> asyncio.Task[None] | None:
        """Run a coroutine; ``what`` names it in the log. None when the mainframe is closing: it isn't run then."""
        if self.closed:
            coroutine.close()
            return None
        task = self._tasks.create_task(self._run(coroutine, what, session), name=f"asyncblock {what}")
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def stop(self) -> None:
        """Begin nothing more and cancel what was begun: it may wait for a disk that is full, for as long as that is.

        Whatever of it wasn't committed is found in the journal, and done, when the mainframe comes back.
        """
        self.closed = True
        for task in list(self._begun):
            task.cancel()

    async def _run(self, coroutine: Coroutine[Any, Any, None], what: str, session: Breakable | None) -> None:
        try:
            await coroutine
        except Exception as error:
            # Without this a task that ends by an error would be a part of the mainframe that is silently missing.
            self.broken(what, error, session)

    def later(
        self, delay: float, act: Callable[..., None], *args: Any, what: str, session: Breakable | None = None
    ) -> asyncio.TimerHandle:
        """Call a function after some seconds."""
        return self._loop.call_later(delay, self._call, act, args, what, session)

    def soon(self, act: Callable[..., None], *args: Any, what: str, session: Breakable | None = None) -> None:
        """Call a function in the loop's next turn."""
        self._loop.call_soon(self._call, act, args, what, session)

    def _call(self, act: Callable[..., None], args: tuple[Any, ...], what: str, session: Breakable | None) -> None:
        try:
            act(*args)
        except Exception as error:
            self.broken(what, error, session)

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Let the server end of an error in the block, which was called from outside of the mainframe."""
        try:
            yield
        except Exception as error:
            self.broken(what, error)

    def keep(self, chore: Callable[[], Coroutine[Any, Any, None]], what: str) -> asyncio.Task[None]:
        """Run an endless chore, and begin it again after an error."""
        return self._tasks.create_task(self._again(chore, what), name=f"asyncblock {what}")

    async def _again(self, chore: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        pause, longest = _PAUSES
        while True:
            began = self._loop.time()
            try:
                await chore()
                return
            except Exception as error:
                if self.closed:
                    return
                if self._loop.time() - began > longest:
                    pause = _PAUSES[0]
                logger.error("%s failed, it begins again in %g s", what, pause, exc_info=error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def broken(self, what: str, error: Exception, session: Breakable | None = None) -> None:
        """Decide what becomes of an error that nothing expected: its session fails, else the server ends."""
        if self.closed and isinstance(error, Closed):
            return
        if session is not None and not session.ended:
            logger.error("%s of session %s failed, so the session does", what, session.session_id, exc_info=error)
            try:
                session.break_off(f"the mainframe failed at it ({what}: {in_words(error)}); its log says more")
                return
            except Exception as further:
                # The session can't even be ended in order, so its state can't be trusted: then it is the server that
                # ends, and the journal that says where it stood.
                what, error = f"ending session {session.session_id}", further
        if not self._ended:
            self._ended = True
            self._end_server(what, error)
