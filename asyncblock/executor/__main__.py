"""An executor process: ``python -m asyncblock.executor --orders FD``, with its orders on a private socket.

The process belongs to the blocks: its standard input is the null device, and what they fork or start sees nothing of
ours (``forks``). It leaves in order on SIGTERM, SIGINT, or when the orders end (its parent is gone): no new jobs,
running ones finish within the grace, everything is acknowledged, the report is the last word. A second signal forces.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import orjson

from ..childprocesses.children import FD_OPTION
from ..childprocesses.workers import ANNOUNCED, EDITED, LEAVE, LEAVE_NOW, OUTDATED, READY, RETIRE, RETIRING, Orders
from ..client import Mainframe, open_link, open_links
from ..errors import AsyncBlockError
from ..link import Link
from ..runtime import collector, forks
from ..runtime.ending import end, end_within, leave
from ..runtime.iothread import IOThread, inbox_of, shared
from ..telemetry import jsonlogs
from .attribution import capture, console
from .executor import Executor
from .guards import debugport
from .guards.blockloop import block_loop
from .guards.blocksignals import BlockSignals
from .guards.clocks import Clocks
from .guards.ownlists import OwnLists
from .guards.startmethods import StartMethods
from .guards.waits import Waits
from .spawner import Spawner

logger = logging.getLogger("asyncblock.executor")


def main() -> None:
    """Run the executor process."""
    if jsonlogs.wanted():
        jsonlogs.configure()
    else:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    parent = Parent(_socket_of(sys.argv))
    orders = Orders.from_line(parent.first_line())
    if orders.trace_fd is not None:
        # As the socket: passed on to here, and no further.
        os.set_inheritable(orders.trace_fd, False)
    # Blocks run on threads here, where windows can't be opened.
    os.environ.setdefault("MPLBACKEND", "agg")
    console.install()
    debugport.listen()
    capture.install()
    collector.calm()
    code = 1
    try:
        code = _run(orders, parent)
    except Exception:
        traceback.print_exc()
    finally:
        capture.uninstall()
        parent.close()
    leave(code)


def _run(orders: Orders, parent: Parent) -> int:
    code = 0
    with asyncio.Runner(loop_factory=block_loop) as runner:
        try:
            runner.run(_live(orders, parent))
        except AsyncBlockError as error:
            logger.error("%s", error)
            code = 1
        finally:
            if forks.generation():
                # A block has forked and the child has come back to this process's event loop, which isn't its own.
                os._exit(1)
            # Before the runner waits for threads.
            if _executor is not None:
                parent.say(str(_executor.report))
            end_within(_LINGER, code)
    return code


def _socket_of(arguments: list[str]) -> socket.socket:
    match arguments[1:]:
        case [option, number] if option == FD_OPTION and number.isdecimal():
            made = socket.socket(fileno=int(number))
            # It was passed on to here; it goes no further.
            made.set_inheritable(False)
            return made
    raise SystemExit("this is started by 'asyncblock run', 'serve' and 'executor'; see 'asyncblock executor --help'")


class Parent:
    """Whoever started this process, at the other end of the socket."""

    def __init__(self, socket: socket.socket) -> None:
        self._socket = socket
        self._rest = b""

    def first_line(self) -> bytes:
        """Wait for the first order."""
        while b"\n" not in self._rest:
            data = self._socket.recv(1 << 16)
            if not data:
                raise SystemExit(1)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    def say(self, line: str) -> None:
        """Say a line. A parent that was killed hears nothing; its child leaves in order all the same."""
        with suppress(OSError):
            self._socket.sendall(f"{line}\n".encode())

    def listen(self, io: IOThread, order: Callable[[bytes], None], gone: Callable[[], None]) -> None:
        """Take further orders on the I/O thread, where no block can hold them up."""

        def take(lines: list[bytes]) -> None:
            for line in lines:
                order(line + b"\n")

        def read() -> None:
            try:
                data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # A parent that was killed resets the socket: its end, as for a parent that has closed it.
                data = b""
            *lines, self._rest = (self._rest + data).split(b"\n")
            take(lines)
            if not data:
                io.loop.remove_reader(self._socket)
                gone()

        def begin() -> None:
            *lines, self._rest = self._rest.split(b"\n")
            take(lines)
            io.loop.add_reader(self._socket, read)

        io.post(begin)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


_executor: Executor | None = None

_LINGER = 10.0
"""Seconds that threads which a block has left have to end, after the last word of this process."""

_PATIENCE = 60.0
"""Seconds that a process which was started for one job waits for it: the mainframe may have forgotten it meanwhile."""


_PARENT_PATIENCE = 2.0
"""Seconds that a parent's order, which was given before a session began, may take to be read."""


