"""Matplotlib's animations: the author's function makes the first frames here, which the worker process draws.

A frame is pickled before the next one is made. The canvas that it has meanwhile draws nothing, so that only the
author's function takes time; it runs on a worker thread, as all methods of shown values do.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from .figure import figure_of
from .figurepickle import NotSendable, dump
from .gifs import Frames
from .limits import Limits
from .registry import register_builtin
from .renderer import Rendering

__all__: list[str] = []

_FRAMES = 30
"""Frames that are shown."""

_SHARE = 3
"""The part of ``Limits.seconds`` that making frames may take: drawing them takes as long."""


class _Enough(Exception):
    """As many frames are made as are shown."""


def _animation(animation: Any, limits: Limits) -> dict[str, Any]:
    figure = getattr(animation, "_fig", None)
    try:
        pickles, cut = _pickled(animation, limits)
    except Exception as problem:
        if figure_of(figure) is None:
            raise
        still = {"type": "image", "data": Rendering(figure, limits)}
        return {
            **still,
            "note": f"a still of an animation: its frames can't be made: {type(problem).__name__}: {problem}",
        }
    frames = Frames(pickles, max(20, int(getattr(animation, "_interval", 100) or 100)))
    payload = {"type": "image", "data": Rendering(frames, limits)}
    return {**payload, "note": f"the first {len(pickles)} frames"} if cut else payload


def _pickled(animation: Any, limits: Limits) -> tuple[list[bytes], bool]:
    """Return the first frames that fit in the time, and whether there are more."""
    pickles: list[bytes] = []
    until = time.monotonic() + limits.seconds / _SHARE
    base = import_module("matplotlib.backend_bases").FigureCanvasBase

    class Writer(import_module("matplotlib.animation").AbstractMovieWriter):  # type: ignore[misc]  # not typed
        """What an animation saves itself to."""

        def setup(self, fig: Any, outfile: Any, dpi: Any = None) -> None:
            self.fig, self.canvas = fig, fig.canvas
            # One that draws nothing.
            base(fig)

        def grab_frame(self, **_: Any) -> None:
            if pickles and (len(pickles) >= _FRAMES or time.monotonic() > until):
                raise _Enough
            pickles.append(dump(self.fig, limits.figure_bytes // _FRAMES))

        def finish(self) -> None:
            self.fig.set_canvas(self.canvas)

    try:
        animation.save("", writer=Writer())
    except _Enough:
        return pickles, True
    if not pickles:
        raise NotSendable("it has no frames")
    return pickles, False


register_builtin("matplotlib.animation.Animation", _animation)
