"""Making values fit annotations: what came as JSON becomes what the author has written, or a ``Misfit`` says where not.

JSON has fewer types than Python. What ``values`` writes in a stated form is read back from it: objects as dataclasses
and the like, arrays as tuples and sets, ISO 8601 text as datetimes, seconds as timedeltas, an Enum's value as the Enum.
Beyond that nothing is converted: a text is no number. An annotation that says nothing, or that can't be resolved, takes
everything.
"""

from __future__ import annotations

import collections
import collections.abc
import datetime
import decimal
import enum
import functools
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from .hints import plain
from .kinds import Maker, Misfit, kind_of

__all__ = ["Fitting"]

Fit = Callable[[Any], Any]

_ARRAYS: Final = (list, tuple, set, frozenset, collections.deque)
_NOTHING_SAID: Final = (Any, object, typing.TypeVar, typing.ParamSpec)


class Fitting:
    """Makes functions that make values fit; one for each annotation, so that recursive classes come to an end."""

    def __init__(self) -> None:
        self._made: dict[Any, Fit] = {}

    def of(self, kind: Any) -> Fit:
        """Return what makes a value fit an annotation, or raises ``Misfit``."""
        try:
            if kind in self._made:
                return self._made[kind]
        except TypeError:  # not hashable
            return self._make(kind)
        # A class that contains itself finds this one.
        self._made[kind] = lambda value: self._made[kind](value)
        made = self._made[kind] = self._make(kind)
        return made

    def _make(self, kind: Any) -> Fit:
        kind, said = plain(kind)
        if any(getattr(each, "__asyncblock_var__", False) for each in said):
            # The very object: a copy would be another one.
            return self._outermost(kind)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is None or kind is type(None):
            return _none
        if kind in _NOTHING_SAID or isinstance(kind, (str, typing.ForwardRef, typing.TypeVar)):
            return _any
        if origin in (typing.Union, types.UnionType):
            return self._union(args)
        if origin is typing.Literal:
            return functools.partial(_literal, args)
        cls = origin or kind
        return self._of_class(cls, args) if isinstance(cls, type) else _any

    def _outermost(self, kind: Any) -> Fit:
        cls = typing.get_origin(kind) or kind
        if cls in _SCALARS:
            return _SCALARS[cls]
        if not isinstance(cls, type):
            return _any
        return functools.partial(_object_of, dict if issubclass(cls, dict) else cls)

    def _of_class(self, cls: type, args: tuple[Any, ...]) -> Fit:
        found = kind_of(cls)
        if found is not None:
            return self._instance(cls, found.maker)
        if cls in _SCALARS:
            return _SCALARS[cls]
        if issubclass(cls, enum.Enum):
            return functools.partial(_enum, cls)
        if issubclass(cls, _TEXTS):
            return functools.partial(_from_text, cls)
        if cls in (tuple, *_ARRAYS) or cls in _ABSTRACT_ARRAYS:
            return self._array(cls, args)
        if cls in _OBJECTS or cls in _ABSTRACT_OBJECTS:
            return self._object(cls, args)
        if issubclass(cls, (str, int, float)):
            return functools.partial(_subclass, cls)
        return functools.partial(_object_of, cls)

    def _instance(self, cls: Any, maker: Callable[[Any, Fitting], Maker]) -> Fit:
        made: list[Maker] = []

        def fit(value: Any) -> Any:
            if not isinstance(value, Mapping):
                if issubclass(cls, dict):
                    raise Misfit([("", _expected("an object", value))])
                return _object_of(cls, value)
            if not made:
                # Late: a class may contain itself.
                made.append(maker(cls, self))
            return made[0](value)

        return fit

    def _union(self, kinds: tuple[Any, ...]) -> Fit:
        fits = [self.of(kind) for kind in kinds]
        names = " | ".join(map(_name, kinds))

        def fit(value: Any) -> Any:
            # First whatever it is already: 1 is an int of ``float | int``.
            for kind in kinds:
                if type(value) is kind and kind in _EXACT:
                    return value
            problems: list[tuple[str, str]] = []
            for each in fits:
                try:
                    return each(value)
                except Misfit as misfit:
                    # The one that got furthest says most.
                    problems = misfit.problems if any(place for place, _ in misfit.problems) else problems
            raise Misfit(problems or [("", _expected(names, value))])

        return fit

    def _array(self, cls: type, args: tuple[Any, ...]) -> Fit:
        made: Callable[[Any], Any] = list if cls in _ABSTRACT_ARRAYS else cls
        made = frozenset if cls is collections.abc.Set else set if cls is collections.abc.MutableSet else made
        if cls is tuple and args and args[-1] is not ...:
            return self._tuple(args)
        item = self.of(args[0]) if args and args[0] not in _NOTHING_SAID else None

        def fit(value: Any) -> Any:
            if not isinstance(value, _ARRAYS):
                raise Misfit([("", _expected("an array", value))])
            if item is None:
                return value if type(value) is made else _whole(made, value)
            return _whole(made, _items(item, value))

        return fit

    def _tuple(self, kinds: tuple[Any, ...]) -> Fit:
        fits = [] if kinds == ((),) else [self.of(kind) for kind in kinds]

        def fit(value: Any) -> Any:
            if not isinstance(value, (list, tuple)):
                raise Misfit([("", _expected("an array", value))])
            if len(value) != len(fits):
                raise Misfit([("", f"expected {len(fits)} items, got {len(value)}")])
            return tuple(_item(fits[index], each, index) for index, each in enumerate(value))

        return fit

    def _object(self, cls: type, args: tuple[Any, ...]) -> Fit:
        made: Callable[[Any], Any] = dict if cls in _ABSTRACT_OBJECTS else cls
        if cls is collections.defaultdict:
            made = functools.partial(collections.defaultdict, None)
        of_keys = self.of(args[0]) if args and args[0] is not str else None
        of_values = self.of(args[-1]) if args else None

        def fit(value: Any) -> Any:
            if not isinstance(value, Mapping):
                raise Misfit([("", _expected("an object", value))])
            if of_values is None:
                return value if type(value) is made else made(value)
            found = {}
            for key, each in value.items():
                found[_key(of_keys, key)] = _item(of_values, each, key)
            return found if made is dict else made(found)

        return fit


