"""What the makers of typed payloads share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..values import dumps, is_small, loads
from .cells import sendable
from .jupyter import json_of
from .limits import Limits

__all__ = ["Again", "Maker", "as_it_is", "as_json", "cannot", "text_of"]

Again = Callable[[Any], dict[str, Any]]
"""Shows a value as it is shown without a type."""

Maker = Callable[[Any, Limits, Again], dict[str, Any]]


def cannot(kind: str, data: Any, why: str = "") -> PreviewFailed:
    """Return the error that says that a type can't be made of some data."""
    taken = getattr(data, "kind", None) if type(data).__module__.startswith(__package__) else None
    return PreviewFailed(f"its data is of type {taken or type(data).__name__}{why}, of which no {kind} can be made")


def as_it_is(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return the payload of an unknown type: the data as it is."""
    if is_small(data):
        return {"data": loads(dumps(data))}
    return as_json(data, limits)


def as_json(data: Any, limits: Limits) -> dict[str, Any]:
    """Return a value as JSON, or the beginning of a large one. Raises ``UnserializableValue``."""
    try:
        made, note = json_of(data, limits)
    except UnserializableValue:
        # Encoded once more, for an error that names the whole path.
        dumps({"data": data})
        raise
    return {"data": made, **note}


def text_of(text: Any, kind: str, limits: Limits) -> str:
    """Return a text that can't be cut. Raises ``PreviewFailed`` for one that is too long."""
    if len(text) > limits.bytes:
        raise PreviewFailed(f"the {kind} has {len(text):,} characters; the limit is {limits.bytes:,}")
    return sendable(str(text))
