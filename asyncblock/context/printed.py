"""Lines that a job prints or logs, on their way into its telemetry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import LocalProtocolError
from ..wire.records import encode
from ..wire.windows import Lane
from .payloads import Stdio, log_records, now_ms

if TYPE_CHECKING:
    from ..link import JobSender
    from ..runtime.iothread import Inbox

__all__ = ["Captured", "LineRing", "LineSink", "divert_rings", "job_logger"]


class Captured:
    """The part of both faces that takes what a job prints and shows; an executor reaches it by ``sink``."""

    _sender: JobSender

    @property
    def sink(self) -> LineSink:
        """Where captured lines of this job go, and what it shows."""
        return LineSink(self)

    def _line(self, text: str, stdio: Stdio) -> None:
        raise LocalProtocolError("this context captures no lines")

    def _pace(self) -> None:
        """Lines of a sync block wait by themselves."""

    def _relay(self, record: bytes, lane: str) -> None:
        raise LocalProtocolError("this context relays nothing")

    def _show(self, payload: object) -> None:
        raise LocalProtocolError("this context shows nothing")


class LineSink:
    """Takes the lines that a job prints, and the figures that it shows. Equal methods are the same job's."""

    __slots__ = ("_of",)

    def __init__(self, of: Captured) -> None:
        self._of = of

    @property
    def line(self) -> Callable[[str, Stdio], None]:
        """Takes a line."""
        return self._of._line

    @property
    def sender(self) -> JobSender:
        """Where the job's records go."""
        return self._of._sender

    def pace(self) -> None:
        """Wait while too many lines wait, for one who can: not on the block's loop."""
        self._of._pace()

    def record(self, record: bytes, lane: str) -> None:
        """Send a record that was made in a forked process; waits for room. Not on the block's loop."""
        self._of._relay(record, lane)

    @property
    def show(self) -> Callable[[object], None]:
        """Takes what is shown."""
        return self._of._show


class LineRing:
    """Lines printed by an async block: ``print`` can't wait, so the oldest go when 1 MiB waits for room.

    ``add`` may be called from any thread; records leave on the block's loop, in order with its other telemetry.
    It doesn't hold its context: in a circle both would stay until the collector comes, and stalls the loop.
    """

    __slots__ = (
        "_dropped",
        "_inbox",
        "_lock",
        "_records",
        "_scheduled",
        "_sender",
        "_size",
        "_thread",
        "closed",
        "waiting",
    )

    LIMIT = 1 << 20

    def __init__(self, sender: JobSender, inbox: Inbox) -> None:
        self._sender = sender
        self._inbox = inbox
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._records: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._scheduled = False
        self.waiting = False
        """True while lines wait for room in the window."""
        self.closed = False
        """The finish is queued; later lines are dropped."""

    @property
    def crowded(self) -> bool:
        """Whether lines will be dropped soon."""
        return self._size > self.LIMIT // 2

    def add(self, text: str, stdio: Stdio) -> None:
        with self._lock:
            for record in log_records(text, stdio):
                self._records.append(record)
                self._size += len(record)
            drop = 0
            while self._size > self.LIMIT and drop < len(self._records) - 1:
                self._size -= len(self._records[drop])
                drop += 1
            del self._records[:drop]
            self._dropped += drop
        if threading.get_ident() == self._thread:
            if not self.waiting:
                self._pump()
        elif not self._scheduled:
            self._scheduled = True
            self._inbox.post(self._pump)

    def _pump(self) -> None:
        """Move lines into the window while there is room. On the block's loop only."""
        self._scheduled = self.waiting = False
        sender, channel = self._sender, self._sender.channel
        with self._lock:
            if channel.trouble is not None or self.closed:
                self._records.clear()
            if self._dropped:
                self._records.insert(0, _dropped_record(self._dropped))
                self._dropped = 0
            taken = 0
            for record in self._records:
                if not sender.try_accept(channel.telemetry, record):
                    self.waiting = True
                    sender.when_room(channel.telemetry, len(record), lambda: self._inbox.post(self._pump))
                    break
                taken += 1
                self._size -= len(record)
            del self._records[:taken]
            # The word of dropped lines was never counted, and yet subtracted.
            self._size = max(self._size, 0) if self._records else 0

    async def drained(self, room: Callable[[Lane, int], Awaitable[None]]) -> None:
        """Wait until no line waits; ``room`` waits until a lane has room for some bytes. **Cancellation** is safe."""
        channel = self._sender.channel
        while self._records and channel.trouble is None and not self.closed:
            if not self.waiting:
                self._pump()
                continue
            await room(channel.telemetry, len(self._records[0]))
            self._pump()


def divert_rings(take: Callable[[str, Stdio], None]) -> None:
    """In a forked process: give the lines of its parent's jobs to a function; the loop that sends them isn't here."""
    usual = LineRing.add

    def add(self: LineRing, text: str, stdio: Stdio) -> None:
        if self._sender.inherited:
            take(text, stdio)
        else:
            usual(self, text, stdio)

    setattr(LineRing, "add", add)  # noqa: B010  # in the child alone, for good


def _dropped_record(count: int) -> bytes:
    return encode("BlockWarning", now_ms(), warning=f"{count} printed lines were dropped: they came too fast")


class _LineHandler(logging.Handler):
    def __init__(self, line: Callable[[str, Stdio], None]) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line(self.format(record), "stderr" if record.levelno >= logging.WARNING else "stdout")
        except Exception:
            self.handleError(record)


def job_logger(line: Callable[[str, Stdio], None]) -> logging.Logger:
    job_logger = logging.Logger("block", logging.DEBUG)
    handler = _LineHandler(line)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    job_logger.addHandler(handler)
    return job_logger