def _items(fit: Fit, value: Any) -> list[Any]:
    try:
        return [fit(each) for each in value]
    except Misfit:
        # Where it was is looked for only now: most values fit.
        return [_item(fit, each, index) for index, each in enumerate(value)]


def _item(fit: Fit, value: Any, step: Any) -> Any:
    try:
        return fit(value)
    except Misfit as misfit:
        where = f"[{step!r}]"
        raise Misfit(
            [(where + (place if place[:1] in ("", "[") else f".{place}"), words) for place, words in misfit.problems]
        ) from misfit.__cause__


def _key(fit: Fit | None, key: Any) -> Any:
    """Make a key fit. JSON's keys are texts: what isn't to be one stands in it."""
    if fit is None:
        return key
    try:
        return fit(key)
    except Misfit:
        for number in (int, float):
            try:
                return fit(number(key))
            except (Misfit, ValueError, TypeError):
                continue
        raise Misfit([(f"[{key!r}]", "the key doesn't fit")]) from None


def _whole(made: Callable[[Any], Any], items: Any) -> Any:
    if type(items) is made:
        return items
    try:
        return made(items)
    except TypeError as error:
        raise Misfit([("", str(error))]) from None


def _any(value: Any) -> Any:
    return value


def _none(value: Any) -> None:
    if value is not None:
        raise Misfit([("", _expected("null", value))])


