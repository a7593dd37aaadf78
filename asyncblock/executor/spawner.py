"""Starts processes for single jobs (``spawn: true``), watches them, and ends them when their job is over."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace

from ..childprocesses.children import Child, describe_exit
from ..childprocesses.lifesigns import Held, Lifesigns, listening
from ..childprocesses.workers import EDITED, LEAVE, Orders
from ..runtime.forks import claim
from .code.catalog import Catalog

__all__ = ["SPAWN_SLOTS", "Spawner"]

logger = logging.getLogger("asyncblock.executor")

SPAWN_SLOTS = 2 * (os.cpu_count() or 1)
"""Processes at once: each is an interpreter of its own."""

_MOST = 4 * SPAWN_SLOTS
"""Processes at once, those that are leaving included; a mainframe that counts never asks for as many."""

_LEAVE_GRACE = 5.0
"""Seconds that a process has to leave when its job is over, before SIGKILL."""


class Spawner:
    """The processes that one executor process has started. Lives on the executor's loop."""

    def __init__(self, orders: Orders, catalog: Catalog) -> None:
        self._orders = orders
        self._catalog = catalog
        self._processes: dict[str, Child] = {}
        self._known: set[str] = set()

    async def live(
        self,
        link_id: str,
        secret: str,
        gone: Callable[[str, str, str], None],
        held: Callable[[Held], None],
        edited: Callable[[], None],
        *,
        partition: int = 0,
    ) -> None:
        """Run a process to its end and report it; one that was started before is left as it is.

        ``held`` is called while the interpreter's lock is held in it and it can't speak for itself, ``edited`` when it
        finds other code than was announced.
        **Cancellation** kills it.
        """
        if link_id in self._known:
            return
        if len(self._known) >= _MOST:
            gone(link_id, secret, f"it wasn't started: {_MOST} processes for single jobs are here already")
            return
        self._known.add(link_id)
        try:
            reason = await self._run(link_id, secret, held, edited, partition)
        except OSError as error:
            reason = f"it couldn't be started: {error}"
        finally:
            self._known.discard(link_id)
        gone(link_id, secret, reason)

    async def _run(
        self, link_id: str, secret: str, held: Callable[[Held], None], edited: Callable[[], None], partition: int
    ) -> str:
        def heard(line: str) -> None:
            if line.strip() == EDITED:
                edited()
            else:
                logger.debug("the process of a block says %s", line)

        traces, trace_fd = os.pipe()
        claim(traces)
        try:
            process = Child(
                (sys.executable, "-u", "-m", "asyncblock.executor"),
                heard,
                env=os.environ,
                pass_fds=(trace_fd,),
            )
        except BaseException:
            # A cancel too: only this frame knows the descriptor yet.
            os.close(traces)
            raise
        finally:
            os.close(trace_fd)
        self._processes[link_id] = process
        orders = replace(
            self._orders,
            link_id=link_id,
            secret=secret,
            partition=partition,
            packages=(),
            known=tuple(self._catalog.known()),
            announced=tuple(self._catalog.announced()),
            replaces=None,
            once=True,
            trace_fd=trace_fd,
        )
        with listening(traces, Lifesigns(process.pid, held)):
            try:
                await process.tell(orders.to_line())
                return describe_exit(await process.wait())
            except asyncio.CancelledError:
                process.kill()
                # Waited for even when cancelled again: the canceller finds the process gone.
                await asyncio.shield(process.wait())
                raise
            finally:
                del self._processes[link_id]

    async def end(self, link_id: str) -> None:
        """End a process that hasn't left by itself: the word to leave, then SIGKILL.

        **Cancellation** leaves it with the word alone.
        """
        process = self._processes.get(link_id)
        if process is None or process.ended:
            return
        await self._dismiss(process)
        try:
            async with asyncio.timeout(_LEAVE_GRACE):
                await process.wait()
        except TimeoutError:
            logger.warning("the process of a block that was ended didn't leave; it is killed")
            process.kill()

    async def dismiss_all(self) -> None:
        """Tell every process to leave when its job has ended. **Cancellation** leaves some without the word."""
        for process in list(self._processes.values()):
            await self._dismiss(process)

    @staticmethod
    async def _dismiss(process: Child) -> None:
        await process.tell(LEAVE)
        process.hang_up()
