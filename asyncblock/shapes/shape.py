"""Shape: a class that annotates a block's inputs, and how its instances are made."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from . import foreign, ours  # noqa: F401  # they register what they know
from .hints import plain, seen_from, without_none
from .kinds import Declared, Field, Kind, Maker, kind_of

__all__ = ["Shape", "shape_of"]


class Shape:
    """A class with named fields. Instances may be made in any thread."""

    def __init__(self, cls: Any, kind: Kind, around: Mapping[str, Any] | None) -> None:
        self.cls = cls
        self.kind = kind
        self._around = around
        self._make: Maker | None = None

    @property
    def name(self) -> str:
        """What the author calls it."""
        return str(getattr(self.cls, "__qualname__", self.cls))

    @property
    def fields(self) -> list[Field]:
        """What an instance is made of."""
        with seen_from(self._around):
            return self.kind.fields(self.cls)

    @property
    def given(self) -> list[Field]:
        """What an instance has."""
        with seen_from(self._around):
            return self.kind.given(self.cls)

    def make(self, values: Mapping[str, Any], declared: Declared | None = None) -> Any:
        """Make an instance of values by handle. Runs the author's code. Raises ``Misfit``."""
        # Some classes are looked at only when there is one to be made.
        with seen_from(self._around):
            if self._make is None:
                from .fitting import Fitting

                self._make = self.kind.maker(self.cls, Fitting())
            return self._make(values, declared)


def shape_of(annotation: Any, around: Mapping[str, Any] | None = None) -> Shape | None:
    """Return the shape that an annotation means; None for anything else.

    ``around`` are the names that were known where a class was made that isn't of a module.
    """
    found = plain(without_none(plain(annotation)[0]))[0]
    cls = typing.get_origin(found) or found
    kind = kind_of(cls)
    return None if kind is None else Shape(cls, kind, around)
