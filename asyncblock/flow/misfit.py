"""Whether a constant can be what a handle's ``json_schema`` says, as far as types and lists of values tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import orjson

__all__ = ["misfit"]

_NAMES: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}

_LOOKED_AT: Final = 1_000
"""Items of a list that are looked at."""

_SHOWN: Final = 40
"""Characters of a value that are shown."""

_CHOICES: Final = 8
"""Values that it may be that are named."""


def misfit(definition: Mapping[str, Any], value: Any) -> str | None:
    """Say what a handle takes and what it is given instead; None where nothing contradicts.

    What isn't JSON, and what only a validator of JSON schema could tell, isn't judged.
    """
    if value is None and definition.get("nullable"):
        return None
    return _misfit(definition.get("json_schema"), value, "")


def _misfit(schema: Any, value: Any, place: str) -> str | None:
    if not isinstance(schema, Mapping) or str(schema.get("contentMediaType", "")).startswith("oomol/"):
        # Values of these kinds are names and references.
        return None
    if value is None and schema.get("nullable"):
        return None
    kind = _kind(value)
    if kind is None:
        return None
    wanted = _types(schema)
    if wanted is not None and not _is_of(value, kind, wanted):
        return _words(" or ".join(_NAMES[each] for each in wanted), value, kind, place)
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list) and choices and not any(_same(each, value) for each in choices):
        named = ", ".join(_shown(each) for each in choices[:_CHOICES]) + (", ..." if len(choices) > _CHOICES else "")
        return _words(named if len(choices) == 1 else f"one of {named}", value, kind, place)
    return _combined(schema, value, kind, place) or _inner(schema, value, kind, place)


def _types(schema: Mapping[str, Any]) -> list[str] | None:
    """Return the types that a schema names; None where it names none, or one that JSON doesn't have."""
    found = schema.get("type")
    named = [found] if isinstance(found, str) else found
    if not isinstance(named, list) or not named or not all(each in _NAMES for each in named):
        return None
    return named


def _combined(schema: Mapping[str, Any], value: Any, kind: str, place: str) -> str | None:
    for each in _schemas(schema.get("allOf")):
        if words := _misfit(each, value, place):
            return words
    for key in ("anyOf", "oneOf"):
        branches = _schemas(schema.get(key))
        found = [_misfit(each, value, place) for each in branches]
        if not found or not all(found):
            continue
        types = [_types(each) for each in branches if isinstance(each, Mapping)]
        if any(_is_of(value, kind, each) for each in types if each is not None) or None in types:
            # It is of a type that it may be; what is wrong is further inside.
            return found[0]
        named = dict.fromkeys(name for each in types for name in each or ())
        return _words(" or ".join(_NAMES[each] for each in named), value, kind, place)
    return None


def _inner(schema: Mapping[str, Any], value: Any, kind: str, place: str) -> str | None:
    if kind == "array" and isinstance(schema.get("items"), Mapping) and "prefixItems" not in schema:
        for index, item in enumerate(islice(value, _LOOKED_AT)):
            if words := _misfit(schema["items"], item, f"{place}[{index}]"):
                return words
    if kind == "object":
        properties = schema.get("properties")
        for name, inner in properties.items() if isinstance(properties, Mapping) else ():
            if name in value and (words := _misfit(inner, value[name], f"{place}.{name}" if place else str(name))):
                return words
    return None


def _schemas(found: Any) -> Sequence[Any]:
    return found if isinstance(found, list) else ()


def _kind(value: Any) -> str | None:
    if value is None:
        return "null"
    # What is of any other class may have a form of another type.
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if type(value) in kinds:
        return kinds[type(value)]
    return "object" if isinstance(value, dict) else "array" if type(value) is tuple or isinstance(value, list) else None


def _is_of(value: Any, kind: str, wanted: Sequence[str]) -> bool:
    if kind in wanted or (kind == "integer" and "number" in wanted):
        return True
    # In JSON 5.0 is an integer.
    return kind == "number" and "integer" in wanted and float(value).is_integer()


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same in JSON, in which true isn't 1."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _words(wanted: str, value: Any, kind: str, place: str) -> str:
    where = f"at {place}: " if place else ""
    given = _shown(value) if kind in ("null", "boolean") else f"{_shown(value)}, {_NAMES[kind]}"
    return f"{where}it takes {wanted}, and is given {given}"


def _shown(value: Any) -> str:
    try:
        text = orjson.dumps(value, default=repr).decode()
    except orjson.JSONEncodeError:
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
