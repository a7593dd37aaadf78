"""Records: what blocks say, as data. One table says which types exist, what they carry, and where they queue.

Evolution: unknown *fields* are skipped, unknown *types* are refused. A field is never given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any, Final

import orjson

from .bodies import BodyRef

__all__ = ["RECORDS", "TERMINAL", "Audience", "RecordShape", "check", "encode", "flat_outputs"]


class Audience(Enum):
    """Whom a record is for."""

    SEND = "send"
    """About the job: the flow follows it."""
    REPORT = "report"
    """For people: shown, and kept for those who look later."""


@dataclass(frozen=True, slots=True)
class RecordShape:
    """What a record of one type carries."""

    kind: Audience
    required: tuple[tuple[str, tuple[type, ...]], ...] = ()
    optional: tuple[tuple[str, tuple[type, ...]], ...] = ()
    one_of: tuple[str, str] | None = None
    """Exactly one of these two fields is there; the second is the first one's body."""


_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_OBJECT: Final = (dict,)

RECORDS: Final[Mapping[str, RecordShape]] = {
    "JobStarted": RecordShape(Audience.SEND),
    "BlockOutput": RecordShape(
        Audience.SEND,
        (("handle", _TEXT),),
        (("done", (bool,)), ("to_node", (list,)), ("to_flow", (list,))),
        one_of=("output", "body"),
    ),
    "BlockOutputs": RecordShape(Audience.SEND, (("outputs", _OBJECT),), (("bodies", _OBJECT),)),
    "BlockArguments": RecordShape(Audience.SEND, (("id", _TEXT), ("values", _OBJECT)), (("bodies", _OBJECT),)),
    "BlockError": RecordShape(Audience.SEND, (("error", _TEXT),)),
    "BlockFinished": RecordShape(
        Audience.SEND,
        (),
        (
            ("error", _TEXT),
            ("result", _OBJECT),
            ("bodies", _OBJECT),
            ("cancelled", (bool,)),
            ("error_type", _TEXT),
            ("traceback", _TEXT),
        ),
    ),
    "BlockPreview": RecordShape(
        Audience.REPORT,
        (),
        (("id", _TEXT), ("about", _OBJECT), ("bodies", _OBJECT), ("pages", _OBJECT)),
        one_of=("payload", "body"),
    ),
    "BlockProgress": RecordShape(Audience.REPORT, (("rate", _NUMBER),)),
    "BlockLog": RecordShape(Audience.REPORT, (("log", _TEXT), ("stdio", _TEXT))),
    "BlockLogJSON": RecordShape(Audience.REPORT, one_of=("json", "body")),
    "BlockMessage": RecordShape(Audience.REPORT, one_of=("payload", "body")),
    "BlockWarning": RecordShape(Audience.REPORT, (("warning", _TEXT),)),
    "BlockCache": RecordShape(Audience.REPORT, (("state", _TEXT), ("why", _TEXT)), (("made_at", _NUMBER),)),
}

TERMINAL: Final = "BlockFinished"
"""The type that ends a job. The first one in the journal wins."""

_MISSING: Final = object()


def check(record: object) -> str | None:
    """Compare a decoded record with the table; return what is wrong with it, or None."""
    return None if _is_plain_output(record) else _compare(record)


def _is_plain_output(record: Any) -> bool:
    """Tell whether a record is a BlockOutput with a value and nothing else: most are (throughput: half the time)."""
    return (
        type(record) is dict
        and len(record) == 5
        and record.get("type") == "BlockOutput"
        and type(record.get("handle")) is str
        and "output" in record
        and type(record.get("done")) is bool
        and type(record.get("t")) is int
    )


_TYPE, _HANDLE, _OUTPUT, _DONE, _T = (itemgetter(name) for name in ("type", "handle", "output", "done", "t"))
_FLAT: Final = frozenset({str, int, float, bool, type(None)})


