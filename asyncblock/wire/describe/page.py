"""The reference page: each message, object, request, record, limit and code as a table, from the types."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

import orjson

from .. import fields as objects
from .. import methods as requests
from ..checking import Bounds, Loose, Text, hints_of, is_object, is_required
from ..messages import MESSAGES, Message
from ..methods import ERRORS, METHODS, Method
from ..records import RECORDS, TERMINAL, Audience, RecordShape
from ..states import RECEIVE, ConnectionState, Role
from .codes import ANSWERS, GOODBYES, HTTP, WEBSOCKET
from .prose import about, about_fields
from .schema import json_schema

__all__ = ["reference_page"]

_HEAD: Final = """# The wire: reference

Written by `asyncblock wire --reference` from the types that both ends check. Order, resumption and reasons stand in the
specification, which `asyncblock wire` prints. `asyncblock wire --json-schema` is the JSON Schema of all this,
`--asyncapi` an AsyncAPI document, and `--sessions DIR` writes golden sessions: whole exchanges to replay.

A field that *may be missing* has the value that stands there. Fields and keys that aren't known are skipped.
"""

_OBJECTS: Final = (
    objects.Announcement, objects.Slots, objects.Replaced, objects.Dead, objects.Windows, objects.Reference,
    objects.FrameFields, objects.BlockFields, objects.HandleDef, objects.PlanFields, objects.FlowFields,
    objects.NodeFields, objects.InputFields, objects.ReplyError, requests.SessionRow, requests.VarValues,
    requests.SessionCounts, requests.Offer, requests.InVain, requests.InfoLimits, requests.JournalState,
    requests.ExecutorRow, requests.ExecutorSlots, requests.ExecutorJob, requests.ExecutorStall,
    requests.Targets, requests.ToNode, requests.ToFlow,
)  # fmt: skip

_ABOUT: Final = """About `t`: the author's time in ms since the epoch; each record has it, and its `type`. Where two
fields are *one of*, just one of them is there: the value, or a reference to the body that holds it. `bodies` has such
references by handle, beside the values that the record holds itself.

The `payload` of a `BlockPreview` is an object with `type` and `data`: `text`, `markdown` and `html` (text), `json` (any
value), `table` (`columns`, a list of names, and `rows`, a list of lists), `image` (a `data:` URL, or a list of such),
`audio`, `video` and `iframe` (a URL), `group` (a list of payloads, each with its `title`). `mime_type`, `title`,
`note`, `needs` and `mime` may stand beside them. What a viewer doesn't know it shows as JSON. `id` names the preview
that it takes the place of. `about` tells of a preview that is a body, for lists; `pages`, with the body `pages` in
`bodies`, has the rows of a longer table, or of those in a group, of which a page is fetched by its offset and size: see
the specification.
"""


def reference_page(limits: Mapping[str, int]) -> str:
    """Return the page as Markdown. ``limits`` are those of a mainframe as it is by default."""
    return "\n".join(_lines(limits)) + "\n"


def _lines(limits: Mapping[str, int]) -> Iterator[str]:
    yield _HEAD
    for title, role in (("Messages upwards", Role.UPPER), ("Messages downwards", Role.LOWER)):
        yield f"## {title}\n"
        for op in {op: None for state in ConnectionState for op in RECEIVE[role][state]}:
            yield from _message(op)
    yield "## Objects\n"
    for kind in _OBJECTS:
        yield f"### {kind.__name__}\n"
        yield _cell("" if kind is objects.Slots else about(kind)) + "\n"
        yield from _table(_rows_of(kind))
    yield "## Requests\n"
    for name, method in METHODS.items():
        yield from _method(name, method)
    yield "### Codes of errors\n"
    yield "Each request may get `method`, `params`, `unauthorized` or `failed`.\n"
    yield from _table([("code", "meaning"), *((f"`{code}`", text) for code, text in ERRORS.items())])
    yield f"## Records\n\n{_ABOUT}"
    yield from _table(
        [("type", "window", "fields"), *((f"`{n}`", _window(n, shape), _record(shape)) for n, shape in RECORDS.items())]
    )
    yield "## Lines of a page\n"
    yield from _journal()
    yield "## Limits\n"
    yield f"{about(objects.Limits)} The numbers are those of a mainframe with its settings as they come.\n"
    texts = about_fields(objects.Limits)
    yield from _table(
        [("name", "default", "what"), *((f"`{name}`", f"{size:,}", texts[name]) for name, size in limits.items())]
    )
    yield "## Codes\n\nA `bye`:\n"
    yield from _table([("code", "way", "meaning"), *((f"`{code}`", *each) for code, each in GOODBYES.items())])
    yield "The answer to the request for a websocket. Without the header `Asyncblock-Mainframe` it is a proxy's, which"
    yield "passes: try again after 401, 403, 407, 408, 425, 429 and 5xx.\n"
    yield from _table([("status", "meaning"), *((str(status), text) for status, text in HTTP.items())])
    yield "`GET /healthz` (without a token), `GET /metrics`, and `GET /bodies/LINK-N` for clients and observers:\n"
    yield from _table([("status", "meaning"), *((str(status), text) for status, text in ANSWERS.items())])
    yield "The closing frame of the websocket; it says nothing of the link:\n"
    yield from _table([("code", "meaning"), *((str(code), text) for code, text in WEBSOCKET.items())])


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    head, *body = rows
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _message(op: str) -> Iterator[str]:
    yield f"### {op}\n"
    if op == "batch":
        yield "Records. A line for each of `channels` follows: a JSON array of records of that channel.\n"
        yield from _table(
            [
                ("field", "type", "what"),
                ("`seq`", "int", "Counts the link's batches from 1."),
                ("`channels`", "list of int", "The channel of each line."),
            ]
        )
    elif op == "chunk":
        yield "A binary message: 0x01, the body's number and the offset (64 bits each, big-endian), then at most 64 KiB"
        yield "of it. Downwards the number is the `id` of the fetch.\n"
    else:
        yield _cell(about(MESSAGES[op])) + "\n"
        yield from _table([("field", "type", "what"), *_fields_of(MESSAGES[op])])


def _fields_of(cls: type[Message]) -> list[tuple[str, ...]]:
    hints: dict[str, Any] = hints_of(cls)  # type: ignore[arg-type]  # a class, not an instance of it
    texts, found = about_fields(cls), list[tuple[str, ...]]()
    for each in fields(cls):
        missing = ""
        if each.default is not MISSING:
            missing = f" May be missing: {orjson.dumps(each.default).decode()}."
        elif each.default_factory is not MISSING:
            missing = f" May be missing: {orjson.dumps(each.default_factory()).decode()}."
        found.append((f"`{each.name}`", _type(hints[each.name]), texts.get(each.name, "") + missing))
    return found


def _rows_of(kind: Any) -> list[tuple[str, ...]]:
    texts = about_fields(kind)
    rows: list[tuple[str, ...]] = [("key", "type", "what")]
    needed = json_schema()["$defs"][kind.__name__].get("required", [])
    for name, hint in hints_of(kind).items():
        there = is_required(kind, hint) or name in needed
        rows.append((f"`{name}`", _type(hint), texts.get(name, "") + ("" if there else " May be missing.")))
    return rows


def _type(hint: Any) -> str:
    """Return a type in words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.NotRequired, typing.Required):
        return _type(inner[0])
    if origin is typing.Annotated:
        return _annotated(inner[0], inner[1:])
    if hint is Any:
        return "any JSON"
    if hint is type(None):
        return "null"
    if is_object(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if origin is typing.Literal:
        return " or ".join(f"`{orjson.dumps(each).decode()}`" for each in inner)
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_type, inner))}]"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {_type(inner[1])}"
    if inner:
        return " or ".join(map(_type, inner))
    return {str: "str", int: "int", float: "number", bool: "bool"}[hint]


