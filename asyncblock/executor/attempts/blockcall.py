"""BlockCall: the author's code of one job, called. As a task of the executor's loop, or in a thread of its own.

What it comes to is told as it is: an ``Exited`` and a ``Raised`` stand for what would have ended the loop. What follows
from that for the job is ``job``'s to say.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...block import Binding
from ...context import Context, JobInfo, SyncContext
from ...metadata import give
from ...runtime.offload import Abandoned, run_in_thread
from ...shapes import Declared, handles_of
from ...telemetry import current
from ...telemetry.traces import trace_of_job
from ...values import is_small
from ..attribution import forked
from ..attribution.capture import flush_job
from ..attribution.tasks import OwningJob, context_for, job_of_lines
from .jobhost import JobHost

__all__ = ["BlockCall", "Exited", "Raised", "settle"]


class Exited:
    """The block called ``sys.exit``."""

    def __init__(self, code: object) -> None:
        self.code = code

    def ending(self) -> dict[str, Any]:
        """Return what the job's finish says of it."""
        if self.code is None or self.code == 0:
            return {}
        return {"error": f"the block called sys.exit({self.code!r})", "error_type": "SystemExit"}


class Raised:
    """What a block raised that can't leave its thread, or its task, as it is."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def take(self) -> BaseException:
        """Return it and forget it: its frames know what becomes of it, and a circle stays until the collector comes."""
        error = self._error
        del self._error
        return error


class BlockCall:
    """One call. ``over`` is called when the code of an async block has ended, a turn before its task is done."""

    __slots__ = ("_binding", "_hosting", "_info", "_job", "_large", "_over", "_result", "_to_free", "thread")

    def __init__(
        self,
        hosting: JobHost,
        job: OwningJob,
        info: JobInfo,
        binding: Binding,
        *,
        to_free: list[Any],
        large: bool,
        over: Callable[[], None],
    ) -> None:
        self._hosting = hosting
        self._job = job
        self._info = info
        self._binding = binding
        self._to_free = to_free
        """Takes what the job has to part with when it is over."""
        self._large = large
        """Some of the inputs are large."""
        self._over = over
        self._result: asyncio.Future[object] | None = None
        """What the thread of a sync block comes to."""
        self.thread: int | None = None
        """The thread in which the block's code runs, while it does."""

    def start(self, ctx: Context | SyncContext) -> asyncio.Task[object]:
        """Let the code begin; return what is done when it has ended."""
        loop = self._hosting.loop
        if isinstance(ctx, SyncContext):
            return loop.create_task(self._in_thread(ctx))
        sink = ctx.sink
        context = context_for(self._job, sink, self._hosting.contexts.get(self._info.session_id))
        self._give(context)
        job_of_lines[sink.line] = self._job
        return loop.create_task(self._in_task(ctx), context=context)

    @property
    def in_thread(self) -> bool:
        """Tell whether it is a sync block's, and was begun."""
        return self._result is not None

    def abandon(self) -> None:
        """End the wait for the thread; the thread may not end."""
        # What it comes to after all is posted to a future that is done, and settles nothing.
        if self._result is not None:
            settle(self._result, Raised(Abandoned()))

    def raise_in_thread(self, kind: type[BaseException]) -> bool:
        """Raise an exception where the thread stands, once it runs Python code; False if there is none."""
        # Once: the thread may end meanwhile.
        thread = self.thread
        if thread is None:
            return False
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
        return True

    def _give(self, context: contextvars.Context) -> None:
        """Let the block's context have what travels with its session."""
        info = self._info
        trace = trace_of_job(info.metadata, info.session_id, info.job_id, info.attempt) if info.metadata else None
        if info.metadata:
            give(context, info.metadata)
        if trace is None:
            current.leave(context)
        else:
            current.enter(context, trace)

    async def _in_task(self, ctx: Context) -> object:
        inputs: Any = ctx.inputs
        binding = self._binding
        try:
            if binding.shape is not None:
                inputs = await self._shaped(ctx.inputs)
            with forked.children_end():
                return _by_handle(await binding.call(inputs, ctx))
        except SystemExit as exit:
            # Caught here: a SystemExit that leaves a task would end the event loop.
            return Exited(exit.code)
        except KeyboardInterrupt as error:
            return Raised(error)
        finally:
            if self._large and binding.shape is not None:
                # A copy, so that its parts are only ours.
                self._to_free += list((handles_of(inputs) or {}).values())
            # Not only when the task is done: that would be told a turn of the loop later (dispatch).
            self._over()

    async def _shaped(self, inputs: Mapping[str, Any]) -> Any:
        """Make the class of the inputs that annotates them; large ones off the loop."""
        shaped, declared = self._binding.shaped, self._info.inputs_def
        if self._large or any(isinstance(each, (dict, list)) and not is_small(each) for each in inputs.values()):
            return await run_in_thread(shaped, inputs, declared)
        return shaped(inputs, declared)

    async def _in_thread(self, ctx: SyncContext) -> object:
        # By its sink alone is the thread the job's: what it leaves to pools may outlive it.
        context = context_for(None, ctx.sink, self._hosting.contexts.get(self._info.session_id))
        self._give(context)
        job_of_lines[ctx.sink.line] = self._job
        result = self._result = self._hosting.loop.create_future()
        inbox = self._hosting.inbox

        def work() -> None:
            self.thread = threading.get_ident()
            try:
                with forked.children_end():
                    value: object = context.run(_run_sync, self._binding, ctx, self._info.inputs_def)
            except SystemExit as exit:
                value = Exited(exit.code)
            except BaseException as error:
                # KeyboardInterrupt too: it is the block's, and the job's end has to be told.
                value = Raised(error)
            finally:
                self.thread = None
            context.run(flush_job, ctx.sink)
            inbox.post(settle, result, value)
            if ctx.afterwards is not None:
                context.run(ctx.afterwards)

        threading.Thread(target=work, name=f"asyncblock job {self._info.job_id}", daemon=True).start()
        return await _wait_through_cancel(result)


def settle(result: asyncio.Future[object], value: object) -> None:
    """Set a future's result, unless it is done."""
    if not result.done():
        result.set_result(value)


def _run_sync(binding: Binding, ctx: SyncContext, declared: Declared | None) -> object:
    return _by_handle(binding.call(binding.shaped(ctx.inputs, declared), ctx))


def _by_handle(returned: object) -> object:
    """Return a block's outputs as a mapping, and anything else as it is. May run the author's code."""
    if returned is None or type(returned) is dict:
        return returned
    found = handles_of(returned)
    return returned if found is None else found


async def _wait_through_cancel(result: asyncio.Future[object]) -> object:
    """Wait for a thread's result: a cancel can't stop the thread, it is delivered when the thread has ended."""
    while not result.done():
        try:
            await asyncio.shield(result)
        except asyncio.CancelledError:
            if result.cancelled():
                raise
    return result.result()
