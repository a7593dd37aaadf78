"""Payloads that an author gave a type: ``{"type": "image", "data": X}``, where X may be anything that fits.

If the type can't be made of X, ``PreviewFailed`` says so. A mapping that merely has a member "type" is no such
payload: it needs ``data``, and a type that is known or is a media type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values import dumps, loads
from .authorfiles import contents_of
from .limits import Limits
from .typedmedia import iframe, image, media
from .typedparts import Again, Maker, as_it_is
from .typedtables import csv, json, table
from .typedtexts import as_text, html, markdown

__all__ = ["KINDS", "is_typed", "typed"]

KINDS = frozenset({"image", "html", "json", "table", "text", "markdown", "video", "audio", "iframe", "csv"})
"""The types of payloads."""


def is_typed(payload: object) -> bool:
    """Tell whether a payload has the form that an author gives."""
    if not isinstance(payload, Mapping) or "data" not in payload:
        return False
    kind = payload.get("type")
    return isinstance(kind, str) and (kind in KINDS or "/" in kind)


def typed(payload: Mapping[str, Any], limits: Limits, again: Again) -> dict[str, Any]:
    """Return a payload of the type that its author gave. Raises ``PreviewFailed`` and ``UnserializableValue``."""
    rest = {key: each for key, each in payload.items() if key != "data"}
    checked: dict[str, Any] = loads(dumps(rest))
    made = _MAKERS.get(checked["type"], as_it_is)(contents_of(payload["data"], limits), limits, again)
    return {**checked, **made}


_MAKERS: dict[str, Maker] = {
    "image": image,
    "video": media("video"),
    "audio": media("audio"),
    "iframe": iframe,
    "text": as_text,
    "html": html,
    "markdown": markdown,
    "json": json,
    "table": table,
    "csv": csv,
}
