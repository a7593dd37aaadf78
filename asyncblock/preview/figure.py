"""Drawing what matplotlib draws as PNG, on an Agg canvas of our own: no window, no pyplot. Parent and worker use it."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from ..runtime.forks import fresh_lock
from ..values.brought import brought
from .gifs import Frames, gif_of
from .vegapicture import VegaLite, png_of_vega

__all__ = [
    "current_figure",
    "figure_of",
    "is_artist",
    "is_drawable",
    "is_figure",
    "is_plot",
    "is_portable",
    "png_of",
    "settings",
]

_one_at_a_time = fresh_lock()
"""Matplotlib's caches of texts and fonts aren't thread-safe."""

_LONGEST_SIDE = 16_000
"""Pixels; Agg refuses images of 65,536."""

_MOST = 6 << 20
"""Bytes of a picture where no limit is said."""

_FARTHEST = 3
"""How many times as large as the figure a picture may be that has all that is drawn."""

_DRAWN_BY_WORKER = ("plotnine.ggplot.ggplot", "plotnine.composition._compose.Compose", "seaborn._core.plot.Plot")
"""Plots of other libraries that are drawn with matplotlib, take long, and can be pickled."""


def is_drawable(value: object) -> bool:
    """Tell whether a value is a figure, belongs to one (Axes, a line), or draws itself by ``savefig``."""
    return is_figure(value) or is_plot(value) or callable(getattr(type(value), "savefig", None))


def is_plot(value: object) -> bool:
    """Tell whether a value is a plot that another library draws with matplotlib."""
    return brought("matplotlib", "rc_context") is not None and any(is_named(value, name) for name in _DRAWN_BY_WORKER)


def is_portable(value: object) -> bool:
    """Tell whether the worker process can be asked to draw a value."""
    return is_plot(value) or isinstance(value, (Frames, VegaLite)) or is_figure(value)


def is_named(value: object, name: str) -> bool:
    """Tell whether a value's class, or one that it inherits from, has a name, or lives in a module or package of it."""
    names = (f"{each.__module__}.{each.__qualname__}." for each in type(value).__mro__)
    return any(each.startswith(f"{name}.") for each in names)


def is_figure(value: object) -> bool:
    """Tell whether a value is a matplotlib figure, or a part of one."""
    return figure_of(value) is not None


def is_artist(value: object) -> bool:
    """Tell whether a value is a part of a matplotlib figure, and not a whole one."""
    module = brought("matplotlib.figure", "Figure")
    return not (module is not None and isinstance(value, module.Figure)) and is_figure(value)


def current_figure(pyplot: Any) -> Any:
    """Return pyplot's current figure; None if pyplot has none."""
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
    # Only types of matplotlib's: other things that hold a figure may have a look of their own.
    artist = brought("matplotlib.artist", "Artist")
    if artist is None or not isinstance(owner, artist.Artist):
        return None
    try:
        return owner.figure
    except Exception:
        return None


def settings() -> dict[str, Any]:
    """Return matplotlib's settings that the author has changed; drawing depends on some of them."""
    matplotlib = brought("matplotlib", "rc_context")
    if matplotlib is None:
        return {}
    # By dict's method: reading "backend" in the usual way would make matplotlib choose one.
    chosen, given = dict.items(matplotlib.rcParams), matplotlib.rcParamsDefault
    return {name: value for name, value in chosen if "backend" not in name and dict.get(given, name) != value}


def png_of(value: Any, pixels: int, chosen: Mapping[str, Any] | None = None, size: int = _MOST) -> bytes:
    """Draw a figure, or whatever draws itself, as PNG; frames as GIF. No more pixels and bytes than that.

    A figure is drawn as notebooks do, with all that is outside of it, by its author's settings for saved figures. Its
    own canvas is put back.
    """
    if isinstance(value, VegaLite):
        return png_of_vega(value, size)
    with _one_at_a_time, _settings_of(chosen):
        if isinstance(value, Frames):
            return gif_of(value, pixels, size, _seen_of, _png_of)
        figure = figure_of(value)
        if figure is not None:
            return _fitting(lambda most: _png_of(figure, most), pixels, size)
        made = _made_by(value)
        drawn = figure_of(made)
        if drawn is not None:
            return _fitting(lambda most: _png_of(drawn, most), pixels, size)
        buffer = io.BytesIO()
        save = value.savefig if hasattr(value, "savefig") else value.save
        save(buffer, format="png")
        if buffer.tell() > size:
            raise ValueError(f"its picture has {buffer.tell():,} bytes; the limit is {size:,}")
        return buffer.getvalue()


