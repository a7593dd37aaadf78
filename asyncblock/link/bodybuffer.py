"""The buffer for bodies: so much of a process's memory, then a temporary file, then waiting.

Waiting, too, while the disk of that file is full: what fills it may go to the mainframe at any moment.

What is in the file is there until the mainframe has acknowledged it. The file has no name, so it goes with the process,
and it goes when nothing is in it any more. Any thread may ask; only the I/O thread gives back and reads.
"""

from __future__ import annotations

import heapq
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from ..errors import LocalProtocolError
from ..runtime.forks import claim, fresh_lock
from ..runtime.iothread import IOThread
from ..runtime.scratch import FullDisk, root
from ..wire.bodies import CHUNK_SIZE, OutgoingBody

__all__ = ["BODY_FILE", "BODY_MEMORY", "BodyBuffer", "buffer_of"]

BODY_MEMORY: Final = 64 << 20
"""Bytes of bodies in memory; ``ASYNCBLOCK_BODY_MEMORY`` sets another number."""

BODY_FILE: Final = 4 << 30
"""Bytes of bodies in the file: sixteen of the largest values. More means that the mainframe is away or slower than the
blocks, and then they wait. ``ASYNCBLOCK_BODY_FILE`` sets another number; with 0 one body at a time may be in the file,
while memory has no room for it."""


