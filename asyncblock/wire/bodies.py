"""Bodies: values too large for a record, cut into chunks that travel between other jobs' records.

A body is named by its link and a number that the sender counts up. Its chunks go first, as binary messages, also while
the rest of it is still being made; when the mainframe has all of it, the record that names it follows, with its length
and sha256. The sender keeps a body until that record is acknowledged; after a lost connection it goes on at the offset
that the Welcome states.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..errors import RemoteProtocolError
from .messages import Whole, encode

__all__ = [
    "CHUNK_SIZE",
    "INLINE_LIMIT",
    "BodyRef",
    "Carrier",
    "Encoding",
    "OutgoingBody",
    "Parcel",
    "Stored",
    "decode_chunk",
    "encode_chunk",
    "sum_of",
]

INLINE_LIMIT = 64 << 10
"""Values whose encoded form has more bytes than this travel as bodies."""

CHUNK_SIZE = 64 << 10
"""Bytes in one chunk: 5 ms at 100 Mbit/s, the longest that another job waits behind it."""

Encoding = Literal["json", "raw"]

_CHUNK = struct.Struct(">BQQ")
_CHUNK_TAG = 1


@dataclass(frozen=True, slots=True)
class BodyRef:
    """What a record says of a body: where it is, how long, and what must come out."""

    n: int
    length: int
    sha256: str
    encoding: Encoding
    link: str | None = None
    """The link that sent it; None means the link that the record came by."""

    def to_json(self) -> dict[str, object]:
        """Return the reference as it stands in records."""
        ref: dict[str, object] = {
            "n": self.n,
            "length": self.length,
            "sha256": self.sha256,
            "encoding": self.encoding,
        }
        if self.link is not None:
            ref["link"] = self.link
        return ref

    @classmethod
    def from_json(cls, obj: object) -> BodyRef | None:
        """Read a reference; None when the shape is wrong."""
        if not isinstance(obj, dict):
            return None
        n, length, sha256, encoding = (obj.get(k) for k in ("n", "length", "sha256", "encoding"))
        link = obj.get("link")
        if (
            type(n) is int
            and type(length) is int
            and n > 0
            and length >= 0
            and isinstance(sha256, str)
            and len(sha256) == 64
            and encoding in ("json", "raw")
            and (link is None or isinstance(link, str))
        ):
            return cls(n, length, sha256, encoding, link)
        return None


class Stored(Protocol):
    """A block of a body that isn't in memory."""

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start`` in the block."""
        ...


class Carrier(Protocol):
    """The channel that a body's chunks go by: ``channel.Channel``, which holds bodies and so can't be named here."""

    number: int

    def add_body(self, body: OutgoingBody, /) -> None:
        """Let a body's chunks be sent from here."""
        ...

    def drop_body(self, body: OutgoingBody, /) -> None:
        """Send nothing more of a body."""
        ...


class OutgoingBody:
    """A body on the sender's side: numbered, made of blocks, readable from any offset while more are added.

    Blocks are added and the seal is set by one thread at a time; everything else is the taker's.
    """

    __slots__ = (
        "asked",
        "blocks",
        "channel",
        "dropped",
        "encoding",
        "kept",
        "length",
        "n",
        "sent",
        "sha256",
        "telemetry",
    )

    def __init__(self, n: int, encoding: Encoding, channel: Carrier, *, telemetry: bool = False) -> None:
        self.n = n
        self.encoding: Encoding = encoding
        self.channel = channel
        self.telemetry = telemetry
        """It is for people: the job's data goes before it."""
        self.blocks: list[bytes | Stored] = []
        """``CHUNK_SIZE`` bytes each, but for the last one."""
        self.length = 0
        """Bytes made so far."""
        self.sha256 = ""
        """The sum of all of it, once all of it is made."""
        self.sent = 0
        """Bytes handed to the transport on the current connection, or stored according to the Welcome."""
        self.asked = False
        """On the current connection the mainframe was asked to keep it."""
        self.kept = False
        """The mainframe has it on its disk: the record may follow."""
        self.dropped = False
        """Nothing will name it."""

    def add(self, block: bytes | Stored, size: int) -> None:
        """Add a block; only the last one may have less than ``CHUNK_SIZE`` bytes."""
        self.blocks.append(block)
        # After the block, for who sees the length reads it.
        self.length += size

    def seal(self, sha256: str) -> None:
        """Say that nothing will be added."""
        self.sha256 = sha256

    @property
    def ref(self) -> BodyRef:
        """The reference that the record carries."""
        return BodyRef(self.n, self.length, self.sha256, self.encoding)

    @property
    def ready(self) -> bool:
        """Tell whether there is something to send."""
        return self.sent < self.length or (self.sha256 != "" and not self.asked)

    @property
    def through(self) -> bool:
        """Tell whether nothing more will have to be sent on this connection."""
        return self.dropped or (self.asked and self.sent >= self.length)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``, joined over the blocks."""
        parts: list[bytes] = []
        index, start = divmod(offset, CHUNK_SIZE)
        while size > 0 and index < len(self.blocks):
            block = self.blocks[index]
            if isinstance(block, bytes):
                part = block[start : start + size] if start or size < len(block) else block
            else:
                part = block.read(start, min(size, CHUNK_SIZE - start, self.length - offset))
            parts.append(part)
            size, offset, index, start = size - len(part), offset + len(part), index + 1, 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def content(self) -> bytes:
        """Return all that was made, in one piece."""
        return b"".join(self.read(offset, CHUNK_SIZE) for offset in range(0, self.length, CHUNK_SIZE))

    def next_message(self, size: int, asks: bool) -> bytes | None:
        """Return the next chunk, of ``size`` bytes at most, or the question after the last one; None without either.

        Where the mainframe isn't asked (``asks``), it has what was sent.
        """
        if self.sent < self.length:
            piece = self.read(self.sent, min(size, CHUNK_SIZE, self.length - self.sent))
            message = encode_chunk(self.n, self.sent, piece)
            self.sent += len(piece)
            return message
        if not self.sha256 or self.asked:
            return None
        self.asked = True
        if asks:
            return encode(Whole(self.n, self.length, self.sha256))
        self.kept = True
        return None

    def resume(self, offset: int) -> None:
        """Go on at an offset, on another connection."""
        self.sent = min(offset, self.length)
        self.asked = self.kept = False


def sum_of(pieces: Iterable[bytes]) -> str:
    """Return the sha256 of pieces together. A second for a GB: large ones not on an event loop."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@dataclass(slots=True, eq=False)
class Parcel:
    """A record and the bodies that must reach the mainframe before it."""

    record: bytes
    bodies: list[OutgoingBody] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Tell whether the record has to wait for a body."""
        # Mostly there is none, and it is asked of each job's finish: no generator for those (dispatch).
        return bool(self.bodies) and not all(body.kept for body in self.bodies)


def encode_chunk(n: int, offset: int, data: bytes) -> bytes:
    """Build a binary message: tag 0x01, number and offset (64 bits each, big-endian), the bytes.

    Upwards the number is the body's on its link, downwards the id of the Fetch that it answers.
    """
    return _CHUNK.pack(_CHUNK_TAG, n, offset) + data


def decode_chunk(message: bytes) -> tuple[int, int, memoryview]:
    """Split a binary message into number, offset and bytes."""
    if len(message) < _CHUNK.size or message[0] != _CHUNK_TAG:
        raise RemoteProtocolError(f"a binary message of {len(message)} bytes isn't a body chunk")
    _, n, offset = _CHUNK.unpack_from(message)
    return n, offset, memoryview(message)[_CHUNK.size :]
