"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else can run.

A test of hours of heartbeats, leases and pauses runs in the time that its own code takes, and always in the same
order. Deadlocks are found at once: when no timer is left and nothing can run, the loop raises ``Stuck``.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Stuck", "VirtualLoop", "run_virtual"]

T = TypeVar("T")


class Stuck(RuntimeError):
    """Nothing can run, and no timer will change that."""


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for what is ready, and instead of sleeping moves the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.threads:
            # A worker thread's time is real: the clock stands still until it has ended.
            return super().select(None)
        if timeout is None:
            raise Stuck(f"at {self.loop.time():g} s nothing can run and no timer is set")
        self.loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. ``run_in_executor`` is honoured: time stands still until the thread has ended.

    Sockets and threads of other kinds are outside of its time; don't wait for them on it.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.threads = 0
        """Calls of ``run_in_executor`` that haven't ended."""
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds, from 0."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]  # as wide as any caller needs
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function in a thread while the clock stands still."""
        future = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self.threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the worker threads, in real time."""
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result.

    ::

        def test_a_lease_runs_out():
            run_virtual(scenario())  # two minutes of silence take no time
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
