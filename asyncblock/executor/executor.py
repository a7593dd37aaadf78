"""Executor: takes jobs from a link, runs them on the event loop that it was entered on, and reports their end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..block import AnyBlock
from ..client import Mainframe, open_link
from ..context import EndedPlaces, Engine
from ..depot import ValueId
from ..errors import AsyncBlockError
from ..lifesigns import Held
from ..link import Link, Outlet
from ..offload import wait_in_thread
from ..preview import keep_worker, release_worker
from ..shared import offer, withdraw
from ..wire.messages import Cancel, Close, Dispatch, Export, Live, Release, ServiceMessage, Spawn, Unspawn
from ..wire.windows import Window
from .budget import Budget, limit_here
from .catalog import Catalog, accepted
from .environment import OpenJob
from .job import RunningJob, started_record
from .jobhost import JobCounts, JobHost
from .jobtemplates import JobTemplate, JobTemplates, slim
from .lifeline import Lifeline
from .loading import Loading
from .offering import announced_offers, checked_labels
from .parting import part_with
from .services import Services
from .spawner import SPAWN_SLOTS, Spawner
from .spilling import Spilling, disk_limit_here
from .tasks import current_job
from .upkeep import Upkeep
from .valuewriter import ValueWriter
from .watchdog import Stall, Watchdog, usual_threshold

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["Executor"]

logger = logging.getLogger("asyncblock.executor")

ASYNC_SLOTS = 1000
"""Async jobs at once: they share one loop, and each costs a few kB."""


_ADVICE = "a block that is a plain 'def' runs on a thread, where it holds up nobody"

_CONTEXTS = 10_000
"""Contexts of sessions that are kept."""

_LEAVE_PATIENCE = 15.0
"""Seconds that jobs which are cancelled because the executor leaves have, clean-up included."""

_LAST_ACKS = 5.0
"""Seconds that the mainframe has to acknowledge what was sent, before the report counts what it didn't."""

_LAST_CHANCE = 1.0
"""Seconds for the same when there is no connection: it may be back, and if it isn't, waiting would help nobody."""


