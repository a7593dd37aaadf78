"""JSON schemas of handles: whether values fit them. The door to jsonschema-rs, of the extra ``schema``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import Unavailable
from . import loads

__all__ = ["misfits"]

_MAX_PROBLEMS = 5
"""Problems that are told of one value."""

_MAX_WORDS = 300
"""Characters of one problem: they may hold the value."""


def misfits(defs: Iterable[Mapping[str, Any]], values: Mapping[str, bytes]) -> dict[str, str]:
    """Compare values (as JSON, by handle) with their handles' schemas; return what is wrong, by handle.

    Handles whose media type is one of ``oomol`` aren't looked at: their values aren't JSON. References to other
    documents aren't followed. Raises ``Unavailable`` without jsonschema-rs.
    """
    problems: dict[str, str] = {}
    for definition in defs:
        handle, schema = definition.get("handle"), definition.get("json_schema")
        if (
            not isinstance(handle, str)
            or handle not in values
            or not isinstance(schema, (dict, bool))
            or _is_special(schema)
        ):
            continue
        value = loads(values[handle])
        if value is None and definition.get("nullable"):
            continue
        words = _check(schema, value)
        if words:
            problems[handle] = "; ".join(words)
    return problems


def _is_special(schema: Mapping[str, Any] | bool) -> bool:
    return isinstance(schema, Mapping) and str(schema.get("contentMediaType", "")).startswith("oomol/")


def _check(schema: dict[str, Any] | bool, value: Any) -> list[str]:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise Unavailable("to check values strictly, install asyncblock[schema] (jsonschema-rs)") from error
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return [f"its schema is no JSON schema that can be used: {_cut(str(error).splitlines()[0])}"]
    words: list[str] = []
    for problem in validator.iter_errors(value):
        if len(words) == _MAX_PROBLEMS:
            words.append("and more")
            break
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.instance_path)
        words.append(f"at {place.lstrip('.')}: {_cut(problem.message)}" if place else _cut(problem.message))
    return words


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema can't refer to another document ({uri})")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_WORDS else f"{text[:_MAX_WORDS]}..."
