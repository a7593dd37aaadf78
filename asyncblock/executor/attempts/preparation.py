"""Preparation: what a job needs before its block's code may begin. The function, the inputs, the context.

Each of them may take long (an import, a large value, a service that isn't ready), and a cancel waits for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from ...block import Binding
from ...context import Context, JobInfo, SyncContext
from ...link import JobSender
from ...runtime.offload import run_in_thread, wait_in_thread
from ...telemetry import current
from ...telemetry.traces import TRACEPARENT
from ...wire.messages import Dispatch
from ..caching import Caching
from ..code.jobtemplates import JobTemplate
from .inputs import HeldInputs, gather_inputs
from .jobhost import JobHost

__all__ = ["Preparation"]

T = TypeVar("T")


class Preparation:
    """One job's. What was taken for it (files, values, a service, a place in the cache) is given back by ``end``."""

    __slots__ = (
        "_held",
        "_hosting",
        "_info",
        "_message",
        "_release",
        "_sender",
        "_template",
        "_waiting",
        "caching",
        "large",
    )

    def __init__(
        self, hosting: JobHost, info: JobInfo, message: Dispatch, template: JobTemplate, sender: JobSender
    ) -> None:
        self._hosting = hosting
        self._info = info
        self._message: Dispatch | None = message
        """Until its inputs are gathered."""
        self._template = template
        self._sender = sender
        self._held = HeldInputs(hosting)
        self._waiting: asyncio.Task[Any] | None = None
        """Waits for a service, a module or large inputs."""
        self._release: Callable[[], None] | None = None
        """Tells the service that the call has ended."""
        self.caching: Caching | None = None
        """Its part in the cache of results, if it has one."""
        self.large = False
        """Some of its inputs are large."""

    async def prepare(self) -> tuple[Binding, Context | SyncContext]:
        """Return what is to be called, and the context to call it with.

        **Cancellation**: ``end`` gives back what was taken. Raises what loading and fetching raise, and
        ``CancelledError`` after ``stop``.
        """
        binding = await self._binding()
        inputs = await self._inputs(binding)
        if self.caching is not None:
            await wait_in_thread(self.caching.look, inputs)
            if self.caching.kept is not None:
                binding = self.caching.kept.binding()
        if TRACEPARENT in self._info.metadata and not current.prepared():
            await run_in_thread(current.prepare)
        return binding, self._context(binding, inputs)

    def stop(self, reason: str) -> None:
        """Wait no longer for what isn't there yet."""
        if self._waiting is not None:
            self._waiting.cancel(reason)

    def end(self) -> None:
        """Give back what was taken for the job."""
        self._held.end()
        if self.caching is not None:
            self.caching.close()
        if self._release is not None:
            self._release()
            self._release = None

    async def _binding(self) -> Binding:
        spec, session_id = self._template.block, self._info.session_id
        catalog = self._hosting.catalog
        if "service" in spec:
            return await self._unless_stopped(self._service())
        cached = catalog.cached(self._template.binding_key)
        if cached is not None:
            return cached
        # A task, so that a cancel need not wait for an import, however long that takes.
        return await self._unless_stopped(self._hosting.loading.binding(spec, session_id))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
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
        self.large = bool(message.bodies or message.carried)
        if self._template.is_cached:
            self.caching = Caching(self._hosting, self._info, self._template, message)
        gathering = gather_inputs(self._hosting, self._info, message, binding.bodies, self._held)
        if not self.large:
            return await gathering
        return await self._unless_stopped(gathering)

    def _context(self, binding: Binding, inputs: Mapping[str, Any]) -> Context | SyncContext:
        hosting = self._hosting
        if self.caching is not None and self.caching.kept is None:
            if not binding.is_async:
                self._sender.use_port(hosting.thread_port(self._info.session_id))
            recording = self.caching.context(inputs, self._sender, sync=not binding.is_async)
            if recording is not None:
                return recording
        if binding.is_async:
            return Context(self._info, inputs, self._sender, hosting.store)
        self._sender.use_port(hosting.thread_port(self._info.session_id))
        return SyncContext(self._info, inputs, self._sender, hosting.store, hosting.thread_lock)
