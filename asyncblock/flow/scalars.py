"""What a plain scalar of YAML 1.2 means: null, a boolean, a number that JSON can carry, or else its text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["TooLarge", "resolve"]

_WORDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED: Final = re.compile(r"([-+]?)0(x[0-9a-fA-F]+|o[0-7]+|b[01]+)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")

_LONGEST: Final = 100
"""Characters of the longest number that is looked at; 64 bits take 66 of them, in binary."""

_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1


class TooLarge(ValueError):
    """A whole number that JSON's readers can't take."""


def resolve(text: str) -> Any:
    """Return what a plain scalar stands for. Raises ``TooLarge``."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        value = int(text, 0) if len(text) <= _LONGEST else _MOST + 1
        if not _LEAST <= value <= _MOST:
            raise TooLarge(f"the number {text[:40]} has more than 64 bits; write it as a text, in quotes")
        return value
    if _FLOAT.fullmatch(text) and len(text) <= _LONGEST and math.isfinite(number := float(text)):
        return number
    return text
