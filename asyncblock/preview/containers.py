"""Containers of things that can be shown, and objects that hold a figure: each thing is shown, a figure once.

Several pictures become a payload of type ``image``: its ``data`` is a list, and their ``titles`` are beside it. Things
of different kinds become a payload of type ``group``: its ``data`` is a list of payloads, each with its ``title``.
"""

from __future__ import annotations

import dataclasses
from collections import UserList, deque
from collections.abc import Callable, ItemsView, Iterable, Mapping, ValuesView
from itertools import islice
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ..values.brought import brought
from ..values.forms import has_fields, members
from .cells import label, shortened
from .displayed import Bundle, displays
from .figure import figure_of, is_artist, is_drawable, is_figure
from .jupyter import is_offering
from .limits import Limits
from .picture import is_picture
from .registry import find, register_builtin
from .signatures import media_type_of

__all__ = ["Again", "figures_of", "grouped", "has_members", "held"]

_SHOWN = 20
"""Things of a container that are shown."""

_LOOKED_AT = 1000
"""Things of a container, inner containers included, that are looked at: enough for what a large ``hist`` returns."""

_DEPTH = 3
"""Levels of nested containers in which parts of a figure are looked for."""

_HOLDS = ("figure_", "figure", "fig", "ax_", "ax")
"""Names under which objects keep their figure, or its axes: scikit-learn's displays, seaborn's grids, a colorbar,
wrappers of all kinds."""

_OWN_KINDS = (str, int, float, complex, bytes, bytearray, list, tuple, dict, set, frozenset, deque)
_OWN = frozenset(_OWN_KINDS)

Again = Callable[[Any], dict[str, Any]]


def held(value: Any) -> Any:
    """Return the figure that an object holds; None when there is none."""
    if isinstance(value, type):
        return None
    for name in _HOLDS:
        if not (hasattr(type(value), name) or name in getattr(value, "__dict__", ())):
            continue
        try:
            found = getattr(value, name)
        except Exception:
            continue
        if found is not None and (is_figure(found) or (find(found) is not None and is_offering(found))):
            return found
    return None


def figures_of(value: Any) -> list[Any]:
    """Return the figures that the parts of figures in a container belong to, each once."""
    found: dict[int, Any] = {}
    _gather(value, found, [_LOOKED_AT], _DEPTH)
    return list(found.values())


def _gather(value: Any, found: dict[int, Any], left: list[int], depth: int) -> None:
    if is_figure(value):
        figure = figure_of(value)
        found.setdefault(id(figure), figure)
        return
    parts = _parts(value) if depth else None
    for _, each in parts or ():
        left[0] -= 1
        if left[0] < 0:
            return
        _gather(each, found, left, depth - 1)


def grouped(value: Any, limits: Limits, again: Again) -> dict[str, Any] | None:
    """Show the things in a container; None when there is nothing in it that isn't JSON or text."""
    parts, left = _parts(value), [_LOOKED_AT]
    if parts is None or not any(_is_showable(each, left) for _, each in islice(parts, 100)):
        return None
    chosen, left_out = _chosen(value)
    made = [(title, again(each)) for title, each in chosen]
    if len(made) == 1 and not left_out:
        # A list of one thing shows it as it is. Many parts that lead to one figure don't name it: ``boxplot`` returns
        # a dict of lists of its lines.
        (title, payload) = made[0]
        return _titled(title, payload) if _is_lone_name(value) else payload
    if all(each["type"] == "image" and not isinstance(each["data"], list) for _, each in made):
        group: dict[str, Any] = {
            "type": "image",
            "data": [each["data"] for _, each in made],
            "titles": [title for title, _ in made],
        }
    else:
        group = {"type": "group", "data": [_titled(title, each) for title, each in made]}
    if left_out:
        group["note"] = f"the first {len(made):,} of {len(made) + left_out:,}"
    return group


