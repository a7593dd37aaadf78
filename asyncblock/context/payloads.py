"""What blocks send, turned into bytes: values, previews, texts, log lines. Pure; large ones on worker threads."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Literal

from ..errors import LocalProtocolError, PayloadTooLarge
from ..pieces import dumps_pieces, paced
from ..values import least_size
from ..wire.bodies import INLINE_LIMIT, sum_of
from ..wire.records import encode

__all__ = [
    "MAX_VALUE",
    "Prepared",
    "Stdio",
    "check_size",
    "checked",
    "encode_large",
    "is_short",
    "log_records",
    "now_ms",
    "preview_words",
    "rate",
    "raw_body",
    "reserved",
    "shorten",
]

MAX_VALUE = 256 << 20
"""Bytes of the largest value that may be sent; checked before anything of it is."""

_TEXT_LIMIT = 32 << 10
"""Characters of one log line, warning or error; longer log lines are cut into several, other texts are shortened."""

Stdio = Literal["stdout", "stderr"]


class Prepared:
    """A value on its way into a record: inline JSON, or a body to be made of pieces."""

    __slots__ = ("encoding", "inline", "pieces", "sha256", "size")

    def __init__(self, inline: bytes | None, pieces: list[bytes], encoding: Literal["json", "raw"]) -> None:
        self.inline = inline
        self.pieces = pieces
        self.encoding: Literal["json", "raw"] = encoding
        self.size = sum(map(len, pieces))
        # Here, because a large value is prepared on a worker thread.
        self.sha256 = sum_of(pieces) if inline is None and self.size <= MAX_VALUE else ""


def now_ms() -> int:
    """Return the author's time of a record: ms since the epoch."""
    return int(time.time() * 1000)


def checked(prepared: Prepared, handle: str | None) -> Prepared:
    if prepared.size > MAX_VALUE:
        raise too_large(handle, prepared.size)
    return prepared


def reserved(prepared: Mapping[str, Prepared]) -> int:
    """Return the bytes of the body budget that values hold."""
    return sum(each.size for each in prepared.values() if each.inline is None)


def too_large(handle: str | None, size: int) -> PayloadTooLarge:
    what = f"the value for handle {handle!r}" if handle is not None else "the value"
    return PayloadTooLarge(what, size=size, limit=MAX_VALUE)


def check_size(value: object, handle: str | None) -> None:
    """Refuse a value that is over the limit for certain, before anything of it is converted."""
    size = least_size(value)
    if size > MAX_VALUE:
        raise too_large(handle, size)


def encode_large(value: object, handle: str | None) -> Prepared:
    """Encode a value piece by piece, giving up the GIL in between. On a worker thread."""
    pieces: list[bytes] = []
    size = 0
    for piece in paced(dumps_pieces(value, handle=handle)):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_VALUE:
            break
    if size <= INLINE_LIMIT:
        # A record is a part of a line itself.
        return Prepared(b"".join(pieces).replace(b"\n", b""), [], "json")
    return checked(Prepared(None, pieces, "json"), handle)


def is_short(value: bytes | bytearray | memoryview) -> bool:
    """Tell whether bytes may be copied and summed on an event loop."""
    return (value.nbytes if isinstance(value, memoryview) else len(value)) <= INLINE_LIMIT


def raw_body(value: bytes | bytearray | memoryview, handle: str | None) -> Prepared:
    """Make a body of bytes; those that may change afterwards are copied. The size is checked before."""
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size > MAX_VALUE:
        raise too_large(handle, size)
    return Prepared(None, [bytes(value)], "raw")


def preview_words(kind: str, problem: Exception) -> str:
    return f"a preview of {kind} failed: {problem if str(problem) else type(problem).__name__}"


def rate(progress: object) -> float:
    if isinstance(progress, bool) or not isinstance(progress, (int, float)) or math.isnan(progress):
        raise LocalProtocolError(f"progress is a number from 0 to 100, not {progress!r}")
    return min(max(progress, 0), 100)


def shorten(text: object) -> str:
    text = text_of(text)
    if len(text) <= _TEXT_LIMIT:
        return text
    half = _TEXT_LIMIT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def text_of(text: object) -> str:
    if not isinstance(text, str):
        text = str(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def log_records(line: str, stdio: Stdio) -> list[bytes]:
    if stdio not in ("stdout", "stderr"):
        raise LocalProtocolError(f"stdio is 'stdout' or 'stderr', not {stdio!r}")
    line = text_of(line)
    t = now_ms()
    parts = [line[i : i + _TEXT_LIMIT] for i in range(0, len(line), _TEXT_LIMIT)] or [""]
    return [encode("BlockLog", t, log=part, stdio=stdio) for part in parts]