def _annotated(base: Any, more: tuple[Any, ...]) -> str:
    for each in more:
        match each:
            case Bounds(low, None):
                return f"{_type(base)} from {low}"
            case Bounds(low, high):
                return f"{_type(base)} from {low} to {high}"
            case Text(least, most, _):
                return f"{_type(base)}, {least} to {most} characters" if most else _type(base)
            case Loose(kind):
                return _type(kind)
    return _type(more[0])


def _method(name: str, method: Method) -> Iterator[str]:
    yield f"### {name}\n"
    who = "A running job, on a link with the role `executor`" if method.of_jobs else ", ".join(sorted(method.roles))
    yield f"{_cell(method.words)} Roles: {who}. Again: {method.again}."
    if method.errors:
        yield f"Errors: {', '.join(f'`{code}`' for code in method.errors)}."
    yield ""
    if len(rows := _rows_of(method.params)) > 1:
        yield from _table([("parameter", *rows[0][1:]), *rows[1:]])
    yield f"Answer: {_cell(about(method.result))}\n"
    if len(rows := _rows_of(method.result)) > 1:
        yield from _table(rows)


def _window(name: str, shape: RecordShape) -> str:
    """Return which window a record counts in."""
    if name in ("JobStarted", TERMINAL):
        return "none"
    return "data" if shape.kind is Audience.SEND else "telemetry"


def _record(shape: RecordShape) -> str:
    names = [f"`{field}`" for field, _ in shape.required]
    names += [f"`{field}` (may be missing)" for field, _ in shape.optional]
    if shape.one_of is not None:
        names.append(f"one of `{shape.one_of[0]}` and `{shape.one_of[1]}`")
    return ", ".join(names) or "none"


def _journal() -> Iterator[str]:
    records, entry = json_schema()["$defs"]["row"]["anyOf"]
    yield f"{_cell(records['description'])}\n"
    keys = records["properties"].items()
    yield from _table(
        [("key", "type", "what"), *((f"`{key}`", each["type"], each.get("description", "")) for key, each in keys)]
    )
    yield f"Any other line has a `type`. {entry['description']} The events of"
    yield "`asyncblock watch SESSION --json` are made of these lines, and `asyncblock.events` names their fields."
    yield "`SessionStarted` has the plan and is the first, `SessionFinished` the last: its `outputs` have values, its"
    yield "`bodies` references, each with its `link`.\n"
