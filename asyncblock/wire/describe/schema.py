"""JSON Schema (2020-12) of everything that travels as JSON, from the types of messages, requests and records."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields
from typing import Any, Final

from ..checking import Bounds, Loose, Text, hints_of, is_object, is_required
from ..fields import Announcement, Reference, Slots
from ..messages import MESSAGES, VERSION, Message
from ..methods import METHODS
from ..records import RECORDS, RecordShape
from ..states import RECEIVE, ConnectionState, Role
from .prose import about, about_fields

__all__ = ["json_schema"]

Schema = dict[str, Any]

_NEEDED: Final[dict[Any, list[str]]] = {Announcement: ["languages", "packages", "slots"], Slots: ["async"]}
"""Keys that an announcement must have: whoever reads it says so itself."""

_PLAIN: Final[dict[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

_COUNT: Final = {"type": "integer", "minimum": 0}


def json_schema() -> Schema:
    """Return the schema of a control line; ``$defs`` has all else.

    ``up`` and ``down`` are the control lines of either direction, ``records`` is a line behind a ``batch``, ``row`` one
    behind a ``page``, ``params.METHOD`` and ``result.METHOD`` belong to requests.
    """
    maker = _Maker()
    for cls in MESSAGES.values():
        maker.defs[f"message.{cls.op}"] = maker.message(cls)
    maker.defs["message.batch"] = _object(
        "A batch of records: a line for each of ``channels`` follows.",
        {
            "op": {"const": "batch"},
            "on": _ref("on"),
            "seq": {"type": "integer", "minimum": 1},
            "channels": {"type": "array", "items": {"type": "integer"}},
        },
        ["op", "seq", "channels"],
    )
    maker.defs["on"] = {
        **_COUNT,
        "description": "Which of the connection's links it is about; 0, the first, if missing.",
    }
    for name, method in METHODS.items():
        maker.defs[f"params.{name}"] = maker.of(method.params)
        maker.defs[f"result.{name}"] = maker.of(method.result)
    maker.defs["message.request"]["allOf"] = [
        {
            "if": {"properties": {"method": {"const": name}}},
            "then": {"properties": {"params": _ref(f"params.{name}")}},
        }
        for name in METHODS
    ]
    for name, shape in RECORDS.items():
        maker.defs[f"record.{name}"] = _record(maker, name, shape)
    maker.defs["record"] = {"anyOf": [_ref(f"record.{name}") for name in RECORDS]}
    maker.defs["records"] = {"type": "array", "items": _ref("record")}
    maker.defs["row"] = _row()
    for name, role in (("up", Role.UPPER), ("down", Role.LOWER)):
        ops = {op: None for state in ConnectionState for op in RECEIVE[role][state] if op != "chunk"}
        maker.defs[name] = {"anyOf": [_ref(f"message.{op}") for op in ops]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:asyncblock:wire:{VERSION}",
        "title": f"asyncblock.v{VERSION}",
        "description": "A control line of the wire. Numbers that are integers here are written without a fraction.",
        "anyOf": [_ref("up"), _ref("down")],
        "$defs": maker.defs,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(words: str, properties: Schema, required: list[str]) -> Schema:
    made: Schema = {"type": "object", "description": words} if words else {"type": "object"}
    return {**made, "properties": properties, "required": required}


class _Maker:
    """Makes schemas of types; each TypedDict becomes a definition of its own."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}

    def message(self, cls: type[Message]) -> Schema:
        """Return the schema of a control line."""
        hints: dict[str, Any] = hints_of(cls)  # type: ignore[arg-type]  # a class, not an instance of it
        texts = about_fields(cls)
        properties: Schema = {"op": {"const": cls.op}, "on": _ref("on")}
        required = ["op"]
        for each in fields(cls):
            properties[each.name] = _described(self.of(hints[each.name]), texts.get(each.name))
            if each.default is MISSING and each.default_factory is MISSING:
                required.append(each.name)
        return _object(about(cls), properties, required)

    def of(self, hint: Any) -> Schema:
        """Return the schema of a type."""
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.NotRequired, typing.Required):
            return self.of(inner[0])
        if origin is typing.Annotated:
            return self._annotated(inner[0], inner[1:])
        if hint is Any:
            return {}
        if is_object(hint):
            return self._named(hint)
        if origin in (typing.Union, types.UnionType):
            return self._any_of([self.of(each) for each in inner])
        if origin is typing.Literal:
            return {"enum": list(inner)}
        if origin is list:
            return {"type": "array", **_if_any("items", self.of(inner[0]))}
        if origin is tuple:
            return {
                "type": "array",
                "prefixItems": [self.of(each) for each in inner],
                "items": False,
                "minItems": len(inner),
            }
        if origin is dict:
            return {"type": "object", **_if_any("additionalProperties", self.of(inner[1]))}
        return {"type": _PLAIN[hint]}

    def _annotated(self, base: Any, more: tuple[Any, ...]) -> Schema:
        for each in more:
            match each:
                case Bounds(low, high):
                    return {**self.of(base), "minimum": low, **({} if high is None else {"maximum": high})}
                case Text(least, most, pattern):
                    bounds = {"minLength": least or None, "maxLength": most, "pattern": pattern}
                    return {**self.of(base), **{key: value for key, value in bounds.items() if value is not None}}
                case Loose(kind):
                    return self.of(kind)
        return self.of(more[0])

    def _named(self, kind: Any) -> Schema:
        name = kind.__name__
        if name not in self.defs:
            self.defs[name] = {}
            hints, texts = hints_of(kind), about_fields(kind)
            properties = {key: _described(self.of(hint), texts.get(key)) for key, hint in hints.items()}
            required = [key for key, hint in hints.items() if is_required(kind, hint)] or _NEEDED.get(kind, [])
            words = "" if kind is Slots else about(kind)
            self.defs[name] = _object(words, properties, required)
        return _ref(name)

    @staticmethod
    def _any_of(options: list[Schema]) -> Schema:
        if all(set(each) == {"type"} for each in options):
            return {"type": [each["type"] for each in options]}
        return {"anyOf": options}