def _int(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        # JSON has one kind of number.
        return int(value)
    raise Misfit([("", _expected("int", value))])


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Misfit([("", "the number is too large for a float")]) from None
    if value is None:
        raise Misfit([("", "expected float, got null (which NaN travels as, too): annotate 'float | None'")])
    raise Misfit([("", _expected("float", value))])


def _exactly(cls: type) -> Fit:
    def fit(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        raise Misfit([("", _expected(cls.__name__, value))])

    return fit


def _bytes(cls: type) -> Fit:
    def fit(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(value)
        raise Misfit([("", _expected(cls.__name__, value))])

    return fit


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, decimal.Decimal):
        return value
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return decimal.Decimal(str(value))
        except decimal.InvalidOperation:
            pass
    raise Misfit([("", _expected("a decimal number", value))])


def _timedelta(value: Any) -> datetime.timedelta:
    if isinstance(value, datetime.timedelta):
        return value
    try:
        return datetime.timedelta(seconds=_float(value))
    except (Misfit, OverflowError):
        raise Misfit([("", _expected("seconds", value))]) from None


def _complex(value: Any) -> complex:
    return value if isinstance(value, complex) else complex(_float(value))


_SCALARS: Final[dict[Any, Fit]] = {
    int: _int,
    float: _float,
    str: _exactly(str),
    bool: _exactly(bool),
    bytes: _bytes(bytes),
    bytearray: _bytes(bytearray),
    memoryview: _bytes(memoryview),
    decimal.Decimal: _decimal,
    datetime.timedelta: _timedelta,
    complex: _complex,
}
_EXACT: Final = frozenset({int, float, str, bool, bytes})
_TEXTS: Final = (datetime.date, datetime.time, uuid.UUID, pathlib.PurePath)
"""Types whose form in JSON is text. A datetime is a date, too."""
_ABSTRACT_ARRAYS: Final = (
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Container,
    collections.abc.Reversible,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Set,
    collections.abc.MutableSet,
)
_OBJECTS: Final = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_ABSTRACT_OBJECTS: Final = (collections.abc.Mapping, collections.abc.MutableMapping)


def _literal(choices: tuple[Any, ...], value: Any) -> Any:
    for each in choices:
        wanted = each.value if isinstance(each, enum.Enum) and not isinstance(value, enum.Enum) else each
        # 1 is no True.
        if value == wanted and type(value) is type(wanted):
            return each
    raise Misfit([("", _expected(" or ".join(map(repr, choices)), value))])


def _enum(cls: Any, value: Any) -> Any:
    if isinstance(value, cls):
        return value
    try:
        return cls(value)
    except Exception:
        pass
    for each in cls:
        # A tuple has become an array on its way.
        if isinstance(each.value, tuple) and list(each.value) == value:
            return each
    raise Misfit([("", f"no {cls.__name__} has this value; there are {', '.join(repr(each.value) for each in cls)}")])


def _from_text(cls: Any, value: Any) -> Any:
    if isinstance(value, cls) and not (cls is datetime.date and isinstance(value, datetime.datetime)):
        return value
    if isinstance(value, str):
        try:
            return cls.fromisoformat(value) if issubclass(cls, (datetime.date, datetime.time)) else cls(value)
        except ValueError as error:
            raise Misfit([("", f"it is no {cls.__name__}: {error}")]) from None
    raise Misfit([("", _expected(f"{cls.__name__} as text", value))])


def _subclass(cls: Any, value: Any) -> Any:
    """Make a text or number of an author's class of them."""
    if isinstance(value, cls):
        return value
    base = next(each for each in (str, int, float) if issubclass(cls, each))
    given = _SCALARS[base](value)
    try:
        return cls(given)
    except Exception as error:
        raise Misfit([("", f"{type(error).__name__}: {error}")]) from error


def _object_of(cls: Any, value: Any) -> Any:
    """Let an object be that is of a class. One of the same name is: a package may have been read twice."""
    try:
        if isinstance(value, cls):
            return value
    except TypeError:  # a protocol that can't be asked
        return value
    named = (cls.__module__, cls.__qualname__)
    if any((each.__module__, each.__qualname__) == named for each in type(value).__mro__):
        return value
    raise Misfit([("", _expected(_name(cls), value))])


def _name(kind: Any) -> str:
    if kind is None or kind is type(None):
        return "null"
    kind = plain(kind)[0]
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _expected(what: str, value: Any) -> str:
    got = "null" if value is None else type(value).__name__
    return f"expected {what}, got {got}"
