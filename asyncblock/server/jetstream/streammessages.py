"""What a partition's stream holds, as messages: pure. A commit is one message, or several of which the last says so.

``P.own``: who owns the partition. ``P.e.SESSION``: entries of a session. ``P.s.SESSION``: a part of a snapshot.
``P.meta``: rows and marks in their order. Marks travel with the entries where a commit is of one session and has no
rows. Whatever has to be known without reading the payload stands in the headers.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from ...errors import LocalProtocolError
from ..journal.contract import (
    BeginPrune,
    BodyRow,
    DropBody,
    DropLink,
    DropRequests,
    LinkRow,
    RequestRow,
    Row,
    SessionRow,
    Snapshot,
    Write,
)
from .natsstore import StoreMessage

__all__ = [
    "COMMIT",
    "END",
    "ENTRIES",
    "MARKS",
    "SNAPSHOT",
    "PartitionNames",
    "check_sizes",
    "decode_entries",
    "decode_marks",
    "decode_steps",
    "encode_commit",
    "largest_payload",
]

COMMIT: Final = "Ab-Commit"
END: Final = "Ab-End"
ENTRIES: Final = "Ab-Entries"
"""Session, first offset, count, bytes of payload."""
SNAPSHOT: Final = "Ab-Snapshot"
"""Session, offset, part, parts."""
MARKS: Final = "Ab-Marks"

PIECE: Final = 512 << 10
"""Bytes of a message where one can be cut: larger messages would gain nothing."""

_HEADER_ROOM: Final = 16 << 10
_MARKS_IN_HEADER: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class PartitionNames:
    """The names of a partition of a set."""

    set_name: str
    partition: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.set_name):
            raise LocalProtocolError(f"a set's name is up to 40 letters, digits and '-', not {self.set_name!r}")
        if not 0 <= self.partition < 10_000:
            raise LocalProtocolError(f"a partition is a number from 0 to 9999, not {self.partition}")

    @property
    def stream(self) -> str:
        """The stream of the rows and entries."""
        return f"AB_{self.set_name}_{self.partition}"

    @property
    def bodies(self) -> str:
        """The stream of the bodies."""
        return f"AB_{self.set_name}_{self.partition}_B"

    @property
    def prefix(self) -> str:
        """What all its subjects begin with."""
        return f"ab.{self.set_name}.{self.partition}"

    @property
    def own(self) -> str:
        """Who owns it."""
        return f"{self.prefix}.own"

    @property
    def meta(self) -> str:
        """Rows and marks."""
        return f"{self.prefix}.meta"

    def entries(self, session_no: int | str) -> str:
        """Return the subject of a session's entries."""
        return f"{self.prefix}.e.{session_no}"

    def snapshots(self, session_no: int | str) -> str:
        """Return the subject of a session's snapshots."""
        return f"{self.prefix}.s.{session_no}"

    def body(self, link_id: str, n: int | str) -> str:
        """Return the subject of a body."""
        return f"{self.prefix}.b.{link_id}.{n}"


def largest_payload(max_payload: int) -> int:
    """Return the most bytes of an entry or a row: its message is answered in base64 when it is read from the leader."""
    return (max_payload - _HEADER_ROOM) * 3 // 4 - _HEADER_ROOM


def check_sizes(write: Write, max_payload: int) -> None:
    """Raise ``LocalProtocolError`` for what is too large for a message: it would be tried again for ever."""
    most = largest_payload(max_payload)
    for session_no, offset, payload in write.entries:
        if len(payload) > most:
            raise LocalProtocolError(
                f"entry {offset} of session number {session_no} has {len(payload)} bytes; "
                f"the NATS servers' max_payload of {max_payload} allows {most}"
            )
    for row in write.rows:
        # A snapshot is cut. Text may take six times its length in JSON, and is looked at only where that could matter.
        rough = sum(len(value) for value in asdict(row).values() if isinstance(value, (str, bytes)))
        if isinstance(row, Snapshot) or 6 * rough + 1000 < most:
            continue
        try:
            size = len(orjson.dumps(_step(row)))
        except TypeError:
            # WriteChecks refuses what has no UTF-8 form.
            continue
        if size > most:
            raise LocalProtocolError(
                f"a {type(row).__name__} has {size} bytes; the NATS servers' max_payload of {max_payload} allows {most}"
            )


