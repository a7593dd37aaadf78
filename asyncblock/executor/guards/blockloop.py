"""The event loop of the blocks in an executor process. What a block does to it is that job's end, and nobody else's.

A loop ends with a ``SystemExit`` or ``KeyboardInterrupt`` of any task or callback, with ``stop``, and with whatever a
signal handler raises; and what one block sets on it, all others get. Here

* tasks, callbacks, protocols and the finalisers of asynchronous generators are guarded: the job whose they are is
  blamed. What gets past the guards stops the loop for a moment, and goes on when somebody is blamed;
* the error of a task that nobody awaits is told to the job that has started it;
* each job, and each service, has a default executor, a task factory and a handler of exceptions of its own.
"""

# Callbacks and their arguments go through as they are.
# mypy: disable-error-code="override"

from __future__ import annotations

import asyncio
import contextvars
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from ...context import given_up
from ...errors import LocalProtocolError
from ...runtime.forks import generation
from ...runtime.iothread import loop_class
from ...runtime.offload import wait_in_thread
from ..attribution.tasks import ENDS, CodeOwner, blame, owner
from ..diagnosis.watchdog import context_of
from .generators import Generators
from .protocols import Protocols

__all__ = ["Guards", "block_loop", "forget"]

T = TypeVar("T")
Coro = Coroutine[Any, Any, Any] | Generator[Any, None, Any]
Factory = Callable[..., "asyncio.Future[Any]"]
Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

_POOLS = 64
"""Default executors at most that belong to one owner; further owners share one, for threads are finite."""


def block_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop for blocks: one of uvloop's where that is installed."""
    kind = loop_class() or asyncio.SelectorEventLoop
    # To authors it is what it would be without us.
    guarded = type(kind.__name__, (Guards, kind), {"__module__": kind.__module__})
    if not issubclass(kind, asyncio.BaseEventLoop):
        guarded.call_soon = _call_soon(kind.call_soon)  # type: ignore[attr-defined]  # as every loop has
    loop: asyncio.AbstractEventLoop = guarded()
    loop.set_task_factory(_make_task)
    loop.set_exception_handler(_tell_trouble)
    return loop


def forget(loop: asyncio.AbstractEventLoop, who: CodeOwner) -> None:
    """Let go of what somebody has set on a loop. Work that waits in a pool is done all the same."""
    if isinstance(loop, Guards) and loop.interrupts is not None:
        loop.interrupts.forget(who)
    settings = loop.settings.pop(who, None) if isinstance(loop, Guards) else None
    if settings is not None and settings.own_pool:
        assert settings.pool is not None
        settings.pool.shutdown(wait=False)


class _Settings:
    """What one owner has set on the loop."""

    __slots__ = ("factory", "handler", "own_pool", "pool")

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.own_pool = False
        """The pool was made here, and is to be shut down here."""
        self.factory: Factory | None = None
        self.handler: Handler | None = None


class SignalKeeper(Protocol):
    """Keeps what blocks set for the signals that an executor process leaves on: ``interrupts.Interrupts``."""

    def keep(self, number: int, callback: Callable[[], object]) -> bool:
        """Keep a callback that a block has given the loop; False where the loop shall have it."""
        ...

    def let_go(self, number: int) -> bool | None:
        """Forget a callback of the loop's, and tell whether there was one; None where the loop has it."""
        ...

    def forget(self, who: Any) -> None:
        """Forget what somebody has set who has ended."""
        ...


