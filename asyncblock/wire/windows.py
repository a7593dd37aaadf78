"""How much a sender may have under way: windows in bytes, lanes of records, latest-wins slots.

A record is *in flight* from the moment it is accepted until the mainframe has acknowledged it. All windows are on the
sender's side and are freed by acknowledgements; the receiver always reads.

Threads: the producing side (``accept``, ``put``) and the taking side (``take``, ``free``) may be two threads. Every
counter has one writer, of every shared container only atomic operations are used, so neither side needs a lock. Several
producing threads must take turns by a lock of their own. Queues are lists: an empty deque takes 0.7 kB, and an idle job
has several (memory).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .bodies import OutgoingBody, Parcel

__all__ = ["DATA_WINDOW", "LINK_WINDOW", "TELEMETRY_WINDOW", "Lane", "Slot", "Window"]

DATA_WINDOW = 2 << 20
"""Bytes of a job's outputs in flight: 100 ms of commit latency at 20 MB/s. A job that does nothing but send makes
55 MB/s; with 1 MiB it waits a third of its time for acknowledgements and sends a sixth less (throughput, 1 job)."""

TELEMETRY_WINDOW = 256 << 10
"""Bytes of a job's logs, messages and previews in flight; less than data, so that chatter can't crowd it out."""

LINK_WINDOW = 64 << 20
"""Bytes of all jobs of a link in flight: 32 jobs at their full window, or thousands at an ordinary one."""


class Window:
    """A byte budget with one writer on each side. ``accepted`` belongs to the producer, ``freed`` to the taker."""

    __slots__ = ("accepted", "freed", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.accepted = 0
        self.freed = 0

    @property
    def in_flight(self) -> int:
        """Bytes accepted and not yet acknowledged."""
        return self.accepted - self.freed

    def has_room(self, size: int) -> bool:
        """Tell whether ``size`` more bytes may be accepted; an empty window takes one record of any size."""
        used = self.accepted - self.freed
        return used == 0 or used + size <= self.limit

    @property
    def refilled(self) -> bool:
        """Tell whether waiters should be woken: half a window at once costs fewer wake-ups than each record."""
        return self.accepted - self.freed <= self.limit >> 1


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one record of which only the newest counts (progress, a preview with an id)."""

    content: deque[Parcel]
    """Holds at most one parcel: ``append`` replaces, ``popleft`` takes, both atomically."""
    queued: bool = False

    @classmethod
    def empty(cls) -> Slot:
        return cls(deque(maxlen=1))

    def take(self) -> Parcel | None:
        """Take the newest record, or None when it was taken before."""
        # The flag falls before the look: a put that comes in between sees it down and queues the slot again.
        self.queued = False
        try:
            return self.content.popleft()
        except IndexError:
            return None


class Lane:
    """One job's records of one class, in order, with their window."""

    __slots__ = ("appended", "bodies", "queue", "taken", "under_way", "window")

    def __init__(self, limit: int) -> None:
        self.window = Window(limit)
        self.queue: list[bytes | Parcel | Slot] = []
        """The producer appends; the taker looks at the beginning and deletes it."""
        self.under_way: Parcel | None = None
        """The parcel whose bodies aren't at the mainframe yet; everything queued waits behind it."""
        self.bodies: deque[OutgoingBody] | None = None
        """Bodies that have or will have something to send, whether their records wait here or not. The taker's own."""
        self.appended = 0
        """Entries ever appended (written by the producer)."""
        self.taken = 0
        """Entries ever taken (written by the taker)."""

    def add_body(self, body: OutgoingBody) -> None:
        """Let a body's chunks be sent. Taker's side."""
        if self.bodies is None:
            self.bodies = deque()
        self.bodies.append(body)

    @property
    def next_body(self) -> OutgoingBody | None:
        """Return the first body that has something to send. Taker's side."""
        bodies = self.bodies
        while bodies and bodies[0].through:
            bodies.popleft()
        if not bodies:
            self.bodies = None
            return None
        return next((body for body in bodies if body.ready and not body.dropped), None)

    def append(self, record: bytes) -> None:
        """Accept a record. The caller has made sure of room."""
        self.window.accepted += len(record)
        self.appended += 1
        self.queue.append(record)

    def append_parcel(self, parcel: Parcel) -> None:
        """Accept a record with bodies; the window counts the record, the body budget counts the bodies."""
        self.window.accepted += len(parcel.record)
        self.appended += 1
        self.queue.append(parcel)

    def put(self, slot: Slot, parcel: Parcel) -> Parcel | None:
        """Put a record into a slot and queue the slot; return the record that it supersedes, if any."""
        superseded = slot.take() if slot.queued else None
        if superseded is not None:
            self.window.accepted -= len(superseded.record)
            slot.queued = True
        self.window.accepted += len(parcel.record)
        slot.content.append(parcel)
        if not slot.queued:
            slot.queued = True
            self.appended += 1
            self.queue.append(slot)
        return superseded

    def discard(self) -> int:
        """Drop everything that waits and return the room that it had. Taker's side."""
        size = 0
        waiting = [*([self.under_way] if self.under_way is not None else ()), *(queued := self.queue[:])]
        self.under_way = None
        # What is appended meanwhile stays for the next time.
        del self.queue[: len(queued)]
        for entry in waiting:
            record = entry.take() or b"" if isinstance(entry, Slot) else entry
            size += len(record) if isinstance(record, bytes) else len(record.record)
        self.window.freed += size
        return size

    @property
    def holds_parcels(self) -> bool:
        """Tell whether anything waits here that may have bodies. Taker's side."""
        return self.under_way is not None or any(type(entry) is not bytes for entry in list(self.queue))

    def give_up_bodies(self, words: bytes) -> list[Parcel]:
        """Drop what waits for its bodies, put a record in its place, and return it.

        Taker's side, once nothing more is appended.
        """
        dropped: list[Parcel] = []
        kept: list[bytes | Parcel | Slot] = []
        waiting = [*([self.under_way] if self.under_way is not None else ()), *self.queue]
        for entry in waiting:
            parcel = entry.take() if isinstance(entry, Slot) else entry
            if isinstance(parcel, Parcel) and parcel.pending:
                dropped.append(parcel)
            elif parcel is not None:
                kept.append(parcel)
        if dropped:
            kept.append(words)
            # The words were never accepted: what was dropped pays for them.
            self.window.freed += sum(len(parcel.record) for parcel in dropped) - len(words)
        self.taken += len(waiting) - len(kept)
        self.under_way = None
        self.queue.clear()
        self.queue.extend(kept)
        return dropped
