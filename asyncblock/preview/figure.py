"""Figures as PNG, on an Agg canvas of our own: no window, no pyplot, one at a time in a process."""

from __future__ import annotations

import io
import sys
import threading
from importlib import import_module
from typing import Any

__all__ = ["render_png"]

_one_at_a_time = threading.Lock()
"""Matplotlib's text and font caches aren't made for threads."""


def render_png(figure: Any) -> bytes:
    """Render a matplotlib figure, or whatever has a ``savefig`` like it. Its own canvas is put back."""
    buffer = io.BytesIO()
    with _one_at_a_time:
        matplotlib = sys.modules.get("matplotlib.figure")
        if matplotlib is None or not isinstance(figure, matplotlib.Figure):
            figure.savefig(buffer, format="png")
            return buffer.getvalue()
        agg = import_module("matplotlib.backends.backend_agg")
        canvas = figure.canvas
        try:
            agg.FigureCanvasAgg(figure).print_png(buffer)
        finally:
            figure.set_canvas(canvas)
    return buffer.getvalue()
