"""Starting again what has run: the same version of its flow, with the inputs of before or others.

A form has a field for each input. What a field sends is a text, which is read here by what the input is; an input that
isn't sent is as before, and one that is sent as null has its default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..client import Mainframe
from ..errors import InvalidInputs, Rejected
from ..flow.misfit import misfit
from ..flow.plan import Plan
from ..offload import run_in_thread

__all__ = ["Again"]

_LONG: Final = 100_000
"""Characters of a value that a field shows. A longer one stays as it was."""

_KINDS: Final = {"string": "text", "integer": "number", "number": "number", "boolean": "choice"}


class Again:
    """A session's flow and inputs, of which another session can be made."""

    def __init__(self, mainframe: Mainframe, session_id: str) -> None:
        self._mainframe = mainframe
        self._session_id = session_id

    async def form(self) -> dict[str, Any]:
        """Return the fields, with the values of before.

        **Cancellation** is safe. Raises as ``Session.plan``.
        """
        plan, before, title, _ = await self._past()
        return {"title": title, "fields": [_field(each, before) for each in plan.inputs_def]}

    async def start(self, sent: Mapping[str, Any]) -> str:
        """Start a session and return its id.

        **Durability** and **Cancellation** as ``Mainframe.start``. Raises ``InvalidInputs`` naming the field.
        """
        plan, before, title, metadata = await self._past()
        given = dict(before)
        known = {each["handle"]: each for each in plan.inputs_def}
        for name, text in sent.items():
            if name not in known:
                raise _wrong(name, "the flow has no such input")
            given.pop(name, None)
            if text is not None:
                given[name] = _read(known[name], text)
        if wrong := plan.input_problems(given):
            raise InvalidInputs("; ".join(wrong), problems={})
        session = await self._mainframe.start(plan, given, title=title, metadata=metadata)
        return session.session_id

    async def _past(self) -> tuple[Plan, dict[str, Any], str, dict[str, Any]]:
        page = await self._mainframe.link.read(self._session_id, 0, max_bytes=1)
        return await run_in_thread(_begun, page.rows[0][1] if page.rows else ())


def _begun(lines: tuple[bytes, ...] | list[bytes]) -> tuple[Plan, dict[str, Any], str, dict[str, Any]]:
    for line in lines:
        entry = orjson.loads(line)
        if entry.get("type") == "SessionStarted":
            plan = Plan.from_json(entry["plan"])
            return plan, dict(entry["inputs"]), str(entry.get("title", "")), dict(entry.get("metadata", {}))
    raise Rejected("the session's first row doesn't hold its plan", code="read")


def _schema(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    found = definition.get("json_schema")
    return found if isinstance(found, Mapping) else {}


def _kind(definition: Mapping[str, Any]) -> str:
    """Return what a field is: ``text`` goes as it is written, ``choice`` is one of some, the others are JSON."""
    schema = _schema(definition)
    if isinstance(schema.get("enum"), list):
        return "choice"
    if str(schema.get("contentMediaType", "")).startswith("oomol/"):
        return "text"
    return _KINDS.get(str(schema.get("type")), "json")


def _field(definition: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    name, schema, kind = definition["handle"], _schema(definition), _kind(definition)
    optional = "value" in definition or bool(definition.get("nullable"))
    value = before.get(name, definition.get("value"))
    text = value if kind == "text" and isinstance(value, str) else _json(value)
    choices = schema["enum"] if "enum" in schema and kind == "choice" else [True, False]
    return {
        "name": str(name),
        "kind": kind,
        "about": str(definition.get("description") or ""),
        "type": str(schema.get("type") or schema.get("contentMediaType") or ""),
        "optional": optional,
        "choices": [_json(each) for each in choices] if kind == "choice" else [],
        "text": "" if value is None else text,
        "none": value is None,
        "long": len(text) > _LONG,
    } | ({"text": "", "size": len(text)} if len(text) > _LONG else {})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(definition: Mapping[str, Any], text: Any) -> Any:
    """Return the value that a text is. Raises ``InvalidInputs``."""
    name = definition["handle"]
    if not isinstance(text, str):
        raise _wrong(name, "a field sends a text")
    value: Any = text
    if _kind(definition) != "text":
        try:
            value = orjson.loads(text)
        except ValueError as error:
            raise _wrong(name, f"{text[:60]!r} is no JSON: {error}") from None
    if words := misfit(definition, value):
        raise _wrong(name, words)
    return value


def _wrong(name: str, words: str) -> InvalidInputs:
    return InvalidInputs(f"{name}: {words}", problems={name: words})
