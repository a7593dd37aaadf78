"""What is told of a job besides what its block says: tasks that it leaves, what it changes for others, its stalls.

All of it goes as warnings into the job's log, which its finish closes; so ``job`` asks for it before that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ...block import Binding
from ...context import Context, JobInfo, SyncContext, now_ms
from ...link import JobSender
from ...wire.records import encode
from ..attribution import capture, forked, plothooks
from ..attribution.commons import CHANGED, HANDLERS, Changes
from ..code.jobtemplates import JobTemplate
from ..diagnosis.leftovers import Leftovers
from .jobhost import JobHost

__all__ = ["NotedJob"]

logger = logging.getLogger("asyncblock.executor")

_STALL_WORD = 1.0
"""Seconds that a job's end waits for the watchdog to say how long its stall was."""

_NO_LOCK = contextlib.nullcontext()


class NotedJob:
    """A job as far as others note things of it. Lives on the executor's loop."""

    __slots__ = (
        "_changes",
        "_ctx",
        "_figures",
        "_function",
        "_hosting",
        "_info",
        "_leftovers",
        "_notes",
        "_over",
        "_sender",
        "_stall_over",
        "_streams",
        "_template",
        "key",
    )

    def __init__(self, hosting: JobHost, info: JobInfo, template: JobTemplate, sender: JobSender) -> None:
        self.key = (info.job_id, info.attempt)
        self._hosting = hosting
        self._info = info
        self._template = template
        self._sender = sender
        self._ctx: Context | SyncContext | None = None
        self._over: asyncio.Future[None] | None = None
        """Done when the block has ended or is given up."""
        self._leftovers: Leftovers | None = None
        """The tasks that the block has started, on a loop that is the executor's."""
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

    def has_noted(self, kind: str) -> bool:
        """Tell whether a change of some kind is noted of the job."""
        return self._changes is not None and self._changes.knows(kind, "")

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
        """Tell of the error of a task that was never awaited: in the job's log while it is open."""
        if self._leftovers is not None:
            self._leftovers.failed(task, error, self._stderr())

    def _stderr(self) -> Callable[[str], object] | None:
        ctx = self._ctx
        if not isinstance(ctx, Context) or self._sender.channel.finish is not None:
            return None
        take = ctx.sink.line
        return lambda text: take(text, "stderr")

    def _note_beginning(self, binding: Binding) -> None:
        """Take note of what the block finds, to tell in its end what it has changed."""
        self._streams = capture.streams_stand()
        if not plothooks.in_place():
            self._figures, self._function = plothooks.open_numbers(), binding.fn

    async def _tell_everything(self, *, succeeded: bool) -> None:
        """Tell, before the finish closes the job's log, what belongs into it."""
        if self._stall_over is not None:
            await self._after_stall(self._stall_over)
        ctx = self._ctx
        if ctx is not None:
            sink = ctx.sink
            if isinstance(ctx, Context):
                capture.flush_job(sink)
            await forked.last_words(sink)
        if isinstance(ctx, Context) and self._leftovers is not None:
            self._tell_leftovers(self._leftovers, running=succeeded)
        self._tell_changes()
        if ctx is not None:
            # Before the finish: once that is stored the next job may begin, and it must not find this one's figures.
            plothooks.end_job(ctx.sink)

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
        left = None if self._function is None else plothooks.left_open(self._figures, self._function)
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
            if self._sender.channel.finish is None:
                with self._hosting.thread_lock if isinstance(self._ctx, SyncContext) else _NO_LOCK:
                    self._warn(each)
            else:
                # The block has said its finish itself: its log is closed.
                logger.warning("node %s (job %s): %s", self.node_id, self._info.job_id, each)

    def _warn(self, words: str) -> None:
        """Send a warning, if there is room for it."""
        channel = self._sender.channel
        if channel.finish is None and channel.trouble is None:
            self._sender.try_accept(channel.telemetry, encode("BlockWarning", now_ms(), warning=words))

    async def _after_stall(self, over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_STALL_WORD):
                await over.wait()
        except TimeoutError:
            logger.debug("the watchdog didn't tell how a stall ended")