def _described(schema: Schema, words: str | None) -> Schema:
    return {**schema, "description": words} if words else schema


def _if_any(key: str, schema: Schema) -> Schema:
    return {key: schema} if schema else {}


def _record(maker: _Maker, name: str, shape: RecordShape) -> Schema:
    reference = maker.of(Reference)
    properties: Schema = {"type": {"const": name}, "t": {"type": "integer", "description": "ms since the epoch"}}
    for field, kinds in (*shape.required, *shape.optional):
        properties[field] = _of_record(name, field, kinds, reference)
    made = _object("", properties, ["type", "t", *(field for field, _ in shape.required)])
    if shape.one_of is not None:
        value, body = shape.one_of
        properties |= {value: {}, body: reference}
        made["oneOf"] = [{"required": [value]}, {"required": [body]}]
    return made


def _of_record(name: str, field: str, kinds: tuple[type, ...], reference: Schema) -> Schema:
    if field == "bodies":
        return {"type": "object", "additionalProperties": reference}
    if (name, field) == ("BlockProgress", "rate"):
        return {"type": "number", "minimum": 0, "maximum": 100}
    if (name, field) == ("BlockLog", "stdio"):
        return {"enum": ["stdout", "stderr"]}
    if float in kinds:
        return {"type": "number"}
    names = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    return {"type": names[kinds[0]]}


def _row() -> Schema:
    records = _object(
        "Records of one attempt, as they came. Those that ``refused`` names, by ``[place, why]``, count for nothing; "
        "with ``late`` the attempt was over, and none does. A body without a ``link`` is that of the line's.",
        {
            "job_id": {"type": "string"},
            "node_id": {"type": "string"},
            "attempt": {"type": "integer", "minimum": 1},
            "link": {"type": "string"},
            "n": {**_COUNT, "description": "The index of the first record."},
            "records": {"type": "array", "description": "A record that no reader takes is a text here."},
            "refused": {"type": "array", "items": {"type": "array", "description": "A place in the line, and why."}},
            "late": {"type": "boolean"},
        },
        ["job_id", "node_id", "attempt", "link", "n", "records"],
    )
    entry = _object(
        "Something that the mainframe notes: a session's beginning and end, and what becomes of its jobs.",
        {"type": {"type": "string"}, "t": {"type": "integer"}},
        ["type"],
    )
    return {
        "description": "A line of a session's journal.",
        "anyOf": [records, {**entry, "not": {"required": ["records"]}}],
    }
