"""The registry: each way to declare a class with named fields, and what a block's result has by handle.

A kind is known by what its classes have, so that nothing is imported here; the first that owns a class reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from ..errors import LocalProtocolError

__all__ = ["MISSING", "Field", "Fitter", "Kind", "Misfit", "Results", "by_handle", "handles_of", "kind_of", "register"]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class, which is a handle of the block."""

    name: str
    """The handle: what the field is called from outside."""
    kind: Any = Any
    """Its annotation."""
    default: Any = MISSING
    """What it is when nothing comes, if anybody may know it before: it stands in the handle's definition."""
    optional: bool = False
    """Nothing has to come for it: it may be left out, or its class knows what it is then."""


class Misfit(Exception):
    """A value that doesn't fit. ``problems`` are places inside it (``points[2].x``, or "" for all of it) and words."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{place}: {words}" if place else words for place, words in problems))


Declared: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Definitions of handles: what they say explicitly wins over annotations."""


class Maker(Protocol):
    """Makes an instance of values by handle, or raises ``Misfit``."""

    def __call__(self, values: Mapping[str, Any], declared: Declared | None = None, /) -> Any: ...


class Fitter(Protocol):
    """Knows what makes a value fit an annotation: ``fitting.Fitting``, of which a kind asks no more than this."""

    def of(self, kind: Any) -> Callable[[Any], Any]:
        """Return what makes a value fit an annotation, or raises ``Misfit``."""
        ...


class Kind(Protocol):
    """A way to declare classes with named fields."""

    def owns(self, cls: Any) -> bool:
        """Tell whether a class is of this kind."""
        ...

    def fields(self, cls: Any) -> list[Field]:
        """Return what an instance is made of."""
        ...

    def given(self, cls: Any) -> list[Field]:
        """Return what an instance has."""
        ...

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        """Return what makes an instance."""
        ...

    def values(self, value: Any) -> dict[str, Any]:
        """Return what an instance has, by handle; not what is inside of that."""
        ...


_kinds: list[Kind] = []


def register(kind: Kind) -> Kind:
    """Read a further kind of classes, before those that are known."""
    _kinds.insert(0, kind)
    return kind


def kind_of(cls: Any) -> Kind | None:
    """Return how a class is read; None for one that has no named fields."""
    if not isinstance(cls, type):
        return None
    return next((kind for kind in _kinds if kind.owns(cls)), None)


def handles_of(value: object) -> Mapping[str, Any] | None:
    """Return a block's result by handle: a mapping as it is, an instance of a class by its fields; else None."""
    if isinstance(value, Mapping):
        return value
    kind = kind_of(type(value))
    return None if kind is None else kind.values(value)


def by_handle(values: Results) -> Mapping[str, Any]:
    """Return values by handle. Raises ``LocalProtocolError`` for what are none."""
    found = handles_of(values)
    if found is None:
        raise LocalProtocolError(
            f"values by handle are a dict or a dataclass and the like, not {type(values).__name__}"
        )
    if all(type(handle) is str for handle in found):
        return found
    for handle in found:
        if not isinstance(handle, str):
            raise LocalProtocolError(f"a handle is a str, not {type(handle).__name__}: {handle!r:.80}")
    return {str.__str__(handle): value for handle, value in found.items()}


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


class _Attrs(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _Struct(Protocol):
    __struct_fields__: ClassVar[tuple[str, ...]]


class _Pydantic(Protocol):
    def model_dump(self) -> dict[str, Any]: ...


Results: TypeAlias = Mapping[str, object] | _Dataclass | _NamedTuple | _Attrs | _Struct | _Pydantic
"""What outputs by handle may be."""
