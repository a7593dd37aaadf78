"""``plt.show()`` and plotly's ``fig.show()`` in a block: a preview of its job.

``install`` puts this in place, for modules that are loaded and for those that are loaded later: nothing is imported
here. Outside a job both do what they always do. ``plt.show()`` shows the job's open figures; they stay open until the
job ends. ``matplotlib.pyplot`` is one for the process: its *current figure* is shared by jobs that run at once.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from ..brought import brought
from ..forks import fresh_lock
from .lines import Sink, active_sink

__all__ = ["Shows", "end_job"]

_lock = fresh_lock()
_owners: WeakKeyDictionary[Any, Hashable] = WeakKeyDictionary()
"""pyplot's figures, and the job whose they are."""


class Shows(importlib.abc.MetaPathFinder):
    """What is replaced in the drawing libraries while this stands in ``sys.meta_path``."""

    def __init__(self) -> None:
        self._patched: list[tuple[Any, str, Any, Any]] = []
        for name in _PATCHES:
            module = brought(name)
            if module is not None:
                self.patch(module)
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        """Put back what nobody else has replaced since."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for owner, name, original, replacement in self._patched:
            if vars(owner).get(name) is replacement:
                setattr(owner, name, original)

    def patch(self, module: ModuleType) -> None:
        """Replace a module's functions."""
        for path, wrap in _PATCHES[module.__name__]:
            *above, name = path.split(".")
            owner: Any = functools.reduce(getattr, above, module)
            original = vars(owner).get(name)
            if callable(original):
                replacement = functools.wraps(original)(wrap(original))
                setattr(owner, name, replacement)
                self._patched.append((owner, name, original, replacement))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a drawing library as everybody else does, and patch it when it is loaded."""
        if fullname not in _PATCHES:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _PatchingLoader(spec.loader, self)
                return spec
        return None


class _PatchingLoader(importlib.abc.Loader):
    """Loads a module by its own loader, which it then puts back."""

    def __init__(self, loader: Any, shows: Shows) -> None:
        self._loader = loader
        self._shows = shows

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._shows.patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def end_job(sink: Sink) -> None:
    """Close the figures that a job has left open in pyplot."""
    pyplot = brought("matplotlib.pyplot", "get_fignums")
    if pyplot is None:
        return
    for figure in _open_figures(pyplot, sink.line):
        pyplot.close(figure)
    with _lock:
        for figure in [figure for figure, whose in _owners.items() if whose == sink.line]:
            del _owners[figure]


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


def _pyplot_figure(original: Callable[..., Any]) -> Callable[..., Any]:
    def figure(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        sink = active_sink()
        if sink is not None:
            with _lock:
                _owners.setdefault(made, sink.line)
        return made

    return figure


def _pyplot_show(original: Callable[..., Any]) -> Callable[..., Any]:
    def show(*args: Any, **kwargs: Any) -> Any:
        sink = active_sink()
        if not hasattr(sink, "show") or sink is None:
            return original(*args, **kwargs)
        pyplot = sys.modules["matplotlib.pyplot"]
        figures = _open_figures(pyplot, sink.line)
        if not figures and pyplot.get_fignums() and pyplot.gcf() not in _owners:
            # One that was made when the block's module was imported.
            figures = [pyplot.gcf()]
        if figures:
            _show(figures[0] if len(figures) == 1 else {"type": "image", "data": figures})
        return None

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
    "matplotlib.pyplot": [("figure", _pyplot_figure), ("show", _pyplot_show)],
    "matplotlib.figure": [("Figure.show", _object_show)],
    "plotly.basedatatypes": [("BaseFigure.show", _object_show)],
    # ``plotly.io.show(figure)`` comes from here.
    "plotly.io._renderers": [("show", _plotly_show)],
}
