"""``plt.show()`` and plotly's ``fig.show()`` in a block: a preview of its job. And whose pyplot's figures are.

``PlotHooks`` puts this in place, for modules that are loaded and for those that are loaded later: nothing is imported
here. In a process whose owner has it replaced by nobody, ``matplotlib_backend`` does the same for pyplot, where the
owner chooses it. Outside a job everything does what it always does. ``plt.show()`` shows the job's open figures; they
stay open until the job ends.

``matplotlib.pyplot`` is one for the process: its *current figure* is shared by jobs that run at once. A job that would
draw into another one's is told, and so is the other.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Hashable, Mapping
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from ...runtime.forks import fresh_lock
from ...values.brought import brought
from .jobstreams import Sink, active_sink
from .replacing import Replacements
from .tasks import job_of_lines

__all__ = ["PlotHooks", "adopt", "end_job", "in_place", "left_open", "open_numbers", "show_figures", "touch"]

BACKEND = "module://asyncblock.matplotlib_backend"

_MIXED = (
    "pyplot's current figure is one for all jobs of a process, and {} have drawn into it at the same time: what the "
    "figures show is mixed. Draw by objects of the job's own (fig, ax = plt.subplots(), then ax.plot(...) and "
    "ctx.preview(fig)), or give the block a process of its own (spawn: true in its manifest)"
)
_LEFT = (
    "{} not previewed: this process is its owner's, where plt.show() isn't replaced. "
    "Say await ctx.preview(fig); or let the process's owner choose matplotlib.use({!r}), or embedded(capture=True)"
)

_WITHOUT_WINDOWS = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
"""Backends that show nothing."""

_lock = fresh_lock()
_owners: WeakKeyDictionary[Any, Hashable] = WeakKeyDictionary()
"""pyplot's figures, and the job whose they are."""
_told: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Figures that were left open, and of which somebody was told."""
_places = 0
"""How many ``PlotHooks`` are in place."""


class PlotHooks(Replacements):
    """What is replaced in the drawing libraries while this stands in ``sys.meta_path``."""

    def __init__(self) -> None:
        global _places
        super().__init__(_PATCHES)
        _places += 1

    def undo(self) -> None:
        """Put back what nobody else has replaced since."""
        global _places
        super().undo()
        _places -= 1


def in_place() -> bool:
    """Whether ``plt.show()`` is replaced in this process."""
    return _places > 0


# ---------------------------------------------------------------------- whose figures are


def adopt(figure: Any) -> None:
    """Note that a figure of pyplot's is the current job's, if nobody's has it yet; see whether it is another's."""
    sink = active_sink()
    if sink is not None:
        with _lock:
            _owners.setdefault(figure, sink.line)
        touch(figure)


def touch(figure: Any) -> None:
    """See whether the current job draws into a figure of another one, and tell both."""
    sink = active_sink()
    if sink is None:
        return
    with _lock:
        owner = _owners.get(figure)
    if owner is None or owner == sink.line:
        return
    here, there = job_of_lines.get(sink.line), job_of_lines.get(owner)  # type: ignore[call-overload]  # one of them
    if here is not None and there is not None:
        names = {f"node {here.node_id}", f"node {there.node_id}"}
        who = " and ".join(sorted(names)) if len(names) == 2 else f"jobs of {names.pop()}"
        here.note(_MIXED.format(who))
        there.note(_MIXED.format(who))


def show_figures(pyplot: ModuleType) -> bool:
    """Show the current job's figures as a preview; False outside a job."""
    sink = active_sink()
    if not hasattr(sink, "show") or sink is None:
        return False
    figures = _open_figures(pyplot, sink.line)
    if not figures and pyplot.get_fignums() and (current := pyplot.gcf()) not in _owners:
        # One that was made when the block's module was imported.
        figures = [current]
    if figures:
        _show(figures[0] if len(figures) == 1 else {"type": "image", "data": figures})
    return True


def end_job(sink: Sink) -> None:
    """Close the figures that a job has left open in pyplot."""
    if not _owners:
        return
    pyplot = brought("matplotlib.pyplot", "get_fignums")
    if pyplot is None:
        return
    for figure in _open_figures(pyplot, sink.line):
        pyplot.close(figure)
    with _lock:
        for figure in [figure for figure, whose in _owners.items() if whose == sink.line]:
            del _owners[figure]


def open_numbers() -> frozenset[int]:
    """Return the figures that are open in pyplot."""
    pyplot = brought("matplotlib.pyplot", "get_fignums")
    return frozenset(pyplot.get_fignums()) if pyplot is not None else frozenset()


