"""A channel: the small number that stands for one attempt of a job on one link, and what waits to be sent on it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from .bodies import OutgoingBody, Parcel
from .windows import DATA_WINDOW, TELEMETRY_WINDOW, Lane, Slot, Window

__all__ = ["Channel", "Mark"]


@dataclass(slots=True, eq=False)
class Mark:
    """Somebody who waits until everything accepted up to a point is acknowledged."""

    data: int
    telemetry: int
    settle: Callable[[BaseException | None], None]
    """Called once on the taking side: with None when acknowledged, else with what made that impossible."""
    after_finish: bool = False


class Channel:
    """The records of one job attempt on their way to the mainframe.

    Order within a job: the start before data before telemetry before progress before the finish; within each class the
    order of the calls.
    """

    __slots__ = (
        "active",
        "attempt",
        "bodies",
        "body_next",
        "data",
        "deficit",
        "finish",
        "finished",
        "job_id",
        "marks",
        "number",
        "on_ring",
        "port",
        "previews",
        "progress",
        "progress_due",
        "progress_ready",
        "progress_timer",
        "start",
        "start_said",
        "start_sent",
        "starting",
        "stored",
        "storing",
        "telemetry",
        "trouble",
    )

    def __init__(self, number: int, job_id: str, attempt: int, port: Window) -> None:
        self.number = number
        self.job_id = job_id
        self.attempt = attempt
        self.port = port
        """The share of the link's window that this producer's thread counts."""
        self.data = Lane(DATA_WINDOW)
        self.telemetry = Lane(TELEMETRY_WINDOW)
        self.progress: Slot | None = None
        """Made with the first progress."""
        self.progress_ready = False
        self.progress_due = 0.0
        """Time of the link's clock before which the next progress isn't sent."""
        self.progress_timer = False
        self.previews: dict[str, Slot] = {}
        self.finish: Parcel | None = None
        self.finished = False
        """The finish was taken; nothing can follow it."""
        self.marks: list[Mark] = []
        self.start: bytes | None = None
        """The JobStarted that waits to be sent: before everything else, and without a window, as the finish."""
        self.start_said = False
        self.start_sent = False
        """A connection has taken the start. The taker's own."""
        self.starting: Callable[[], None] | None = None
        """Called once when that is so, or never will be."""
        self.stored = False
        """The finish is in the journal. The taker's own."""
        self.storing: Callable[[], None] | None = None
        """Called once when that is so; not for a channel that is closed before."""
        self.trouble: BaseException | None = None
        """What the next call of this job raises: a refusal (once) or the end of the lease (for ever)."""
        self.active = False
        """True while the taker knows that something waits: the producer asks for a place only when it is down."""
        self.bodies: dict[int, OutgoingBody] = {}
        """Bodies whose record isn't acknowledged. The taker's own."""
        self.body_next = False
        """In its next turn a body goes before a record: neither waits for all of the other. The taker's own."""
        self.on_ring = False
        """True while the scheduler has this channel on its ring. The taker's own."""
        self.deficit = 0

    @property
    def drained(self) -> bool:
        """Tell whether nothing but a finish waits to be sent."""
        if self.start is not None or (self.progress_ready and self._progress_waits):
            return False
        data, telemetry = self.data, self.telemetry
        # Said inline in each place that every record passes: 18 calls for each job (dispatch).
        return not (data.queue or telemetry.queue or data.under_way is not None or telemetry.under_way is not None)

    @property
    def idle(self) -> bool:
        """Tell whether no record waits to be sent."""
        return self.drained and (self.finish is None or self.finished)

    @property
    def has_record(self) -> bool:
        """Tell whether a record could be taken. Taker's side."""
        if self.start is not None:
            return True
        for lane in (self.data, self.telemetry):
            if (under_way := lane.under_way) is not None:
                return not under_way.pending
            if lane.queue:
                return True
        if self.progress_ready and self._progress_waits:
            return True
        return self.finish is not None and not self.finished and not self.finish.pending

    @property
    def next_body(self) -> OutgoingBody | None:
        """Return the body whose chunk or question comes next, of data before one of telemetry. Taker's side."""
        return self.data.next_body or self.telemetry.next_body

    def add_body(self, body: OutgoingBody) -> None:
        """Let a body's chunks be sent from here. Taker's side."""
        self.bodies[body.n] = body
        (self.telemetry if body.telemetry else self.data).add_body(body)

    def drop_body(self, body: OutgoingBody) -> None:
        """Send nothing more of a body. Taker's side."""
        body.dropped = True
        self.bodies.pop(body.n, None)

    def resume_bodies(self, elsewhere: Container[int]) -> None:
        """Put the bodies in their order again, after a Welcome; those ``elsewhere`` are sent by somebody else."""
        for lane in (self.data, self.telemetry):
            lane.bodies = None
        for n, body in self.bodies.items():
            if n not in elsewhere:
                (self.telemetry if body.telemetry else self.data).add_body(body)

    @property
    def waiting(self) -> int:
        """Return how many records wait to be sent. Taker's side."""
        lanes = sum(lane.appended - lane.taken for lane in (self.data, self.telemetry))
        return lanes + self._progress_waits + (self.finish is not None and not self.finished)

    def unlink(self) -> None:
        """Leave no circle behind, now that it is closed: it would stay until the collector comes. Taker's side."""
        self.storing = None
        if self.finish is not None:
            # Its bodies know the channel.
            self.finish = Parcel(self.finish.record)

    def discard(self) -> None:
        """Give back the room of what waits here and will never be sent. Taker's side."""
        # The flag falls before the look: who appends later asks for a place, and what it appended comes here too.
        self.active = False
        self.start = None
        size = self.data.discard() + self.telemetry.discard()
        progress = self.progress.take() if self.progress is not None else None
        if progress is not None:
            self.telemetry.window.freed += len(progress.record)
            size += len(progress.record)
        self.port.freed += size

    @property
    def _progress_waits(self) -> bool:
        return self.progress is not None and self.progress.queued

    def force_progress(self) -> None:
        """Queue the waiting progress with the telemetry at once. Producer's side; used by flush and finish."""
        parcel = self.progress.take() if self.progress is not None else None
        if parcel is not None:
            # It was accepted when it was put; append counts it again.
            self.telemetry.window.accepted -= len(parcel.record)
            self.port.accepted -= len(parcel.record)
            self.accept(self.telemetry, parcel)

    def accept(self, lane: Lane, item: bytes | Parcel) -> None:
        """Accept a record on a lane. Producer's side; the caller has made sure of room."""
        if isinstance(item, bytes):
            self.port.accepted += len(item)
            lane.append(item)
        else:
            self.port.accepted += len(item.record)
            lane.append_parcel(item)

    def put_progress(self, record: bytes) -> None:
        """Note the newest progress in place of an older one. Producer's side."""
        slot = self.progress = self.progress or Slot.empty()
        superseded = slot.take()
        size = len(record) - (len(superseded.record) if superseded is not None else 0)
        self.telemetry.window.accepted += size
        self.port.accepted += size
        slot.content.append(Parcel(record))
        slot.queued = True

    def put_preview(self, id: str, parcel: Parcel) -> Parcel | None:
        """Queue a preview; return the waiting one with the same id that it supersedes. Producer's side."""
        slot = self.previews.setdefault(id, Slot.empty())
        superseded = self.telemetry.put(slot, parcel)
        self.port.accepted += len(parcel.record) - (len(superseded.record) if superseded is not None else 0)
        return superseded