def _titled(title: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return a payload with its key as the title. If it has a title already, that stays behind the key."""
    own = payload.get("title")
    return {**payload, "title": f"{title} / {own}" if isinstance(own, str) and own else title}


def _is_lone_name(value: Any) -> bool:
    """Tell whether all that a container has is one thing under a name that says what it is."""
    parts = list(islice(_parts(value) or (), 2))
    if len(parts) != 1:
        return False
    if isinstance(value, (Mapping, ItemsView)) or hasattr(value, "iloc"):
        return True
    return has_members(value) and parts[0][0] not in _HOLDS


def _chosen(value: Any) -> tuple[list[tuple[str, Any]], int]:
    """Return the things of a container that are shown, with titles, and how many are left out."""
    parts = [(key, each) for key, each in islice(_parts(value) or (), _LOOKED_AT)]
    # The result of a plotting function: the figure shows its numbers, so they aren't shown again.
    plotted = any(_has_artist(each) for _, each in parts)
    chosen: list[tuple[str, Any]] = []
    seen: set[int] = set()
    for key, each in parts:
        figures = [figure_of(each)] if is_figure(each) else figures_of(each) if _has_artist(each) else []
        if figures:
            new = [figure for figure in figures if id(figure) not in seen]
            seen.update(map(id, new))
            chosen += [(_title(key), figure) for figure in new]
        elif not plotted or _is_showable(each, [_LOOKED_AT]):
            chosen.append((_title(key), each))
    total = len(chosen) + max(0, _count(value) - _LOOKED_AT)
    shown = chosen[:_SHOWN]
    return shown, total - len(shown)


def _count(value: Any) -> int:
    size = getattr(value, "size", None)
    return size if isinstance(size, int) else len(value) if hasattr(value, "__len__") else 0


def _has_artist(value: Any) -> bool:
    """Tell whether a value is a part of a figure, or has some in it; a whole figure isn't."""
    left = [_LOOKED_AT]

    def within(each: Any, depth: int) -> bool:
        left[0] -= 1
        if left[0] < 0:
            return False
        if is_figure(each):
            return is_artist(each)
        return depth > 0 and any(within(inner, depth - 1) for _, inner in _parts(each) or ())

    return within(value, _DEPTH)


def _title(key: Any) -> str:
    return shortened(str(label(key, Limits())), 200)


def has_members(value: Any) -> bool:
    """Tell whether a value is made to hold several things under names: a named tuple, a class of fields."""
    return (
        (isinstance(value, tuple) and hasattr(value, "_fields"))
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        or has_fields(value)
        or isinstance(value, SimpleNamespace)
    )


def _parts(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the things in a container with their keys or positions; None for what isn't one."""
    if isinstance(value, (str, bytes, bytearray, type)):
        return None
    if isinstance(value, Mapping):
        return value.items()
    fields = getattr(value, "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple):
        return zip(fields, value, strict=True)
    if isinstance(value, (list, tuple, set, frozenset, deque, UserList, ValuesView)):
        return enumerate(value)
    if isinstance(value, SimpleNamespace):
        return vars(value).items()
    if isinstance(value, ItemsView):
        return iter(value)
    if dataclasses.is_dataclass(value):
        return ((each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value))
    if has_fields(value):
        # Classes of attrs, msgspec and pydantic.
        return members(value) or getattr(value, "__dict__", {}).items()
    if _is_of_objects(value):
        # A series as what its index says, for ``groupby(...).hist()`` is one of arrays of Axes.
        return zip(value.index, value, strict=True) if hasattr(value, "iloc") else enumerate(value.flat)
    if type(value).__module__.startswith("matplotlib."):
        # What ``pie`` returns is neither a tuple nor a part of the figure, but has some. What it is set to isn't shown.
        found = getattr(value, "__dict__", {}).items()
        return [(key.strip("_"), each) for key, each in found if _leads_to_figure(each)]
    return None


def _leads_to_figure(value: Any) -> bool:
    return (
        is_figure(value) or held(value) is not None or (isinstance(value, (list, tuple)) and any(map(is_figure, value)))
    )


def _is_of_objects(value: Any) -> bool:
    numpy, pandas = brought("numpy", "ndarray"), brought("pandas", "DataFrame")
    kinds = (getattr(numpy, "ndarray", None), getattr(pandas, "Series", None))
    return any(kind is not None and isinstance(value, kind) and value.dtype == object for kind in kinds)


def _is_of_axes(value: Any) -> bool:
    """Tell whether an array or a series has figures, parts of them or pictures in it: the first tells."""
    if not _is_of_objects(value) or not value.size:
        return False
    first = value.iloc[0] if hasattr(value, "iloc") else value.flat[0]
    pictures = brought("PIL.Image", "Image")
    return is_figure(first) or _has_artist(first) or (pictures is not None and isinstance(first, pictures.Image))


def _axes(value: Any, limits: Limits) -> Any:
    if hasattr(value, "iloc"):
        return MappingProxyType(dict(value.items()))
    figures = figures_of(value)
    return figures[0] if len(figures) == 1 else list(value.flat)


def _is_showable(value: Any, left: list[int]) -> bool:
    """Tell whether a thing in a container is more than JSON or text: a figure, a frame, a picture, a model.

    ``left`` is how many things in it may still be looked at.
    """
    if _is_heir(value) and is_offering(value):
        return True
    if value is None or isinstance(value, (str, int, float, complex)):
        return False
    if isinstance(value, (bytes, bytearray)):
        return media_type_of(value) is not None
    if isinstance(value, Bundle):
        return True
    if isinstance(value, (list, tuple, dict, deque)):
        return _has_artist(value) or _has_single(value, left, _DEPTH)
    return _is_single(value)


def _is_heir(value: Any) -> bool:
    """Tell whether a value's class inherits from one of Python's own: it may know better how it looks."""
    return type(value) not in _OWN and isinstance(value, _OWN_KINDS)


def _has_single(value: Any, left: list[int], depth: int) -> bool:
    """Tell whether a thing that can be shown is in a container, or in those in it."""
    for _, each in islice(_parts(value) or (), 20):
        left[0] -= 1
        if left[0] < 0:
            return False
        if _is_heir(each) and is_offering(each):
            return True
        if isinstance(each, (list, tuple, dict, deque)):
            if depth > 1 and _has_single(each, left, depth - 1):
                return True
        elif _is_single(each):
            return True
    return False


def _is_single(value: Any) -> bool:
    if value is None or isinstance(value, (str, int, float, complex, bytes)):
        return False
    if type(value) in (list, tuple, dict):
        return False
    numpy = brought("numpy", "ndarray")
    if numpy is not None and isinstance(value, getattr(numpy, "ndarray", ())):
        return is_picture(value) or _is_of_axes(value)
    offers = is_offering(value) or displays(value)
    return offers or find(value) is not None or is_drawable(value) or held(value) is not None


register_builtin(_is_of_axes, _axes, first=True)
