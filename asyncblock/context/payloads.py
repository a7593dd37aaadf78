"""What blocks send, turned into bytes: values, previews, texts, log lines. Pure; large ones on worker threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..body import Body as FileBody
from ..errors import LocalProtocolError, PayloadTooLarge
from ..shared import Memory
from ..store import StoreKey
from ..values import least_size
from ..wire.bodies import CHUNK_SIZE, INLINE_LIMIT, OutgoingBody
from ..wire.records import encode

__all__ = [
    "MAX_VALUE",
    "Prepared",
    "Raw",
    "Stdio",
    "bodies_of",
    "check_size",
    "log_records",
    "now_ms",
    "pages_words",
    "preview_words",
    "rate",
    "raw_pieces",
    "short_bytes",
    "shorten",
    "spoken_of",
    "within_limit",
]

MAX_VALUE = 256 << 20
"""Bytes of the largest value that may be sent; checked before anything of it is."""

_TEXT_LIMIT = 32 << 10
"""Characters of one log line, warning or error; longer log lines are cut into several, other texts are shortened."""

Stdio = Literal["stdout", "stderr"]


@dataclass(slots=True, eq=False)
class Prepared:
    """A value on its way into a record: inline JSON, or a body that was made."""

    inline: bytes | None
    body: OutgoingBody | None = None
    key: StoreKey | None = None
    """Stands for a value that stays in this process."""
    memory: Memory | None = None
    """What its maker writes to from now on is to be his own."""

    def content(self) -> bytes:
        """Return the encoded value."""
        return self.inline if self.body is None else self.body.content()  # type: ignore[return-value]  # one of the two


def now_ms() -> int:
    """Return the author's time of a record: ms since the epoch."""
    return int(time.time() * 1000)


def bodies_of(prepared: Mapping[str, Prepared]) -> list[OutgoingBody]:
    """Return the bodies that were made for values."""
    return [each.body for each in prepared.values() if each.body is not None]


def too_large(handle: str | None, size: int) -> PayloadTooLarge:
    return PayloadTooLarge(spoken_of(handle), size=size, limit=MAX_VALUE)


def check_size(value: object, handle: str | None) -> None:
    """Refuse a value that is over the limit for certain, before anything of it is converted."""
    size = value.size if isinstance(value, FileBody) else least_size(value)
    if size > MAX_VALUE:
        raise too_large(handle, size)


def within_limit(pieces: Iterable[bytes], handle: str | None) -> Iterator[bytes]:
    """Hand pieces on. Raises ``PayloadTooLarge`` where they are too much."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_VALUE:
            raise too_large(handle, size)
        yield piece


Raw = bytes | bytearray | memoryview | FileBody
"""What a handle for bytes takes."""


def raw_pieces(value: Raw) -> Iterator[bytes]:
    """Copy bytes block by block: the author may change them afterwards, and their memory isn't kept."""
    if isinstance(value, FileBody):
        yield from _of_file(value)
        return
    view = memoryview(value)
    if view.c_contiguous:
        view, size = view.cast("B"), CHUNK_SIZE
    elif view.ndim == 1:
        size = max(CHUNK_SIZE // view.itemsize, 1)
    else:
        view, size = memoryview(view.tobytes()), CHUNK_SIZE
    for start in range(0, len(view), size):
        yield view[start : start + size].tobytes()


def _of_file(body: FileBody) -> Iterator[bytes]:
    with body.open() as file:
        while block := file.read(CHUNK_SIZE):
            yield block


def short_bytes(value: Raw) -> bytes | None:
    """Copy bytes that may be copied and summed on an event loop; None for others."""
    if isinstance(value, FileBody) or (value.nbytes if isinstance(value, memoryview) else len(value)) > INLINE_LIMIT:
        return None
    return bytes(value)


def spoken_of(handle: str | None) -> str:
    """Return words for a value."""
    return f"the value for handle {handle!r}" if handle is not None else "the value"


def preview_words(kind: str, problem: Exception) -> str:
    try:
        words = str(problem)
    except Exception:  # the exception is the author's too
        words = ""
    return f"a preview of {kind} failed: {words or type(problem).__name__}"


def pages_words(kind: str, problem: Exception) -> str:
    return f"the rows of a preview of {kind} aren't there to scroll in: {problem}"


def rate(progress: object) -> float:
    # Whatever is a number, numpy's and Decimals too; a text isn't, though ``float`` reads it.
    if isinstance(progress, bool) or not hasattr(progress, "__float__"):
        raise LocalProtocolError(f"progress is a number from 0 to 100, not {progress!r}")
    try:
        number = progress if type(progress) is int else float(progress)
    except (TypeError, ValueError, OverflowError):
        raise LocalProtocolError(f"progress is a number from 0 to 100, not {progress!r}") from None
    if number != number:
        raise LocalProtocolError(f"progress is a number from 0 to 100, not {progress!r}")
    return min(max(number, 0), 100)


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
