"""One attempt of one job: get the function and the inputs, say JobStarted, run, and say the one end.

``preparation`` has what comes before the block's code, ``blockcall`` its call, ``notedjob`` what is told of it besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...block import Binding
from ...context import Context, CredentialInput, JobInfo, SyncContext, now_ms
from ...errors import AsyncBlockError, LeaseLost, Unavailable
from ...link import JobSender
from ...runtime.offload import Abandoned, wait_in_thread
from ...wire.messages import Dispatch
from ...wire.records import encode
from ..attribution import forked, plothooks
from ..attribution.tasks import ENDS, job_of_lines
from ..code.catalog import PackageEdited
from ..code.jobtemplates import JobTemplate
from ..diagnosis.failure import finish_fields, summary
from ..diagnosis.standing import standing_at
from ..guards import clocks
from ..guards.blockloop import forget
from ..secrets.vault import Vault
from .blockcall import BlockCall, Exited, Raised, settle
from .jobhost import JobHost
from .notedjob import NotedJob
from .preparation import Preparation

__all__ = ["RunningJob", "started_record"]

logger = logging.getLogger("asyncblock.executor")

_FENCED_GRACE = 10.0
"""Seconds that a block has to end whose lease is lost, or that has ended itself by a task or a callback."""

_LAST_MOMENT = 1.0
"""Seconds that a thread has to end after the exception was raised in it: it gets there when it runs Python code."""

_NOTHING = contextlib.nullcontext()

Ending = dict[str, Any]
"""Fields of the BlockFinished record, besides ``result``."""

_UNASKED: Ending = {
    "error": "the block raised CancelledError though the job hadn't been cancelled",
    "error_type": "CancelledError",
}


class RunningJob(NotedJob):
    """A job on this executor, from its dispatch to the acknowledged finish. Lives on the executor's loop."""

    __slots__ = (
        "__weakref__",
        "_call",
        "_cancelled",
        "_deadline",
        "_exit",
        "_fenced",
        "_main",
        "_preparation",
        "_starting",
        "_to_free",
        "channel",
        "task",
    )

    def __init__(self, hosting: JobHost, message: Dispatch, template: JobTemplate, sender: JobSender) -> None:
        info = _job_info(message, template, hosting)
        super().__init__(hosting, info, template, sender)
        self.channel = message.channel
        """The job's channel on the link."""
        self.task: asyncio.Task[None] | None = None
        self._preparation = Preparation(hosting, info, message, template, sender)
        self._cancelled: str | None = None
        self._fenced: str | None = None
        self._starting: asyncio.Future[object] | None = None
        """Done when the block's code may begin, or never shall."""
        self._call: BlockCall | None = None
        self._main: asyncio.Task[object] | None = None
        """The call's."""
        self._deadline: asyncio.TimerHandle | None = None
        self._exit: Ending | None = None
        """What a task or a callback of the block has ended it with."""
        self._to_free: list[Any] = []
        """What the block has returned, where some of it is large."""

    # ------------------------------------------------------------------ what others may ask

    @property
    def code_over(self) -> asyncio.Future[None] | None:
        """Done when the block's own code has ended, or is waited for no longer; None before it begins."""
        return self._over

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end."""
        return self._cancelled is not None

    def once_in_journal(self, then: Callable[[BaseException | None], None]) -> None:
        """Call ``then`` once, on the I/O thread, when what the job has sent is in the journal, or never will be."""
        self._sender.mark(then)

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
            # keepAlive: the block has returned and left its job open, so only this finishes it. One whose finish waits
            # for its acknowledgement has ended.
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
        self._preparation.stop(reason)
        if self._starting is not None:
            settle(self._starting, None)

    def exited(self, error: BaseException) -> None:
        """A task or a callback of the block raised what would have ended the process: the job ends with that."""
        if self._hosting.job_is_over(self):
            logger.warning("job %s has ended, and what it left raised %s", self._info.job_id, summary(error))
            return
        if self._exit is not None:
            return
        self._exit = Exited(error.code).ending() if isinstance(error, SystemExit) else self._failure(error)
        if self._main is not None and not self._main.done():
            self._main.cancel(f"{type(error).__name__} in a task or a callback of the block")
            self._deadline = self._deadline or self._hosting.loop.call_later(_FENCED_GRACE, self._out_of_time)
        elif self.task is not None and self.task.done():
            # keepAlive: the block has returned, so only this finishes the job.
            self._hosting.tasks.create_task(self._conclude(self._exit))

    def _out_of_time(self) -> None:
        if self._main is None or self._main.done():
            return
        if self._call is None or not self._call.raise_in_thread(Abandoned):
            self._give_up()
        else:
            self._deadline = self._hosting.loop.call_later(_LAST_MOMENT, self._give_up)

    def _give_up(self, _: object = None) -> None:
        """Wait no longer for the block; its task or thread is left."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    # ------------------------------------------------------------------ the run

    async def run(self) -> None:
        """Run the block to its end; never raises."""
        try:
            binding, self._ctx = await self._preparation.prepare()
        except asyncio.CancelledError:
            await self._conclude({"cancelled": True})
            return
        except PackageEdited as error:
            if not await self._hosting.give_back(self, str(error)):
                await self._conclude(self._failure(error))
            return
        except BaseException as error:
            # SystemExit at an import, too: it is the block's, and the job has to be ended whatever has kept it from
            # beginning.
            await self._conclude(self._failure(error))
            return
        async with _NOTHING if binding.is_async or binding.own_loop else self._hosting.threads:
            if not await self._say_started():
                await self._conclude({"cancelled": True})
                return
            caching = self._preparation.caching
            if caching is not None and "BlockCache" in self._hosting.links.of(self._info.session_id).understands:
                self._sender.try_accept(self._sender.channel.telemetry, caching.words)
            self._note_beginning(binding)
            main = self._begin_call(binding, self._ctx)
            with self._hosting.watchdog.watching() if binding.is_async else _NOTHING:
                # Awaited here and not further in: each coroutine in between would stay with every open job (memory).
                await self._until_over(main)
                if not self._hosting.job_is_over(self):
                    await self._judge(main)
                elif main.done() and not main.cancelled():
                    # Its lease was lost as it ended. Read here, or asyncio logs the error as never retrieved.
                    main.exception()
        # Only here: no frame refers to the values any more, so freeing them frees memory.
        if self._to_free:
            self._hosting.free_soon(self._to_free)

    def _begin_call(self, binding: Binding, ctx: Context | SyncContext) -> asyncio.Task[object]:
        large, to_free = self._preparation.large, self._to_free
        self._call = BlockCall(
            self._hosting, self, self._info, binding, to_free=to_free, large=large, over=self._give_up
        )
        self._main = self._call.start(ctx)
        return self._main

    async def _say_started(self) -> bool:
        """Say JobStarted and wait until it is on its way: a process that dies now dies with the author's code begun.

        False when the job was cancelled or fenced before that: the code doesn't begin.
        """
        if self._cancelled is not None:
            return False
        if not self._sender.channel.start_said:
            # Mostly it was, when the dispatch came: no other record is made for nothing.
            self._sender.start(started_record())
        if not self._sender.started:
            sent = self._starting = self._hosting.loop.create_future()
            inbox = self._hosting.inbox
            self._sender.when_started(lambda: inbox.post(settle, sent, None))
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
            await self._conclude(_UNASKED if self._cancelled is None else {"cancelled": True})
        elif (error := main.exception()) is not None:
            await self._conclude(self._failure(error))
        else:
            await self._ended(main.result())

    async def _ended(self, returned: object) -> None:
        if self._cancelled is not None:
            # A block that swallows its cancel and returns is cancelled all the same.
            await self._conclude({"cancelled": True})
        elif isinstance(returned, Exited):
            await self._conclude(returned.ending())
        elif isinstance(returned, Raised):
            await self._conclude(self._failure(returned.take()))
        else:
            await self._returned(returned)

    def _finished_later(self) -> None:
        """Let go of a job that its block has left open and finished since."""
        # A job that was cancelled, or has ended itself, is let go of where its end is said.
        if not (self._hosting.job_is_over(self) or self._cancelled is not None or self._exit is not None):
            self._exit = {}
            self._hosting.tasks.create_task(self._conclude({}))

    async def _leave_behind(self, main: asyncio.Task[object]) -> None:
        """End the job of a block that doesn't end: it goes on, and nothing of it counts any more."""
        call = self._call
        assert call is not None
        place = standing_at(main, call.thread, self._hosting.catalog.roots())
        logger.warning(
            "job %s (node %s) was cancelled and didn't end in its time%s; it is left behind",
            self._info.job_id,
            self._template.node_id,
            place,
        )
        call.abandon()
        # First, so that no job is sent here because the slot is free.
        await self._hosting.left_behind(main, in_thread=call.in_thread)
        await self._conclude({"cancelled": True} if self._exit is None or self._cancelled is not None else self._exit)

    async def _returned(self, value: object) -> None:
        ctx = self._ctx
        assert ctx is not None
        if value is ctx.keepAlive:
            inbox = self._hosting.inbox
            self._sender.when_finished(lambda: inbox.post(self._finished_later))
            return
        if ctx.unawaited:
            await self._conclude({"error": ctx.unawaited_words()})
        elif value is None:
            await self._conclude({})
        elif isinstance(value, Mapping):
            await self._conclude({}, value)
            if ctx.returned_large:
                self._to_free += value.values()
        else:
            kinds = "a dict of outputs (or a dataclass and the like), None or ctx.keepAlive"
            words = f"main returned {type(value).__name__}; a block returns {kinds}"
            await self._conclude({"error": words})

    def _failure(self, error: BaseException) -> Ending:
        if self._hosting.options.on_failure is not None:
            self._hosting.options.on_failure(self._info.job_id, error)
        return finish_fields(error, roots=self._hosting.catalog.roots(), clean=self._info.secrecy.text)

    # ------------------------------------------------------------------ the end

    async def _conclude(self, ending: Ending, result: Mapping[str, object] | None = None) -> None:
        """Say the end, unless the block said it itself, and wait until it is in the journal."""
        if self._deadline is not None:
            self._deadline.cancel()
        await self._tell_everything(succeeded="error" not in ending and not ending.get("cancelled"))
        ctx = self._ctx
        if ctx is None:
            ctx = self._ctx = Context(self._info, {}, self._sender, self._hosting.store)
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
            self._hosting.directories.job_failed(self._info.session_id)
        self._hosting.options.report.count(ending)
        self._done()

    def _done(self) -> None:
        self._preparation.end()
        if self._ctx is not None:
            sink = self._ctx.sink
            plothooks.end_job(sink)
            job_of_lines.pop(sink.line, None)
            forked.end_soon(sink)
        clocks.end_job(self)
        forget(self._hosting.loop, self)
        if self._ctx is not None:
            self._ctx.release_blocks("has ended")
        # The block's task knows the job by its context: in a circle both would stay until the collector comes.
        self._main = self._call = None
        self._hosting.ended(self)
        if self._preparation.large and self._ctx is not None:
            self._hosting.free_soon(self._ctx.take_inputs())


def started_record() -> bytes:
    """Return a JobStarted."""
    return encode("JobStarted", now_ms())


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
        directories=hosting.directories,
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
