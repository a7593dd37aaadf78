"""What an async block shows without waiting (``plt.show()``): figures taken at the call, sent as previews in order."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod

from ..errors import AsyncBlockError, Rejected
from ..link import JobSender
from ..preview import Making
from ..runtime.iothread import Inbox
from ..wire.bodies import Parcel
from ..wire.channel import Channel
from ..wire.windows import Lane
from .payloads import preview_words

__all__ = ["FigureSender", "PendingFigures"]

logger = logging.getLogger("asyncblock.context")


class FigureSender(ABC):
    """The part of ``Context`` that what it shows is sent by."""

    _loop: asyncio.AbstractEventLoop
    _inbox: Inbox
    _sender: JobSender
    _channel: Channel

    @abstractmethod
    def _check(self) -> None: ...

    @abstractmethod
    def _warning(self, warning: str) -> bytes: ...

    @abstractmethod
    async def _preview_item(self, making: Making, kind: str, id: str | None) -> bytes | Parcel: ...

    @abstractmethod
    async def _room(self, lane: Lane, size: int) -> None: ...


class PendingFigures:
    """Figures that wait to be drawn and sent. ``add`` may be called from any thread; the rest is on the loop.

    The job's finish, ``flush`` and later previews wait for them. What is over a limit is counted and told.
    The context comes with each call: held here it would be in a circle, and stay until the collector comes.
    """

    __slots__ = ("_closed", "_dropped", "_lock", "_queue", "_size", "_task")

    FIGURES = 32
    """Calls that may wait."""

    BYTES = 64 << 20
    """Bytes of figures that may wait, as they were taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[str, Making | Exception]] = []
        self._size = 0
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether anything is still to be sent."""
        return bool(self._queue) or self._dropped > 0 or self._task is not None

    def add(self, ctx: FigureSender, payload: object) -> None:
        """Take a payload as it is at this moment, for a preview."""
        kind = type(payload).__name__
        with self._lock:
            if self._closed:
                return
            if len(self._queue) >= self.FIGURES or self._size >= self.BYTES:
                self._dropped += 1
                return
        taken: Making | Exception
        try:
            taken = Making(payload, None, None, now=True)
        except Exception as problem:
            # Kept in its place in the queue: the warning then comes where the figure would have come.
            taken = problem
        with self._lock:
            self._queue.append((kind, taken))
            self._size += taken.size if isinstance(taken, Making) else 0
        ctx._inbox.post(self._begin, ctx)

    async def drained(self, ctx: FigureSender) -> None:
        """Wait until all is sent. **Cancellation** is safe."""
        self._begin(ctx)
        while self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Give up what still waits, and take nothing more: the finish goes."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._dropped = 0
        if self._task is not None:
            self._task.cancel()

    def _begin(self, ctx: FigureSender) -> None:
        if self._task is None and not self._closed and (self._queue or self._dropped):
            self._task = ctx._loop.create_task(self._send_all(ctx))

    async def _send_all(self, ctx: FigureSender) -> None:
        try:
            while self._queue or self._dropped:
                await self._send_one(ctx)
        except AsyncBlockError as error:
            logger.debug("what a block showed can't be sent: %s", error)
            if isinstance(error, Rejected):
                # It was about an earlier record; the block's next await is to raise it.
                ctx._channel.trouble = error
            self._closed = True
            self._queue.clear()
            self._dropped = 0
        finally:
            self._task = None

    async def _send_one(self, ctx: FigureSender) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            item = self._queue.pop(0) if self._queue else None
        if item is not None:
            kind, taken = item
            size = taken.size if isinstance(taken, Making) else 0
            try:
                if isinstance(taken, Making):
                    await self._put(ctx, await ctx._preview_item(taken, kind, None))
                else:
                    await self._put(ctx, ctx._warning(preview_words(kind, taken)))
            finally:
                with self._lock:
                    self._size -= size
        if dropped:
            words = f"{dropped} figures weren't previewed: too many were shown at once"
            await self._put(ctx, ctx._warning(f"{words}; 'await ctx.preview(figure)' waits"))

    async def _put(self, ctx: FigureSender, item: bytes | Parcel) -> None:
        """Send a record, in front of a finish that is said already."""
        lane = ctx._channel.telemetry
        while not ctx._sender.try_accept(lane, item):
            await ctx._room(lane, len(item) if isinstance(item, bytes) else len(item.record))
            if ctx._channel.trouble is not None:
                ctx._check()