def left_open(before: frozenset[int], function: Callable[..., object]) -> str | None:
    """Say what a job has shown, or left open, that nobody saw, where ``plt.show()`` isn't replaced."""
    pyplot = brought("matplotlib.pyplot", "get_fignums")
    if pyplot is None:
        return None
    figures = _new_figures(pyplot, before)
    if figures:
        which = f"figure {figures[0]} was" if len(figures) == 1 else f"figures {', '.join(figures)} were"
        return _LEFT.format(f"pyplot's {which} left open and", BACKEND)
    if _shows(function, pyplot) and str(dict.get(sys.modules["matplotlib"].rcParams, "backend")) in _WITHOUT_WINDOWS:
        return _LEFT.format("what the block shows by plt.show() was", BACKEND)
    return None


def _shows(function: Callable[..., object], pyplot: ModuleType) -> bool:
    """Tell whether a function calls ``plt.show()``, as far as can be seen from outside."""
    plain = inspect.unwrap(function)
    code, known = getattr(plain, "__code__", None), getattr(plain, "__globals__", {})
    if code is None or "show" not in code.co_names:
        return False
    return "matplotlib" in " ".join(code.co_names) or any(known.get(name) is pyplot for name in code.co_names)


def _new_figures(pyplot: ModuleType, before: frozenset[int]) -> list[str]:
    numbers = [number for number in pyplot.get_fignums() if number not in before]
    if not numbers:
        return []
    managers = sys.modules["matplotlib._pylab_helpers"].Gcf.figs
    left = []
    for number in numbers:
        figure = managers[number].canvas.figure
        if figure not in _owners and not _told.setdefault(figure, False):
            _told[figure] = True
            left.append(str(number))
    return left


def _open_figures(pyplot: ModuleType, owner: Hashable) -> list[Any]:
    with _lock:
        figures = [figure for figure, whose in _owners.items() if whose == owner]
    return sorted((each for each in figures if pyplot.fignum_exists(each.number)), key=lambda each: each.number)


def _show(payload: object) -> bool:
    """Show something as a preview of the current job; False outside a job."""
    show = getattr(active_sink(), "show", None)
    if show is None:
        return False
    show(payload)
    return True


# ---------------------------------------------------------------------- what is replaced


def _pyplot_figure(original: Callable[..., Any]) -> Callable[..., Any]:
    def figure(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        adopt(made)
        return made

    return figure


def _pyplot_gcf(original: Callable[..., Any]) -> Callable[..., Any]:
    def gcf() -> Any:
        current = original()
        touch(current)
        return current

    return gcf


def _pyplot_close(original: Callable[..., Any]) -> Callable[..., Any]:
    """Close no figures of other jobs, unless they are named."""

    def close(fig: Any = None) -> None:
        sink = active_sink()
        with _lock:
            others = sink is not None and any(whose != sink.line for whose in _owners.values())
        if sink is None or not others or not (fig is None or (isinstance(fig, str) and fig == "all")):
            original(fig)
            return
        mine = _open_figures(sys.modules["matplotlib.pyplot"], sink.line)
        for each in mine if fig == "all" else mine[-1:]:
            original(each)

    return close


def _pyplot_show(original: Callable[..., Any]) -> Callable[..., Any]:
    def show(*args: Any, **kwargs: Any) -> Any:
        return None if show_figures(sys.modules["matplotlib.pyplot"]) else original(*args, **kwargs)

    return show


def _object_show(original: Callable[..., Any]) -> Callable[..., Any]:
    def show(self: Any, *args: Any, **kwargs: Any) -> Any:
        return None if _show(self) else original(self, *args, **kwargs)

    return show


def _plotly_show(original: Callable[..., Any]) -> Callable[..., Any]:
    def show(fig: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(fig, Mapping):
            # plotly takes a figure's content too.
            fig = importlib.import_module("plotly.graph_objects").Figure(fig)
        return None if _show(fig) else original(fig, *args, **kwargs)

    return show


_PATCHES: dict[str, list[tuple[str, Callable[[Callable[..., Any]], Callable[..., Any]]]]] = {
    "matplotlib.pyplot": [
        ("figure", _pyplot_figure),
        ("gcf", _pyplot_gcf),
        ("close", _pyplot_close),
        ("show", _pyplot_show),
    ],
    "matplotlib.figure": [("Figure.show", _object_show)],
    "plotly.basedatatypes": [("BaseFigure.show", _object_show)],
    # ``plotly.io.show(figure)`` comes from here.
    "plotly.io._renderers": [("show", _plotly_show)],
}
