"""Reads values that are typed on a command line: ``--input NAME=VALUE`` and durations such as ``30d``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

__all__ = ["parse_duration", "parse_inputs", "parse_limit", "parse_object"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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


def parse_object(given: str | None, option: str) -> dict[str, Any]:
    """Read a JSON object that is typed, or that a file holds."""
    if given is None:
        return {}
    text, where = given, "what was given"
    if not given.lstrip().startswith("{"):
        where = given
        try:
            text = Path(given).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{given!r} is no JSON object, and no file: {error}", param_hint=option) from error
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"{where} isn't JSON: {error}", param_hint=option) from error
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{where} is no JSON object", param_hint=option)
    return found


def parse_limit(text: str) -> int | None:
    """Read how many are wanted; None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is no number from 1; write one, or 'all'", param_hint="--limit")
    return int(text)


def parse_duration(text: str) -> float:
    """Read a duration (``90s``, ``15m``, ``12h``, ``30d``, ``2w``) as seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 15m, 12h, 30d or 2w", param_hint="--older")
    return float(found[1]) * _SECONDS[found[2]]
