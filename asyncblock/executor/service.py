"""A service: a ``main(service)`` that stays, and handlers that answer many calls. It runs on the executor's loop.

Each call is a job like any other, with a context of its own. Here is one running service, from its start to its end;
``services`` decides when there is one.
"""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..block import Binding, bind
from ..errors import AsyncBlockError, BlockFailed, LocalProtocolError
from ..runtime.offload import wait_in_thread
from .attribution.tasks import ENDS, current_service
from .diagnosis.failure import author_traceback, summary
from .diagnosis.watchdog import task_value

if TYPE_CHECKING:
    from ..runtime.iothread import Inbox
    from ..wire.messages import ServiceMessage

__all__ = ["RunningService", "ServiceContext"]

logger = logging.getLogger("asyncblock.executor")

Handler = Callable[..., Any]

_STOP_TIME = 5.0
"""Seconds that a service's tasks have to clean up when it stops."""


class ServiceContext:
    """What ``main(service)`` gets: it sets ``block_handler``, and may say when it is ready.

    One for each running service; any thread that the service starts may use it.
    """

    def __init__(self, running: RunningService, session_id: str | None) -> None:
        self._running = running
        self._handler: Mapping[str, Handler] | Handler | None = None
        self._callbacks: list[Callable[[dict[str, Any]], Any]] = []
        self.session_id = session_id
        """The session that the service belongs to; None for one that outlives sessions."""
        self.waiting_ready_notify = False
        """Set it to True in ``main`` to let calls wait for ``notify_ready``."""

    @property
    def block_handler(self) -> Mapping[str, Handler] | Handler | None:
        """The handlers of calls: ``{block name: fn(inputs, ctx)}``, or ``fn(block name, inputs, ctx)``."""
        return self._handler

    @block_handler.setter
    def block_handler(self, handler: Mapping[str, Handler] | Handler) -> None:
        if not isinstance(handler, Mapping) and not callable(handler):
            raise LocalProtocolError(
                f"block_handler is a dict of functions or a function(name, inputs, ctx), not {type(handler).__name__}"
            )
        self._handler = handler
        self._running.changed()

    def __setitem__(self, name: str, value: Any) -> None:
        if name != "block_handler":
            raise KeyError(name)
        self.block_handler = value

    def __getitem__(self, name: str) -> Any:
        if name != "block_handler":
            raise KeyError(name)
        return self.block_handler

    def add_message_callback(self, callback: Callable[[dict[str, Any]], Any]) -> None:
        """Call a function, or a coroutine function, with each message that a client sends to the service.

        A message is a dict: ``session_id``, ``node_id``, ``job_id`` (or None) and ``payload``. What a callback raises
        is logged.
        """
        if not callable(callback):
            raise LocalProtocolError(f"a message callback is a function, not {type(callback).__name__}")
        self._callbacks.append(callback)

    def notify_ready(self) -> None:
        """Let the waiting calls in."""
        self._running.changed(notified=True)


