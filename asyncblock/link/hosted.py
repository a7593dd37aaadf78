"""Hosted: the executor's side of a link. Jobs come in and are opened once; what concerns them goes to the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..errors import AsyncBlockError, Closed, LeaseLost, Rejected, RemoteProtocolError
from ..wire.messages import (
    Announce,
    Cancel,
    Carry,
    Close,
    Dispatch,
    Export,
    Live,
    Message,
    Ping,
    Refused,
    Release,
    ServiceMessage,
    SessionEnded,
    Spawn,
    Unspawn,
    encode,
)
from .sender import JobSender, LinkSender

__all__ = ["Host", "Hosted", "unreadable"]

logger = logging.getLogger("asyncblock.link")

_LARGEST: Final = (1 << 53) - 1
"""One past the highest channel: JSON's numbers are whole up to there."""


class Host(Protocol):
    """What an executor is to its link. All methods are called on the I/O thread and return at once."""

    def announcement(self) -> dict[str, Any] | None:
        """Say what can be run here; None while nothing may be handed out."""
        ...

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        """Run a job whose records go to ``sender``."""
        ...

    def reconnects(self) -> None:
        """Take note that a connection begins: what the one before hasn't said by now isn't said any more."""
        ...

    def cancel(self, message: Cancel) -> None:
        """Cancel a job."""
        ...

    def close(self, message: Close) -> None:
        """Stop a job that the mainframe no longer counts as open."""
        ...

    def spawn(self, message: Spawn) -> None:
        """Start a process for one job."""
        ...

    def unspawn(self, message: Unspawn) -> None:
        """End such a process."""
        ...

    def session_ended(self, session_id: str) -> None:
        """Let go of what belongs to a session."""
        ...

    def release(self, message: Release) -> None:
        """Let go of var values that nobody asks for any more."""
        ...

    def live(self, message: Live) -> None:
        """Let go of all that doesn't live."""
        ...

    def export(self, message: Export) -> None:
        """Write a var value into a file for another process."""
        ...

    def carry(self, message: Carry) -> None:
        """Send the file of a var value as a body."""
        ...

    def service_message(self, message: ServiceMessage) -> None:
        """Hand a message to a service."""
        ...

    def lag(self) -> float:
        """Say how late the blocks' event loop runs, in seconds."""
        ...

    def held(self) -> tuple[int, int, int, int]:
        """Say how many bytes of var values there are and may be, and how many of the disk they take and may."""
        ...

    def link_over(self, error: AsyncBlockError) -> None:
        """Stop every job of this link: what they sent can't be continued."""
        ...


class Hosted:
    """What a link does for its host, if it has one. On the I/O thread."""

    def __init__(self, link_sender: LinkSender, send: Callable[[Message], None]) -> None:
        self._link_sender = link_sender
        self._send = send
        self._host: Host | None = None
        self._greeted = b""
        """What the last Hello has announced."""
        self._over: AsyncBlockError | None = None

    async def attach(self, host: Host) -> None:
        """Make the link an executor's. Raises ``Closed`` when it has a host already, and what ended the link."""
        if self._over is not None:
            raise self._over
        if self._host is not None:
            raise Closed("this process has an executor on this link already")
        self._host = host
        await self.announce()

    async def detach(self) -> None:
        """Take no more jobs."""
        self._host = None
        await self.announce()

    async def announce(self) -> None:
        """Tell the mainframe what the host can run now."""
        self._send(Announce(self.announcement()))

    def announcement(self) -> dict[str, Any] | None:
        """Return what the host can run now; None where nothing may be handed out."""
        return None if self._host is None else self._host.announcement()

    def greeting(self) -> dict[str, Any] | None:
        """Return what a Hello announces."""
        if self._host is not None:
            self._host.reconnects()
        announcement = self.announcement()
        self._greeted = encode(Announce(announcement))
        return announcement

    def welcomed(self) -> None:
        """Announce what has changed since the Hello: until the Welcome came it couldn't be sent."""
        announcement = Announce(self.announcement())
        if encode(announcement) != self._greeted:
            self._send(announcement)

    def ping(self) -> Ping:
        """Return a sign of life, with how the host is."""
        return Ping() if self._host is None else Ping(self._host.lag() * 1000, 0, *self._host.held())

    def abandon(self, error: AsyncBlockError) -> None:
        """Let the host stop its jobs: what they sent can't be continued."""
        if self._host is not None:
            self._host.link_over(error)

    def end(self, error: AsyncBlockError) -> None:
        """Take no host any more: the link is over."""
        self._over = error
        self.abandon(error)

    def dispatch(self, message: Dispatch) -> None:
        """Open a job. One that comes again changes nothing, whatever channel it names then."""
        # The next Hello says them again.
        if not 0 < message.channel < _LARGEST:
            raise unreadable(message, "channel", f"from 1 to {_LARGEST - 1}")
        if message.attempt < 1:
            raise unreadable(message, "attempt", "at least 1")
        if self._host is not None and not self._link_sender.has(message.channel, message.job_id, message.attempt):
            self._host.dispatch(message, self._link_sender.open(message.channel, message.job_id, message.attempt))

    def take(self, message: Message) -> None:
        """Take in what concerns jobs and sessions."""
        match message:
            case Close():
                self._close(message)
            case Refused():
                words = f"the mainframe refused record {message.index} of the job: {message.reason}"
                self._link_sender.raise_at_next_call(message.channel, Rejected(words, code="record"))
            case _ if self._host is not None:
                self._tell(self._host, message)
            case _:
                logger.debug("ignored %r", message.op)

    def _tell(self, host: Host, message: Message) -> None:
        match message:
            case Cancel():
                host.cancel(message)
            case Spawn():
                host.spawn(message)
            case Unspawn():
                host.unspawn(message)
            case SessionEnded():
                host.session_ended(message.session_id)
            case Release():
                host.release(message)
            case Live():
                host.live(message)
            case Export():
                host.export(message)
            case Carry():
                host.carry(message)
            case ServiceMessage():
                host.service_message(message)
            case _:
                logger.debug("ignored %r", message.op)

    def _close(self, message: Close) -> None:
        words = f"job {message.job_id}, attempt {message.attempt}: {message.reason}"
        self._link_sender.close(message.channel, LeaseLost(words))
        if self._host is not None:
            self._host.close(message)


def unreadable(message: Message, field: str, wanted: str) -> RemoteProtocolError:
    """Return the error for a field that can't be taken."""
    return RemoteProtocolError(f"{message.op!r}: field {field!r} must be {wanted}")
