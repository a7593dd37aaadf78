"""Shapes: classes with named fields, which say what a block takes and gives.

Dataclasses, TypedDicts and named tuples are read here; classes of pydantic, msgspec and attrs through the same small
registry (``kinds``), without importing any of them: whoever has such a class has brought its library in. ``fitting``
makes values fit annotations; it is imported when something is to be made.
"""

from __future__ import annotations

from .kinds import Declared, Field, Kind, Misfit, Results, by_handle, handles_of, kind_of, register
from .shape import Shape, shape_of

__all__ = [
    "Declared",
    "Field",
    "Kind",
    "Misfit",
    "Results",
    "Shape",
    "by_handle",
    "handles_of",
    "kind_of",
    "register",
    "shape_of",
]
