"""An executor process: ``python -m asyncblock.executor``, with its orders on standard input.

It leaves in order on SIGTERM, SIGINT, or when standard input closes (its parent is gone): no new jobs, running ones
finish within the grace, everything is acknowledged, the report goes to standard output. A second signal forces.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import orjson

from .. import collector
from ..client import Mainframe, open_link
from ..errors import AsyncBlockError
from ..iothread import inbox_of
from ..workers import LEAVE, READY, RETIRING, Orders
from . import capture
from .blockloop import block_loop
from .executor import Executor
from .interrupts import Interrupts
from .spawner import Spawner

logger = logging.getLogger("asyncblock.executor")


def main() -> None:
    """Run the executor process."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    orders = Orders.from_line(sys.stdin.buffer.readline())
    parent = os.dup(1)
    # Whatever prints past the capture must not end up in the report.
    os.dup2(2, 1)
    # Blocks run on threads here, where windows can't be opened.
    os.environ.setdefault("MPLBACKEND", "agg")
    capture.install()
    collector.calm()
    code = 0
    try:
        with asyncio.Runner(loop_factory=block_loop) as runner:
            try:
                runner.run(_live(orders, lambda word: _say(parent, word)))
            except AsyncBlockError as error:
                logger.error("%s", error)
                code = 1
            finally:
                # Before the runner waits for threads.
                if _executor is not None:
                    _say(parent, str(_executor.report))
                end_within(_LINGER, code)
    finally:
        capture.uninstall()
        os.close(parent)
    raise SystemExit(code)


def end_within(seconds: float, code: int) -> None:
    """End the process at last, though threads that blocks have left, or a preview that hangs, don't end."""

    def end() -> None:
        ours = {threading.main_thread(), threading.current_thread()}
        left = [each.name for each in threading.enumerate() if not each.daemon and each not in ours]
        logger.warning("threads that blocks have left don't end, the process does: %s", ", ".join(left))
        os._exit(code)

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()


def _say(parent: int, line: str) -> None:
    # A parent that was killed reads nothing; its child leaves in order all the same.
    with suppress(BrokenPipeError):
        os.write(parent, f"{line}\n".encode())


_executor: Executor | None = None

_LINGER = 10.0
"""Seconds that threads which a block has left have to end, after the last word of this process."""

_PATIENCE = 60.0
"""Seconds that a process which was started for one job waits for it: the mainframe may have forgotten it meanwhile."""


_PARENT_PATIENCE = 2.0
"""Seconds that a parent's order, which was given before a session began, may take to be read."""


async def _live(orders: Orders, say: Callable[[str], None]) -> None:
    global _executor
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    _on_signals(loop, stop)
    Interrupts(loop)
    executor = _executor = Executor(packages=orders.packages, sync_slots=orders.sync_slots, capture=True)
    executor.catalog.add_known(orders.known)
    executor.catalog.patience = _PARENT_PATIENCE if orders.mainframe_in_parent else 0.0
    executor.trace_fd = orders.trace_fd
    executor.on_retire = lambda: say(RETIRING)
    executor.once = orders.once
    if not orders.once:
        executor.spawner = Spawner(orders, executor.catalog.known)
    tls = ssl.create_default_context(cafile=orders.ca_file) if orders.ca_file else None
    async with open_link(
        orders.url, orders.token, tls=tls, link_id=orders.link_id, secret=orders.secret, replaces=orders.replaces
    ) as link:
        async with executor.attached(Mainframe(link)):
            say(READY)
            if orders.once:
                loop.call_later(_PATIENCE, executor.leave_if_idle)
            _watch_stdin(loop, stop, orders, lambda line: _more_orders(executor, line))
            await executor.until(stop)
            await executor.drain(orders.grace)
    if executor.stuck:
        # What doesn't end would keep the loop, and so the process, from ending.
        say(str(executor.report))
        os._exit(0)


def _on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def seen() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, seen)


def _watch_stdin(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, orders: Orders, order: Callable[[bytes], None]
) -> None:
    """Take further orders from the parent; when the pipe closes, leave."""
    inbox = inbox_of(loop)

    def watch() -> None:
        for line in sys.stdin.buffer:
            if line == LEAVE:
                break
            inbox.post(order, line)
        else:
            if orders.mainframe_in_parent or orders.once:
                # The parent was killed, and the mainframe with it. The session may go on elsewhere at any moment:
                # what this process would still do would be done twice.
                os._exit(1)
        inbox.post(stop.set)

    threading.Thread(target=watch, name="asyncblock orders", daemon=True).start()


def _more_orders(executor: Executor, line: bytes) -> None:
    executor.add_known_soon(orjson.loads(line)["known"])


if __name__ == "__main__":
    main()
