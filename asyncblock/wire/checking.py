"""Checks what JSON holds against a type, as the types of messages and requests say it: made once, then cheap.

Types: ``str``, ``int``, ``float`` (any number), ``bool``, ``None``, unions, ``Literal``, ``list[X]``, ``tuple[X, Y]``
(an array of just these), ``dict[str, X]``, TypedDicts (further keys are skipped), ``Any``, and ``Annotated`` with one
of these or with what the schema says besides. A bool is no number here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

__all__ = ["Bounds", "Loose", "Text", "WrongField", "checker", "described", "hints_of", "is_object", "is_required"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the largest number that may be; for the schema. What acts on the number checks it."""

    low: int
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """How long a text may be, or what it looks like; for the schema, likewise."""

    least: int = 0
    most: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Loose:
    """What an object looks like whose reader checks it itself, for it knows what to answer."""

    kind: Any


@dataclass(frozen=True, slots=True)
class WrongField:
    """Where something is wrong, and what should be there."""

    path: str
    wanted: str

    def below(self, name: str) -> WrongField:
        """Return the same, seen from what holds it."""
        dot = "" if not self.path or self.path.startswith("[") else "."
        return WrongField(f"{name}{dot}{self.path}", self.wanted)


Check = Callable[[Any], WrongField | None]

_WORDS: Final[dict[Any, str]] = {str: "str", int: "int", bool: "bool", type(None): "null"}


def is_object(kind: Any) -> bool:
    """Tell whether a type is a TypedDict."""
    return typing.is_typeddict(kind)


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Return the types of a TypedDict's or dataclass's fields, with what annotates them."""
    return typing.get_type_hints(kind, include_extras=True)


def is_required(kind: Any, hint: Any) -> bool:
    """Tell whether a key of a TypedDict must be there. Its own account of that doesn't see through texts of types."""
    return bool(kind.__total__) and typing.get_origin(hint) is not typing.NotRequired


def described(hint: Any) -> Any:
    """Return the type that an annotated one is checked by: what annotates it, if that is a type, or else itself."""
    while typing.get_origin(hint) in (typing.Annotated, typing.NotRequired, typing.Required):
        base, *more = typing.get_args(hint)
        hint = next((each for each in more if not isinstance(each, (Bounds, Text, Loose))), base)
    return hint


@cache
def checker(hint: Any) -> Check | None:
    """Return the check for a type; None where everything is right."""
    hint = described(hint)
    if hint is Any:
        return None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if is_object(hint):
        return _object(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    if origin is typing.Literal:
        return _literal(inner)
    if origin is list:
        return _list(inner[0])
    if origin is tuple:
        return _tuple(inner)
    if origin is dict:
        return _dict(inner[1])
    kinds = _plain(hint) or frozenset({origin or hint})
    wanted = WrongField("", "a number" if hint is float else _WORDS.get(hint, getattr(hint, "__name__", str(hint))))
    return lambda value: None if type(value) in kinds else wanted


def _plain(hint: Any) -> frozenset[type] | None:
    """Return the types that a value may have of which nothing else has to be checked; None where something has."""
    hint = described(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_plain(each) for each in typing.get_args(hint)]
        return frozenset().union(*filter(None, parts)) or None
    if hint is float:
        return frozenset({int, float})
    return frozenset({hint}) if hint in _WORDS else None


def _object(kind: Any) -> Check:
    # Made when it is first used: objects may hold others of their own kind.
    made: dict[str, tuple[frozenset[type] | None, Check]] = {}
    needed: list[str] = []

    def make() -> None:
        hints = hints_of(kind)
        needed.extend(name for name, hint in hints.items() if is_required(kind, hint))
        checks = ((name, hint, checker(hint)) for name, hint in hints.items())
        made.update((name, (_plain(hint), check)) for name, hint, check in checks if check is not None)

    def check(value: Any) -> WrongField | None:
        if type(value) is not dict:
            return WrongField("", "dict")
        if not made:
            make()
        for name in needed:
            if name not in value:
                return WrongField(name, "there")
        # Over what is there, which is less than what may be, and with no call for what is plain (dispatch).
        for name, each in value.items():
            if (wanted := made.get(name)) is not None:
                kinds, inner = wanted
                if (kinds is None or type(each) not in kinds) and (found := inner(each)) is not None:
                    return found.below(name)
        return None

    return check


def _union(options: tuple[Any, ...]) -> Check:
    checks = [checker(each) for each in options]
    plain = [_WORDS.get(described(each)) for each in options if described(each) is not type(None)]

    def check(value: Any) -> WrongField | None:
        deepest = WrongField("", "")
        for each in checks:
            found = each(value) if each is not None else None
            if found is None:
                return None
            if found.path or not deepest.wanted:
                deepest = found
        words = " or ".join(filter(None, plain))
        return deepest if deepest.path or not words else WrongField("", words)

    return check


def _literal(values: tuple[Any, ...]) -> Check:
    wanted = WrongField("", " or ".join(map(repr, values)))
    return lambda value: None if value in values and type(value) in map(type, values) else wanted


def _list(hint: Any) -> Check:
    inner = checker(hint)

    def check(value: Any) -> WrongField | None:
        if type(value) is not list:
            return WrongField("", "list")
        if inner is not None:
            for place, each in enumerate(value):
                if (found := inner(each)) is not None:
                    return found.below(f"[{place}]")
        return None

    return check


def _tuple(hints: tuple[Any, ...]) -> Check:
    checks = [checker(each) for each in hints]

    def check(value: Any) -> WrongField | None:
        if type(value) is not list or len(value) != len(checks):
            return WrongField("", f"a list of {len(checks)}")
        for place, (inner, each) in enumerate(zip(checks, value, strict=True)):
            if inner is not None and (found := inner(each)) is not None:
                return found.below(f"[{place}]")
        return None

    return check


def _dict(hint: Any) -> Check:
    inner = checker(hint)

    def check(value: Any) -> WrongField | None:
        if type(value) is not dict:
            return WrongField("", "dict")
        if inner is not None:
            for name, each in value.items():
                if (found := inner(each)) is not None:
                    return found.below(f"[{name!r:.60}]")
        return None

    return check