def _settings_of(chosen: Mapping[str, Any] | None) -> AbstractContextManager[Any]:
    matplotlib = brought("matplotlib", "rc_context")
    return nullcontext() if matplotlib is None else matplotlib.rc_context(dict(chosen or {}))


def _made_by(value: Any) -> Any:
    """Return the figure that plotnine makes of its plot; None for what isn't one."""
    return value.draw() if is_named(value, "plotnine") and hasattr(value, "draw") else None


def _fitting(draw: Callable[[int], bytes], pixels: int, size: int) -> bytes:
    """Draw until the picture is small enough: few figures are drawn twice."""
    for _ in range(6):
        made = draw(pixels)
        if len(made) <= size:
            return made
        pixels = max(1, int(min(pixels, len(made)) * size / len(made) * 0.8))
    raise ValueError(f"its picture has more than {size:,} bytes however small it is drawn")


def _png_of(figure: Any, pixels: int, seen: Any = None) -> bytes:
    """Draw the part of a figure's plane that is ``seen``, or else all of it that has something in it."""
    buffer = io.BytesIO()
    canvas, before = figure.canvas, figure.dpi
    settings = sys.modules["matplotlib"].rcParams
    dpi = float(before if settings["savefig.dpi"] == "figure" else settings["savefig.dpi"])
    try:
        ours = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
        # A renderer has the whole figure's memory.
        figure.set_dpi(_fitting_dpi(before, figure.get_size_inches(), pixels))
        box = seen or _box(figure, ours.get_renderer(), settings["savefig.pad_inches"])
        sides = figure.get_size_inches() if box is None else (box.width, box.height)
        with sys.modules["matplotlib"].rc_context({"savefig.bbox": None}):
            # Not by its own method: a subclass of the author's may save to another place.
            save = sys.modules["matplotlib.figure"].Figure.savefig
            save(figure, buffer, format="png", dpi=_fitting_dpi(dpi, sides, pixels), bbox_inches=box)
    finally:
        figure.set_canvas(canvas)
        figure.set_dpi(before)
    return buffer.getvalue()


def _seen_of(figure: Any) -> Any:
    """Return the part of a figure's plane that all frames of an animation show."""
    canvas, padding = figure.canvas, sys.modules["matplotlib"].rcParams["savefig.pad_inches"]
    try:
        renderer = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure).get_renderer()
        return _box(figure, renderer, padding) or figure.bbox_inches.frozen()
    finally:
        figure.set_canvas(canvas)


def _box(figure: Any, renderer: Any, padding: Any) -> Any:
    """Return the part of the figure's plane that has something in it, in inches; None for the figure itself.

    What is far outside, as a text at a point that isn't shown, would make a picture of nearly nothing.
    """
    if figure.get_layout_engine() is not None or any(axes.name == "3d" for axes in figure.axes):
        # These find their places only when they are drawn; for others that would be twice the work.
        with renderer._draw_disabled():
            figure.draw(renderer)
    box = figure.get_tightbbox(renderer)
    width, height = figure.get_size_inches()
    if not (0 < box.width <= _FARTHEST * width and 0 < box.height <= _FARTHEST * height):
        return None
    return box.padded(padding if isinstance(padding, (int, float)) else 0.1)


def _fitting_dpi(dpi: float, sides: Sequence[float], pixels: int) -> float:
    """Return a dpi, or fewer when the image would be larger than it may."""
    width, height = (float(side) * dpi for side in sides)
    scale = min(1.0, math.sqrt(pixels / max(width * height, 1.0)), _LONGEST_SIDE / max(width, height, 1.0))
    return dpi if scale == 1.0 else dpi * scale
