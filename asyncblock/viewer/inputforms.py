"""Forms made from a flow's inputs: what each field is, and what a text in it means.

What a field sends is a text, which is read here by what the input is. A secret's field takes its name: the secret
itself would be in the journal for good, so it is neither taken nor said again where somebody has written it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ..errors import InvalidInputs
from ..flow.misfit import misfit
from ..flow.plan import Plan

__all__ = ["fields_of", "hides", "read_form", "type_of"]

_LONG: Final = 100_000
"""Characters of a value that a field shows. A longer one can't be edited."""

_CHOICES: Final = 1_000
"""Choices that a field lists; if there are more, the user types one."""

_WORDS: Final = 2_000
"""Characters that are said about an input."""

_KINDS: Final = {"string": "text", "integer": "number", "number": "number", "boolean": "choice"}
_NAMED: Final = {"oomol/secret": "secret", "oomol/credential": "credential"}

_NAMES: Final = {
    "secret": re.compile(r"[^,{}]+,[^,{}]+,[^,{}]+|\$\{\{OO_SECRET:[^,{}]+,[^,{}]+,[^,{}]+\}\}"),
    "credential": re.compile(r"\$\{\{OO_CREDENTIAL:[^,{}]*,[^,{}]*,[^,{}]+\}\}"),
}
"""How a secret is named, by the kind of the field (``executor/secrets/confidential.py`` resolves it)."""

_MANY: Final = re.compile(r"[0-9]{19}")
"""What an integer of more than 64 bits has."""

_FORMS: Final = {"secret": "TYPE,NAME,KEY", "credential": "${{OO_CREDENTIAL:TYPE,NAME,ID}}"}


def fields_of(plan: Plan, before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a flow's inputs, with earlier values or their defaults."""
    return [_field(each, before) for each in plan.inputs_def]


def read_form(plan: Plan, before: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a filled form. Raises ``InvalidInputs`` naming the field.

    An input that wasn't sent keeps its earlier value; null stands for the default.
    """
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
    return given


def hides(definition: Mapping[str, Any], value: Any) -> bool:
    """Tell whether a value must not be shown: a secret that was given literally instead of by its name."""
    kind = _kind(definition)
    if kind not in _NAMES or value is None:
        return False
    return _NAMES[kind].fullmatch(value if isinstance(value, str) else _json(value)) is None


def _schema(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    found = definition.get("json_schema")
    return found if isinstance(found, Mapping) else {}


def _kind(definition: Mapping[str, Any]) -> str:
    """Return what a field is: ``text``, ``file`` and ``secret`` go as they are written, ``choice`` is one of some, the
    others are JSON."""
    schema = _schema(definition)
    media, widget = str(schema.get("contentMediaType", "")), str(schema.get("ui:widget", ""))
    if media in _NAMED:
        return _NAMED[media]
    choices = schema.get("enum")
    if isinstance(choices, list) and 0 < len(choices) <= _CHOICES:
        return "choice"
    if media.startswith("oomol/"):
        return "text"
    if schema.get("type") == "string" and (widget in ("file", "dir", "save") or schema.get("format") == "path"):
        return "file"
    found = schema.get("type")
    return _KINDS.get(found, "json") if isinstance(found, str) and not isinstance(choices, list) else "json"


def _field(definition: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    name, schema, kind = definition["handle"], _schema(definition), _kind(definition)
    optional = "value" in definition or bool(definition.get("nullable"))
    value = before.get(name, definition.get("value"))
    text = value if kind not in ("number", "choice", "json") and isinstance(value, str) else _json(value)
    # A secret that was given literally isn't shown: not all who may start the flow again may know it.
    hidden = hides(definition, value)
    long = len(text) > _LONG
    choices = schema.get("enum", [True, False])
    about = definition.get("description")
    return {
        "name": str(name),
        "kind": kind,
        "about": str(about)[:_WORDS] if about else "",
        "type": type_of(schema),
        "optional": optional,
        "choices": [_json(each) for each in choices] if kind == "choice" else [],
        "text": "" if value is None or long or hidden else text,
        "none": value is None,
        "hidden": hidden,
        "long": long and not hidden,
        "size": len(text),
    }


def type_of(schema: Mapping[str, Any]) -> str:
    """Return what a schema wants, in a word or two."""
    found = schema.get("contentMediaType") or schema.get("type") or ""
    names = found if isinstance(found, list) else [found]
    return " or ".join(str(each) for each in names)[:60]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read(definition: Mapping[str, Any], text: Any) -> Any:
    """Return the value that a text stands for. Raises ``InvalidInputs``."""
    name, kind = definition["handle"], _kind(definition)
    if not isinstance(text, str):
        raise _wrong(name, "a field sends a text")
    if kind in _NAMES and _NAMES[kind].fullmatch(text) is None:
        # The error doesn't repeat the text, which may be the secret.
        raise _wrong(name, f"give the secret's name as {_FORMS[kind]}, never the secret itself: inputs are kept")
    value: Any = text
    if kind in ("number", "choice", "json"):
        try:
            value = orjson.loads(text)
        except ValueError as error:
            raise _wrong(name, f"{text[:60]!r} is no JSON: {error}") from None
        if (found := _rounded(text)) is not None:
            raise _wrong(name, f"{found} has more than 64 bits, and would be rounded; give it as a text")
    if words := misfit(definition, value):
        raise _wrong(name, words)
    return value


def _rounded(text: str) -> str | None:
    """Return the beginning of an integer in valid JSON that is read as the nearest float."""
    found: list[str] = []

    def note(digits: str) -> int:
        if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 64:
            found.append(digits[:30])
        return 0

    if _MANY.search(text) is not None:
        json.loads(text, parse_int=note)
    return found[0] if found else None


def _wrong(name: str, words: str) -> InvalidInputs:
    return InvalidInputs(f"{name}: {words}", problems={name: words})