class Executor:
    """Runs blocks: those of package directories and those written in Python code.

    ``blocks`` are functions under ``@asyncblock.block``; ``packages`` are directories with ``package.oo.yaml``.
    Attach it to a mainframe with ``run`` or ``attached``; async blocks run on the loop that does so, ``def`` blocks in
    at most ``sync_slots`` worker threads (default: two for each core). ``accept`` are versions of blocks, or beginnings
    of them, whose sessions go on under the code that is here; ``any`` is every version (default: those of the
    environment's ``ASYNCBLOCK_ACCEPT``, separated by commas). ``offers`` (``{"gpu": 2}``) and ``labels`` are what is
    there for blocks that say ``needs``; of memory it is what the machine, or the control group, has, unless they say
    otherwise.
    """

    def __init__(
        self,
        blocks: Iterable[AnyBlock] = (),
        packages: Sequence[str | Path] = (),
        *,
        async_slots: int = ASYNC_SLOTS,
        sync_slots: int | None = None,
        capture: bool = False,
        accept: Iterable[str] = (),
        offers: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
    ) -> None:
        self.offers = dict(offers or {})
        self.labels = checked_labels(self.offers, labels)
        self.pool: str | None = None
        """Which executor processes have what they offer together with this one."""
        self.catalog = Catalog(blocks, packages)
        self.catalog.accepts = accepted(accept)
        self.report = JobCounts()
        self.capture = capture
        """Whether what blocks print and log is theirs; whoever asks for it has installed ``executor.capture``."""
        self.on_retire: Callable[[], None] | None = None
        """Called when this process should be replaced, because a thread of it can't be stopped. None where the process
        isn't the executor's own: then the thread is left, and jobs go on coming."""
        self.on_outdated: Callable[[], None] | None = None
        """Called when files that this process has loaded were edited, for another process to take its place. None where
        that can't be: then it has several readings of a file at once."""
        self.on_failure: Callable[[str, BaseException], None] | None = None
        """Told of each exception that ends an attempt, with the job's id. On the executor's loop."""
        self.on_edited: Callable[[], None] | None = None
        """Called when a package was edited under this process, for another one to take its place. None where the
        process isn't the executor's own: then it loads what is there now, beside what it has loaded."""
        self.on_announced: Callable[[], None] | None = None
        """Called when the mainframe was told of what ``add_known_soon`` has added."""
        self.spawner: Spawner | None = None
        """Starts processes for blocks with ``spawn: true``. None where this executor can't."""
        self.once = False
        """Whether this process was started for one job."""
        self.values_of: str | None = None
        """Whose directory the files of var values stand in: that of whoever has started this process."""
        self.trace_fd: int | None = None
        """Where tracebacks go while the interpreter's lock is held; only a process of its own has that."""
        self.stuck = 0
        """Blocks that were given up and still run."""
        self._async_slots = async_slots
        self._sync_slots = sync_slots or 2 * (os.cpu_count() or 1)
        self._hosting: _Hosting | None = None

    @asynccontextmanager
    async def attached(self, mainframe: Mainframe | str, token: str | None = None) -> AsyncIterator[None]:
        """Take jobs for the duration of the block; on leaving, running jobs are cancelled and reported.

        ``mainframe`` is a handle or an address. **Cancellation** leaves in the same way.
        Raises as ``connect``; ``Closed`` when this process has an executor on that link already.
        """
        if isinstance(mainframe, str):
            async with open_link(mainframe, token) as link, self._attached(link):
                yield
        else:
            async with self._attached(mainframe.link):
                yield

    async def run(self, mainframe: Mainframe | str, token: str | None = None) -> None:
        """Take jobs until cancelled.

        **Cancellation** is how it ends: running jobs are cancelled, may clean up, and are reported. Raises as
        ``attached``.
        """
        async with self.attached(mainframe, token):
            assert self._hosting is not None
            await self._hosting.over
        return

    async def serve_plan(self, plan: Plan) -> None:
        """Announce the packages and blocks of a plan that this process is about to start.

        **Cancellation** may leave the packages announced.
        """
        if await wait_in_thread(self.catalog.add_plan, plan) and self._hosting is not None:
            await self._hosting.link.announce()
            self._hosting.services.packages_known()

    def hurry(self) -> None:
        """Do nothing: jobs of an executor in this process are cancelled at once when it is left."""

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Let the blocks of a session that this process starts be those of its plan, and run in copies of the context
        that it is started in."""
        if self._hosting is not None:
            self.catalog.session_starts(session_id, plan)
            contexts = self._hosting.contexts
            contexts[session_id] = contextvars.copy_context()
            if len(contexts) > _CONTEXTS:
                # Of a session that never had a job here nobody tells that it has ended.
                self.session_refused(next(iter(contexts)))

    def session_refused(self, session_id: str) -> None:
        """Forget a session that has not been started after all."""
        self.catalog.session_refused(session_id)
        if self._hosting is not None:
            self._hosting.contexts.pop(session_id, None)

    async def until(self, stop: asyncio.Event) -> None:
        """Take jobs until ``stop`` is set or the link is over; raises what ended the link.

        **Cancellation** is safe.
        """
        assert self._hosting is not None
        over = self._hosting.over
        stopped = asyncio.create_task(stop.wait())
        over.add_done_callback(lambda _: stopped.cancel())
        try:
            await asyncio.wait([stopped])
        finally:
            stopped.cancel()
        if over.done():
            over.result()

    def leave_if_idle(self) -> None:
        """End ``until`` and ``run`` if no job is here. On the executor's loop."""
        hosting = self._hosting
        if hosting is not None and not hosting.jobs and not hosting.over.done():
            hosting.over.set_result(None)

    def add_known_soon(self, known: Iterable[tuple[str, str]]) -> None:
        """Announce further package directories with their hashes. On the executor's loop."""
        assert self._hosting is not None
        self._hosting.add_known_soon(known)

    def retire_soon(self) -> None:
        """Take no new jobs, and leave when the running ones have ended. On the executor's loop."""
        assert self._hosting is not None
        self._hosting.tasks.create_task(self._hosting.retire())

    async def drain(self, grace: float) -> None:
        """Take no new jobs, let the running ones finish within ``grace`` seconds, cancel the rest.

        **Cancellation** stops waiting; ``attached`` cancels what still runs when it is left.
        """
        if self._hosting is not None:
            await self._hosting.drain(grace)

    @asynccontextmanager
    async def _attached(self, link: Link) -> AsyncIterator[None]:
        await wait_in_thread(self.catalog.hash_all, places=None)
        async with _undisturbed_group() as tasks:
            hosting = _Hosting(self, link, tasks)
            try:
                await wait_in_thread(hosting.depot.open, places=None)
                offer(hosting.depot)
                async with hosting.watchdog:
                    await link.attach(hosting)
                    hosting.services.packages_known()
                    self._hosting = hosting
                    # The process that draws figures lives as long as the last executor of this process.
                    keep_worker()
                    try:
                        yield
                    finally:
                        self._hosting = None
                        try:
                            await asyncio.shield(hosting.leave())
                        finally:
                            self.catalog.close()
                            await asyncio.shield(wait_in_thread(release_worker, places=None))
            finally:
                # However far it has come: a link that is over takes nobody in.
                await asyncio.shield(hosting.close_files())


