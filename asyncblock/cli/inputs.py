"""``--input NAME=VALUE``: JSON where it is JSON, text otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import typer

__all__ = ["parse_inputs"]


def parse_inputs(pairs: Sequence[str]) -> dict[str, Any]:
    """Read the pairs; a later one with the same name wins. A value that isn't JSON is taken as text."""
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, found, text = pair.partition("=")
        if not found or not name:
            raise typer.BadParameter(f"{pair!r} isn't NAME=VALUE", param_hint="--input")
        try:
            inputs[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            inputs[name] = text
    return inputs
