"""The fair scheduler: which records and chunks leave next.

Jobs take turns by bytes (deficit round robin, Shreedhar and Varghese 1995), so that a job with large values and a job
with small ones get the same share of the socket, and nobody waits longer than the others' quanta. Control never comes
here: the outbox sends it first, always.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .bodies import OutgoingBody
from .channel import Channel
from .windows import Lane, Slot

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "QUANTUM", "ChannelRun", "Scheduler"]

BATCH_BYTES = 64 << 10
"""A batch is closed at this size: large enough to amortise a journal row and a system call (throughput no longer
grows above it), small enough that a cancel behind it waits 5 ms at 100 Mbit/s."""

BATCH_RECORDS = 512
"""A batch is closed at this count, so that small records don't make the mainframe parse for long."""

QUANTUM = 16 << 10
"""Bytes that a job may send in one turn: four jobs share a full batch."""


@dataclass(slots=True, eq=False)
class ChannelRun:
    """Consecutive records of one channel in a batch, and what their acknowledgement frees."""

    channel: Channel
    records: list[bytes] = field(default_factory=list)
    data_bytes: int = 0
    telemetry_bytes: int = 0
    bodies: list[OutgoingBody] = field(default_factory=list)
    start: bool = False
    finish: bool = False


class Scheduler:
    """The ring of channels that have something to send. Used by the taking side only."""

    def __init__(self) -> None:
        self._ring: deque[Channel] = deque()
        self.asks = False
        """The mainframe tells when it has a body; otherwise it has what was sent."""

    def enlist(self, channel: Channel) -> None:
        """Put a channel on the ring, unless it is there."""
        channel.active = True
        if not channel.on_ring:
            channel.on_ring = True
            channel.deficit = 0
            self._ring.append(channel)

    def remove(self, channel: Channel) -> None:
        """Take a channel off the ring; what it had queued is not sent."""
        if channel.on_ring:
            self._ring.remove(channel)
            channel.on_ring = False

    @property
    def fills_a_batch(self) -> bool:
        """Tell whether so many channels have something to send that a batch of one record each would be full."""
        return len(self._ring) >= BATCH_RECORDS

    @property
    def idle(self) -> bool:
        """Tell whether no channel has anything to send."""
        return not self._ring

    def next(self, limit: int = BATCH_BYTES) -> bytes | list[ChannelRun] | None:
        """Take what leaves next: a chunk message, the runs of a batch, or None when nothing waits.

        ``limit`` is how many bytes it should have at most; a single record may have more.
        """
        runs: list[ChannelRun] = []
        size = count = 0
        while self._ring and size < limit and count < BATCH_RECORDS:
            channel = self._ring[0]
            if channel.deficit <= 0:
                channel.deficit += QUANTUM
                if channel.deficit <= 0:
                    self._ring.rotate(-1)
                    continue
            body = channel.next_body if channel.bodies else None
            if body is not None and (channel.body_next or not channel.has_record):
                if runs:
                    break
                message = body.next_message(limit, self.asks)
                channel.body_next = False
                channel.deficit -= len(message or b"")
                self._turn(channel)
                if message is not None:
                    return message
                continue
            channel.body_next = body is not None
            run = _take_run(channel, min(channel.deficit, limit - size), BATCH_RECORDS - count)
            if run.records:
                taken = run.data_bytes + run.telemetry_bytes
                channel.deficit -= taken
                size += taken
                count += len(run.records)
                runs.append(run)
            self._turn(channel)
        return runs or None

    def next_chunk(self, limit: int) -> bytes | None:
        """Take a chunk of the next channel that has one, or the question after it; no records."""
        for _ in range(len(self._ring)):
            channel = self._ring[0]
            self._ring.rotate(-1)
            body = channel.next_body if channel.bodies else None
            message = body.next_message(limit, self.asks) if body is not None else None
            if message is not None:
                channel.deficit -= len(message)
                return message
        return None

    def _turn(self, channel: Channel) -> None:
        if not _ready(channel):
            # Nothing waits, or it waits for the mainframe to say that it has a body.
            self._ring.popleft()
            channel.on_ring = False
            # The flag falls before the second look: a producer that appended in between either sees the flag down
            # and asks for a place, or is seen here.
            channel.active = False
            if _ready(channel):  # pragma: no cover - a thread's append between the two looks
                self.enlist(channel)
        else:
            self._ring.rotate(-1)


def _ready(channel: Channel) -> bool:
    return channel.has_record or (bool(channel.bodies) and channel.next_body is not None)


def _take_run(channel: Channel, budget: int, count: int) -> ChannelRun:
    run = ChannelRun(channel)
    if channel.start is not None:
        run.start = True
        run.records.append(channel.start)
        channel.start = None
    lane = channel.data
    if lane.queue or lane.under_way is not None:
        run.data_bytes = _fill(lane, run, budget, count - len(run.records))
        if lane.queue or lane.under_way is not None:
            return run
    lane = channel.telemetry
    if lane.queue or lane.under_way is not None:
        run.telemetry_bytes = _fill(lane, run, budget - run.data_bytes, count - len(run.records))
        if lane.queue or lane.under_way is not None:
            return run
    if channel.progress_ready and channel.progress is not None and (progress := channel.progress.take()) is not None:
        channel.progress_ready = False
        run.records.append(progress.record)
        run.telemetry_bytes += len(progress.record)
    if channel.finish is not None and channel.drained and not channel.finished and not channel.finish.pending:
        channel.finished = True
        run.finish = True
        run.records.append(channel.finish.record)
        run.bodies.extend(channel.finish.bodies)
    return run


def _fill(lane: Lane, run: ChannelRun, budget: int, count: int) -> int:
    """Move records from a lane into a run, up to a budget of bytes (one record at least) and a count."""
    queue, records = lane.queue, run.records
    size = taken = seen = 0
    while size < budget and taken < count:
        item = lane.under_way
        if item is None:
            if seen == len(queue):
                break
            entry = queue[seen]
            seen += 1
            if type(entry) is bytes:
                taken += 1
                records.append(entry)
                size += len(entry)
                continue
            assert not isinstance(entry, bytes)
            item = entry.take() if isinstance(entry, Slot) else entry
        if item is not None and item.pending:
            lane.under_way = item
            break
        lane.under_way = None
        taken += 1
        if item is not None:
            run.bodies.extend(item.bodies)
            records.append(item.record)
            size += len(item.record)
    del queue[:seen]
    lane.taken += taken
    return size
