"""A TCP proxy that does to connections what networks do: cuts, half ones too, black holes, drips, absences."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType

__all__ = ["FaultProxy"]

_BUFFER = 64 << 10
"""Bytes read at once, and about what either direction holds."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends RST."""


class FaultProxy:
    """Forwards connections to ``host:port`` from a port of its own, and harms them when told to.

    Use it with ``async with`` on one event loop; ``port`` is where to connect. What it does to a connection it does to
    both directions; connections made later are whole again.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stalling = False
        self.port = 0
        self.accepted = 0
        """Connections that were made."""
        self._one_more = asyncio.Event()
        self.cuts = 0
        """Connections that were ended by a fault."""

    async def __aenter__(self) -> FaultProxy:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._lines)

    async def until_accepted(self, count: int) -> None:
        """Wait until so many connections were made. **Cancellation** is safe."""
        while self.accepted < count:
            self._one_more.clear()
            await self._one_more.wait()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # ------------------------------------------------------------------ faults

    def cut(self) -> None:
        """End all connections with RST."""
        for line in list(self._lines):
            line.reset()
            self.cuts += 1

    def cut_gently(self) -> None:
        """End all connections with FIN, as a proxy that restarts does."""
        for line in list(self._lines):
            line.end()
            self.cuts += 1

    def truncate(self) -> None:
        """Let each connection pass one half of what comes next, and then cut it: a frame ends in its middle."""
        for line in list(self._lines):
            line.truncating = True
            self.cuts += 1

    def stall(self) -> None:
        """Swallow everything on all connections and say nothing: a black hole."""
        for line in list(self._lines):
            line.flowing.clear()

    def resume(self) -> None:
        """Let stalled connections flow again; what they had swallowed goes on."""
        self._stalling = False
        for line in list(self._lines):
            line.flowing.set()

    def half_open(self, *, near: bool = False) -> None:
        """End all connections on the far side with RST and tell the near side nothing; with ``near`` the reverse."""
        for line in list(self._lines):
            line.half_end(near)
            self.cuts += 1

    def stall_new(self, stalling: bool = True) -> None:
        """Stall connections from their first byte when they come: handshakes hang. ``resume`` lets them flow again."""
        self._stalling = stalling

    def drip(self, bytes_per_second: int | None) -> None:
        """Slow all connections down; None lifts it."""
        for line in list(self._lines):
            line.rate = bytes_per_second

    async def away(self, seconds: float) -> None:
        """Cut all connections, and refuse others for a while.

        **Cancellation** leaves the proxy listening.
        """
        self._stop_listening()
        self.cut()
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.shield(self._listen())

    # ------------------------------------------------------------------ connections

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target, limit=_BUFFER)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, there_writer)
        if self._stalling:
            line.flowing.clear()
        self.accepted += 1
        self._lines.add(line)
        self._one_more.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(line.pump(reader, there_writer))
                tasks.create_task(line.pump(there_reader, writer))
        except* OSError:
            pass
        finally:
            self._lines.discard(line)
            line.end()


class _Line:
    """One connection, both directions."""

    def __init__(self, here: asyncio.StreamWriter, there: asyncio.StreamWriter) -> None:
        self._writers = (here, there)
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.rate: int | None = None
        self.truncating = False
        self.half = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_BUFFER):
            await self.flowing.wait()
            if self.half:
                continue
            if self.truncating:
                writer.write(data[: len(data) // 2])
                await writer.drain()
                self.reset()
                raise ConnectionResetError("cut in the middle")
            try:
                await self._pass_on(data, writer)
            except OSError:
                if not self.half:
                    raise
        if writer.can_write_eof() and not self.half:
            writer.write_eof()

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        start = 0
        while start < len(data):
            rate = self.rate
            piece = data[start:] if rate is None else data[start : start + max(rate // 50, 1)]
            start += len(piece)
            writer.write(piece)
            await writer.drain()
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def half_end(self, near: bool) -> None:
        self.half = True
        _reset(self._writers[0 if near else 1])

    def end(self) -> None:
        for writer in self._writers:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.transport.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
