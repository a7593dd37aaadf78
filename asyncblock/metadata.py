"""What a caller says of a session beside its inputs: who asked, under which trace. Its blocks have it as ``metadata``.

A flat mapping of names to texts, numbers, booleans and None. Context variables that are registered go along by
themselves: they have the caller's values in blocks, in this process and in others that register them, too::

    tenant: ContextVar[str] = ContextVar("tenant")
    asyncblock.metadata.carry(tenant)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar
from typing import Any, Final

import orjson

from .errors import LocalProtocolError, PayloadTooLarge
from .telemetry.current import headers_of_caller
from .telemetry.traces import TRACEPARENT

__all__ = ["MAX_METADATA", "carried", "carry", "gathered", "give", "problem_of"]

MAX_METADATA: Final = 16 << 10
"""Bytes of a session's metadata as JSON: they travel with each of its jobs."""

_SCALARS: Final = (str, int, float, bool, type(None))

_carried: dict[str, ContextVar[Any]] = {}


def carry(variable: ContextVar[Any], name: str | None = None) -> None:
    """Let a context variable travel with each session that is started while it has a value.

    ``name`` is what it is called in the metadata, by default the variable's own name. Register it where blocks run,
    too: there it is set before a block begins.
    """
    _carried[name or variable.name] = variable


def gathered(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a session's metadata: what is given, above what registered variables hold here.

    Raises ``LocalProtocolError`` for what isn't flat, ``PayloadTooLarge`` for too much.
    """
    missing = object()
    found = {name: variable.get(missing) for name, variable in _carried.items()}
    own = {**{name: value for name, value in found.items() if value is not missing}, **(given or {})}
    # Both or neither: what is given of a trace isn't mixed with the caller's.
    made = own if TRACEPARENT in own else {**headers_of_caller(), **own}
    for name, value in made.items():
        if not isinstance(name, str) or type(value) not in _SCALARS:
            raise LocalProtocolError(
                f"metadata {name!r}: a {type(value).__name__} isn't metadata; names are texts, values are texts, "
                "numbers, booleans or None"
            )
    try:
        size = len(orjson.dumps(made))
    except TypeError as error:
        raise LocalProtocolError(f"metadata can't travel: {error}") from error
    if size > MAX_METADATA:
        raise PayloadTooLarge("the metadata", size=size, limit=MAX_METADATA)
    return made


def problem_of(metadata: Mapping[str, Any]) -> str | None:
    """Say what is wrong with metadata from outside; None when nothing is."""
    if any(type(value) not in _SCALARS for value in metadata.values()):
        return "metadata is flat: texts, numbers, booleans and null by name"
    if len(orjson.dumps(metadata)) > MAX_METADATA:
        return f"metadata has more than {MAX_METADATA} bytes"
    return None


def give(context: Context, metadata: Mapping[str, Any]) -> None:
    """Set the registered variables of a context that a session's metadata names."""
    for name, value in carried(metadata).items() if metadata else ():
        context.run(_carried[name].set, value)


def carried(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a session's metadata its blocks find in registered variables."""
    return {name: metadata[name] for name in _carried if name in metadata}
