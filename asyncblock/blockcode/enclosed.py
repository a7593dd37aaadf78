"""What a function has beside its source: what it has closed over, its defaults, what a partial binds, its object.

Two functions that one factory has made differ in that alone. Values that say what they are (texts, numbers, containers
of these, functions) have a text that is the same in every process; of anything else only its type is known.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

__all__ = ["differ", "words_of"]

_DEPTH: Final = 5
"""Levels of containers and functions that are looked into."""

_MANY: Final = 10_000
"""Items of one container that are."""


def words_of(fn: Callable[..., Any]) -> str:
    """Return what a function has beside its source, as far as a text can say it; empty where it has nothing."""
    found = [(name, text) for name, _, text, _ in _all_of(fn)]
    return repr(found) if found else ""


def differ(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Tell whether two functions with the same source and name may do different things."""
    if one is other:
        return False
    mine, its = list(_all_of(one)), list(_all_of(other))
    if [code for *_, code in _levels(one)] != [code for *_, code in _levels(other)] or len(mine) != len(its):
        return True
    return any(
        (a[0], a[2]) != (b[0], b[2]) or not (a[1] is b[1] or (a[3] and b[3])) for a, b in zip(mine, its, strict=True)
    )


_Value = tuple[str, object, str, bool]
"""Its name, itself, its text, and whether that says all of it."""


def _all_of(fn: Callable[..., Any], depth: int = 0) -> Iterator[_Value]:
    chain = [level for level, _ in _levels(fn)]
    for level in chain:
        for name, value in _values_of(level):
            if not any(value is each for each in chain):
                text, whole = _text(value, depth)
                yield name, value, text, whole


def _levels(fn: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a function and those beneath it, each with its code."""
    for _ in range(_MANY):
        yield fn, getattr(fn, "__code__", None)
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, types.MethodType):
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        else:
            return


def _values_of(fn: Any) -> Iterator[tuple[str, object]]:
    if isinstance(fn, functools.partial):
        yield "args", fn.args
        yield "keywords", fn.keywords
    elif isinstance(fn, types.MethodType):
        if not isinstance(fn.__self__, type):
            yield "self", fn.__self__
    elif isinstance(fn, types.FunctionType):
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:
                # Not yet assigned.
                continue
        if fn.__defaults__:
            yield "defaults", fn.__defaults__
        if fn.__kwdefaults__:
            yield "keyword defaults", fn.__kwdefaults__
    elif not isinstance(fn, (type, types.BuiltinFunctionType)):
        yield "object", fn


def _text(value: object, depth: int) -> tuple[str, bool]:
    """Return what a value is, and whether that says all of it."""
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return repr(value), True
    if isinstance(value, enum.Enum):
        return f"{kind.__module__}.{kind.__qualname__}.{value.name}", True
    if isinstance(value, types.ModuleType):
        return value.__name__, True
    if isinstance(value, type):
        # Inside of a function each call makes another class.
        return f"{value.__module__}.{value.__qualname__}", "<locals>" not in value.__qualname__
    if depth < _DEPTH:
        if kind in (tuple, list, set, frozenset, dict) and len(value) <= _MANY:  # type: ignore[arg-type]  # as its kind says
            return _container(value, depth + 1)
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            found = list(_all_of(value, depth + 1))
            name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', 'partial')}"
            return f"{name}{[(each, text) for each, _, text, _ in found]}", all(whole for *_, whole in found)
    return f"a {kind.__module__}.{kind.__qualname__}", False


def _container(value: Any, depth: int) -> tuple[str, bool]:
    if isinstance(value, dict):
        made = [_text(part, depth) for item in value.items() for part in item]
    else:
        made = [_text(part, depth) for part in value]
    texts = [text for text, _ in made]
    if isinstance(value, (set, frozenset)):
        texts.sort()
    return f"{type(value).__name__}{texts}", all(whole for _, whole in made)
