"""Forms: how a value is taken apart into JSON and blocks of memory, and put together again.

A form is a JSON value: ``null``, a truth value, a text, a number of 64 bits or a finite double stand for themselves,
everything else is a list that begins with a tag. Which tag a class has is looked up by the name of its library and its
own: nothing is imported to take a value apart, and only its own library to put it together. A class that is derived
from one of these isn't meant: what it has beyond that is unknown here.
"""

from __future__ import annotations

import datetime
import importlib
import logging
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from ...errors import LocalProtocolError
from .refusals import NotPortable, key_of
from .zones import placed, placing_form

__all__ = ["Blocks", "Form", "FormSink", "NotPortable", "key_of", "pack", "pinned", "register", "unpack"]

logger = logging.getLogger("asyncblock.values")

Form = Any
"""What JSON has of a value."""

ENTRY_POINTS: Final = "asyncblock.portable"
"""The group of entry points whose functions register further types."""

_DEEPEST: Final = 50
MOST: Final = 10_000
"""Members of containers, names of columns and items of an index of objects that are written one by one."""


class FormSink(Protocol):
    """Takes what isn't JSON of a value."""

    depth: int
    few: int
    """Members that may still be written one by one."""
    libraries: set[str]
    """Those that are needed to put it together."""

    def array(self, array: Any) -> Form:
        """Take an array of numpy; return what ``Blocks.array`` needs to find it."""

    def raw(self, data: Any) -> Form:
        """Take bytes."""

    def arrow(self, size: int, write: Callable[[Any], None]) -> Form:
        """Take what ``write(file)`` writes, about ``size`` bytes of it."""


class Blocks(Protocol):
    """Gives what isn't JSON of a value, as it lies in the mapped file."""

    def array(self, form: Form) -> Any:
        """Return an array of numpy."""

    def strided(self, form: Form) -> Any:
        """Return an array of numpy that is a part of what lies there."""

    def raw(self, form: Form) -> memoryview:
        """Return bytes."""


Pack = Callable[[Any, FormSink], list[Any]]
Unpack = Callable[[list[Any], Blocks], Any]


