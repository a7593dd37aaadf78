"""The thread that writes bodies: chunks, checks and deletions in the order of the calls, tried again in trouble."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ...errors import AsyncBlockError, Closed
from ...runtime import crashpoints
from .bodyfiles import BodyFiles
from .contract import BodyKey
from .diskerrors import DiskErrors, back_off, explain
from .posting import Post, settle

__all__ = ["BodyWriter", "Chunk", "Delete", "Finish", "Order"]

_TURN_BYTES = 1 << 20
"""Bytes written before the event loop hears of them."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Bytes to append to a body."""

    key: BodyKey
    offset: int
    data: bytes | memoryview
    done: asyncio.Future[int]

    @property
    def size(self) -> int:
        """Bytes that wait for the disk with it."""
        return len(self.data)


@dataclass(slots=True, eq=False)
class Finish:
    """A body to check, to keep or to delete when it is wrong, and to sync."""

    key: BodyKey
    length: int
    sha256: str
    keep: bool
    done: asyncio.Future[int]
    size: int = 0


@dataclass(slots=True, eq=False)
class Delete:
    """Bodies to delete."""

    keys: list[BodyKey]
    done: asyncio.Future[int]
    size: int = 0


Order = Chunk | Finish | Delete


class BodyWriter:
    """Carries out the orders one after the other; tells the event loop once for each batch."""

    def __init__(
        self,
        files: BodyFiles,
        post: Post,
        disk_errors: DiskErrors,
        settled: Callable[[Order, int | None], None],
        died: Callable[[str, Exception], None],
    ) -> None:
        self._files = files
        self._post = post
        self._disk_errors = disk_errors
        self._settled = settled
        self._died = died
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._waiting: deque[Order] = deque()
        self._batch: deque[Order] = deque()
        self._done: list[tuple[Order, int | AsyncBlockError]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="asyncblock-bodies", daemon=True)
        self._thread.start()

    def put(self, order: Order) -> None:
        """Queue an order. Never waits."""
        self._orders.put(order)

    def stop(self) -> str:
        """Carry out what is queued, or try once if there is trouble; end the thread; say what was not done."""
        self._orders.put(None)
        self._thread.join()
        self._files.close()
        while not self._orders.empty():
            self._accept(self._orders.get())
        self._batch.extend(self._waiting)
        error = Closed("the journal was closed before the body could be written")
        self._done = [(order, error) for order in self._batch]
        self._tell()
        size = sum(order.size for order in self._batch)
        return f"{len(self._batch)} parts of bodies ({size} bytes)" if self._batch else ""

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while self._fill_batch():
                while self._batch:
                    if not self._carry_out(self._batch[0]):
                        return
                    self._batch.popleft()
                self._tell()
        except Exception as error:
            # A defect of ours; the thread is over, and it mustn't look as if all were well.
            self._post(self._died, "the thread that writes bodies", error)

    def _fill_batch(self) -> bool:
        """Wait for orders and take up to a batch of them; False when it is time to end."""
        size = 0
        while size < _TURN_BYTES:
            if not self._waiting:
                if self._orders.empty() and (self._batch or self._stopping):
                    break
                self._accept(self._orders.get())
                continue
            self._batch.append(self._waiting.popleft())
            size += self._batch[-1].size
        return bool(self._batch)

    def _accept(self, order: Order | None) -> None:
        if order is None:
            self._stopping = True
        else:
            self._waiting.append(order)

    def _carry_out(self, order: Order) -> bool:
        """Do it, however often the disk refuses; False when the journal closes and it can't be done."""
        troubled = False
        for pause in back_off():
            try:
                self._done.append((order, self._attempt(order)))
            except OSError as error:
                self._tell()
                if not troubled:
                    troubled = True
                    self._post(self._disk_errors.enter, "bodies", explain(error, "the directory of the bodies"))
                if self._stopping:
                    return False
                self._sleep(pause)
            else:
                break
        if troubled:
            self._post(self._disk_errors.leave, "bodies")
        return True

    def _attempt(self, order: Order) -> int | AsyncBlockError:
        try:
            match order:
                case Chunk():
                    return self._files.write(order.key, order.offset, order.data)
                case Finish():
                    return self._files.finish(order.key, order.length, order.sha256, order.keep)
                case Delete():
                    crashpoints.reached("before_deletion")
                    return sum(self._files.delete(key) for key in order.keys)
        except AsyncBlockError as refusal:
            return refusal

    def _sleep(self, pause: float) -> None:
        """Wait while orders come, but not longer than the pause, nor when the journal closes."""
        until = time.monotonic() + pause
        while not self._stopping and (left := until - time.monotonic()) > 0:
            try:
                self._accept(self._orders.get(timeout=left))
            except Empty:
                return

    def _tell(self) -> None:
        if self._done:
            self._post(self._tell_all, self._done)
            self._done = []

    # ------------------------------------------------------------------ on the event loop

    def _tell_all(self, done: list[tuple[Order, int | AsyncBlockError]]) -> None:
        for order, outcome in done:
            self._settled(order, outcome if isinstance(outcome, int) else None)
            settle(order.done, outcome)
