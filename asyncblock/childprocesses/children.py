"""A process of ours, started and watched from an event loop: orders to it and its words go over a private socket.

Its standard input is the null device and its standard output is our standard error: both belong to what runs in it.
Its end is seen by the process itself and not by the end of what it says: what it has started may live on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ..runtime import forks

__all__ = ["Child", "FD_OPTION"]

FD_OPTION = "--orders"
"""Names the socket's descriptor on the child's command line."""

_MAX_READ = 1 << 16


class Child:
    """A child process. Use it on the event loop that made it."""

    def __init__(
        self,
        command: Sequence[str],
        heard: Callable[[str], None],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it. ``heard`` is called with each line that it says. Raises ``OSError``."""
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._socket, theirs = socket.socketpair()
        try:
            forks.claim(self._socket.fileno())
            with theirs:
                self._process = subprocess.Popen(
                    [*command, FD_OPTION, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=_standard_error(),
                    env=dict(env),
                    pass_fds=(theirs.fileno(), *pass_fds),
                    # A Ctrl-C at the terminal is for the parent.
                    start_new_session=True,
                )
                forks.claim_process(self._process.pid)
        except BaseException:
            # After a cancel too: nothing else closes this end of the child's socket.
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._rest = b""
        self._talk = asyncio.Lock()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = self._watch()
        self._loop.add_reader(self._socket, self._read)
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether its end was seen."""
        return self._ended.done()

    async def tell(self, line: bytes) -> None:
        """Send it a line. One that has gone isn't told; **cancellation** may leave half a line behind."""
        async with self._talk:
            if self._socket.fileno() >= 0:
                with suppress(ConnectionError):
                    await self._loop.sock_sendall(self._socket, line)

    def hang_up(self) -> None:
        """Say no more: it sees the end of its orders, and may go on speaking."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()

    async def wait(self) -> int:
        """Wait for its end; return its exit code. **Cancellation** is safe."""
        return await asyncio.shield(self._ended)

    def _watch(self) -> int | None:
        """See the end of the process, by the kernel's handle where there is such a thing: no signal handler of
        anybody's can come in between."""
        try:
            handle = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):
            self._loop.run_in_executor(None, self._process.wait).add_done_callback(lambda _: self._has_ended())
            return None
        forks.claim(handle)
        self._loop.add_reader(handle, self._has_ended)
        return handle

    def _has_ended(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        code = self._process.wait()
        forks.let_go(self._process.pid)
        # What it said last; a grandchild may hold the other end for as long as it likes.
        self._read()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._say_rest()
        if not self._ended.done():
            self._ended.set_result(code)

    def _read(self) -> None:
        while True:
            try:
                data = self._socket.recv(_MAX_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._socket)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._heard(line.decode("utf-8", "replace"))

    def _say_rest(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._heard(rest.decode("utf-8", "replace"))


def describe_exit(code: int) -> str:
    """Say for people how a process ended."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the executor process was killed by {name}"
    return f"the executor process exited with code {code}"


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2
