"""Lines of records as they come in. One that can't be read as a whole is read record by record: a bad one is refused.

JSON allows what readers don't take, or take differently: half a surrogate pair, ``1e400``, a thousand levels, a key
twice, integers beyond 64 bits. Such a record is written into the journal as text, so that nobody who reads that meets
it. What isn't JSON at all isn't a record's fault: the line is unreadable.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, NoReturn

import orjson

from ...errors import RemoteProtocolError
from ...wire.plain import not_plain
from ...wire.records import flat_outputs
from ..serverlimits import MAX_DEPTH, MAX_RECORDS, is_deep

__all__ = ["ChannelRecords", "read_line"]

_TEXT_BYTES = 16 << 10
"""Bytes of a bad record that are kept, as text: enough to find what has written it."""

_PIECES = 2000
"""Brackets, commas and strings that are looked at before others have a turn: 1 ms."""

_OUTPUT = itemgetter("output")
_MARK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)

_BEYOND = float(1 << 63)
"""Integers from here on may come out of the reader as floating-point numbers."""


@dataclass(slots=True)
class ChannelRecords:
    """The records of one channel in one batch."""

    channel: int
    raw: bytes
    """What the journal gets."""
    records: list[Any]
    """None in place of bad ones."""
    flat: set[str] | None = None
    """What ``flat_outputs`` says of them."""
    bad: dict[int, str] = field(default_factory=dict)
    """Why records can't be taken, by their place in the line."""


async def read_line(channel: int, raw: bytes) -> ChannelRecords:
    """Read a line. Raises ``RemoteProtocolError`` when it is no JSON array."""
    try:
        records = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return await _piecewise(channel, raw)
    if not isinstance(records, list):
        raise RemoteProtocolError("a line of records isn't an array")
    flat = flat_outputs(records)
    if flat is not None and _is_plain_flat(raw, records, flat):
        return ChannelRecords(channel, raw, records, flat)
    # Counting costs little; what can't be deep isn't looked at.
    deep = raw.count(b"[") + raw.count(b"{") - len(records) > MAX_DEPTH and is_deep(records)
    if not deep and not_plain(raw, records) is None:
        return ChannelRecords(channel, raw, records, flat)
    return await _piecewise(channel, raw)


def _is_plain_flat(raw: bytes, records: list[Any], handles: set[str]) -> bool:
    """Tell whether flat outputs are surely plain: by counting, which costs little (throughput)."""
    values = list(map(_OUTPUT, records))
    floats = [value for value in values if value.__class__ is float]
    if floats and (max(floats) >= _BEYOND or min(floats) <= -_BEYOND):
        return False
    # Each of the five keys has a colon, and there is none that the records don't need.
    colons = raw.count(b":") - 5 * len(records)
    if colons == 0:
        return True
    if b"\\u003" in raw or any(":" in handle for handle in handles):
        return False
    return colons == sum(value.count(":") for value in values if value.__class__ is str)


async def _piecewise(channel: int, raw: bytes) -> ChannelRecords:
    """Read a line record by record, with turns for others between."""
    line = ChannelRecords(channel, b"", [])
    kept = []
    for index, (piece, depth) in enumerate(await _pieces(raw)):
        record, reason = _read(piece, depth)
        line.records.append(None if reason else record)
        kept.append(piece)
        if reason:
            line.bad[index] = reason
            kept[-1] = orjson.dumps(piece[:_TEXT_BYTES].decode("utf-8", "replace"))
        if index % 100 == 99 or len(piece) > _TEXT_BYTES:
            # A line may be 4 MiB of records that are read one by one: other links have a turn in between.
            await asyncio.sleep(0)
    line.raw = b"[" + b",".join(kept) + b"]"
    return line


def _read(piece: bytes, depth: int) -> tuple[Any, str | None]:
    """Read one record; return it, and why it can't be taken."""
    too_deep = f"it is nested more than {MAX_DEPTH} levels deep"
    try:
        record = orjson.loads(piece)
    except orjson.JSONDecodeError as error:
        if depth > MAX_DEPTH:
            return None, too_deep
        _check_grammar(piece)
        return None, f"its JSON can't be taken: {error}"
    if depth > MAX_DEPTH - 2 and is_deep([record]):
        return None, too_deep
    wrong = not_plain(piece, record)
    return (record, None) if wrong is None else (None, f"its JSON can't be taken: {wrong}")


def _check_grammar(piece: bytes) -> None:
    """Raise ``RemoteProtocolError`` for what isn't JSON. The standard library takes what the grammar allows."""
    try:
        json.loads(piece.decode("utf-8"), parse_constant=_no_constant, parse_int=_any_number, parse_float=_any_number)
    except ValueError as error:
        _not_json(str(error))


def _any_number(text: str) -> int:
    return 0


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _not_json(why: str) -> NoReturn:
    raise RemoteProtocolError(f"a line of records isn't JSON: {why}")


async def _pieces(raw: bytes) -> list[tuple[bytes, int]]:
    """Cut an array into the texts of its items, each with its depth."""
    begin = raw.find(b"[")
    if begin < 0 or raw[:begin].strip():
        raise RemoteProtocolError("a line of records isn't an array")
    found: list[tuple[bytes, int]] = []
    depth, deepest, start, end = 0, 1, begin + 1, -1
    marks = _MARK.finditer(raw, begin)
    while batch := list(islice(marks, _PIECES)):
        for match in batch:
            mark = raw[match.start()]
            if mark in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif mark in b"]}":
                depth -= 1
            if end >= 0 or (depth == 0 and mark != ord("]")):
                _not_json("its array has another end, or something comes after it")
            if len(found) > MAX_RECORDS:
                raise RemoteProtocolError(f"a line has more than {MAX_RECORDS} records")
            if (mark == ord(b",") and depth == 1) or depth == 0:
                found.append((raw[start : match.start()].strip(), deepest - 1))
                start, deepest = match.end(), depth
                end = match.end() if depth == 0 else -1
        # As above: a turn for the others after each part that was searched.
        await asyncio.sleep(0)
    if end < 0 or raw[end:].strip():
        _not_json("its array has no end, or something comes after it")
    if found == [(b"", 0)]:
        return []
    return found
