"""Senders: where the records of this process's jobs wait for the wire, and where producers wait for room.

``LinkSender`` lives on the I/O thread; a ``JobSender`` is its far end, on the thread that runs the job.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import AsyncBlockError, Closed
from ..runtime import crashpoints
from ..runtime.iothread import IOThread
from ..wire.bodies import CHUNK_SIZE, Encoding, OutgoingBody, Parcel, sum_of
from ..wire.channel import Channel, Mark
from ..wire.outbox import Outbox
from ..wire.records import encode
from ..wire.scheduler import ChannelRun
from ..wire.windows import DATA_WINDOW, LINK_WINDOW, TELEMETRY_WINDOW, Lane, Window
from .bodybuffer import buffer_of
from .streamedbody import StreamedBody

__all__ = ["LinkSender", "JobSender", "divert_records"]

PREVIEW_PATIENCE = 10.0
"""Seconds after which a finish no longer waits for bodies of previews."""

_PROGRESS_INTERVAL = 0.1
"""Seconds between two progress records of a job: ten a second are as smooth as an eye asks for."""


class JobSender:
    """Where one attempt of one job puts its records. Made for each dispatch; used by one thread at a time.

    Nothing here waits: what has no room is left to the caller, who asks to be called back.
    """

    __slots__ = ("_link_sender", "_post", "channel")

    def __init__(self, link_sender: LinkSender, channel: Channel) -> None:
        self._link_sender = link_sender
        self._post = link_sender.io.post
        self.channel = channel

    def start(self, record: bytes) -> None:
        """Say that the job starts, once: before all else that it says."""
        channel = self.channel
        if not channel.start_said:
            channel.start_said, channel.start = True, record
            self.activate()

    def when_started(self, sent: Callable[[], None]) -> None:
        """Call ``sent``, on any thread, when the start has been handed to a connection, or never will be."""
        channel = self.channel
        # Noted at once and not by a post: the start may be taken before what is posted. Looked at last: whoever sends
        # it or closes the channel in between either sees the note or is seen here.
        channel.starting = sent
        if channel.start_sent or channel.trouble is not None:
            sent()

    def when_finished(self, stored: Callable[[], None]) -> None:
        """Call ``stored``, on any thread and perhaps twice, when the finish is in the journal; not if the job is closed
        before."""
        channel = self.channel
        # As in ``when_started``.
        channel.storing = stored
        if channel.stored:
            # The channel is done with, and lets go of this no more by itself: it would stay until the collector comes.
            channel.storing = None
            stored()

    @property
    def inherited(self) -> bool:
        """Tell whether its link is another process's, from which this one was forked."""
        return self._link_sender.io.forked

    @property
    def started(self) -> bool:
        """Tell whether the start has been handed to a connection."""
        return self.channel.start_sent

    def use_port(self, port: Window) -> None:
        """Count this job's bytes on another thread's share; only before the first record."""
        self.channel.port = port

    def try_accept(self, lane: Lane, item: bytes | Parcel) -> bool:
        """Accept a record if the windows have room for it."""
        channel = self.channel
        size = len(item.record) if isinstance(item, Parcel) else len(item)
        if not (lane.window.has_room(size) and channel.port.has_room(size)):
            return False
        channel.accept(lane, item)
        if not channel.active:
            self.activate()
        return True

    def try_record(self, lane: Lane, record: bytes) -> bool:
        """As ``try_accept`` for a record without bodies."""
        # Written out: a third of the time of the calls that it stands for (throughput).
        channel, window = self.channel, lane.window
        port, size = channel.port, len(record)
        used, held = window.accepted - window.freed, port.accepted - port.freed
        if (used and used + size > window.limit) or (held and held + size > port.limit):
            return False
        port.accepted += size
        window.accepted += size
        lane.appended += 1
        lane.queue.append(record)
        if not channel.active:
            self.activate()
        return True

    def activate(self) -> None:
        """Tell the link's sender that something waits on this channel."""
        self.channel.active = True
        self._link_sender.arrive(self.channel)

    def when_room(self, lane: Lane, size: int, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, on the I/O thread, when the windows have room again or the job is in trouble."""
        self._post(self._link_sender.wait_room, self.channel, _RoomWaiter(lane, size, wake))

    def put_progress(self, record: bytes) -> None:
        """Note the newest progress; it is sent when the last one is 0.1 s old."""
        channel = self.channel
        channel.put_progress(record)
        if not channel.progress_timer:
            channel.progress_timer = True
            self._post(self._link_sender.pace_progress, channel)

    def put_preview(self, id: str, parcel: Parcel) -> bool:
        """Queue a preview in place of a waiting one with the same id, if the window has room."""
        channel = self.channel
        if not channel.telemetry.window.has_room(len(parcel.record)):
            return False
        superseded = channel.put_preview(id, parcel)
        if superseded is not None:
            self.forget(superseded)
        if not channel.active:
            self.activate()
        return True

    def mark(self, settle: Callable[[BaseException | None], None]) -> None:
        """Call ``settle`` once, on the I/O thread, when everything accepted so far is in the journal."""
        channel = self.channel
        channel.force_progress()
        if not channel.idle and not channel.active:
            self.activate()
        self._post(self._link_sender.mark, channel, Mark(channel.data.appended, channel.telemetry.appended, settle))

    def finish(self, parcel: Parcel, settle: Callable[[BaseException | None], None]) -> None:
        """Queue the finish behind everything else; ``settle`` is called when it is in the journal."""
        self.channel.force_progress()
        # One post: were the finish visible before its mark, it could be acknowledged before the mark waits for it.
        self._post(self._link_sender.finish, self.channel, parcel, Mark(0, 0, settle, after_finish=True))

    def streamed_body(self, *, telemetry: bool) -> StreamedBody:
        """Number a body that is to be made on a worker thread."""
        body = OutgoingBody(self._link_sender.next_body(), "json", self.channel, telemetry=telemetry)
        link = self._link_sender
        return StreamedBody(body, link.io, link.buffer, keep=link.keep_body, forget=link.forget, tell=self._tell)

    def small_body(
        self, data: bytes, encoding: Encoding, *, telemetry: bool = False, force: bool = False
    ) -> OutgoingBody | None:
        """Make a body of no more than some 64 KiB at once; None when memory has no room for it, unless by ``force``."""
        buffer = self._link_sender.buffer
        if not force and buffer.in_memory + len(data) > buffer.memory_limit:
            return None
        body = OutgoingBody(self._link_sender.next_body(), encoding, self.channel, telemetry=telemetry)
        for start in range(0, len(data), CHUNK_SIZE):
            buffer.put(body, data[start : start + CHUNK_SIZE], force=True)
        body.seal(sum_of([data]))
        self._post(self._link_sender.keep_body, body)
        return body

    def _tell(self) -> None:
        """Tell the link's sender that a body has something to send."""
        if not self.channel.active:
            self.activate()

    def when_body_room(self, body: OutgoingBody, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, from any thread, when it is worth going on with making a body."""
        self._link_sender.buffer.when_room(body, wake)

    def forget(self, item: bytes | Parcel | Iterable[OutgoingBody]) -> None:
        """Let bodies go, or those of a record, that was not accepted or is superseded."""
        bodies = item.bodies if isinstance(item, Parcel) else () if isinstance(item, bytes) else list(item)
        if bodies:
            self._post(self._link_sender.forget, bodies)


def divert_records(take: Callable[[bytes, str], bool], own: JobSender | None) -> None:
    """In a forked process: give the records of one sender to a function, and refuse what others of the parent's get.

    The link's threads aren't there: what was put in its place as ever would never leave.
    """
    words = "this job's link belongs to the executor's process"
    usual = {name: getattr(JobSender, name) for name in ("try_accept", "put_progress", "put_preview")}

    def accept(self: JobSender, lane: Lane, item: bytes | Parcel) -> bool:
        if not self.inherited:
            return bool(usual["try_accept"](self, lane, item))
        record, bodies = (item.record, item.bodies) if isinstance(item, Parcel) else (item, ())
        if bodies or own is None or self.channel is not own.channel:
            raise Closed(f"{words}, and a forked process can't send this; return it to the block")
        if not take(record, "data" if lane is self.channel.data else "telemetry"):
            raise Closed(f"{words}, which has ended")
        return True

    def progress(self: JobSender, record: bytes) -> None:
        if not self.inherited:
            usual["put_progress"](self, record)
        else:
            accept(self, self.channel.telemetry, record)

    def preview(self: JobSender, id: str, parcel: Parcel) -> bool:
        if not self.inherited:
            return bool(usual["put_preview"](self, id, parcel))
        return accept(self, self.channel.telemetry, parcel)

    def unless_forked(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: JobSender, *args: Any, **kwargs: Any) -> Any:
            if self.inherited:
                raise Closed(
                    f"{words}; a forked process sends small values and reports, and leaves all else to the block"
                )
            return original(self, *args, **kwargs)

        return call

    # For good: this is the child's copy of the class. A look at each call would cost the parent's blocks their speed.
    taken = {"try_accept": accept, "try_record": accept, "put_progress": progress, "put_preview": preview}
    refused = {name: unless_forked(getattr(JobSender, name)) for name in ("mark", "finish", "small_body")}
    for name, method in {**taken, **refused}.items():
        setattr(JobSender, name, method)


@dataclass(slots=True, eq=False)
class _RoomWaiter:
    lane: Lane
    size: int
    wake: Callable[[], None]


class LinkSender:
    """The channels of a link and all that waits for them. On the I/O thread."""

    def __init__(self, io: IOThread, sendable: asyncio.Event) -> None:
        self.io = io
        self.ports: list[Window] = []
        self._windows = {"data": DATA_WINDOW, "telemetry": TELEMETRY_WINDOW, "link": LINK_WINDOW}
        self.outbox = Outbox(self.ports)
        self.channels: dict[int, Channel] = {}
        self._attempts: set[tuple[str, int]] = set()
        """Jobs and attempts of the channels."""
        self.next_channel = 1
        """One past the highest channel that was ever opened."""
        self.ending: Callable[[str, int], None] | None = None
        """Told of each job whose finish is queued."""
        self._sendable = sendable
        self._numbers = itertools.count(1)
        self.buffer = buffer_of(io)
        self._room: dict[Channel, deque[_RoomWaiter]] = {}
        self.own: Channel | None = None
        """Bodies that no record will name are sent from here; the mainframe never hears of it."""
        self.when_kept: dict[int, asyncio.Future[None]] = {}
        self._port_full = False
        self._arrivals: deque[Channel] = deque()
        self._writer_idle = False

    def new_port(self) -> Window:
        """Return a share of the link's window for one producing thread (or threads under one lock)."""
        self.ports.append(Window(LINK_WINDOW))
        self._share_window()
        return self.ports[-1]

    def allow(self, windows: Mapping[str, Any]) -> None:
        """Keep to the windows that a Welcome names; what is accepted already stays accepted."""
        for name in self._windows:
            if type(size := windows.get(name)) is int and size > 0:
                self._windows[name] = size
        self._share_window()
        for channel in self.channels.values():
            self._narrow(channel)

    def _share_window(self) -> None:
        for port in self.ports:
            port.limit = self._windows["link"] // len(self.ports)

    def _narrow(self, channel: Channel) -> None:
        channel.data.window.limit = self._windows["data"]
        channel.telemetry.window.limit = self._windows["telemetry"]

    def next_body(self) -> int:
        """Return a body number never used before on this link. From any thread."""
        return next(self._numbers)

    # ------------------------------------------------------------------ channels

    def has(self, number: int, job_id: str, attempt: int) -> bool:
        """Tell whether a channel is open, or an attempt has one."""
        return number in self.channels or (job_id, attempt) in self._attempts

    def open(self, number: int, job_id: str, attempt: int) -> JobSender:
        """Open the channel of a dispatch."""
        self._attempts.add((job_id, attempt))
        self.next_channel = max(self.next_channel, number + 1)
        port = self.ports[0] if self.ports else self.new_port()
        channel = self.channels[number] = Channel(number, job_id, attempt, port)
        self._narrow(channel)
        return JobSender(self, channel)

    def close(self, number: int, error: AsyncBlockError) -> None:
        """Close a channel: what it hasn't sent is dropped, and those that wait for it are told why."""
        channel = self._remove(number)
        if channel is not None:
            channel.trouble = error
            self.outbox.drop(channel, error)
            self.forget(self.outbox.unnamed_bodies(channel))
            self._wake(channel)
            _started(channel)
            self._wake_port()
            channel.unlink()

    def _remove(self, number: int) -> Channel | None:
        channel = self.channels.pop(number, None)
        if channel is not None:
            self._attempts.discard((channel.job_id, channel.attempt))
        return channel

    def raise_at_next_call(self, number: int, error: AsyncBlockError) -> None:
        """Let the next call of a job raise an error once."""
        channel = self.channels.get(number)
        if channel is not None and channel.trouble is None:
            channel.trouble = error
            self._wake(channel)

    def abandon(self, error: AsyncBlockError) -> None:
        """Give up everything under way and begin anew: what was sent can't be continued."""
        for body in self.outbox.bodies.values():
            self.buffer.drop(body)
        self.outbox.abandon(self.channels.values(), error)
        for channel in self.channels.values():
            _started(channel)
        self.channels.clear()
        self._attempts.clear()
        for channel in list(self._room):
            self._wake(channel)
        self._arrivals.clear()
        self.own, self.when_kept, waiting = None, {}, self.when_kept
        for waiter in waiting.values():
            waiter.set_result(None)
        self.outbox = Outbox(self.ports)

    # ------------------------------------------------------------------ what producers tell

    def arrive(self, channel: Channel) -> None:
        """Take note that something waits on a channel. From any thread.

        The writer is woken only when it has nothing to do: when batches are under way, the acknowledgement that comes
        for them makes it look again. A wake-up costs a system call and two changes of the GIL (throughput).
        """
        self._arrivals.append(channel)
        if self._writer_idle:
            self._writer_idle = False
            self.io.post(self._sendable.set)

    def next_message(self) -> bytes | None:
        """Take the next message; after None, wait for ``sendable``."""
        message = self._look()
        if message is None:
            self._sendable.clear()
            self._writer_idle = not self.outbox.held_back or bool(self.outbox.bodies)
            # Idle first, then a second look: what arrives in between is either seen here or sees the flag.
            if self._arrivals:
                message = self._look()
        return message

    def _look(self) -> bytes | None:
        self._enlist_arrivals()
        return self.outbox.next_message()

    def sent(self) -> None:
        """Take note that the connection has taken everything that ``next_message`` gave."""
        if self.outbox.starting and not self.outbox.resending:
            for channel in self.outbox.started():
                _started(channel)

    @property
    def unacknowledged(self) -> int:
        """How many records were accepted and aren't in the journal as far as is known."""
        return self.outbox.unacknowledged + sum(channel.waiting for channel in self.channels.values())

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits to be sent."""
        return not self._arrivals and self.outbox.idle and not self.outbox.bodies

    def _enlist_arrivals(self) -> None:
        while self._arrivals:
            channel = self._arrivals.popleft()
            if self.channels.get(channel.number) is channel:
                self.outbox.scheduler.enlist(channel)
            else:
                channel.discard()

    # ------------------------------------------------------------------ what senders of jobs post

    def enlist(self, channel: Channel) -> None:
        """Give a channel a place on the scheduler's ring."""
        if channel is self.own or self.channels.get(channel.number) is channel:
            self.outbox.scheduler.enlist(channel)
            self._sendable.set()
        else:
            channel.discard()

    def mark(self, channel: Channel, mark: Mark) -> None:
        """Settle a mark when what it covers is in the journal."""
        if self.channels.get(channel.number) is channel:
            self.outbox.mark(channel, mark)
        else:
            mark.settle(channel.trouble or Closed(f"job {channel.job_id} is finished"))

    def finish(self, channel: Channel, parcel: Parcel, mark: Mark) -> None:
        """Queue a job's finish, and settle its mark when it is in the journal."""
        if self.channels.get(channel.number) is channel:
            channel.finish = parcel
            if self.ending is not None:
                self.ending(channel.job_id, channel.attempt)
            if channel.telemetry.holds_parcels:
                self.io.loop.call_later(PREVIEW_PATIENCE, self._give_up_previews, channel)
        self.mark(channel, mark)
        self.enlist(channel)

    def _give_up_previews(self, channel: Channel) -> None:
        """Let a finish go that waits for large previews: they are for people, and the flow goes on without them."""
        if channel.finished or self.channels.get(channel.number) is not channel:
            return
        warning = f"large previews were given up: they weren't sent {PREVIEW_PATIENCE:g} s after the job's end"
        words = encode("BlockWarning", int(time.time() * 1000), warning=warning)
        dropped = channel.telemetry.give_up_bodies(words)
        if not dropped:
            return
        channel.port.freed += sum(len(parcel.record) for parcel in dropped) - len(words)
        self.forget(body for parcel in dropped for body in parcel.bodies)
        self.enlist(channel)

    def wait_room(self, channel: Channel, waiter: _RoomWaiter) -> None:
        """Wake a producer when its windows have room."""
        gone = self.channels.get(channel.number) is not channel
        if gone or (waiter.lane.window.has_room(waiter.size) and channel.port.has_room(waiter.size)):
            waiter.wake()
            return
        self._room.setdefault(channel, deque()).append(waiter)
        self._port_full = self._port_full or not channel.port.has_room(waiter.size)

    def pace_progress(self, channel: Channel) -> None:
        """Let the newest progress leave, when the last one is old enough."""
        now = self.io.loop.time()
        if now < channel.progress_due:
            self.io.loop.call_later(channel.progress_due - now, self.pace_progress, channel)
            return
        channel.progress_due = now + _PROGRESS_INTERVAL
        # The flag falls first: a progress noted from here on asks for its own turn.
        channel.progress_timer = False
        channel.progress_ready = True
        self.enlist(channel)

    def keep_body(self, body: OutgoingBody) -> None:
        """Send a body's chunks, and keep it until its record is acknowledged or its channel is closed."""
        channel = self.channels.get(body.channel.number)
        if body.dropped or channel is None or channel is not body.channel:
            self.buffer.drop(body)
            return
        self.outbox.keep(body)
        self.enlist(channel)

    def forget(self, bodies: Iterable[OutgoingBody]) -> None:
        """Let bodies go whose record will never be sent; what the mainframe has of them is discarded."""
        bodies = [body for body in bodies if not body.dropped]
        self.outbox.discard(bodies)
        for body in bodies:
            self.buffer.drop(body)
        if bodies:
            self._sendable.set()

    def kept(self, n: int) -> None:
        """Let the record go that waited for the mainframe to have a body."""
        channel = self.outbox.kept(n)
        if (waiter := self.when_kept.pop(n, None)) is not None:
            waiter.set_result(None)
        if channel is not None and self.channels.get(channel.number) is channel:
            self.outbox.scheduler.enlist(channel)
        # Also where the channel is closed: a batch that is sent again may wait for this.
        self._sendable.set()

    # ------------------------------------------------------------------ what the link posts

    def acknowledge(self, seq: int) -> None:
        """Take in an acknowledgement."""
        self._freed(self.outbox.acknowledge(seq))

    def resume(self, stored: int, offsets: Mapping[int, int], understands: Collection[str] = ()) -> None:
        """Go on after a Welcome."""
        self._freed(self.outbox.resume(stored, offsets, understands))

    def _freed(self, runs: list[ChannelRun]) -> None:
        for run in runs:
            for body in run.bodies:
                self.buffer.drop(body)
            if run.finish:
                crashpoints.reached("finish_acked")
                self._remove(run.channel.number)
                run.channel.stored = True
                if (storing := run.channel.storing) is not None:
                    storing()
                if run.channel.bodies:
                    # Of calls that were cancelled while they waited for room.
                    self.forget(self.outbox.unnamed_bodies(run.channel))
                run.channel.unlink()
            if run.start:
                # Stored before the connection broke, which had not said that it took it.
                _started(run.channel)
            if run.channel in self._room:
                self._try_wake(run.channel)
        if runs:
            self._wake_port()
            # A writer with nothing to send isn't woken: the next record does that (latency).
            if not (self._writer_idle and self.idle):
                self._sendable.set()

    def _wake_port(self) -> None:
        """Wake those who wait for the link's window, if there is room in it."""
        if self._port_full:
            self._port_full = False
            for channel in list(self._room):
                self._try_wake(channel)

    def _try_wake(self, channel: Channel) -> None:
        if not channel.port.refilled:
            self._port_full = True
            return
        waiters = self._room[channel]
        while waiters and waiters[0].lane.window.refilled:
            waiters.popleft().wake()
        if not waiters:
            del self._room[channel]

    def _wake(self, channel: Channel) -> None:
        for waiter in self._room.pop(channel, ()):
            waiter.wake()


def _started(channel: Channel) -> None:
    """Tell those that wait for the start that it is on its way, or never will be."""
    channel.start_sent = True
    starting, channel.starting = channel.starting, None
    if starting is not None:
        starting()