class RunningService:
    """One run of a service's ``main`` and what it left behind. Lives on the executor's loop."""

    def __init__(self, name: str, session_id: str | None, inbox: Inbox, roots: Callable[[], list[Path]]) -> None:
        self.name = name
        self.calls = 0
        """Calls that run."""
        self.over = False
        """It takes no calls any more."""
        self._ctx = ServiceContext(self, session_id)
        self._inbox = inbox
        self._roots = roots
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._notified = False
        self._is_for_oocana = False
        """Its ``main`` was written for that package: so were its handlers."""

    def begin(self, load: Callable[[], Callable[..., Any]], tasks: asyncio.TaskGroup) -> None:
        """Load ``main`` on a worker thread and run it in a task."""
        context = contextvars.copy_context()
        context.run(current_service.set, self)
        tasks.create_task(self._live(load), name=f"asyncblock service {self.name}", context=context)

    def changed(self, *, notified: bool = False) -> None:
        """Look whether it is ready. From any thread."""
        self._inbox.post(self._look, notified)

    def _look(self, notified: bool = False) -> None:
        self._notified = self._notified or notified
        ctx = self._ctx
        if self._ready.done() or ctx.block_handler is None:
            return
        # Without a word of its own it is ready when it has a handler: ``main`` may go on for ever after that.
        if self._notified or not ctx.waiting_ready_notify:
            self._ready.set_result(None)

    async def handler(self, block: str) -> Binding:
        """Wait until the service is ready and return the handler of a block.

        **Cancellation** is safe. Raises ``BlockFailed`` when the service failed; ``LocalProtocolError`` when it has no
        such handler.
        """
        # Many calls wait for it. One that is cancelled mustn't end the wait of the others.
        await asyncio.shield(self._ready)
        handler = self._ctx.block_handler
        if isinstance(handler, Mapping):
            if block not in handler:
                close = difflib.get_close_matches(block, map(str, handler), 1)
                hint = f". Did you mean {close[0]!r}?" if close else ""
                known = ", ".join(sorted(map(repr, handler))) or "none"
                raise LocalProtocolError(f"service {self.name!r} has no handler {block!r}; it has {known}{hint}")
            return self._bound(handler[block])
        assert handler is not None
        return self._bound(functools.partial(handler, block))

    def _bound(self, handler: Handler) -> Binding:
        from ..oocana_surface import oocana_binding

        return oocana_binding(handler) if self._is_for_oocana else bind(handler)

    def message(self, message: ServiceMessage, tasks: asyncio.TaskGroup) -> None:
        """Tell the service's callbacks of a message."""
        told = {key: getattr(message, key) for key in ("session_id", "node_id", "job_id", "payload")}
        for callback in self._ctx._callbacks:
            context = contextvars.copy_context()
            context.run(current_service.set, self)
            tasks.create_task(self._tell(callback, told), context=context)

    async def _tell(self, callback: Callable[[dict[str, Any]], Any], told: dict[str, Any]) -> None:
        try:
            answer = callback(dict(told))
            if inspect.isawaitable(answer):
                await answer
        except (Exception, *ENDS) as error:
            logger.warning("a message callback of service %s failed: %s", self.name, summary(error))

    async def _live(self, load: Callable[[], Callable[..., Any]]) -> None:
        """Run ``main``; never raises but a cancel."""
        try:
            fn = await wait_in_thread(load, places=None)
            given = await wait_in_thread(self._given, fn)
            if bind(fn).is_async:
                await fn(given)
            else:
                await self._in_thread(fn, given)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # SystemExit too: it is the service's, and not the executor's to end by.
            self._failed(error)
        else:
            self._look()
            if self._ctx.block_handler is None:
                words = f"main of service {self.name!r} returned without setting service.block_handler"
                self._give_up(LocalProtocolError(words))

    def _given(self, fn: Callable[..., Any]) -> Any:
        """Return what ``main`` gets. Imports what it was written for."""
        from ..oocana_surface import is_for_oocana, oocana_service

        self._is_for_oocana = is_for_oocana(fn)
        return oocana_service(self._ctx) if self._is_for_oocana else self._ctx

    async def _in_thread(self, fn: Callable[..., Any], given: Any) -> None:
        done: asyncio.Future[BaseException | None] = self._loop.create_future()
        # A thread begins with an empty context: without the copy its prints would belong to no service.
        context = contextvars.copy_context()

        def work() -> None:
            error: BaseException | None = None
            try:
                context.run(fn, given)
            except BaseException as raised:
                # Whatever it is: who waits for this thread has to hear of its end.
                error = raised
            self._inbox.post(_settle, done, error)

        # A thread of its own, which ends with the process at the latest: a service's main may never return.
        threading.Thread(target=work, name=f"asyncblock service {self.name}", daemon=True).start()
        error = await done
        if error is not None:
            raise error

    def task_begun(self, task: asyncio.Task[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
        """Take no note: a service may have tasks of its own as long as it likes."""

    def task_failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        """Tell of the error of a task that was never awaited."""
        text = author_traceback(error, roots=self._roots()).rstrip()
        logger.error("service %s: its task %s failed:\n%s", self.name, getattr(task.get_coro(), "__name__", task), text)

    def exited(self, error: BaseException) -> None:
        """What the service started raised what ends a process: the service is over, the executor isn't."""
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        logger.warning("service %s failed: %s", self.name, summary(error))
        words = f"service {self.name!r} failed: {summary(error)}"
        self._give_up(BlockFailed(words, traceback=author_traceback(error, roots=self._roots())))

    def _give_up(self, error: AsyncBlockError) -> None:
        self.over = True
        if not self._ready.done():
            self._ready.set_exception(error)
            # Read here, or asyncio logs it as never retrieved: a service may be started ahead of its first call.
            self._ready.exception()

    async def stop(self) -> None:
        """Cancel ``main`` and the tasks that it started, and wait for them for a while.

        **Cancellation** leaves them cancelled.
        """
        self._give_up(LocalProtocolError(f"service {self.name!r} was stopped"))
        mine = [
            task
            for task in asyncio.all_tasks(self._loop)
            if task is not asyncio.current_task() and task_value(task, current_service) is self
        ]
        for task in mine:
            task.cancel("the service stops")
        if mine:
            _, late = await asyncio.wait(mine, timeout=_STOP_TIME)
            if late:
                logger.warning("%d tasks of service %s didn't end when cancelled", len(late), self.name)


def _settle(done: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not done.done():
        done.set_result(error)
