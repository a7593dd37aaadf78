"""Attachment: one executor on its links. It has the jobs that run, what they share, and how it is left.

``handover`` brings what the link says, ``environment`` has what its parts work with.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..context import EndedDirectories, Engine
from ..errors import AsyncBlockError
from ..link import JobSender, Link, PlacedLinks
from ..runtime.offload import wait_in_thread
from ..shared import withdraw
from ..store import StoreKey
from ..varvalues.filed import Filed
from ..varvalues.valueid import ValueId
from ..wire.bodies import BodyRef
from ..wire.messages import Cancel, Close, Dispatch
from ..wire.windows import Window
from .attempts.job import RunningJob
from .attempts.jobhost import JobHost
from .attribution.tasks import current_job
from .code.jobtemplates import JobTemplate, JobTemplates
from .code.loading import Loading
from .diagnosis.lifeline import Lifeline
from .diagnosis.watchdog import Stall, Watchdog, usual_threshold
from .environment import OpenJob
from .executoroptions import ExecutorOptions
from .keeping.budget import Budget, limit_here
from .keeping.carriage import Carriage
from .keeping.gradualfree import free_gradually
from .keeping.handingdown import HandingDown
from .keeping.spilling import Spilling, disk_limit_here
from .keeping.upkeep import Upkeep
from .keeping.valuewriter import ValueWriter
from .ownprocesses import OwnProcesses
from .services import Services
from .sharedslots import SharedSlots

__all__ = ["Attachment"]

logger = logging.getLogger("asyncblock.executor")

_ADVICE = "a block that is a plain 'def' runs on a thread, where it doesn't hold up other jobs"

_LEAVE_PATIENCE = 15.0
"""Seconds that jobs which are cancelled because the executor leaves have, clean-up included."""

_LAST_ACKS = 5.0
"""Seconds that the mainframe has to acknowledge what was sent, before the report counts what it didn't."""

_LAST_CHANCE = 1.0
"""Seconds for the same when there is no connection: it may be back, and if it isn't, waiting wouldn't help."""


