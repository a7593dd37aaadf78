"""What rich can draw and offers nothing to Jupyter: its JSON, groups, layouts, rules, and classes of authors."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ..values.brought import brought
from .jupyter import bundle_of, is_offering, payload_of
from .limits import Limits
from .registry import register_builtin

__all__: list[str] = []


def _is_renderable(value: Any) -> bool:
    kind = type(value)
    # Not ``rich.console``: an author who has made only a ``rich.json.JSON`` has never imported that.
    if isinstance(value, type) or brought("rich") is None or is_offering(value):
        return False
    return callable(getattr(kind, "__rich_console__", None)) or callable(getattr(kind, "__rich__", None))


def _rendered(value: Any, limits: Limits) -> dict[str, Any]:
    """Show it as rich shows those of its own that it knows how to show in a notebook."""
    return payload_of(bundle_of(_mixed()(value))[0], limits)


@cache
def _mixed() -> Any:
    class Shown(import_module("rich.jupyter").JupyterMixin):  # type: ignore[misc]  # rich is imported by name, so its class is Any
        """A renderable that offers to Jupyter what it is drawn as."""

        def __init__(self, value: Any) -> None:
            self._value = value

        def __rich__(self) -> Any:
            return self._value

    return Shown


register_builtin(_is_renderable, _rendered)
