"""Messages as bytes: text messages are lines of JSON, binary messages are body chunks.

A text message holds one or more control lines. A ``batch`` or ``page`` line says how many lines of data follow it;
those are not parsed here, so that whoever stores or forwards them can do so byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from ..errors import RemoteProtocolError
from .plain import not_plain

__all__ = [
    "MAX_MESSAGE",
    "WRONG",
    "Batch",
    "fitted",
    "is_text",
    "join_batch",
    "join_page",
    "link_of",
    "on_link",
    "split",
    "take_batch",
]

WRONG = "\0wrong"
"""A field of a request that couldn't be read: why. No peer's JSON has it by chance."""

MAX_MESSAGE = 4 << 20
"""Bytes of the largest message that either side accepts. A batch is about 64 KiB and one record; a page of events is
256 KiB and one row; a dispatch carries inputs of at most 64 KiB each."""


@dataclass(slots=True, eq=False)
class Batch:
    """A received batch: its number and, for each run, the channel and the raw line (a JSON array of records)."""

    seq: int
    runs: list[tuple[int, bytes]]


def fitted(data: bytes) -> bytes:
    """Copy what the encoder has made and somebody will keep: its own bytes hold all of its buffer, 4 KiB at least."""
    return bytes(memoryview(data))


def is_text(message: bytes) -> bool:
    """Tell whether a message is text. A chunk begins with 0x01, which no JSON text does."""
    return message[:1] != b"\x01"


def link_of(header: dict[str, object]) -> int:
    """Return which of the connection's links a control line is about."""
    link = header.get("on", 0)
    return link if type(link) is int else 0


def on_link(link: int, line: bytes) -> bytes:
    """Say a control line about another link than the connection's own."""
    return b'{"on":%d,' % link + line[1:]


def join_batch(seq: int, runs: Sequence[tuple[int, Sequence[bytes]]]) -> bytes:
    """Build a batch message from encoded records."""
    header = orjson.dumps({"op": "batch", "seq": seq, "channels": [channel for channel, _ in runs]})
    return b"\n".join([header, *(b"[" + b",".join(records) + b"]" for _, records in runs)])


def join_page(header: bytes, rows: Sequence[bytes]) -> bytes:
    """Build a page message: the control line of the page, then the lines of its rows."""
    return b"\n".join([header, *rows])


def split(message: bytes, max_lines: int | None = None) -> Iterator[tuple[dict[str, object], list[bytes]]]:
    """Split a text message into control lines and the data lines that belong to each.

    Raises ``RemoteProtocolError`` when a control line is no JSON object with an ``op``, or lines are missing, or there
    are more than ``max_lines``.
    """
    if max_lines is not None and (count := message.count(b"\n") + 1) > max_lines:
        raise RemoteProtocolError(f"a message has {count} lines; {max_lines} may be")
    lines = _lines(message)
    index = 0
    while index < len(lines):
        header = _header(lines[index])
        index += 1
        follow = _follow(header)
        if follow > len(lines) - index:
            raise RemoteProtocolError(f"{header['op']!r} announces {follow} lines, {len(lines) - index} follow")
        yield header, lines[index : index + follow]
        index += follow


def _lines(message: bytes) -> list[bytes]:
    """Split a message at its line feeds. Most lines are long, and ``find`` passes over them (throughput)."""
    lines = []
    start = 0
    while (end := message.find(b"\n", start)) >= 0:
        lines.append(message[start:end])
        start = end + 1
    lines.append(message[start:])
    return lines


def _header(line: bytes) -> dict[str, object]:
    try:
        header = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if (asked := _request(line, str(error))) is not None:
            return asked
        begins = f"; it begins with {line[:20]!r}" if line[:1] != b"{" else ""
        raise RemoteProtocolError(f"a control line isn't JSON: {error}{begins}") from None
    if not isinstance(header, dict) or not isinstance(header.get("op"), str):
        raise RemoteProtocolError("a control line isn't an object with an 'op'")
    if (link := header.get("on", 0)) != 0 or link is False:
        _check_link(header, link)
    if header["op"] == "request" and _is_read(header) and (why := _not_plain(line, header)) is not None:
        return {**{name: header[name] for name in ("op", "id", "method")}, "params": {}, WRONG: why}
    return header


def _check_link(header: dict[str, object], link: object) -> None:
    """A line about another link than the connection's own: only a Hello may bring one, and it is answered."""
    if type(link) is not int or not 0 < link < 1 << 31:
        raise RemoteProtocolError("'on' is the number of a link on this connection, from 0")
    if header["op"] != "hello":
        raise RemoteProtocolError(f"{header['op']!r:.80} is for link {link} of this connection, which has link 0 alone")


def _is_read(header: dict[str, object]) -> bool:
    return type(header.get("id")) is str and type(header.get("method")) is str and type(header.get("params")) is dict


def _not_plain(line: bytes, header: dict[str, object]) -> str | None:
    """Tell why a request can't be taken; one that is too deep to be written again, its reader refuses."""
    try:
        return not_plain(line, header)
    except TypeError:
        return None


def _request(line: bytes, why: str) -> dict[str, object] | None:
    """Return the id and method of a request whose JSON the grammar allows and our reader doesn't: it can be refused."""
    if b'"request"' not in line:
        return None
    try:
        asked = json.loads(line.decode("utf-8"), parse_int=float)
        named = {"op": asked["op"], "id": asked["id"], "method": asked["method"], "params": {}, WRONG: why}
        orjson.dumps(named)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return named if named["op"] == "request" else None


def _follow(header: dict[str, object]) -> int:
    """Return how many data lines belong to a control line."""
    if header["op"] == "batch":
        channels = header.get("channels")
        if not isinstance(channels, list) or not all(type(channel) is int for channel in channels):
            raise RemoteProtocolError("'batch' needs 'channels', a list of integers")
        return len(channels)
    if header["op"] == "page":
        rows = header.get("lines")
        if type(rows) is not int or rows < 0:
            raise RemoteProtocolError("'page' needs 'lines', how many follow")
        return rows
    return 0


def take_batch(header: dict[str, object], lines: list[bytes]) -> Batch:
    """Make a Batch of a ``batch`` line and its data lines."""
    seq, channels = header.get("seq"), header["channels"]
    if type(seq) is not int or seq < 1:
        raise RemoteProtocolError("'batch' needs 'seq', a positive integer")
    assert isinstance(channels, list)
    return Batch(seq, list(zip(channels, lines, strict=True)))
