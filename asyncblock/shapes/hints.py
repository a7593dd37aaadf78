"""Annotations, resolved one by one: one that can't be (imported for typing only) stays text and spoils no other."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["hints_of", "innermost", "names_around", "plain", "seen_from", "takes_none", "without_none"]

_QUALIFIERS: Final = {typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", None)} - {None}


_around: ContextVar[Mapping[str, Any] | None] = ContextVar("_around", default=None)


@contextmanager
def seen_from(names: Mapping[str, Any] | None) -> Iterator[None]:
    """Resolve annotations of classes that were made in a function with what stood there around them."""
    token = _around.set(names)
    try:
        yield
    finally:
        _around.reset(token)


def names_around(fn: Any) -> Mapping[str, Any] | None:
    """Return the local names of the function that defines ``fn`` and is running now; None for one of a module."""
    code = getattr(fn, "__code__", None)
    outer, inside, _ = getattr(fn, "__qualname__", "").rpartition(".<locals>.")
    frame = sys._getframe(1) if inside and code is not None else None
    while frame is not None and code is not None:
        if frame.f_code.co_qualname == outer and frame.f_code.co_filename == code.co_filename:
            return dict(frame.f_locals)
        frame = frame.f_back
    return None


def hints_of(target: Any) -> dict[str, Any]:
    """Return the annotations of a function or class, its bases' too; ``Annotated`` is kept."""
    try:
        return typing.get_type_hints(target, localns=_locals(target), include_extras=True)
    except Exception:  # any name, attribute or syntax may fail in an annotation that nothing evaluates
        found: dict[str, Any] = {}
        for owner in reversed(target.__mro__) if isinstance(target, type) else (target,):
            for name, annotation in _own(owner).items():
                found[name] = _resolved(owner, name, annotation)
        return found


def _own(owner: Any) -> Mapping[str, Any]:
    try:
        return inspect.get_annotations(owner)
    except Exception:  # Python 3.14 evaluates them when they are asked for
        return (getattr(owner, "__annotate__", None) and _forwarded(owner)) or {}


def _forwarded(owner: Any) -> Mapping[str, Any]:
    import annotationlib  # type: ignore[import-not-found,unused-ignore]  # Python 3.14

    return dict(annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF))


def _resolved(owner: Any, name: str, annotation: Any) -> Any:
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, _globals(owner), _locals(owner), include_extras=True)[name]
    except Exception:
        return annotation


def _globals(owner: Any) -> dict[str, Any]:
    own = getattr(innermost(owner), "__globals__", None)
    return own if own is not None else vars(sys.modules.get(owner.__module__, types))


def _locals(owner: Any) -> dict[str, Any] | None:
    """Return what a function sees of those around it: classes that are made in a function, too, may annotate."""
    found = dict(_around.get() or {})
    code, cells = getattr(owner, "__code__", None), getattr(owner, "__closure__", None)
    if code is None or not cells:
        return {**found, **vars(owner)} if found and isinstance(owner, type) else found or None
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned by now
            continue
    return found


def innermost(fn: Callable[..., Any]) -> Any:
    """Return the function that the author wrote, beneath partials, wrappers and objects that can be called."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif not inspect.isroutine(fn) and not isinstance(fn, type) and callable(fn):
            fn = type(fn).__call__
        else:
            return fn


def plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take an annotation out of what stands around it; return it with what ``Annotated`` says besides."""
    said: tuple[Any, ...] = ()
    while True:
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind, *more = typing.get_args(kind)
            said += tuple(more)
        elif origin in _QUALIFIERS:
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, dataclasses.InitVar):
            kind = kind.type
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        else:
            return kind, said


def without_none(kind: Any) -> Any:
    """Return the one class of ``Class | None``; anything else as it is."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [each for each in typing.get_args(kind) if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def takes_none(kind: Any) -> bool:
    """Tell whether an annotation lets None be."""
    kind = plain(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(map(takes_none, typing.get_args(kind)))
    if typing.get_origin(kind) is typing.Literal:
        return None in typing.get_args(kind)
    return kind in (None, type(None), Any, object)