@asynccontextmanager
async def _undisturbed_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose user's own exception passes as it is: who catches ``FlowFailed`` expects no group."""
    tasks = asyncio.TaskGroup()
    await tasks.__aenter__()
    try:
        yield tasks
    finally:
        await tasks.__aexit__(None, None, None)


class _Hosting(JobHost):
    """One attachment of an executor to a link. Implements ``link.Host``: called on the I/O thread, acts on the loop."""

    def __init__(self, executor: Executor, link: Link, tasks: asyncio.TaskGroup) -> None:
        super().__init__(link, executor.catalog, tasks, executor.values_of)
        self.executor = self.options = executor
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.budget = Budget(self, limit_here(), Spilling(self, disk_limit_here(), self._on_disk))
        self.upkeep = Upkeep(self, self.budget, self.session_ended)
        self.exports = ValueWriter(self, self.budget)
        self.services = Services(self)
        self.templates = JobTemplates()
        self.loading = Loading(executor.catalog)
        self.engine = Engine(link, self.store, tasks.create_task, self._parked)
        self.loop_port: Window = link.new_port()
        self.thread_port: Window = link.new_port()
        self.threads = asyncio.Semaphore(executor._sync_slots)
        self.watchdog = Watchdog(
            self._stalled, job_of=_job_of, roots=executor.catalog.roots(), threshold=usual_threshold()
        )
        self.lifeline = Lifeline(link.io, executor.trace_fd) if executor.trace_fd is not None else None
        self._draining = False
        self._offers = announced_offers(executor.offers, executor.labels, executor.pool)
        self.contexts: dict[str, contextvars.Context] = {}
        self._outdated = False
        self._quiet = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        """Speaks for a process that was started for one job."""
        self._left: set[asyncio.Task[object]] = set()
        """Tasks of async blocks that were given up."""

    # ------------------------------------------------------------------ called by the link, on the I/O thread

    def announcement(self) -> dict[str, Any] | None:
        if self._draining:
            return None
        executor = self.executor
        return {
            "languages": ["python"],
            "packages": executor.catalog.packages(),
            "slots": {
                "async": executor._async_slots,
                "sync": executor._sync_slots,
                "spawn": SPAWN_SLOTS if executor.spawner is not None and not executor.once else 0,
            },
            "once": executor.once,
            "understands": [Release.op, Live.op],
            **self._offers,
            **({"accepts": [*executor.catalog.accepts]} if executor.catalog.accepts else {}),
            **({"host": self.depot.host} if self.depot.host is not None else {}),
        }

    def dispatch(self, message: Dispatch, outlet: Outlet) -> None:
        template = self.templates.of(message)
        if self._begins_at_once(message, template):
            # Said from here, it is on its way by the time the loop gets to the job: two wake-ups less (dispatch).
            outlet.start(started_record())
        self.inbox.post(self._begin, slim(message, template), template, outlet)

    def _begins_at_once(self, message: Dispatch, template: JobTemplate) -> bool:
        """Tell whether nothing has to be loaded, fetched or waited for before the author's code runs."""
        if "service" in message.block or message.bodies:
            return False
        binding = self.executor.catalog.cached(template.binding_key)
        return binding is not None and binding.is_async

    def cancel(self, message: Cancel) -> None:
        self.inbox.post(self._with_job, message, lambda job: job.cancel(message.reason, message.grace))

    def spawn(self, message: Spawn) -> None:
        # A mainframe that gives no secret asks for none.
        self.inbox.post(self._start_process, message.link, message.secret or secrets.token_hex(16))

    def unspawn(self, message: Unspawn) -> None:
        self.inbox.post(self._end_process, message.link)

    def close(self, message: Close) -> None:
        self.inbox.post(self._with_job, message, lambda job: job.fence(message.reason))

    def session_ended(self, session_id: str) -> None:
        self.templates.end_session(session_id)
        self.inbox.post(self._forget_session, session_id)

    def release(self, message: Release) -> None:
        self.inbox.post(self.upkeep.release, message)

    def live(self, message: Live) -> None:
        self.inbox.post(self.upkeep.live, message)

    def export(self, message: Export) -> None:
        self.exports.export(message)

    def service_message(self, message: ServiceMessage) -> None:
        self.inbox.post(self.services.message, message)

    def lag(self) -> float:
        return self.watchdog.lag

    def held(self) -> tuple[int, int, int, int]:
        return self.store.size, self.budget.limit, self.store.on_disk, self.budget.spilling.limit

    def link_over(self, error: AsyncBlockError) -> None:
        self.inbox.post(self._lose_everything, error)

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
            self.link.stalled(job.channel, stall.seconds, f"{stall.function} ({stall.file}:{stall.line})")

    # ------------------------------------------------------------------ on the executor's loop

    def _begin(self, message: Dispatch, template: JobTemplate, outlet: Outlet) -> None:
        outlet.use_port(self.loop_port)
        job = RunningJob(self, message, template, outlet)
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
            self.link.io.post(self.exports.say, id, file)
        else:
            job.once_in_journal(lambda error: self.exports.say(id, file))

    def ended(self, job: OpenJob) -> None:
        """Take note that a job's finish is in the journal, or never will be."""
        if self.jobs.pop(job.key, None) is not None and self.lifeline is not None:
            self.lifeline.end()
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
        elif self.executor.on_retire is not None and not self._draining:
            self._draining = True
            await self.link.announce()
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
            await self.link.request("give_back", params)
        except AsyncBlockError as error:
            logger.warning("a job whose code was edited can't be given back: %s", error)
            return False
        return True

    async def _code_edited(self) -> None:
        """Say what there is now in place of what was announced, or let another process do so."""
        executor = self.executor
        await wait_in_thread(executor.catalog.look_again)
        if executor.on_edited is not None and not self._draining:
            self._draining = True
            executor.on_edited()
            self.tasks.create_task(self.retire())
        await self.link.announce()

    def _process_found_edit(self) -> None:
        self.tasks.create_task(self._code_edited())

    def _start_process(self, link_id: str, secret: str) -> None:
        if self.executor.spawner is not None:
            held = partial(self._held, link_id, secret)
            self.tasks.create_task(
                self.executor.spawner.live(link_id, secret, self.link.process_gone, held, self._process_found_edit)
            )

    def _held(self, link_id: str, secret: str, held: Held) -> None:
        """Speak for a process of a block's own that can't: it comes each second, so what can't be told now isn't."""
        if self._telling is None or self._telling.done():
            self._telling = self.tasks.create_task(
                self._tell_held({"link": link_id, "secret": secret, **held.to_json()})
            )

    async def _tell_held(self, seen: dict[str, Any]) -> None:
        try:
            await self.link.request("executor_held", seen)
        except AsyncBlockError as error:
            logger.warning("the mainframe couldn't be told of a process that can't speak: %s", error)

    def _end_process(self, link_id: str) -> None:
        if self.executor.spawner is not None:
            self.tasks.create_task(self.executor.spawner.end(link_id))

    def _leave_if_outdated(self) -> None:
        """Leave, once no session is under way whose code only this process has."""
        if self._outdated and not (self._draining or self.jobs or self.sessions):
            self._draining = True
            self.tasks.create_task(self.retire())

    async def retire(self) -> None:
        """Leave when the other jobs are done."""
        await self.drain(None)
        if not self.over.done():
            self.over.set_result(None)

    def _with_job(self, message: Cancel | Close, act: Callable[[OpenJob], None]) -> None:
        job = self.jobs.get((message.job_id, message.attempt))
        if job is not None:
            act(job)

    def _forget_session(self, session_id: str) -> None:
        self.sessions.discard(session_id)
        self.contexts.pop(session_id, None)
        self.upkeep.end_session(session_id)
        ended = self.places.end_session(session_id)
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
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self.threads.acquire(), self.loop).result()

    def part_with_soon(self, values: list[Any]) -> None:
        """Free large values on a worker thread: on the loop they would stall it."""
        self.start(part_with, values)

    async def _tidy(self, ended: EndedPlaces) -> None:
        try:
            await wait_in_thread(self.places.tidy, ended)
        except OSError as error:
            logger.warning("temporary directories of earlier sessions stay: %s", error)

    def _lose_everything(self, error: AsyncBlockError) -> None:
        for job in list(self.jobs.values()):
            job.fence(str(error))
        if self.link.over and not self.over.done():
            self.over.set_exception(error)
            # Nobody need wait for it: ``attached`` may be used without ``run``.
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
            await self.link.announce()
        self.services.packages_known()

    async def drain(self, grace: float | None) -> None:
        """Take no new jobs and wait for the running ones; None: as long as they take."""
        self._draining = True
        await self.link.announce()
        if self.jobs:
            self._quiet.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._quiet.wait()
            except TimeoutError:
                logger.warning("%d jobs still run after %g s and are cancelled", len(self.jobs), grace)

    async def leave(self) -> None:
        """Cancel what runs, wait for its clean-up and for the acknowledgements."""
        self._draining = True
        if self.executor.spawner is not None:
            await self.executor.spawner.dismiss_all()
        for job in list(self.jobs.values()):
            job.cancel("the executor is leaving", 10.0)
        jobs = [job for job in self.jobs.values() if job.task is not None]
        pending = [job.task for job in jobs if job.task is not None]
        if at_work := [job.code_over for job in jobs if job.code_over is not None]:
            await asyncio.wait(at_work, timeout=_LEAVE_PATIENCE)
        # What has come to its end waits for its acknowledgement, and that for a mainframe.
        until = self.loop.time() + (_LAST_CHANCE if self.link.away else _LAST_ACKS)
        if pending:
            await asyncio.wait(pending, timeout=until - self.loop.time())
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=1.0)
        await self.services.close()
        self.engine.close()
        if self.lifeline is not None:
            self.lifeline.stop()
        self.executor.report.unacknowledged += await self.link.drain(max(until - self.loop.time(), 0.0))
        # Those that still wait for an acknowledgement would wait for as long as the mainframe is away.
        for task in (*pending, *([self._telling] if self._telling is not None else ())):
            task.cancel()
        if not self.link.over:
            await self.link.detach()

    async def close_files(self) -> None:
        """Let go of the directories and files that were opened for jobs."""
        withdraw(self.depot)
        self.places.close()
        await wait_in_thread(self.scratch.close, places=None)
        await wait_in_thread(self.depot.close, places=None)


def _job_of(context: contextvars.Context) -> str | None:
    job = context.get(current_job)
    return None if job is None else job.key[0]
