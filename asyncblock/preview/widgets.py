"""Widgets of ipywidgets and anywidget: they live in a kernel; here only their settings are shown.

Registered behind the kinds that are charts besides: plotly's and altair's.
"""

from __future__ import annotations

from typing import Any

from .cells import safe_repr, shortened
from .limits import Limits
from .registry import register_builtin

__all__: list[str] = []

_OF_LOOKS = frozenset({"layout", "style", "tabbable", "tooltip", "comm", "keys", "log"})


def _widget(widget: Any, limits: Limits) -> Any:
    """Show a widget's table, picture or markup, or what it is set to."""
    frame = getattr(widget, "df", None)
    if hasattr(frame, "shape") and hasattr(frame, "columns"):
        return frame
    kind, value = type(widget).__name__, getattr(widget, "value", None)
    if kind in ("HTML", "HTMLMath") and isinstance(value, str):
        return {"type": "html", "data": shortened(value, limits.bytes)}
    if kind == "Image" and isinstance(value, (bytes, memoryview)) and len(value):
        return bytes(value)
    words = repr(widget)
    # The repr of ipywidgets lists settings that differ from defaults; anywidget's has only an address.
    return {"type": "text", "data": shortened(words, limits.text) if " object at 0x" not in words else _traits(widget)}


def _traits(widget: Any) -> str:
    names = [name for name in sorted(widget.traits(sync=True)) if not name.startswith("_") and name not in _OF_LOOKS]
    parts = [f"{name}={safe_repr(getattr(widget, name), 200)}" for name in names[:50]]
    return f"{type(widget).__name__}({', '.join(parts)})"


register_builtin("ipywidgets.widgets.widget.Widget", _widget)
