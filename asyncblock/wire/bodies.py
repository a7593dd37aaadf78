"""Bodies: values too large for a record, cut into chunks that travel between other jobs' records.

A body is named by its link and a number that the sender counts up. Its chunks go first, as binary messages; the record
that names it follows, with its length and sha256. The sender keeps a body until that record is acknowledged; after a
lost connection it goes on at the offset that the Welcome states.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..errors import RemoteProtocolError

__all__ = ["CHUNK_SIZE", "INLINE_LIMIT", "Body", "BodyRef", "Parcel", "decode_chunk", "encode_chunk", "sum_of"]

INLINE_LIMIT = 64 << 10
"""Values whose encoded form has more bytes than this travel as bodies."""

CHUNK_SIZE = 64 << 10
"""Bytes in one chunk: 5 ms at 100 Mbit/s, the longest that another job waits behind it."""

_CHUNK = struct.Struct(">BQQ")
_CHUNK_TAG = 1


@dataclass(frozen=True, slots=True)
class BodyRef:
    """What a record says of a body: where it is, how long, and what must come out."""

    n: int
    length: int
    sha256: str
    encoding: Literal["json", "raw"]
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


class Body:
    """A body on the sender's side: numbered, measured, and readable from any offset."""

    __slots__ = ("_pieces", "_starts", "encoding", "length", "n", "sent", "sha256")

    def __init__(
        self, n: int, pieces: Iterable[bytes], encoding: Literal["json", "raw"], sha256: str | None = None
    ) -> None:
        self.n = n
        self.encoding: Literal["json", "raw"] = encoding
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self.sent = 0
        """Bytes handed to the transport on the current connection, or stored according to the Welcome."""
        length = 0
        for piece in pieces:
            self._starts.append(length)
            self._pieces.append(piece)
            length += len(piece)
        self.length = length
        self.sha256 = sum_of(self._pieces) if sha256 is None else sha256

    @property
    def ref(self) -> BodyRef:
        """The reference that the record carries."""
        return BodyRef(self.n, self.length, self.sha256, self.encoding)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``, joined over the pieces."""
        parts: list[bytes] = []
        index = bisect_right(self._starts, offset) - 1
        while size > 0 and 0 <= index < len(self._pieces):
            start = offset - self._starts[index]
            part = self._pieces[index][start : start + size]
            if part:
                parts.append(part)
            size -= len(part)
            offset += len(part)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def next_chunk(self, size: int = CHUNK_SIZE) -> bytes | None:
        """Return the next chunk, of ``size`` bytes at most, and move on; None when everything was handed out."""
        if self.sent >= self.length:
            return None
        piece = self.read(self.sent, min(size, CHUNK_SIZE))
        message = encode_chunk(self.n, self.sent, piece)
        self.sent += len(piece)
        return message


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
    bodies: list[Body] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Tell whether chunks are left to send before the record."""
        return any(body.sent < body.length for body in self.bodies)

    def next_chunk(self, size: int = CHUNK_SIZE) -> bytes | None:
        """Return the next chunk of the first body that has one left."""
        for body in self.bodies:
            chunk = body.next_chunk(size)
            if chunk is not None:
                return chunk
        return None


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
