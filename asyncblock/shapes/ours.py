"""The kinds that Python has: dataclasses, TypedDicts, named tuples."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

from .hints import hints_of
from .kinds import MISSING, Declared, Field, Fitter, Maker, Misfit, register

__all__ = ["filled", "told"]

_EMPTY: Final = (list, dict, set, frozenset, tuple)


def told(name: str, kind: Any, default: Any = MISSING, factory: Callable[[], Any] | None = None) -> Field:
    """Return a field with a default.

    Whoever wires the block sees a default that JSON can carry; any other, and one that a function makes anew for each
    instance, is the class's own affair.
    """
    if factory is not None:
        return Field(name, kind, factory(), True) if factory in _EMPTY else Field(name, kind, optional=True)
    if default is MISSING:
        return Field(name, kind)
    return Field(name, kind, default if _is_json(default) else MISSING, True)


def _is_json(value: Any) -> bool:
    # Importing asyncblock doesn't bring it in.
    import orjson

    try:
        return bool(orjson.loads(orjson.dumps(value)) == value)
    except (TypeError, ValueError):  # an array says that it isn't one truth
        return False


def filled(
    fields: Iterable[Field], fitting: Fitter, construct: Callable[[dict[str, Any]], Any], *, open: bool = False
) -> Maker:
    """Return a function that fits values to their fields and hands them to ``construct``.

    A field that may be left out is, where null came and isn't allowed. ``open`` is for what
    is a dict: it keeps values that no field is for, and nothing has to come for a field that no handle is declared for.
    """
    parts = [(each.name, fitting.of(each.kind), each.optional) for each in fields]
    known = {name for name, _, _ in parts}

    def make(values: Mapping[str, Any], declared: Declared | None = None) -> Any:
        made: dict[str, Any] = {}
        problems: list[tuple[str, str]] = []
        cause: BaseException | None = None
        for name, fit, optional in parts:
            if name not in values:
                if not optional and not (open and declared is not None and name not in declared):
                    problems.append((name, "missing"))
                continue
            value = values[name]
            try:
                made[name] = fit(value)
            except Misfit as misfit:
                # Null is what comes for an input that nothing feeds.
                if value is None and optional:
                    continue
                if value is None and declared is not None and declared.get(name, {}).get("nullable"):
                    made[name] = None
                else:
                    problems += [(_joined(name, place), words) for place, words in misfit.problems]
                    cause = cause or misfit.__cause__
        for name in values:
            if name not in known:
                if open:
                    made[name] = values[name]
                else:
                    problems.append((name, "there is no such field"))
        if problems:
            raise Misfit(problems) from cause
        return construct(made)

    return make


def _joined(name: str, place: str) -> str:
    return f"{name}{place}" if not place or place.startswith("[") else f"{name}.{place}"


def constructor(cls: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a function that calls a class with values by name; what its own code raises says that it doesn't fit."""

    def construct(values: dict[str, Any]) -> Any:
        try:
            return cls(**values)
        except Exception as error:
            raise Misfit([("", f"{type(error).__name__}: {error}")]) from error

    return construct


class _Dataclasses:
    def owns(self, cls: Any) -> bool:
        return dataclasses.is_dataclass(cls)

    def fields(self, cls: Any) -> list[Field]:
        hints = hints_of(cls)
        every: Mapping[str, dataclasses.Field[Any]] = cls.__dataclass_fields__
        # Not only ``dataclasses.fields``: those that are for __init__ alone have to be given, too.
        return [
            self._field(each, hints.get(name, each.type))
            for name, each in every.items()
            if each.init and not _is_class_variable(hints.get(name, each.type))
        ]

    def given(self, cls: Any) -> list[Field]:
        hints = hints_of(cls)
        return [Field(each.name, hints.get(each.name, each.type)) for each in dataclasses.fields(cls)]

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        return filled(self.fields(cls), fitting, constructor(cls))

    def values(self, value: Any) -> dict[str, Any]:
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}

    @staticmethod
    def _field(field: dataclasses.Field[Any], kind: Any) -> Field:
        default = MISSING if field.default is dataclasses.MISSING else field.default
        factory = None if field.default_factory is dataclasses.MISSING else field.default_factory
        return told(field.name, kind, default, factory)


def _is_class_variable(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind.lstrip("'\"").removeprefix("typing.").startswith("ClassVar")
    return kind is ClassVar or typing.get_origin(kind) is ClassVar


class _NamedTuples:
    def owns(self, cls: Any) -> bool:
        return issubclass(cls, tuple) and hasattr(cls, "_fields")

    def fields(self, cls: Any) -> list[Field]:
        hints, defaults = hints_of(cls), cls._field_defaults
        return [told(name, hints.get(name, Any), defaults.get(name, MISSING)) for name in cls._fields]

    def given(self, cls: Any) -> list[Field]:
        hints = hints_of(cls)
        return [Field(name, hints.get(name, Any)) for name in cls._fields]

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        return filled(self.fields(cls), fitting, constructor(cls))

    def values(self, value: Any) -> dict[str, Any]:
        return dict(zip(value._fields, value, strict=True))


class _TypedDicts:
    def owns(self, cls: Any) -> bool:
        # Also those of typing_extensions, which typing doesn't know.
        return typing.is_typeddict(cls) or (issubclass(cls, dict) and hasattr(cls, "__required_keys__"))

    def fields(self, cls: Any) -> list[Field]:
        return [Field(name, kind, optional=_may_miss(cls, name, kind)) for name, kind in hints_of(cls).items()]

    def given(self, cls: Any) -> list[Field]:
        return self.fields(cls)

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        return filled(self.fields(cls), fitting, dict, open=True)

    def values(self, value: Any) -> dict[str, Any]:
        return dict(value)


def _may_miss(cls: Any, name: str, kind: Any) -> bool:
    # Where annotations are text, __optional_keys__ doesn't know.
    while (origin := typing.get_origin(kind)) is not None:
        if origin in (typing.Required, typing.NotRequired):
            return origin is typing.NotRequired
        kind = typing.get_args(kind)[0]
        if origin is not typing.Annotated:
            break
    return name in cls.__optional_keys__


# A named tuple of a class that is a dataclass as well is made as the latter.
register(_NamedTuples())
register(_TypedDicts())
register(_Dataclasses())
