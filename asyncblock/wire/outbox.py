"""The sending end of a link: sequence numbers, what is kept until acknowledged, and what is sent again.

One rule: a batch is kept until the mainframe has it in its journal. An acknowledgement is cumulative and frees windows;
a Welcome after a lost connection says what was stored, and everything later is sent again, byte for byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ..errors import RemoteProtocolError
from .bodies import OutgoingBody
from .channel import Channel, Mark
from .frames import join_batch
from .messages import Discard, Whole, encode
from .scheduler import BATCH_BYTES, ChannelRun, Scheduler
from .windows import Window

__all__ = ["PIPELINE", "START_BYTES", "Outbox"]

PIPELINE = 4
"""Batches under way beyond which only full ones are added. Batching so comes from load alone: a lone record leaves at
once, and what is said while four commits are awaited leaves together (one row, one system call, one wake-up)."""

START_BYTES = 4 << 10
"""Size of the first new message after a connection was lost with something under way; each further one may be twice as
large. What breaks in the middle of large messages (a proxy's limit, a thin line) so still gets something through."""

_DISCARDS = 1000
"""Numbers of bodies in one message that discards them."""


@dataclass(slots=True, eq=False)
class _Sent:
    seq: int
    message: bytes
    runs: list[ChannelRun]
    records: int


@dataclass(slots=True, eq=False)
class _Waiter:
    seq: int
    settle: Callable[[BaseException | None], None]


class Outbox:
    """Everything that one end of a link still has to say.

    The owner appends control lines, activates channels, and asks ``next_message`` whenever the transport can take one.
    """

    def __init__(self, ports: list[Window] | None = None) -> None:
        self.scheduler = Scheduler()
        self._ports = ports
        """The producers' shares of the link's window; their sum says how much waits. None: nothing is held back."""
        self._retained_bytes = 0
        self.seq = 0
        """The highest sequence number given out."""
        self.acked = 0
        """The highest sequence number known to be in the journal."""
        self.bodies: dict[int, OutgoingBody] = {}
        """Bodies whose record isn't acknowledged yet, by number."""
        self.starting: list[Channel] = []
        """Channels whose start is in a message that was taken."""
        self._control: deque[bytes] = deque()
        self._retained: deque[_Sent] = deque()
        self._resend: deque[_Sent] = deque()
        self._resend_bodies: deque[OutgoingBody] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._limit = BATCH_BYTES
        self._discards = False
        """The mainframe takes it in when bodies are discarded."""

    def control(self, line: bytes) -> None:
        """Queue a control line: it leaves before any batch."""
        self._control.append(line)

    @property
    def idle(self) -> bool:
        """Tell whether ``next_message`` has nothing to give."""
        return not (self._control or self._resend or self._resend_bodies or not self.scheduler.idle)

    @property
    def resending(self) -> bool:
        """Tell whether something of a lost connection waits to be sent again."""
        return bool(self._resend)

    @property
    def unacknowledged(self) -> int:
        """How many records were sent and are neither acknowledged nor given up."""
        return sum(sent.records for sent in self._retained)

    def next_message(self) -> bytes | None:
        """Take the next message: control, then what is sent again, then chunks and new batches in turns."""
        if self._control:
            return self._join_control()
        while self._resend_bodies:
            message = self._resend_bodies[0].next_message(self._limit, self.scheduler.asks)
            if message is not None:
                self._grow()
                return message
            self._resend_bodies.popleft()
        if self._resend:
            # The mainframe would read nothing else while it checks a body: so what names one waits here.
            if self.scheduler.asks and not all(body.kept for run in self._resend[0].runs for body in run.bodies):
                return None
            return self._resend.popleft().message
        if self.held_back:
            # Chunks wait for no acknowledgement.
            return self.scheduler.next_chunk(self._limit) if self.bodies else None
        turn = self.scheduler.next(self._limit)
        if turn is not None and self._limit < BATCH_BYTES:
            self._grow()
        return self._seal(turn) if isinstance(turn, list) else turn

    def _grow(self) -> None:
        self._limit = min(2 * self._limit, BATCH_BYTES)

    @property
    def held_back(self) -> bool:
        """Tell whether a small batch should wait for an acknowledgement and so grow."""
        if self._ports is None or len(self._retained) < PIPELINE or self.scheduler.fills_a_batch:
            return False
        waiting = sum(port.accepted - port.freed for port in self._ports) - self._retained_bytes
        return waiting < BATCH_BYTES

    def _join_control(self) -> bytes:
        lines = [self._control.popleft()]
        size = len(lines[0])
        while self._control and size + len(self._control[0]) < BATCH_BYTES:
            lines.append(self._control.popleft())
            size += len(lines[-1])
        return b"\n".join(lines)

    def _seal(self, runs: list[ChannelRun]) -> bytes:
        self.seq += 1
        message = join_batch(self.seq, [(run.channel.number, run.records) for run in runs])
        count = sum(len(run.records) for run in runs)
        for run in runs:
            run.records = []
            if run.channel.marks:
                self._place_marks(run.channel)
            if run.start:
                self.starting.append(run.channel)
        self._retained.append(_Sent(self.seq, message, runs, count))
        self._retained_bytes += sum(run.data_bytes + run.telemetry_bytes for run in runs)
        return message

    def started(self) -> list[Channel]:
        """Take the channels whose start was taken; each is given once."""
        starting, self.starting = self.starting, []
        return starting

    def mark(self, channel: Channel, mark: Mark) -> None:
        """Settle a mark when everything that it covers is acknowledged."""
        channel.marks.append(mark)
        self._place_marks(channel)

    def _place_marks(self, channel: Channel) -> None:
        marks = channel.marks
        while marks and _covered(channel, marks[0]):
            # All of it is in batches up to ``seq``; what else those hold makes the wait no longer than one commit.
            self._waiters.append(_Waiter(self.seq, marks.pop(0).settle))
        self._settle_waiters()

    def _settle_waiters(self) -> None:
        while self._waiters and self._waiters[0].seq <= self.acked:
            self._waiters.popleft().settle(None)

    def acknowledge(self, seq: int) -> list[ChannelRun]:
        """Take in a cumulative acknowledgement; return the runs that it freed, oldest first."""
        if seq > self.seq:
            raise RemoteProtocolError(f"the mainframe acknowledged batch {seq}; the last one sent is {self.seq}")
        freed: list[ChannelRun] = []
        while self._retained and self._retained[0].seq <= seq:
            freed.extend(self._retained.popleft().runs)
        for run in freed:
            self._free(run)
            for body in run.bodies:
                self.bodies.pop(body.n, None)
                run.channel.drop_body(body)
        self.acked = max(self.acked, seq)
        self._settle_waiters()
        return freed

    def _free(self, run: ChannelRun) -> None:
        run.channel.data.window.freed += run.data_bytes
        run.channel.telemetry.window.freed += run.telemetry_bytes
        run.channel.port.freed += run.data_bytes + run.telemetry_bytes
        self._retained_bytes -= run.data_bytes + run.telemetry_bytes

    def disconnect(self) -> None:
        """Forget what only made sense on the lost connection; begin small if something was under way on it."""
        self._discards = False
        if self._retained or any(body.sent for body in self.bodies.values()):
            self._limit = START_BYTES
        self._control.clear()
        self._resend.clear()
        self._resend_bodies.clear()

    def resume(self, stored: int, offsets: Mapping[int, int], understands: Collection[str] = ()) -> list[ChannelRun]:
        """Go on after a Welcome that says what is stored and what it understands; return the runs that it frees."""
        freed = self.acknowledge(stored)
        self.scheduler.asks = Whole.op in understands
        self._discards = Discard.op in understands
        for body in self.bodies.values():
            body.resume(offsets.get(body.n, 0))
        self._resend = deque(self._retained)
        self._resend_bodies = deque(body for sent in self._retained for run in sent.runs for body in run.bodies)
        resent = {body.n for body in self._resend_bodies}
        for channel in {body.channel for body in self.bodies.values()}:
            assert isinstance(channel, Channel)
            # Those go before the batches that name them.
            channel.resume_bodies(resent)
            if channel.next_body is not None:
                self.scheduler.enlist(channel)
        self._say_discarded([n for n in offsets if n not in self.bodies])
        return freed

    def keep(self, body: OutgoingBody) -> None:
        """Send a body's chunks, and keep it until its record is acknowledged."""
        self.bodies[body.n] = body
        body.channel.add_body(body)

    def kept(self, n: int) -> Channel | None:
        """Note that the mainframe has a body; return the channel whose records may have waited for that."""
        body = self.bodies.get(n)
        if body is None or not body.asked:
            return None
        body.kept = True
        assert isinstance(body.channel, Channel)
        return body.channel

    def discard(self, bodies: Iterable[OutgoingBody]) -> None:
        """Forget bodies that no record will name, and tell the mainframe of those that it has something of."""
        known = []
        for body in bodies:
            body.channel.drop_body(body)
            if self.bodies.pop(body.n, None) is not None and (body.sent or body.asked):
                known.append(body.n)
        self._say_discarded(known)

    def _say_discarded(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers) if self._discards else 0, _DISCARDS):
            self.control(encode(Discard(numbers[start : start + _DISCARDS])))

    def unnamed_bodies(self, channel: Channel) -> list[OutgoingBody]:
        """Return the bodies of a channel that no record on its way names."""
        named = {body.n for sent in self._retained for run in sent.runs for body in run.bodies}
        return [body for n, body in channel.bodies.items() if n not in named]

    def drop(self, channel: Channel, error: BaseException) -> None:
        """Stop sending for a channel: what waits is dropped, its marks settle with the error."""
        self.scheduler.remove(channel)
        channel.discard()
        while channel.marks:
            channel.marks.pop(0).settle(error)

    def abandon(self, channels: Iterable[Channel], error: BaseException) -> None:
        """End the link: every wait settles with the error."""
        for channel in channels:
            channel.trouble = error
            self.drop(channel, error)
        while self._waiters:
            self._waiters.popleft().settle(error)
        for run in (run for sent in self._retained for run in sent.runs):
            self._free(run)
        self._retained.clear()
        self.bodies.clear()
        self.disconnect()


def _covered(channel: Channel, mark: Mark) -> bool:
    if mark.after_finish:
        return channel.finished
    return channel.data.taken >= mark.data and channel.telemetry.taken >= mark.telemetry