def encode_commit(
    names: PartitionNames, commit: str, group: Sequence[Write], all_marks: Callable[[], Mapping[int, int]]
) -> list[StoreMessage]:
    """Return the messages of a commit; none when nothing is changed. ``all_marks`` are those stored before it."""
    sessions: dict[int, tuple[int, list[bytes]]] = {}
    marks: dict[int, int] = {}
    steps: list[Any] = []
    messages: list[StoreMessage] = []
    if any(isinstance(row, BeginPrune) for write in group for row in write.rows):
        # Marks that travelled with the pruned entries go with them, so all marks are written again.
        steps += [["mark", *mark] for mark in all_marks().items()]
    for write in group:
        for row in write.rows:
            if isinstance(row, (LinkRow, DropLink)):
                steps += [["mark", *mark] for mark in marks.items()]
                marks.clear()
            if isinstance(row, Snapshot):
                messages += _snapshot(names, row)
            else:
                steps.append(_step(row))
        for link_no, seq in write.marks:
            marks[link_no] = max(seq, marks.get(link_no, 0))
        for session_no, offset, payload in write.entries:
            sessions.setdefault(session_no, (offset, []))[1].append(payload)
    for session_no, (first, payloads) in sessions.items():
        messages += _entries(names, session_no, first, payloads)
    if marks and not steps and len(messages) == 1 and len(marks) <= _MARKS_IN_HEADER:
        messages[0].headers[MARKS] = orjson.dumps(list(marks.items())).decode()
    else:
        steps += [["mark", *mark] for mark in marks.items()]
        messages += [StoreMessage(names.meta, data) for data in _pieces(steps)]
    for message in messages:
        message.headers[COMMIT] = commit
    if messages:
        messages[-1].headers[END] = "1"
    return messages


def _entries(names: PartitionNames, session_no: int, first: int, payloads: list[bytes]) -> Iterator[StoreMessage]:
    start = 0
    while start < len(payloads):
        end, size = start, 0
        while end < len(payloads) and (end == start or size + len(payloads[end]) <= PIECE):
            size += len(payloads[end]) + 4
            end += 1
        part = payloads[start:end]
        data = b"".join([struct.pack(f"<{len(part) + 1}I", len(part), *map(len, part)), *part])
        head = f"{session_no} {first + start} {len(part)} {sum(map(len, part))}"
        yield StoreMessage(names.entries(session_no), data, {ENTRIES: head})
        start = end


def decode_entries(data: bytes) -> list[bytes]:
    """Return the payloads of a message of entries."""
    (count,) = struct.unpack_from("<I", data)
    found = []
    start = 4 + 4 * count
    for length in struct.unpack_from(f"<{count}I", data, 4):
        found.append(data[start : start + length])
        start += length
    return found


def _snapshot(names: PartitionNames, row: Snapshot) -> Iterator[StoreMessage]:
    parts = max(-(-len(row.payload) // PIECE), 1)
    for part in range(parts):
        data = row.payload[part * PIECE : (part + 1) * PIECE]
        head = f"{row.session_no} {row.offset} {part} {parts}"
        yield StoreMessage(names.snapshots(row.session_no), data, {SNAPSHOT: head})


def _pieces(steps: list[Any]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for step in map(orjson.dumps, steps):
        if piece and size + len(step) > PIECE:
            yield b"[" + b",".join(piece) + b"]"
            piece, size = [], 0
        piece.append(step)
        size += len(step) + 1
    if piece:
        yield b"[" + b",".join(piece) + b"]"


def decode_marks(header: str) -> list[tuple[int, int]]:
    """Return the marks that travelled with entries."""
    return [(link_no, seq) for link_no, seq in orjson.loads(header)]


_KINDS: Final[dict[str, Callable[..., Row]]] = {
    "session": SessionRow,
    "link": LinkRow,
    "request": RequestRow,
    "body": BodyRow,
    "drop_body": DropBody,
    "drop_link": DropLink,
    "drop_requests": DropRequests,
    "prune": BeginPrune,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def _step(row: Row) -> list[Any]:
    values = asdict(row)
    if isinstance(row, RequestRow):
        values["answer"] = base64.b64encode(row.answer).decode()
    return [_NAMES[type(row)], values]


def decode_steps(data: bytes) -> Iterator[Row | tuple[int, int]]:
    """Yield the rows and marks of a message, in order."""
    for name, *values in orjson.loads(data):
        if name == "mark":
            yield values[0], values[1]
        else:
            fields = values[0]
            if name == "request":
                fields["answer"] = base64.b64decode(fields["answer"])
            yield _KINDS[name](**fields)
