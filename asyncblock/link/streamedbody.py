"""A body while it is made. Its chunks leave as they are made, before the rest is there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator

from ..errors import Closed, Unavailable
from ..runtime.iothread import IOThread
from ..runtime.scratch import root
from ..wire.bodies import CHUNK_SIZE, Encoding, OutgoingBody
from .bodybuffer import BodyBuffer

__all__ = ["StreamedBody", "BodyAbandoned"]


class BodyAbandoned(Exception):
    """The body isn't wanted any more: its call was cancelled, or its job is over."""


class StreamedBody:
    """A body to be made of pieces, by one worker thread at a time. The caller may abandon it at any time."""

    def __init__(
        self,
        body: OutgoingBody,
        io: IOThread,
        buffer: BodyBuffer,
        *,
        keep: Callable[[OutgoingBody], None],
        forget: Callable[[Iterable[OutgoingBody]], None],
        tell: Callable[[], None],
    ) -> None:
        self.body = body
        self._io = io
        self._buffer = buffer
        self._keep = keep
        """Lets what is made be sent. On the I/O thread."""
        self._forget = forget
        """Has what was sent discarded. On the I/O thread."""
        self._tell = tell
        """Says, from any thread, that there is more to send."""
        self._lock = threading.Lock()
        self._begun = False
        self._abandoned = False
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self._block: bytes | None = None
        self._pieces: Iterator[bytes] = iter(())

    def begin(self, pieces: Iterator[bytes], encoding: Encoding) -> None:
        """Say what it is made of. Raises ``BodyAbandoned``; ``Closed`` in a forked process."""
        if self._io.forked:
            raise Closed("a forked process can't send a value of more than 64 KiB; return it to the block")
        self._pieces = pieces
        self.body.encoding = encoding
        with self._lock:
            if self._abandoned:
                raise BodyAbandoned
            self._begun = True
            self._buffer.begin(self.body)
            self._io.post(self._keep, self.body)

    def make(self, what: str) -> bool:
        """Go on making until all is made; False where there is no room, to be called again when there is.

        Raises ``BodyAbandoned``; ``Unavailable`` saying ``what`` can't be kept, when the file can't be written (a full
        disk is waited for first); what the pieces raise. It is to be abandoned then.
        """
        buffer, body = self._buffer, self.body
        while (block := self._block or self._next_block()) is not None:
            self._block = block
            try:
                placed = buffer.put(body, block)
            except OSError as error:
                raise _failed(what, error) from error
            if body.dropped:
                raise BodyAbandoned
            if not placed:
                return False
            self._block = None
            self._digest.update(block)
            self._tell()
        body.seal(self._digest.hexdigest())
        buffer.end(body)
        self._tell()
        return True

    def abandon(self) -> None:
        """Let it go: what the mainframe has of it is discarded. From any thread; does nothing the second time."""
        with self._lock:
            self._abandoned = True
            begun, self._begun = self._begun, False
        if begun:
            self._io.post(self._forget, [self.body])

    def _next_block(self) -> bytes | None:
        """Return the next ``CHUNK_SIZE`` bytes, or what is left at the end."""
        rest = self._rest
        while len(rest) < CHUNK_SIZE:
            piece = next(self._pieces, None)
            if piece is None:
                break
            if not rest and len(piece) == CHUNK_SIZE:
                return piece
            rest += piece
        block = bytes(memoryview(rest)[:CHUNK_SIZE])
        del rest[:CHUNK_SIZE]
        return block or None


def _failed(what: str, error: OSError) -> Unavailable:
    try:
        where = str(root())
    except OSError as problem:
        # The directory itself can't be made, which is what the message has to name.
        where = str(problem.filename)
    return Unavailable(
        f"{what} has to wait in a temporary file in {where}, and that can't be written: {error}. Make room there, or "
        "name another directory by ASYNCBLOCK_BODIES_DIR"
    )