async def _live(orders: Orders, parent: Parent) -> None:
    global _executor
    loop = asyncio.get_running_loop()
    leaving = _Leaving()
    _on_signals(loop, leaving)
    leaving.interrupts = BlockSignals(loop)
    Waits()
    Clocks(loop, alone=orders.once)
    StartMethods()
    OwnLists()
    executor = _executor = Executor(
        packages=orders.packages,
        sync_slots=orders.sync_slots,
        capture=True,
        accept=orders.accept,
        offers=orders.offers,
        labels=orders.labels,
    )
    executor.pool = orders.pool
    executor.catalog.add_known(orders.known)
    executor.catalog.add_announced(orders.announced)
    executor.catalog.patience = _PARENT_PATIENCE if orders.mainframe_in_parent else 0.0
    executor.trace_fd = orders.trace_fd
    executor.on_retire = lambda: parent.say(RETIRING)
    executor.on_outdated = None if orders.once else lambda: parent.say(OUTDATED)
    executor.on_edited = lambda: parent.say(EDITED)
    executor.on_announced = None if orders.once else lambda: parent.say(ANNOUNCED)
    executor.catalog.one_edition = True
    executor.once = orders.once
    executor.values_of = orders.values_of
    if not orders.once:
        executor.spawner = Spawner(orders, executor.catalog)
    tls = ssl.create_default_context(cafile=orders.ca_file) if orders.ca_file else None
    async with AsyncExitStack() as stack:
        io = await stack.enter_async_context(shared().lease())
        # From here on, for the parent may end while this process still looks for the mainframe.
        more = _MoreOrders(executor)
        _take_orders(parent, io, loop, leaving, orders, more.take)
        mainframe = Mainframe(*await _links(orders, tls, stack))
        # Before any author's code runs here: all that is open is ours.
        forks.claim_all()
        await stack.enter_async_context(executor.attached(mainframe))
        leaving.begun = True
        more.carry_out()
        parent.say(READY)
        if orders.once:
            loop.call_later(_PATIENCE, executor.leave_if_idle)
        await executor.until(leaving.stop)
        await executor.drain(0.0 if leaving.now else orders.grace)
    if executor.stuck:
        # What doesn't end would keep the loop, and so the process, from ending.
        parent.say(str(executor.report))
        end(0)


async def _links(orders: Orders, tls: ssl.SSLContext | None, stack: AsyncExitStack) -> Iterable[Link]:
    """Open the links of this process: to all partitions of a set, or to the one that wants it for a job."""
    who: dict[str, Any] = {"link_id": orders.link_id, "secret": orders.secret, "replaces": orders.replaces}
    given: dict[str, Any] = {"tls": tls, "headers": orders.headers, **who}
    if orders.once:
        opening = open_link(orders.url, orders.token, partition=orders.partition, **given)
        return [await stack.enter_async_context(opening)]
    return await stack.enter_async_context(open_links(orders.url, orders.token, **given))


class _Leaving:
    """Whether this process is to leave. Before it takes jobs it does so at once: it hasn't been given anything yet."""

    def __init__(self) -> None:
        self.begun = False
        """It takes jobs."""
        self.stop = asyncio.Event()
        self.now = False
        """Running jobs have no grace."""
        self.interrupts: BlockSignals | None = None
        """Knows what blocks have set for the signals on which it leaves."""

    def leave(self, *, now: bool = False) -> None:
        """Leave in order."""
        if not self.begun:
            os._exit(0)
        # The end of the orders comes right after them, and takes no hurry back.
        self.now = self.now or now
        self.stop.set()


def _on_signals(loop: asyncio.AbstractEventLoop, leaving: _Leaving) -> None:
    def seen(number: int) -> None:
        if leaving.stop.is_set():
            os._exit(130)
        if leaving.interrupts is not None:
            leaving.interrupts.came(number)
        leaving.leave()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, seen, number)
        forks.claim_handler(number)


def _take_orders(
    parent: Parent,
    io: IOThread,
    loop: asyncio.AbstractEventLoop,
    leaving: _Leaving,
    orders: Orders,
    order: Callable[[bytes], None],
) -> None:
    """Take further orders from the parent; when there are no more, leave."""
    inbox = inbox_of(loop)
    told = False

    def take(line: bytes) -> None:
        nonlocal told
        if line in (LEAVE, LEAVE_NOW):
            told = True
            inbox.post(partial(leaving.leave, now=line == LEAVE_NOW))
        else:
            inbox.post(order, line)

    def gone() -> None:
        if not told and (orders.mainframe_in_parent or orders.once):
            # The parent was killed, and the mainframe with it. The session may go on elsewhere at any moment: what
            # this process would still do would be done twice.
            os._exit(1)
        inbox.post(leaving.leave)

    parent.listen(io, take, gone)


class _MoreOrders:
    """Further package directories. Those that come before the executor is attached wait until it is."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._early: list[bytes] | None = []

    def take(self, line: bytes) -> None:
        """Take an order."""
        if self._early is not None:
            self._early.append(line)
        elif line == RETIRE:
            self._executor.retire_soon()
        else:
            self._executor.add_known_soon(orjson.loads(line)["known"])

    def carry_out(self) -> None:
        """Carry out what has come, and what comes from here on at once."""
        early, self._early = self._early or [], None
        for line in early:
            self.take(line)


if __name__ == "__main__":
    main()
