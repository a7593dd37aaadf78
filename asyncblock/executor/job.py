"""One attempt of one job: get the function and the inputs, say JobStarted, run, and say the one end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from ..block import Binding
from ..context import Context, CredentialInput, JobInfo, SyncContext, now_ms
from ..errors import AsyncBlockError, LeaseLost, Unavailable
from ..link import Outlet
from ..metadata import give
from ..offload import Abandoned, run_in_thread, wait_in_thread
from ..shapes import Declared, handles_of
from ..telemetry import current
from ..telemetry.traces import TRACEPARENT, trace_of_job
from ..values import is_small
from ..wire.messages import Dispatch
from ..wire.records import encode
from . import capture, clocks, forked, shows
from .blockloop import forget
from .caching import Caching
from .capture import flush_job
from .catalog import PackageEdited
from .commons import CHANGED, HANDLERS, Changes
from .failure import author_traceback, further_lines, missing_extra, summary
from .inputs import HeldInputs, gather_inputs
from .jobhost import JobHost
from .jobtemplates import JobTemplate
from .leftovers import Leftovers
from .standing import standing_at
from .tasks import ENDS, context_for, job_of_lines
from .vault import Vault

__all__ = ["RunningJob", "started_record"]

T = TypeVar("T")
logger = logging.getLogger("asyncblock.executor")

_FENCED_GRACE = 10.0
"""Seconds that a block has to end whose lease is lost, or that has ended itself by a task or a callback."""

_LAST_MOMENT = 1.0
"""Seconds that a thread has to end after the exception was raised in it: it gets there when it runs Python code."""

_STALL_WORD = 1.0
"""Seconds that a job's end waits for the watchdog to say how long its stall was."""

_NOTHING = contextlib.nullcontext()

Ending = dict[str, Any]
"""Fields of the BlockFinished record, besides ``result``."""


