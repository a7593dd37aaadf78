"""Executor: takes jobs from a mainframe, runs them on the event loop that it was entered on, and reports their end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..client import Mainframe, open_links
from ..link import Link, PlacedLinks
from ..preview import keep_worker, release_worker
from ..runtime.offload import wait_in_thread
from ..shared import offer
from .attachment import Attachment
from .executoroptions import ExecutorOptions
from .handover import Handover

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["Executor"]

_CONTEXTS = 10_000
"""Contexts of sessions that are kept."""


class Executor(ExecutorOptions):
    """Runs blocks: those of package directories and those written in Python code.

    ``blocks`` are functions under ``@asyncblock.block``; ``packages`` are directories with ``package.oo.yaml``.
    Attach it to a mainframe with ``run`` or ``attached``; async blocks run on the loop that does so, ``def`` blocks in
    at most ``sync_slots`` worker threads (default: two for each core). ``accept`` are versions of blocks, or beginnings
    of them, whose sessions go on under the code that is here; ``any`` is every version (default: those of the
    environment's ``ASYNCBLOCK_ACCEPT``, separated by commas). ``offers`` (``{"gpu": 2}``) and ``labels`` are what is
    there for blocks that say ``needs``; of memory it is what the machine, or the control group, has, unless they say
    otherwise.
    """

    _attachment: Attachment | None = None

    @asynccontextmanager
    async def attached(self, mainframe: Mainframe | str, token: str | None = None) -> AsyncIterator[None]:
        """Take jobs for the duration of the block; on leaving, running jobs are cancelled and reported.

        ``mainframe`` is a handle or an address. **Cancellation** leaves in the same way.
        Raises as ``connect``; ``Closed`` when this process has an executor on that link already.
        """
        if isinstance(mainframe, str):
            async with open_links(mainframe, token) as links, self._attached(links):
                yield
        else:
            async with self._attached(mainframe.links):
                yield

    async def run(self, mainframe: Mainframe | str, token: str | None = None) -> None:
        """Take jobs until cancelled.

        **Cancellation** is how it ends: running jobs are cancelled, may clean up, and are reported. Raises as
        ``attached``.
        """
        async with self.attached(mainframe, token):
            assert self._attachment is not None
            await self._attachment.over
        return

    async def serve_plan(self, plan: Plan) -> None:
        """Announce the packages and blocks of a plan that this process is about to start.

        **Cancellation** may leave the packages announced.
        """
        if await wait_in_thread(self.catalog.add_plan, plan) and self._attachment is not None:
            await self._attachment.links.announce()
            self._attachment.services.packages_known()

    def hurry(self) -> None:
        """Do nothing: jobs of an executor in this process are cancelled at once when it is left."""

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Let the blocks of a session that this process starts be those of its plan, and run in copies of the context
        that it is started in."""
        if self._attachment is not None:
            self.catalog.session_starts(session_id, plan)
            contexts = self._attachment.contexts
            contexts[session_id] = contextvars.copy_context()
            if len(contexts) > _CONTEXTS:
                # The end of a session that never had a job here isn't told.
                self.session_refused(next(iter(contexts)))

    def session_refused(self, session_id: str) -> None:
        """Forget a session that has not been started after all."""
        self.catalog.session_refused(session_id)
        if self._attachment is not None:
            self._attachment.contexts.pop(session_id, None)

    async def until(self, stop: asyncio.Event) -> None:
        """Take jobs until ``stop`` is set or the link is over; raises what ended the link.

        **Cancellation** is safe.
        """
        assert self._attachment is not None
        over = self._attachment.over
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
        attachment = self._attachment
        if attachment is not None and not attachment.jobs and not attachment.over.done():
            attachment.over.set_result(None)

    def add_known_soon(self, known: Iterable[tuple[str, str]]) -> None:
        """Announce further package directories with their hashes. On the executor's loop."""
        assert self._attachment is not None
        self._attachment.add_known_soon(known)

    def retire_soon(self) -> None:
        """Take no new jobs, and leave when the running ones have ended. On the executor's loop."""
        assert self._attachment is not None
        self._attachment.tasks.create_task(self._attachment.retire())

    async def drain(self, grace: float) -> None:
        """Take no new jobs, let the running ones finish within ``grace`` seconds, cancel the rest.

        **Cancellation** stops waiting; ``attached`` cancels what still runs when it is left.
        """
        if self._attachment is not None:
            await self._attachment.drain(grace)

    @asynccontextmanager
    async def _attached(self, links: PlacedLinks) -> AsyncIterator[None]:
        await wait_in_thread(self.catalog.hash_all, places=None)
        async with _undisturbed_group() as tasks:
            attachment = Attachment(self, links, tasks)
            try:
                await wait_in_thread(attachment.depot.open, places=None)
                offer(attachment.depot)
                async with attachment.watchdog:
                    await _attach(attachment)
                    attachment.services.packages_known()
                    self._attachment = attachment
                    # The process that draws figures lives as long as the last executor of this process.
                    keep_worker()
                    try:
                        yield
                    finally:
                        self._attachment = None
                        try:
                            # A cancel must not cut it short: what isn't acknowledged yet would be lost with this
                            # process, and its children would stay.
                            await asyncio.shield(attachment.leave())
                        finally:
                            self.catalog.close()
                            await asyncio.shield(wait_in_thread(release_worker, places=None))
            finally:
                # However far it has come: a link that is over takes no executor in.
                await asyncio.shield(attachment.close_files())


async def _attach(attachment: Attachment) -> None:
    """Make all links of an attachment an executor's, or none."""
    taken: list[Link] = []
    try:
        for partition, link in enumerate(attachment.links):
            await link.attach(Handover(attachment, link, partition))
            taken.append(link)
    except BaseException:
        for link in taken:
            await asyncio.shield(link.detach())
        raise


@asynccontextmanager
async def _undisturbed_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose user's own exception passes as it is: who catches ``FlowFailed`` expects no group."""
    tasks = asyncio.TaskGroup()
    await tasks.__aenter__()
    try:
        yield tasks
    finally:
        await tasks.__aexit__(None, None, None)
