"""Drawing a matplotlib figure as PNG, on an Agg canvas of our own: no window, no pyplot. Parent and worker use it."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..brought import brought
from ..forks import fresh_lock

__all__ = ["current_figure", "figure_of", "is_artist", "is_drawable", "is_figure", "png_of", "settings"]

_one_at_a_time = fresh_lock()
"""Matplotlib's text and font caches aren't made for threads."""

_LONGEST_SIDE = 16_000
"""Pixels; Agg refuses images of 65,536."""


def is_drawable(value: object) -> bool:
    """Tell whether a value is a figure, belongs to one (Axes, a line), or draws itself by ``savefig``."""
    return is_figure(value) or callable(getattr(type(value), "savefig", None))


def is_figure(value: object) -> bool:
    """Tell whether a value is a matplotlib figure, or a part of one."""
    return figure_of(value) is not None


def is_artist(value: object) -> bool:
    """Tell whether a value is a part of a matplotlib figure, and not a whole one."""
    module = brought("matplotlib.figure", "Figure")
    return not (module is not None and isinstance(value, module.Figure)) and is_figure(value)


def current_figure(pyplot: Any) -> Any:
    """Return pyplot's current figure; None where it would have to make one."""
    return pyplot.gcf() if pyplot.get_fignums() else None


def figure_of(value: Any) -> Any:
    """Return the matplotlib Figure that a value is or belongs to; None when there is none."""
    module = brought("matplotlib.figure", "Figure")
    if module is None:
        return None
    owner = value
    # Axes in a SubFigure in a Figure: a few steps lead to the root.
    for _ in range(8):
        if isinstance(owner, module.Figure):
            return owner
        above = _attribute(owner)
        if above is None or above is owner:
            return None
        owner = above
    return None


def _attribute(owner: Any) -> Any:
    # A part by its type: other things that hold a figure may know better how they look.
    artist = brought("matplotlib.artist", "Artist")
    if artist is None or not isinstance(owner, artist.Artist):
        return None
    try:
        return owner.figure
    except Exception:
        return None


def settings() -> dict[str, Any]:
    """Return matplotlib's settings that the author has changed; drawing depends on some of them."""
    matplotlib = sys.modules["matplotlib"]
    # Past the class: reading "backend" from it would choose one.
    chosen, given = dict.items(matplotlib.rcParams), matplotlib.rcParamsDefault
    return {name: value for name, value in chosen if "backend" not in name and dict.get(given, name) != value}


def png_of(value: Any, pixels: int, chosen: Mapping[str, Any] | None = None) -> bytes:
    """Draw a figure, or whatever has a ``savefig``. Its own canvas and its dpi are put back."""
    buffer = io.BytesIO()
    figure = figure_of(value)
    with _one_at_a_time:
        if figure is None:
            value.savefig(buffer, format="png")
            return buffer.getvalue()
        agg = import_module("matplotlib.backends.backend_agg")
        canvas, dpi = figure.canvas, figure.dpi
        drawn_at = _dpi(figure, pixels)
        try:
            with sys.modules["matplotlib"].rc_context(dict(chosen or {})):
                ours = agg.FigureCanvasAgg(figure)
                if drawn_at != dpi:
                    figure.set_dpi(drawn_at)
                ours.print_png(buffer)
        finally:
            figure.set_canvas(canvas)
            if drawn_at != dpi:
                figure.set_dpi(dpi)
    return buffer.getvalue()


def _dpi(figure: Any, pixels: int) -> float:
    """Return the figure's dpi, or fewer when its image would be larger than it may."""
    dpi = float(figure.dpi)
    width, height = (float(side) * dpi for side in figure.get_size_inches())
    scale = min(1.0, math.sqrt(pixels / max(width * height, 1.0)), _LONGEST_SIDE / max(width, height, 1.0))
    return dpi if scale == 1.0 else dpi * scale