def flat_outputs(records: list[Any]) -> set[str] | None:
    """Return the handles of a line whose records are all BlockOutputs with a flat value and nothing else; else None.

    Column by column: that takes less than ``check`` for each, and what is flat needs no more looks (throughput).
    """
    try:
        handles = {*map(_HANDLE, records)}
        plain = (
            {*map(_TYPE, records)} == {"BlockOutput"}
            and {*map(type, handles)} == {str}
            and _FLAT.issuperset(map(type, map(_OUTPUT, records)))
            and {*map(type, map(_DONE, records))} == {bool}
            and {*map(type, map(_T, records))} == {int}
            and {*map(len, records)} == {5}
        )
    except (KeyError, TypeError):
        # A record without one of the fields, or no object at all, or a field that can't be in a set.
        return None
    return handles if plain else None


def _compare(record: object) -> str | None:
    if type(record) is not dict:
        return f"a record is an object, not {type(record).__name__}"
    name = record.get("type")
    if type(name) is not str or (shape := RECORDS.get(name)) is None:
        return f"unknown record type {name!r}"
    if type(record.get("t")) is not int:
        return f"{name}: field 't' must be an integer (milliseconds since the epoch)"
    for field, types in shape.required:
        # Exact types, as the JSON decoder makes them: a bool is no number here.
        if type(record.get(field, _MISSING)) not in types:
            return _wrong(name, field, types)
    for field, types in shape.optional:
        if field in record and type(record[field]) not in types:
            return _wrong(name, field, types)
    if shape.one_of is not None:
        value, body = shape.one_of
        if (value in record) == (body in record):
            return f"{name}: exactly one of {value!r} and {body!r} must be there"
        if value in record and "bodies" not in record and "pages" not in record:
            return None
    return _check_details(name, record)


def _check_details(name: str, record: dict[str, Any]) -> str | None:
    if "body" in record and BodyRef.from_json(record["body"]) is None:
        return f"{name}: 'body' is no body reference"
    if "bodies" in record:
        for handle, ref in record["bodies"].items():
            if BodyRef.from_json(ref) is None:
                return f"{name}: 'bodies[{handle!r}]' is no body reference"
    if name == "BlockPreview" and "pages" in record and not _are_pages(record["pages"], record.get("bodies")):
        return (
            "BlockPreview: 'pages' has 'rows', and an 'index' of [first row, offset, size] of the body 'pages'; and so "
            "has each of its 'tables', with the place 'at' which it is"
        )
    if name == "BlockProgress" and not 0 <= record["rate"] <= 100:
        return "BlockProgress: 'rate' must be a number from 0 to 100"
    if name == "BlockLog" and record["stdio"] not in ("stdout", "stderr"):
        return "BlockLog: 'stdio' must be 'stdout' or 'stderr'"
    return None


def _are_pages(pages: dict[str, Any], bodies: Any) -> bool:
    tables = pages.get("tables", [])
    return (
        type(bodies) is dict
        and "pages" in bodies
        and _are_of_table(pages)
        and type(tables) is list
        and all(type(each) is dict and _are_of_table(each) and _is_place(each.get("at")) for each in tables)
    )


def _is_place(at: Any) -> bool:
    return type(at) is list and bool(at) and {*map(type, at)} == {int} and min(at) >= 0


def _are_of_table(pages: dict[str, Any]) -> bool:
    index = pages.get("index")
    return (
        type(pages.get("rows")) is int
        and type(pages.get("note", "")) is str
        and type(index) is list
        and all(type(each) is list and [*map(type, each)] == [int, int, int] and min(each) >= 0 for each in index)
    )


def _wrong(name: str, field: str, types: tuple[type, ...]) -> str:
    wanted = " or ".join("a value" if t is object else t.__name__ for t in types)
    return f"{name}: field {field!r} must be {wanted}"


def encode(type_: str, t: int, **fields: object) -> bytes:
    """Encode a record whose fields are already JSON-ready. ``t`` is the author's time in ms since the epoch.

    A field whose value is an ``orjson.Fragment`` is JSON already and is copied as it is.
    """
    # A copy, as ``fitted`` makes it: it is kept until it is acknowledged, and the encoder's bytes hold 4 KiB.
    return bytes(memoryview(orjson.dumps({"type": type_, **fields, "t": t})))