class BodyBuffer:
    """The buffer for the bodies of a process.

    A body that is being made may find no room; of several such the one that was begun first always finds some, so that
    one of them comes to its end and gives room back. It is that much larger.
    """

    def __init__(
        self,
        memory: int = BODY_MEMORY,
        file: int = BODY_FILE,
        later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self.memory_limit = memory
        self.file_limit = file
        self._later = later
        """Calls a function after some seconds. Without it nobody waits for a full disk."""
        self._disk = FullDisk("a large value")
        self._disk_rests = False
        """It was full just now, and will be asked again."""
        self.in_memory = 0
        self.in_file = 0
        self._lock = fresh_lock()
        self._file: _File | None = None
        self._making: dict[OutgoingBody, None] = {}
        self._waiting: deque[Callable[[], None]] = deque()

    def begin(self, body: OutgoingBody) -> None:
        """Note that a body is being made."""
        with self._lock:
            self._making[body] = None

    def end(self, body: OutgoingBody) -> None:
        """Note that all of it is made."""
        with self._lock:
            self._making.pop(body, None)
            waiting = self._take_waiting()
        _call(waiting)

    def put(self, body: OutgoingBody, block: bytes, *, force: bool = False) -> bool:
        """Add a block to a body, if there is room; what isn't in memory is written. On a worker thread.

        ``force`` puts it into memory at all events, and doesn't wait for any disk. Raises ``OSError`` as the disk says,
        which is full only when it has been for long; nothing is added then. A body that was dropped takes nothing.
        """
        size = len(block)
        with self._lock:
            if body.dropped:
                return True
            if force or self.in_memory + size <= self.memory_limit:
                self.in_memory += size
                body.add(block, size)
                if self._disk.since is not None:
                    self._disk.passed_by()
                return True
            if not self._has_room_in_file(body):
                return False
        try:
            self._put_into_file(body, block, size)
        except OSError as error:
            # A full disk is mostly full for a while: the maker waits and tries again, as it would for room in memory.
            if self._later is None:
                raise
            self._rest(self._disk.pause(error), self._later)
            return False
        self._disk.over()
        return True

    def _put_into_file(self, body: OutgoingBody, block: bytes, size: int) -> None:
        with self._lock:
            file = self._file = self._file or _File()
            slot = file.take()
            self.in_file += CHUNK_SIZE
        written = False
        try:
            slot.write(block)
            written = True
        finally:
            with self._lock:
                if written and not body.dropped:
                    body.add(slot, size)
                else:
                    self._free_slot(slot)

    def _rest(self, pause: float, later: Callable[[float, Callable[[], None]], None]) -> None:
        with self._lock:
            rests, self._disk_rests = self._disk_rests, True
        if not rests:
            later(pause, self._ask_disk_again)

    def _ask_disk_again(self) -> None:
        with self._lock:
            self._disk_rests = False
            waiting = self._take_waiting()
        _call(waiting)

    def has_room(self, body: OutgoingBody) -> bool:
        """Tell whether it is worth trying again."""
        with self._lock:
            return self._has_room(body)

    def when_room(self, body: OutgoingBody, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, from any thread, when it is worth trying again."""
        with self._lock:
            if not self._has_room(body):
                self._waiting.append(wake)
                return
        wake()

    def drop(self, body: OutgoingBody) -> None:
        """Give back what a body holds. On the I/O thread."""
        with self._lock:
            body.dropped = True
            self._making.pop(body, None)
            for block in body.blocks:
                if isinstance(block, bytes):
                    self.in_memory -= len(block)
                elif isinstance(block, _Slot):
                    self._free_slot(block)
            body.blocks = []
            waiting = self._take_waiting()
        _call(waiting)

    def _has_room(self, body: OutgoingBody) -> bool:
        return body.dropped or self.in_memory + CHUNK_SIZE <= self.memory_limit or self._has_room_in_file(body)

    def _has_room_in_file(self, body: OutgoingBody) -> bool:
        if self._disk_rests:
            return False
        return self.in_file + CHUNK_SIZE <= self.file_limit or next(iter(self._making), None) is body

    def _free_slot(self, slot: _Slot) -> None:
        self.in_file -= CHUNK_SIZE
        slot.file.free(slot)
        if not self.in_file and self._file is not None:
            # Nobody reads or writes it: so it gives the disk back.
            self._file.close()
            self._file = None

    def _take_waiting(self) -> list[Callable[[], None]]:
        # All of them: one that was woken may have left meanwhile, and looking again costs next to nothing.
        waiting, self._waiting = list(self._waiting), deque()
        return waiting


class _Slot:
    """A block in the file."""

    __slots__ = ("file", "index")

    def __init__(self, file: _File, index: int) -> None:
        self.file = file
        self.index = index

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        start = self.index * CHUNK_SIZE
        while view:
            written = os.pwrite(self.file.fd, view, start)
            view, start = view[written:], start + written

    def read(self, start: int, size: int) -> bytes:
        # 64 KiB, mostly still in the kernel's cache: not worth the way to a thread.
        begin = self.index * CHUNK_SIZE
        return os.pread(self.file.fd, min(size, CHUNK_SIZE - start), begin + start)


class _File:
    """A file without a name, in slots of the size of a chunk, the lowest free one first."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(dir=root(), buffering=0) as file:
            self.fd = os.dup(file.fileno())
        claim(self.fd)
        self.close = weakref.finalize(self, os.close, self.fd)
        self._next = 0
        self._free: list[int] = []

    def take(self) -> _Slot:
        if self._free:
            return _Slot(self, heapq.heappop(self._free))
        self._next += 1
        return _Slot(self, self._next - 1)

    def free(self, slot: _Slot) -> None:
        heapq.heappush(self._free, slot.index)


_buffers: WeakKeyDictionary[IOThread, BodyBuffer] = WeakKeyDictionary()


def buffer_of(io: IOThread) -> BodyBuffer:
    """Return the buffer of an I/O thread, which is a process's. Raises ``LocalProtocolError`` for a wrong setting."""
    buffer = _buffers.get(io)
    if buffer is None:
        # Weakly, or the buffer would keep its thread's object for ever.
        thread = weakref.ref(io)

        def later(seconds: float, act: Callable[[], None]) -> None:
            if (found := thread()) is not None:
                found.post(lambda: found.loop.call_later(seconds, act))

        buffer = _buffers[io] = BodyBuffer(
            _setting("ASYNCBLOCK_BODY_MEMORY", BODY_MEMORY), _setting("ASYNCBLOCK_BODY_FILE", BODY_FILE), later
        )
    return buffer


def _setting(name: str, usual: int) -> int:
    given = os.environ.get(name, "")
    if given and not given.isdecimal():
        raise LocalProtocolError(f"{name} is {given!r}; it is a number of bytes")
    return int(given) if given else usual


def _call(waiting: list[Callable[[], None]]) -> None:
    for wake in waiting:
        wake()