class Guards(Protocols):
    """Mixed into a class of event loops."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: weakref.WeakKeyDictionary[Any, _Settings] = weakref.WeakKeyDictionary()
        self.interrupts: SignalKeeper | None = None
        """What becomes of signals, in an executor process."""
        self._awaited: asyncio.Future[Any] | None = None
        self._born = generation()
        self._generators = Generators(self)

    def _mine(self) -> _Settings | None:
        who = owner()
        return None if who is None else self.settings.setdefault(who, _Settings())

    # ------------------------------------------------------------------ running and stopping

    def run_until_complete(self, future: Any) -> Any:
        if self.is_running():
            return super().run_until_complete(future)
        awaited: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        self._awaited = awaited
        while True:
            try:
                return super().run_until_complete(awaited)
            except BaseException as error:
                # KeyboardInterrupt and SystemExit of a callback come out here, and end the job whose they are, not the
                # loop.
                if self.is_closed() or generation() != self._born:
                    # In a forked process it isn't the loop's turn any more: what it waits on is its parent's.
                    raise
                if awaited.done():
                    return awaited.result()
                # Whatever was ready is ready still.
                blame(error, _raised_by(error) or self.whose_in(error.__traceback__))

    def stop(self) -> None:
        if self._awaited is None or self._awaited.done():
            super().stop()
            return
        words = "a block can't stop the event loop: other jobs run on it. Return, or call sys.exit()"
        error = LocalProtocolError(words)
        blame(error, owner())
        raise error

    # ------------------------------------------------------------------ callbacks

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(_guard(callback), *args, context=context)

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_later(delay, _guard(callback), *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, _guard(callback), *args, context=context)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        return super().add_reader(fd, _guard(callback, lambda: self.remove_reader(fd)), *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
        return super().add_writer(fd, _guard(callback, lambda: self.remove_writer(fd)), *args)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        usual = not callable(callback) or inspect.iscoroutinefunction(callback)
        if usual or self.interrupts is None or not self.interrupts.keep(sig, partial(callback, *args)):
            super().add_signal_handler(sig, _guard(callback), *args)

    def remove_signal_handler(self, sig: int) -> bool:
        kept = None if self.interrupts is None else self.interrupts.let_go(sig)
        return super().remove_signal_handler(sig) if kept is None else kept

    # ------------------------------------------------------------------ what each owner has of its own

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        settings = self._mine() if executor is None else None
        if settings is not None:
            if settings.pool is None and sum(each.own_pool for each in self.settings.values()) < _POOLS:
                settings.pool = ThreadPoolExecutor(thread_name_prefix="asyncio")
                settings.own_pool = True
            executor = settings.pool
        return super().run_in_executor(executor, func, *args)

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:
        settings = self._mine()
        if settings is None:
            super().set_default_executor(executor)
        elif isinstance(executor, ThreadPoolExecutor):
            settings.pool, settings.own_pool = executor, False
        else:
            raise TypeError("executor must be ThreadPoolExecutor instance")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        settings = self._mine()
        if settings is None:
            await super().shutdown_default_executor()
        elif settings.pool is not None:
            pool, settings.pool, settings.own_pool = settings.pool, None, False
            await wait_in_thread(pool.shutdown, places=None)

    def set_task_factory(self, factory: Any) -> None:
        settings = self._mine()
        if settings is None:
            super().set_task_factory(factory)
        elif factory is None or callable(factory):
            settings.factory = factory
        else:
            raise TypeError("task factory must be a callable or None")

    def get_task_factory(self) -> Any:
        settings = self._mine()
        return super().get_task_factory() if settings is None else settings.factory

    def set_exception_handler(self, handler: Any) -> None:
        settings = self._mine()
        if settings is None:
            super().set_exception_handler(handler)
        elif handler is None or callable(handler):
            settings.handler = handler
        else:
            raise TypeError(f"A callable object or None is expected, got {handler!r}")

    def get_exception_handler(self) -> Any:
        settings = self._mine()
        return super().get_exception_handler() if settings is None else settings.handler

    # ------------------------------------------------------------------ asynchronous generators

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]  # the interpreter's hooks, in both kinds of loops
        self._generators.begins(agen)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        context = self._generators.ends(agen)
        if context is None:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]  # as above
        elif not self.is_closed():
            # In the context that it began in: whoever made the collector come has nothing to do with it.
            self.call_soon_threadsafe(self.create_task, agen.aclose(), context=context)

    async def shutdown_asyncgens(self) -> None:
        who = owner()
        if who is None:
            await super().shutdown_asyncgens()
        else:
            await self._generators.close_those_of(who)


def _call_soon(plain: Callable[..., asyncio.Handle]) -> Callable[..., asyncio.Handle]:
    """Return a ``call_soon`` with a guard, for loops whose handles can't be seen in a traceback. Each step needs it."""
    steps: set[type] = set()

    def call_soon(loop: Any, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        # The steps of tasks are guarded by the factory.
        if type(callback) not in steps:
            if not isinstance(getattr(callback, "__self__", None), asyncio.Task):
                callback = _guard(callback)
            elif type(callback).__name__ == "TaskStepMethWrapper":
                steps.add(type(callback))
        return plain(loop, callback, *args, context=context)

    return call_soon


# ---------------------------------------------------------------------- guards


class _Guarded:
    """A callback that ends its job instead of the loop."""

    __slots__ = ("_callback", "_remove")

    def __init__(self, callback: Callable[..., object], remove: Callable[[], object] | None) -> None:
        self._callback = callback
        self._remove = remove
        """Takes the callback off the loop, which would call it again and again."""

    def __call__(self, *args: Any) -> object:
        try:
            return self._callback(*args)
        except ENDS as error:
            blame(error, owner())
            if self._remove is not None:
                self._remove()
            return None

    def __repr__(self) -> str:
        return repr(self._callback)


def _guard(callback: Any, remove: Callable[[], object] | None = None) -> Any:
    # What isn't callable is for the loop to refuse.
    return callback if type(callback) is _Guarded or not callable(callback) else _Guarded(callback, remove)


def _make_task(loop: asyncio.AbstractEventLoop, coro: Coro, **kwargs: Any) -> asyncio.Future[Any]:
    who = owner()
    if who is None or not asyncio.iscoroutine(coro):
        return asyncio.Task(coro, loop=loop, **kwargs)
    guarded: Any = _guarded(coro, who)
    # Tasks are shown to people by the name of their coroutine.
    guarded.__name__ = getattr(coro, "__name__", guarded.__name__)
    guarded.__qualname__ = getattr(coro, "__qualname__", guarded.__qualname__)
    settings = loop.settings.get(who) if isinstance(loop, Guards) else None
    if settings is not None and settings.factory is not None:
        return settings.factory(loop, guarded, **kwargs)
    task: asyncio.Task[Any] = asyncio.Task(guarded, loop=loop, **kwargs)
    who.task_begun(task, coro)
    task.add_done_callback(partial(_end, coro))
    return task


def _end(coro: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> None:
    """Close what a task that was cancelled at once has never begun, as tasks do: nobody has forgotten to await it."""
    if task.cancelled():
        given_up(coro)


async def _guarded(coro: Coroutine[Any, Any, Any], who: CodeOwner) -> Any:
    try:
        return await coro
    except ENDS as error:
        blame(error, who)
        # Whoever waits for the task goes no further either.
        raise asyncio.CancelledError(f"{type(error).__name__} in a task of the block") from error


def _tell_trouble(loop: asyncio.AbstractEventLoop, trouble: dict[str, Any]) -> None:
    """Hand what went wrong in a callback or a task to the handler that its owner has set."""
    who = _concerned(loop, trouble)
    if who is not None and isinstance(trouble.get("exception"), ENDS):
        # Of a protocol, whose transport uvloop has closed.
        blame(trouble["exception"], who)
        return
    settings = loop.settings.get(who) if who is not None and isinstance(loop, Guards) else None
    if settings is None or settings.handler is None:
        task, error = trouble.get("task") or trouble.get("future"), trouble.get("exception")
        if who is not None and isinstance(task, asyncio.Task) and error is not None:
            who.task_failed(task, error)
        else:
            loop.default_exception_handler(trouble)
        return
    try:
        settings.handler(loop, trouble)
    except ENDS as error:
        blame(error, who)


def _concerned(loop: asyncio.AbstractEventLoop, trouble: dict[str, Any]) -> CodeOwner | None:
    task = trouble.get("task") or trouble.get("future")
    if isinstance(task, asyncio.Task) and (context := context_of(task)) is not None:
        return owner(context)
    handle = getattr(trouble.get("handle"), "_context", None)
    if isinstance(handle, contextvars.Context):
        return owner(handle)
    protocol = trouble.get("protocol")
    return owner() or (loop.whose(protocol) if isinstance(loop, Guards) and protocol is not None else None)


_RUN = asyncio.Handle._run.__code__


def _raised_by(error: BaseException) -> CodeOwner | None:
    """Return whose callback raised what has left the loop; asyncio's handles can be seen in the traceback."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is _RUN:
            context = getattr(trace.tb_frame.f_locals.get("self"), "_context", None)
            return owner(context) if context is not None else None
        trace = trace.tb_next
    return None