def pack(value: Any, sink: FormSink) -> Form:
    """Take a value apart. Raises ``NotPortable``, and what its library raises."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        return value if -(2**63) <= value < 2**63 else ["int", str(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", str(value)]
    sink.depth += 1
    try:
        if sink.depth > _DEEPEST:
            raise NotPortable(f"it is nested more than {_DEEPEST} levels deep")
        return _way_of(value, sink)(value, sink)
    finally:
        sink.depth -= 1


def unpack(form: Form, blocks: Blocks) -> Any:
    """Put a value together. Raises what its library raises."""
    if type(form) is not list:
        return form
    tag = form[0]
    way = _PLAIN.get(tag)
    if way is None:
        library = _TAGS.get(tag)
        if library is None:
            raise LocalProtocolError(f"nothing is known here of values that are written as {tag!r}")
        way = importlib.import_module(library, __package__).UNPACK[tag]
    return way(form, blocks)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPortable("a text has lone surrogates") from None
    return value


def _way_of(value: Any, sink: FormSink) -> Pack:
    kind = type(value)
    registered = _registered.get(kind) or (_discovered() and _registered.get(kind))
    if registered:
        return registered.pack
    plain = _PACK.get(kind)
    if plain is not None:
        return plain
    library = kind.__module__.partition(".")[0]
    module = _LIBRARIES.get(library)
    way: Pack | None = None
    if module is not None:
        sink.libraries.add(library)
        way = importlib.import_module(module, __package__).way_of(value)
    if way is None:
        raise NotPortable(f"nothing is known of how a {key_of(kind)} is had in another process")
    return way


def pinned(sink: FormSink, count: int, what: str) -> None:
    """Count what is written one by one. Raises ``NotPortable`` where that is too much."""
    sink.few -= count
    if sink.few < 0:
        raise NotPortable(f"{what} would have to be written one by one, and there are more than {MOST} such items")


_LIBRARIES: Final = {
    "numpy": ".arrays",
    "pandas": ".pandasforms",
    "polars": ".arrow",
    "pyarrow": ".arrow",
}
"""The modules that know the classes of a library."""

_TAGS: Final = {
    **dict.fromkeys(("array", "strided", "masked", "scalar", "none_masked"), ".arrays"),
    **dict.fromkeys(("frame", "series", "index", "stamp", "delta", "nat", "na", "period", "interval"), ".pandasforms"),
    **dict.fromkeys(("polars", "table", "batch", "arrow"), ".arrow"),
}  # fmt: skip
"""The modules that know what a tag means."""


# ---------------------------------------------------------------------- what Python itself has


def _members(tag: str) -> Pack:
    def packed(value: Any, sink: FormSink) -> list[Any]:
        pinned(sink, len(value), f"the items of a {tag}")
        return [tag, [pack(each, sink) for each in value]]

    return packed


def _dict(value: dict[Any, Any], sink: FormSink) -> list[Any]:
    pinned(sink, len(value), "the members of a dict")
    return ["dict", [[pack(key, sink), pack(each, sink)] for key, each in value.items()]]


def _raw(tag: str) -> Pack:
    return lambda value, sink: [tag, sink.raw(value)]


def _view(value: memoryview, sink: FormSink) -> list[Any]:
    if not value.c_contiguous or value.format not in _NATIVE:
        raise NotPortable(f"a memoryview of format {value.format!r} isn't plain memory")
    shape = list(value.shape or ())
    if 0 in shape and len(shape) > 1:
        raise NotPortable(f"a memoryview of the shape {value.shape} can't be made of bytes")
    flat = value.cast("B") if value.nbytes else b""
    return ["memoryview", sink.raw(flat), value.format, shape, value.readonly]


def _of_view(form: list[Any], blocks: Blocks) -> memoryview:
    view: Any = blocks.raw(form[1])
    if 0 in form[3]:
        # ``cast`` takes no shape of nothing.
        view = view.cast(form[2])
    elif form[2] != "B" or len(form[3]) != 1:
        view = view.cast(form[2], form[3])
    # Versions before don't say whether it was read-only.
    return view.toreadonly() if len(form) > 4 and form[4] else memoryview(view)


def _array(value: Any, sink: FormSink) -> list[Any]:
    if value.typecode in "uw":
        raise NotPortable("an array.array of characters differs between versions of Python")
    return ["plain_array", value.typecode, sink.raw(memoryview(value).cast("B") if len(value) else b"")]


def _of_array(form: list[Any], blocks: Blocks) -> Any:
    made = importlib.import_module("array").array(form[1])
    made.frombytes(blocks.raw(form[2]))
    return made


def _moment(tag: str) -> Pack:
    def packed(value: Any, sink: FormSink) -> list[Any]:
        if getattr(value, "tzinfo", None) is not None:
            bare = value.replace(tzinfo=None)
            return [tag, bare.isoformat(), value.fold, placing_form(value, bare)]
        return [tag, value.isoformat(), getattr(value, "fold", 0)]

    return packed


def _of_moment(kind: Any) -> Unpack:
    def unpacked(form: list[Any], blocks: Blocks) -> Any:
        made = kind.fromisoformat(form[1])
        if len(form) > 3:
            made = placed(made, form[3])
        return made.replace(fold=form[2]) if form[2] else made

    return unpacked


_NATIVE: Final = frozenset("cbB?hHiIlLqQnNfd")

_PACK: dict[type, Pack] = {
    tuple: _members("tuple"),
    list: _members("list"),
    dict: _dict,
    bytes: _raw("bytes"),
    bytearray: _raw("bytearray"),
    memoryview: _view,
    complex: lambda value, sink: ["complex", pack(value.real, sink), pack(value.imag, sink)],
    datetime.datetime: _moment("datetime"),
    datetime.date: _moment("date"),
    datetime.time: _moment("time"),
    datetime.timedelta: lambda value, sink: ["timedelta", value.days, value.seconds, value.microseconds],
    importlib.import_module("array").array: _array,
}

_PLAIN: Final[dict[str, Unpack]] = {
    "int": lambda form, blocks: int(form[1]),
    "float": lambda form, blocks: float(form[1]),
    "complex": lambda form, blocks: complex(unpack(form[1], blocks), unpack(form[2], blocks)),
    "tuple": lambda form, blocks: tuple(unpack(each, blocks) for each in form[1]),
    "list": lambda form, blocks: [unpack(each, blocks) for each in form[1]],
    "dict": lambda form, blocks: {unpack(key, blocks): unpack(each, blocks) for key, each in form[1]},
    "bytes": lambda form, blocks: bytes(blocks.raw(form[1])),
    "bytearray": lambda form, blocks: bytearray(blocks.raw(form[1])),
    "memoryview": _of_view,
    "plain_array": _of_array,
    "datetime": _of_moment(datetime.datetime),
    "date": _of_moment(datetime.date),
    "time": _of_moment(datetime.time),
    "timedelta": lambda form, blocks: datetime.timedelta(form[1], form[2], form[3]),
    "registered": lambda form, blocks: _made(form[1], unpack(form[2], blocks)),
}


# ---------------------------------------------------------------------- what others register


class _Entry:
    """A type of somebody else's."""

    def __init__(self, name: str, to: Callable[[Any], Any], of: Callable[[Any], Any]) -> None:
        self.name = name
        self.to = to
        self.of = of

    def pack(self, value: Any, sink: FormSink) -> list[Any]:
        """Take a value apart by what its author says it consists of."""
        return ["registered", self.name, pack(self.to(value), sink)]


_registered: dict[type, _Entry] = {}
_searched = False


def register(kind: type, to: Callable[[Any], Any], of: Callable[[Any], Any]) -> Callable[[], None]:
    """Make values of a type portable: ``to(value)`` returns a portable value, and ``of`` makes it of that again.

    ``to`` is called at the output, on the block's loop, and has to be quick: a dict of the arrays, say, that the value
    consists of; it is called again, on another thread, when another process wants the value. Both processes need it:
    an entry point of the group ``asyncblock.portable`` names a function that registers, and is loaded when an unknown
    type comes. Returns a function that takes the entry away again. Raises ``LocalProtocolError`` for what is no type
    and no functions.
    """
    if not isinstance(kind, type) or not callable(to) or not callable(of):
        raise LocalProtocolError("portable.register takes a class, and two functions that take a value apart and back")
    entry = _registered[kind] = _Entry(key_of(kind), to, of)

    def unregister() -> None:
        if _registered.get(kind) is entry:
            del _registered[kind]

    return unregister


def _discovered() -> bool:
    """Load the entry points, once; one that is broken is told and left out."""
    global _searched
    if not _searched:
        _searched = True
        for point in importlib.import_module("importlib.metadata").entry_points(group=ENTRY_POINTS):
            try:
                point.load()()
            except Exception:  # whatever an author's package raises
                logger.exception("the entry point %s of portable types can't be loaded", point.value)
    return True


def _made(name: str, parts: Any) -> Any:
    return _entry_named(name).of(parts)


def _entry_named(name: str) -> _Entry:
    _discovered()
    for entry in list(_registered.values()):
        if entry.name == name:
            return entry
    raise LocalProtocolError(
        f"a {name} can't be made in this process: asyncblock.values.portable.register wasn't called for it here; "
        f"an entry point of the group {ENTRY_POINTS!r} does that in every process"
    )