class RunningJob:
    """A job on this executor, from its dispatch to the acknowledged finish. Lives on the executor's loop."""

    __slots__ = (
        "__weakref__",
        "_caching",
        "_cancelled",
        "_changes",
        "_ctx",
        "_deadline",
        "_exit",
        "_fenced",
        "_figures",
        "_function",
        "_held",
        "_hosting",
        "_info",
        "_large",
        "_leftovers",
        "_main",
        "_message",
        "_notes",
        "_outlet",
        "_over",
        "_parting",
        "_release",
        "_result",
        "_stall_over",
        "_starting",
        "_streams",
        "_template",
        "_thread",
        "_waiting",
        "channel",
        "key",
        "task",
    )

    def __init__(self, hosting: JobHost, message: Dispatch, template: JobTemplate, outlet: Outlet) -> None:
        self.key = (message.job_id, message.attempt)
        self.channel = message.channel
        """The job's channel on the link."""
        self.task: asyncio.Task[None] | None = None
        self._hosting = hosting
        self._message: Dispatch | None = message
        """Until its inputs are gathered."""
        self._outlet = outlet
        self._template = template
        self._info = _job_info(message, template, hosting)
        self._ctx: Context | SyncContext | None = None
        self._cancelled: str | None = None
        self._fenced: str | None = None
        self._starting: asyncio.Future[object] | None = None
        """Done when the block's code may begin, or never shall."""
        self._main: asyncio.Task[object] | None = None
        self._thread: int | None = None
        self._result: asyncio.Future[object] | None = None
        """What the thread of a sync block comes to."""
        self._over: asyncio.Future[None] | None = None
        """Done when the block has ended or is given up."""
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        """Waits for a service to be ready."""
        self._release: Callable[[], None] | None = None
        """Tells the service that the call has ended."""
        self._exit: Ending | None = None
        """What a task or a callback of the block has ended it with."""
        self._held = HeldInputs(hosting)
        self._leftovers: Leftovers | None = None
        """The tasks that the block has started, on a loop that is the executor's."""
        self._large = False
        """Some of its inputs are large."""
        self._caching: Caching | None = None
        """Its part in the cache of results, if it has one."""
        self._parting: list[Any] = []
        """What the block has returned, where some of it is large."""
        self._stall_over: asyncio.Event | None = None
        """While a stall of this job's lasts, or its end isn't told."""
        self._changes: Changes | None = None
        """What it has changed that all jobs of the process have in common."""
        self._notes: list[str] | None = None
        """What is to be told of it at its end."""
        self._figures: frozenset[int] = frozenset()
        """pyplot's figures that were open at its beginning, where nobody notes whose they are."""
        self._streams = False
        """It began when ``sys.stdout`` and ``sys.stderr`` were what they should be."""
        self._function: Callable[..., object] | None = None
        """The block's, where that is to be looked at in its end."""

    # ------------------------------------------------------------------ what others may ask

    @property
    def code_over(self) -> asyncio.Future[None] | None:
        """Done when the block's own code has ended, or is waited for no longer; None before it begins."""
        return self._over

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""
        return self._cancelled is not None

    @property
    def session_id(self) -> str:
        """The job's session."""
        return self._info.session_id

    @property
    def node_id(self) -> str:
        """The node of the flow that the job runs for."""
        return self._template.node_id

    @property
    def may_hold_streams(self) -> bool:
        """Whether its code runs, and may have put something in the place of ``sys.stdout``."""
        return self._streams and self._over is not None and not self._over.done()

    def changes(self) -> Changes | None:
        """Where changes are noted of what all jobs of the process have in common; None in a process of its own."""
        if self._changes is None and not self._hosting.options.once:
            self._changes = Changes()
        return self._changes

    def note(self, words: str) -> None:
        """Tell something at the job's end, once. From any thread."""
        if self._notes is None:
            self._notes = []
        if words not in self._notes:
            self._notes.append(words)

    def once_in_journal(self, then: Callable[[BaseException | None], None]) -> None:
        """Call ``then`` once, on the I/O thread, when what the job has sent is in the journal, or never will be."""
        self._outlet.mark(then)

    def stall_began(self) -> None:
        """The watchdog saw a stall of this job's: its word about the end of it comes before the finish."""
        self._stall_over = self._stall_over or asyncio.Event()

    def stall_ended(self, words: str) -> None:
        """Send a warning about the stall, if there is room for it."""
        if self._stall_over is not None:
            self._stall_over.set()
            self._stall_over = None
        self._warn(words)

    def task_begun(self, task: asyncio.Task[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
        """Take note of a task that the block has started."""
        if self._leftovers is None:
            who = f"node {self._template.node_id} (job {self._info.job_id})"
            self._leftovers = Leftovers(who, self._hosting.catalog.roots, self._info.secrecy.text)
        self._leftovers.add(task, coroutine)

    def task_failed(self, task: asyncio.Task[Any], error: BaseException) -> None:
        """Tell of a task's error that nobody has asked for: in the job's log while it is open."""
        if self._leftovers is not None:
            self._leftovers.failed(task, error, self._stderr())

    def _stderr(self) -> Callable[[str], object] | None:
        ctx = self._ctx
        if not isinstance(ctx, Context) or self._outlet.channel.finish is not None:
            return None
        take = ctx.sink.line
        return lambda text: take(text, "stderr")

    def cancel(self, reason: str, grace: float) -> None:
        """Cancel the block; it may clean up for ``grace`` seconds. A repeated cancel changes nothing."""
        if self._cancelled is not None or self._fenced is not None:
            return
        self._cancelled = reason
        self._hosting.budget.change()
        self._begin_no_more(reason)
        if self._main is not None and not self._main.done():
            self._main.cancel(reason)
        elif self._ctx is not None and self.task is not None and self.task.done() and self._exit is None:
            # keepAlive: the block has returned and left its job open; nobody else will finish it. One whose finish
            # waits for its acknowledgement has ended.
            self._hosting.tasks.create_task(self._conclude({"cancelled": True}))
        if isinstance(self._ctx, SyncContext):
            # A thread that waits for a block that it runs, or in an event loop of its own, hears nothing else.
            self._ctx.release_blocks(f"was cancelled: {reason}")
            self._interrupt(reason)
        self._deadline = self._hosting.loop.call_later(grace, self._out_of_time)

    def fence(self, reason: str) -> None:
        """Stop the block: what it still sends isn't wanted."""
        if self._fenced is None:
            self._fenced = reason
            self._cancelled = self._cancelled or reason
            self._hosting.budget.change()
            self._begin_no_more(reason)
            if self._ctx is not None:
                self._ctx.release_blocks(f"lost its lease: {reason}")
                self._interrupt(f"lease lost: {reason}")
            if self._main is not None and not self._main.done():
                self._main.cancel(f"lease lost: {reason}")
                self._deadline = self._deadline or self._hosting.loop.call_later(_FENCED_GRACE, self._out_of_time)
            else:
                self._done()

    def _interrupt(self, reason: str) -> None:
        if isinstance(self._ctx, SyncContext) and self._ctx.interrupt is not None:
            self._ctx.interrupt(reason)

    def _begin_no_more(self, reason: str) -> None:
        if self._waiting is not None:
            self._waiting.cancel(reason)
        if self._starting is not None:
            _settle(self._starting, None)

    def exited(self, error: BaseException) -> None:
        """A task or a callback of the block raised what would have ended the process: the job ends with that."""
        if self._hosting.job_is_over(self):
            logger.warning("job %s has ended, and what it left raised %s", self._info.job_id, summary(error))
            return
        if self._exit is not None:
            return
        self._exit = _Exited(error.code).ending() if isinstance(error, SystemExit) else self._failure(error)
        if self._main is not None and not self._main.done():
            self._main.cancel(f"{type(error).__name__} in a task or a callback of the block")
            self._deadline = self._deadline or self._hosting.loop.call_later(_FENCED_GRACE, self._out_of_time)
        elif self.task is not None and self.task.done():
            # keepAlive: nobody else will finish it.
            self._hosting.tasks.create_task(self._conclude(self._exit))

    def _out_of_time(self) -> None:
        if self._main is None or self._main.done():
            return
        thread = self._thread
        if thread is None:
            self._give_up()
        else:
            _raise_in_thread(thread, Abandoned)
            self._deadline = self._hosting.loop.call_later(_LAST_MOMENT, self._give_up)

    def _give_up(self, _: object = None) -> None:
        """Wait no longer for the block; its task or thread is left."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    # ------------------------------------------------------------------ the run

    async def run(self) -> None:
        """Run the block to its end; never raises."""
        try:
            binding = await self._binding()
            inputs = await self._inputs(binding)
            if self._caching is not None:
                await wait_in_thread(self._caching.look, inputs)
                if self._caching.kept is not None:
                    binding = self._caching.kept.binding()
            if TRACEPARENT in self._info.metadata and not current.prepared():
                await run_in_thread(current.prepare)
            self._ctx = self._context(binding, inputs)
        except asyncio.CancelledError:
            await self._conclude({"cancelled": True})
            return
        except PackageEdited as error:
            if not await self._hosting.give_back(self, str(error)):
                await self._conclude(self._failure(error))
            return
        except BaseException as error:
            await self._conclude(self._failure(error))
            return
        async with _NOTHING if binding.is_async or binding.own_loop else self._hosting.threads:
            if not await self._say_started():
                await self._conclude({"cancelled": True})
                return
            if self._caching is not None and "BlockCache" in self._hosting.link.understands:
                self._outlet.try_accept(self._outlet.channel.telemetry, self._caching.words)
            self._streams = capture.streams_stand()
            if not shows.in_place():
                self._figures, self._function = shows.open_numbers(), binding.fn
            main = self._main = self._start_async(binding) if binding.is_async else self._start_sync(binding)
            with self._hosting.watchdog.watching() if binding.is_async else _NOTHING:
                # Awaited here and not further in: each coroutine in between would stay with every open job (memory).
                await self._until_over(main)
                if not self._hosting.job_is_over(self):
                    await self._judge(main)
                elif main.done() and not main.cancelled():
                    # Its lease was lost in the turn in which it ended: nobody asks for that, nor for its error.
                    main.exception()
        # Here, where no frame holds it any more.
        if self._parting:
            self._hosting.part_with_soon(self._parting)

    async def _binding(self) -> Binding:
        spec, session_id = self._template.block, self._info.session_id
        catalog = self._hosting.catalog
        if "service" in spec:
            return await self._unless_cancelled(self._service())
        cached = catalog.cached(self._template.binding_key)
        if cached is not None:
            return cached
        # A task, so that a cancel need not wait for an import, however long that takes.
        return await self._unless_cancelled(self._hosting.loading.binding(spec, session_id))

    async def _unless_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._hosting.loop.create_task(work)
        self._waiting = task
        try:
            return await task
        finally:
            self._waiting = None

    async def _service(self) -> Binding:
        binding, self._release = await self._hosting.services.take(self._template.block, self._info.session_id)
        return binding

    async def _inputs(self, binding: Binding) -> dict[str, Any]:
        message, self._message = self._message, None
        assert message is not None
        self._large = bool(message.bodies)
        if self._template.is_cached:
            self._caching = Caching(self._hosting, self._info, self._template, message)
        gathering = gather_inputs(self._hosting, self._info, message, binding.bodies, self._held)
        if not self._large:
            return await gathering
        return await self._unless_cancelled(gathering)

    def _context(self, binding: Binding, inputs: Mapping[str, Any]) -> Context | SyncContext:
        hosting = self._hosting
        if self._caching is not None and self._caching.kept is None:
            if not binding.is_async:
                self._outlet.use_port(hosting.thread_port)
            recording = self._caching.context(inputs, self._outlet, sync=not binding.is_async)
            if recording is not None:
                return recording
        if binding.is_async:
            return Context(self._info, inputs, self._outlet, hosting.store)
        self._outlet.use_port(hosting.thread_port)
        return SyncContext(self._info, inputs, self._outlet, hosting.store, hosting.thread_lock)

    def _start_async(self, binding: Binding) -> asyncio.Task[object]:
        ctx = self._ctx
        assert isinstance(ctx, Context)
        sink = ctx.sink
        context = context_for(self, sink, self._hosting.contexts.get(self._info.session_id))
        self._give(context)
        job_of_lines[sink.line] = self
        return self._hosting.loop.create_task(self._call(binding, ctx), context=context)

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

    async def _call(self, binding: Binding, ctx: Context) -> object:
        inputs: Any = ctx.inputs
        try:
            if binding.shape is not None:
                inputs = await self._shaped(binding, ctx.inputs)
            with forked.children_end():
                return _by_handle(await binding.call(inputs, ctx))
        except SystemExit as exit:
            # Caught here: a SystemExit that leaves a task would end the event loop.
            return _Exited(exit.code)
        except KeyboardInterrupt as error:
            return _Raised(error)
        finally:
            if self._large and binding.shape is not None:
                # A copy, so that its parts belong to nobody but us.
                self._parting += list((handles_of(inputs) or {}).values())
            # Not only when the task is done: that would be told a turn of the loop later (dispatch).
            self._give_up()

    async def _shaped(self, binding: Binding, inputs: Mapping[str, Any]) -> Any:
        """Make the class of the inputs that annotates them; large ones off the loop."""
        if self._large or any(isinstance(each, (dict, list)) and not is_small(each) for each in inputs.values()):
            return await run_in_thread(binding.shaped, inputs, self._info.inputs_def)
        return binding.shaped(inputs, self._info.inputs_def)

    def _start_sync(self, binding: Binding) -> asyncio.Task[object]:
        ctx = self._ctx
        assert isinstance(ctx, SyncContext)
        return self._hosting.loop.create_task(self._in_thread(binding, ctx))

    async def _in_thread(self, binding: Binding, ctx: SyncContext) -> object:
        # By its sink alone is the thread the job's: what it leaves to pools may outlive it.
        context = context_for(None, ctx.sink, self._hosting.contexts.get(self._info.session_id))
        self._give(context)
        job_of_lines[ctx.sink.line] = self
        result = self._result = self._hosting.loop.create_future()
        inbox = self._hosting.inbox

        def work() -> None:
            self._thread = threading.get_ident()
            try:
                with forked.children_end():
                    value: object = context.run(_run_sync, binding, ctx, self._info.inputs_def)
            except SystemExit as exit:
                value = _Exited(exit.code)
            except BaseException as error:
                # KeyboardInterrupt too: it is the block's, and the job's end has to be told.
                value = _Raised(error)
            finally:
                self._thread = None
            context.run(flush_job, ctx.sink)
            inbox.post(_settle, result, value)
            if ctx.afterwards is not None:
                context.run(ctx.afterwards)

        threading.Thread(target=work, name=f"asyncblock job {self._info.job_id}", daemon=True).start()
        return await _wait_through_cancel(result)

    async def _say_started(self) -> bool:
        """Say JobStarted and wait until it is on its way: a process that dies now dies with the author's code begun.

        False when the job was cancelled or fenced before that: the code doesn't begin.
        """
        if self._cancelled is not None:
            return False
        if not self._outlet.channel.start_said:
            # Mostly it was, when the dispatch came: no other record is made for nothing.
            self._outlet.start(started_record())
        if not self._outlet.started:
            sent = self._starting = self._hosting.loop.create_future()
            inbox = self._hosting.inbox
            self._outlet.when_started(lambda: inbox.post(_settle, sent, None))
            await sent
            self._starting = None
        return self._cancelled is None

    def _until_over(self, main: asyncio.Task[object]) -> asyncio.Future[None]:
        """Return what is done when the block has ended, or is given up."""
        self._over = self._hosting.loop.create_future()
        main.add_done_callback(self._give_up)
        return self._over

    async def _judge(self, main: asyncio.Task[object]) -> None:
        """Say how the block ended."""
        if not main.done():
            await self._leave_behind(main)
        elif self._exit is not None and self._cancelled is None:
            await self._conclude(self._exit)
        elif main.cancelled():
            await self._conclude(self._cancel_ending())
        elif (error := main.exception()) is not None:
            await self._conclude(self._failure(error))
        else:
            await self._ended(main.result())

    async def _ended(self, returned: object) -> None:
        if self._cancelled is not None:
            # A block that swallows its cancel and returns is cancelled all the same.
            await self._conclude({"cancelled": True})
        elif isinstance(returned, _Exited):
            await self._conclude(returned.ending())
        elif isinstance(returned, _Raised):
            await self._conclude(self._failure(returned.take()))
        else:
            await self._returned(returned)

    def _finished_later(self) -> None:
        """Let go of a job that its block has left open and finished since."""
        # One that was cancelled, or has ended itself, is let go of by whoever says its end.
        if not (self._hosting.job_is_over(self) or self._cancelled is not None or self._exit is not None):
            self._exit = {}
            self._hosting.tasks.create_task(self._conclude({}))

    async def _leave_behind(self, main: asyncio.Task[object]) -> None:
        """End the job of a block that doesn't end: it goes on, and nothing of it counts any more."""
        place = standing_at(main, self._thread, self._hosting.catalog.roots())
        logger.warning(
            "job %s (node %s) was cancelled and didn't end in its time%s; it is left behind",
            self._info.job_id,
            self._template.node_id,
            place,
        )
        in_thread = self._result is not None
        if self._result is not None:
            # The wait for the thread ends; the thread may not.
            _settle(self._result, _Raised(Abandoned()))
        # First, so that no job is sent here because the slot is free.
        await self._hosting.left_behind(main, in_thread=in_thread)
        await self._conclude({"cancelled": True} if self._exit is None or self._cancelled is not None else self._exit)

    async def _returned(self, value: object) -> None:
        ctx = self._ctx
        assert ctx is not None
        if value is ctx.keepAlive:
            inbox = self._hosting.inbox
            self._outlet.when_finished(lambda: inbox.post(self._finished_later))
            return
        if ctx.unawaited:
            await self._conclude({"error": ctx.unawaited_words()})
        elif value is None:
            await self._conclude({})
        elif isinstance(value, Mapping):
            await self._conclude({}, value)
            if ctx.returned_large:
                self._parting += value.values()
        else:
            kinds = "a dict of outputs (or a dataclass and the like), None or ctx.keepAlive"
            words = f"main returned {type(value).__name__}; a block returns {kinds}"
            await self._conclude({"error": words})

    def _cancel_ending(self) -> Ending:
        if self._cancelled is not None:
            return {"cancelled": True}
        return {
            "error": "the block raised CancelledError though nobody had cancelled the job",
            "error_type": "CancelledError",
        }

    def _failure(self, error: BaseException) -> Ending:
        if self._hosting.options.on_failure is not None:
            self._hosting.options.on_failure(self._info.job_id, error)
        roots = self._hosting.catalog.roots()
        clean = self._info.secrecy.text
        return {
            "error": summary(error, clean) + further_lines(error) + missing_extra(error),
            "error_type": type(error).__name__,
            "traceback": author_traceback(error, roots=roots, clean=clean),
        }

    # ------------------------------------------------------------------ the end

    async def _conclude(self, ending: Ending, result: Mapping[str, object] | None = None) -> None:
        """Say the end, unless the block said it itself, and wait until it is in the journal."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stall_over is not None:
            await self._after_stall(self._stall_over)
        ctx = self._ctx
        if ctx is not None:
            sink = ctx.sink
            if isinstance(ctx, Context):
                flush_job(sink)
            await forked.last_words(sink)
        if isinstance(ctx, Context) and self._leftovers is not None:
            self._tell_leftovers(self._leftovers, running="error" not in ending and not ending.get("cancelled"))
        self._tell_changes()
        if ctx is not None:
            # Before the finish: once that is stored the next job may begin, and it must not find this one's figures.
            shows.end_job(ctx.sink)
        if ctx is None:
            ctx = self._ctx = Context(self._info, {}, self._outlet, self._hosting.store)
        try:
            if isinstance(ctx, Context):
                await ctx.conclude(ending, result)
            else:
                await wait_in_thread(ctx.conclude, ending, result, places=None)
        except LeaseLost as lost:
            logger.warning("%s", lost)
        except AsyncBlockError as error:
            if result is not None and isinstance(error, Unavailable):
                # What was returned can't be kept until it is sent: that can be told, and the job has no other end.
                await self._conclude(self._failure(error))
                return
            logger.warning("the end of job %s couldn't be reported: %s", self._info.job_id, error)
        except (Exception, *ENDS) as error:
            if result is None:
                raise
            # The author's: values that raise when they are read.
            await self._conclude(self._failure(error))
            return
        if "error" in ending or ending.get("cancelled"):
            self._hosting.places.job_failed(self._info.session_id)
        self._count(ending)
        self._done()

    def _tell_leftovers(self, leftovers: Leftovers, *, running: bool) -> None:
        """Tell, while the job's log is open, what the block leaves behind."""
        for task, error in leftovers.failures():
            leftovers.failed(task, error, self._stderr())
        words = leftovers.still_running() if running else None
        if words is not None:
            self._warn(words)

    def _tell_changes(self) -> None:
        """Tell what the block has done to others of its process, or they to it."""
        if self._over is None:
            # It hasn't begun.
            return
        left = None if self._function is None else shows.left_open(self._figures, self._function)
        if left is not None:
            self.note(left)
        if self.has_noted(HANDLERS):
            capture.lost_handler_is_told()
        elif capture.has_lost_handler() and not self._hosting.is_noted(HANDLERS):
            capture.lost_handler_is_told()
            self.note(CHANGED.format(f"{HANDLERS}, by which jobs have their logs"))
        words = self._changes.words() if self._changes is not None else None
        if words is not None:
            self.note(words)
        if not capture.streams_stand():
            for each in capture.job_ends(self if self._streams else None, self._hosting.with_streams(self)):
                self.note(each)
        notes, self._notes = self._notes, None
        for each in notes or ():
            if self._outlet.channel.finish is None:
                with self._hosting.thread_lock if isinstance(self._ctx, SyncContext) else _NOTHING:
                    self._warn(each)
            else:
                # The block has said its finish itself: its log is closed.
                logger.warning("node %s (job %s): %s", self.node_id, self._info.job_id, each)

    def has_noted(self, kind: str) -> bool:
        """Tell whether a change of some kind is noted of the job."""
        return self._changes is not None and self._changes.knows(kind, "")

    def _warn(self, words: str) -> None:
        """Send a warning, if there is room for it."""
        channel = self._outlet.channel
        if channel.finish is None and channel.trouble is None:
            self._outlet.try_accept(channel.telemetry, encode("BlockWarning", now_ms(), warning=words))

    async def _after_stall(self, over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_STALL_WORD):
                await over.wait()
        except TimeoutError:
            logger.debug("the watchdog didn't tell how a stall ended")

    def _count(self, ending: Ending) -> None:
        report = self._hosting.options.report
        if ending.get("cancelled"):
            report.cancelled += 1
        elif "error" in ending:
            report.failed += 1
        else:
            report.finished += 1

    def _done(self) -> None:
        self._held.end()
        if self._caching is not None:
            self._caching.close()
        if self._ctx is not None:
            sink = self._ctx.sink
            shows.end_job(sink)
            job_of_lines.pop(sink.line, None)
            forked.end_soon(sink)
        clocks.end_job(self)
        forget(self._hosting.loop, self)
        if self._release is not None:
            self._release()
            self._release = None
        if self._ctx is not None:
            self._ctx.release_blocks("has ended")
        # The block's task knows the job by its context: in a circle both would stay until the collector comes.
        self._main = self._result = None
        self._hosting.ended(self)
        if self._large and self._ctx is not None:
            self._hosting.part_with_soon(self._ctx.take_inputs())


def _run_sync(binding: Binding, ctx: SyncContext, declared: Declared | None) -> object:
    return _by_handle(binding.call(binding.shaped(ctx.inputs, declared), ctx))


def _by_handle(returned: object) -> object:
    """Return a block's outputs as a mapping, and anything else as it is. May run the author's code."""
    if returned is None or type(returned) is dict:
        return returned
    found = handles_of(returned)
    return returned if found is None else found


def started_record() -> bytes:
    """Return a JobStarted."""
    return encode("JobStarted", now_ms())


class _Exited:
    """The block called ``sys.exit``."""

    def __init__(self, code: object) -> None:
        self.code = code

    def ending(self) -> Ending:
        if self.code is None or self.code == 0:
            return {}
        return {"error": f"the block called sys.exit({self.code!r})", "error_type": "SystemExit"}


class _Raised:
    """What a sync block raised, on its way from the thread to the loop."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def take(self) -> BaseException:
        """Return it and forget it: its frames know what becomes of it, and a circle stays until the collector comes."""
        error = self._error
        del self._error
        return error


async def _wait_through_cancel(result: asyncio.Future[object]) -> object:
    """Wait for a thread's result: a cancel can't stop the thread, it is delivered when the thread has ended."""
    while not result.done():
        try:
            await asyncio.shield(result)
        except asyncio.CancelledError:
            if result.cancelled():
                raise
    return result.result()


def _settle(result: asyncio.Future[object], value: object) -> None:
    if not result.done():
        result.set_result(value)


def _raise_in_thread(ident: int, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))


def _job_info(message: Dispatch, template: JobTemplate, hosting: JobHost) -> JobInfo:
    return JobInfo(
        session_id=template.session_id,
        job_id=message.job_id,
        attempt=message.attempt,
        stacks=template.stacks,
        block_path=template.block_path,
        inputs_def=template.inputs_def,
        outputs_def=template.outputs_def,
        var_handles=template.var_handles,
        bin_handles=template.bin_handles,
        package=template.package,
        metadata=template.metadata,
        places=hosting.places,
        credential=_credential,
        depot=hosting.depot,
        engine=hosting.engine,
        room=partial(hosting.budget.room, (message.job_id, message.attempt))
        if template.var_handles and _goes_on(template)
        else None,
    )


def _goes_on(template: JobTemplate) -> bool:
    """Tell whether a block's outputs go downstream, and may be let go, while it runs."""
    retries = template.block.get("retries")
    if isinstance(retries, dict) and retries.get("retries") and retries.get("release") != "stream":
        return False
    # What a block that another one runs has put out stays until that ends.
    return not any(str(level.get("node_id", "")).startswith("run_block::") for level in template.stacks)


def _credential(credential: CredentialInput) -> dict[str, str]:
    return Vault().credential(credential.id)