class Attachment(JobHost):
    """One attachment of an executor to a mainframe, or a set. On the executor's loop, unless it says otherwise."""

    def __init__(self, executor: ExecutorOptions, links: PlacedLinks, tasks: asyncio.TaskGroup) -> None:
        super().__init__(links, executor.catalog, tasks, executor.values_of)
        self.executor = self.options = executor
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.budget = Budget(self, limit_here(), Spilling(self, disk_limit_here(), self._on_disk))
        self.handing_down = HandingDown(self, self.budget.spilling.limit)
        self.upkeep = Upkeep(self, self.budget, self.session_ended)
        self.exports = ValueWriter(self, self.budget)
        self.carriage = Carriage(self, self.exports, self.budget, self.upkeep)
        self.services = Services(self)
        self.templates = JobTemplates()
        self.loading = Loading(executor.catalog)
        self.engine = Engine(links, self.store, tasks.create_task, self._parked)
        self._loop_ports: dict[Link, Window] = {link: link.new_port() for link in links}
        self._thread_ports: dict[Link, Window] = {link: link.new_port() for link in links}
        self.threads = asyncio.Semaphore(executor.sync_slots)
        self.slots = None if links.alone else SharedSlots(links, executor.async_slots, executor.sync_slots)
        """Where several partitions hand jobs out to it."""
        self.watchdog = Watchdog(
            self._stalled, job_of=_job_of, roots=executor.catalog.roots(), threshold=usual_threshold()
        )
        self.lifeline = Lifeline(links.io, executor.trace_fd) if executor.trace_fd is not None else None
        self.processes = OwnProcesses(executor, tasks, self._process_found_edit)
        self.draining = False
        """It takes no more jobs."""
        self.contexts: dict[str, contextvars.Context] = {}
        self._outdated = False
        self._quiet = asyncio.Event()
        self._left: set[asyncio.Task[object]] = set()
        """Tasks of async blocks that were given up."""

    async def fetch_value(self, key: StoreKey, ref: BodyRef) -> Filed:
        return await self.carriage.fetch(key, ref)

    # ------------------------------------------------------------------ called by the watchdog, on its thread

    def _stalled(self, stall: Stall) -> None:
        """While it lasts the loop can't tell of it, so the link does; afterwards the job gets a warning."""
        job = next((job for job in list(self.jobs.values()) if job.key[0] == stall.job), None)
        if job is None or stall.file is None:
            return
        if stall.ended:
            self.inbox.post(job.stall_ended, f"{stall}; {_ADVICE}")
        else:
            self.inbox.post(job.stall_began)
            where = f"{stall.function} ({stall.file}:{stall.line})"
            self.links.of(job.session_id).stalled(job.channel, stall.seconds, where)

    # ------------------------------------------------------------------ jobs

    def loop_port(self, link: Link) -> Window:
        """Return the share of a link's window that async blocks count on. From any thread."""
        return self._loop_ports[link]

    def thread_port(self, session_id: str) -> Window:
        return self._thread_ports[self.links.of(session_id)]

    def begin(self, message: Dispatch, template: JobTemplate, sender: JobSender, port: Window) -> None:
        """Run a job; ``port`` is the share of its link's window that async blocks count on."""
        sender.use_port(port)
        job = RunningJob(self, message, template, sender)
        self.sessions.add(message.session_id)
        self.jobs[job.key] = job
        self.budget.change()
        self.services.job_begins(message.block, message.session_id)
        self._quiet.clear()
        if self.lifeline is not None:
            self.lifeline.begin()
        job.task = self.tasks.create_task(job.run(), name=f"asyncblock job {message.job_id}")

    def _on_disk(self, id: ValueId, file: str) -> None:
        """Tell where a value is once the mainframe knows of it: what a job has sent may still be under way."""
        job = self.jobs.get((id.job_id, id.attempt))
        if job is None:
            self.io.post(self.exports.say, id, file)
        else:
            job.once_in_journal(lambda error: self.exports.say(id, file))

    def ended(self, job: OpenJob) -> None:
        """Take note that a job's finish is in the journal, or never will be."""
        if self.jobs.pop(job.key, None) is not None and self.lifeline is not None:
            self.lifeline.end()
        if self.slots is not None:
            self.slots.over(job.key)
        if self.executor.once and not self.over.done():
            self.over.set_result(None)
        self.budget.change()
        if not self.jobs:
            self._quiet.set()
            self._leave_if_outdated()

    def job_is_over(self, job: OpenJob) -> bool:
        """Tell whether a job's finish is in the journal, or never will be."""
        return self.jobs.get(job.key) is not job

    def with_streams(self, but: Hashable) -> list[Hashable]:
        """Return the other jobs that may have put something in the place of ``sys.stdout``."""
        return [job for job in self.jobs.values() if job is not but and job.may_hold_streams]

    def is_noted(self, kind: str) -> bool:
        """Tell whether a change of some kind is noted of a job that runs."""
        return any(job.has_noted(kind) for job in self.jobs.values())

    async def left_behind(self, main: asyncio.Task[object], *, in_thread: bool) -> None:
        """Take note of a block that was given up. One in a thread can't be got rid of but with the process."""
        self.executor.stuck += 1
        if not in_thread:
            self._left.add(main)
            main.add_done_callback(self._left.discard)
        elif self.executor.on_retire is not None and not self.draining:
            self.draining = True
            await self.links.announce()
            self.executor.on_retire()
            self.tasks.create_task(self.retire())

    async def give_back(self, job: OpenJob, reason: str) -> bool:
        """Return a job that hasn't begun, for its code isn't here any more, and say what is; tell whether that is done.

        A process that has loaded some of the old code loads none of the new one: another one takes its place.
        """
        try:
            # First, so that it isn't sent here again.
            if self.executor.once and self.executor.on_edited is not None:
                self.executor.on_edited()
            else:
                await self._code_edited()
            job_id, attempt = job.key
            params = {"session_id": job.session_id, "job_id": job_id, "attempt": attempt, "reason": reason}
            await self.links.of(job.session_id).request("give_back", params)
        except AsyncBlockError as error:
            logger.warning("couldn't give back a job whose code was edited: %s", error)
            return False
        return True

    async def _code_edited(self) -> None:
        """Say what there is now in place of what was announced, or let another process do so."""
        executor = self.executor
        await wait_in_thread(executor.catalog.look_again)
        if executor.on_edited is not None and not self.draining:
            self.draining = True
            executor.on_edited()
            self.tasks.create_task(self.retire())
        await self.links.announce()

    def _process_found_edit(self) -> None:
        self.tasks.create_task(self._code_edited())

    def _leave_if_outdated(self) -> None:
        """Leave, once no session is under way whose code only this process has."""
        if self._outdated and not (self.draining or self.jobs or self.sessions):
            self.draining = True
            self.tasks.create_task(self.retire())

    async def retire(self) -> None:
        """Leave when the other jobs are done."""
        await self.drain(None)
        if not self.over.done():
            self.over.set_result(None)

    def with_job(self, message: Cancel | Close, act: Callable[[OpenJob], None]) -> None:
        """Do something with the job that a message names, if it is still here."""
        job = self.jobs.get((message.job_id, message.attempt))
        if job is not None:
            act(job)

    def session_ended(self, session_id: str) -> None:
        """Let go of what belongs to a session. From any thread."""
        self.templates.end_session(session_id)
        self.io.post(self.carriage.end_session, session_id)
        self.inbox.post(self._forget_session, session_id)

    def _forget_session(self, session_id: str) -> None:
        self.sessions.discard(session_id)
        self.contexts.pop(session_id, None)
        self.upkeep.end_session(session_id)
        ended = self.directories.end_session(session_id)
        if ended.directories:
            self.tasks.create_task(self._tidy(ended))
        self.services.end_session(session_id)
        self.engine.end_session(session_id)
        self.executor.catalog.end_session(session_id)
        self._leave_if_outdated()

    @contextmanager
    def _parked(self) -> Iterator[None]:
        """Give a worker thread's place to others while its block waits for another one. On that thread."""
        self.loop.call_soon_threadsafe(self.threads.release)
        if self.slots is not None:
            self.slots.parked(1)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self.threads.acquire(), self.loop).result()
            if self.slots is not None:
                self.slots.parked(-1)

    def free_soon(self, values: list[Any]) -> None:
        """Free large values on a worker thread: on the loop they would stall it."""
        self.start(free_gradually, values)

    async def _tidy(self, ended: EndedDirectories) -> None:
        try:
            await wait_in_thread(self.directories.tidy, ended)
        except OSError as error:
            logger.warning("temporary directories of earlier sessions stay: %s", error)

    def lose_everything(self, link: Link, error: AsyncBlockError) -> None:
        """Stop every job of a link: what they sent can't be continued."""
        for job in [each for each in self.jobs.values() if self.links.of(each.session_id) is link]:
            job.fence(str(error))
        if link.over and not self.over.done():
            self.over.set_exception(error)
            # It needn't be awaited: ``attached`` may be used without ``run``.
            self.over.exception()

    def add_known_soon(self, known: Iterable[tuple[str, str]]) -> None:
        """Announce further package directories in a task."""
        self.tasks.create_task(self._add_known(known))

    async def _add_known(self, known: Iterable[tuple[str, str]]) -> None:
        try:
            await self._announce_known(list(known))
        finally:
            if self.executor.on_announced is not None:
                self.executor.on_announced()

    async def _announce_known(self, known: list[tuple[str, str]]) -> None:
        executor = self.executor
        if executor.on_outdated is not None:
            roots = [Path(root) for _, root in known]
            if not self._outdated and await wait_in_thread(executor.catalog.is_outdated, roots):
                self._outdated = True
                executor.on_outdated()
                self._leave_if_outdated()
            if self._outdated:
                # It is for the other one.
                return
        if await wait_in_thread(self.executor.catalog.add_known, known):
            await self.links.announce()
        self.services.packages_known()

    async def drain(self, grace: float | None) -> None:
        """Take no new jobs and wait for the running ones; None: as long as they take."""
        self.draining = True
        await self.links.announce()
        self.handing_down.begin(grace)
        if self.jobs:
            self._quiet.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._quiet.wait()
            except TimeoutError:
                logger.warning("%d jobs still run after %g s and are cancelled", len(self.jobs), grace)

    async def leave(self) -> None:
        """Cancel what runs, wait for its clean-up and for the acknowledgements."""
        self.draining = True
        await self.processes.dismiss_all()
        for job in list(self.jobs.values()):
            job.cancel("the executor is leaving", 10.0)
        jobs = [job for job in self.jobs.values() if job.task is not None]
        pending = [job.task for job in jobs if job.task is not None]
        if at_work := [job.code_over for job in jobs if job.code_over is not None]:
            await asyncio.wait(at_work, timeout=_LEAVE_PATIENCE)
        # What has come to its end waits for its acknowledgement, and that for a mainframe.
        away = all(link.away for link in self.links)
        until = self.loop.time() + (_LAST_CHANCE if away else _LAST_ACKS)
        if pending:
            await asyncio.wait(pending, timeout=until - self.loop.time())
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=1.0)
        await self.handing_down.finish()
        await self.services.close()
        self.engine.close()
        if self.lifeline is not None:
            self.lifeline.stop()
        left = max(until - self.loop.time(), 0.0)
        self.executor.report.unacknowledged += sum(await asyncio.gather(*(link.drain(left) for link in self.links)))
        # Those that still wait for an acknowledgement would wait for as long as the mainframe is away.
        for task in (*pending, *self.processes.telling):
            task.cancel()
        for link in self.links:
            if not link.over:
                await link.detach()

    async def close_files(self) -> None:
        """Let go of the directories and files that were opened for jobs."""
        withdraw(self.depot)
        self.directories.close()
        await wait_in_thread(self.scratch.close, places=None)
        await wait_in_thread(self.depot.close, places=None)


def _job_of(context: contextvars.Context) -> str | None:
    job = context.get(current_job)
    return None if job is None else job.key[0]
