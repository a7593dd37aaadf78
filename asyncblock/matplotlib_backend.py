"""matplotlib's backend for processes that run blocks: ``matplotlib.use("module://asyncblock.matplotlib_backend")``.

In a block ``plt.show()`` previews its figures; outside of one, figures are as with the backend "agg". Executor
processes and ``run --in-process`` need it not, nor does ``embedded(capture=True)``: there pyplot's functions are
replaced, whatever backend a block chooses. In a process of the user's own nothing is: there it is the user's choice.

matplotlib imports this, nobody else does.
"""

from __future__ import annotations

import importlib
import sys
from types import CodeType
from typing import Any

from .executor.attribution.plothooks import adopt, show_figures, touch

__all__ = ["FigureCanvas", "FigureManager"]

_agg: Any = importlib.import_module("matplotlib.backends.backend_agg")
_bases: Any = importlib.import_module("matplotlib.backend_bases")


class FigureManager(_bases.FigureManagerBase):  # type: ignore[misc]  # matplotlib has no types that we could know
    """A figure that pyplot knows: it is the job's that has made it."""

    def __init__(self, canvas: Any, num: int) -> None:
        super().__init__(canvas, num)
        adopt(canvas.figure)

    @property
    def canvas(self) -> Any:
        """The canvas. pyplot asks for it whenever it draws into the current figure."""
        canvas = self.__dict__["canvas"]
        if sys._getframe(1).f_code is _gcf():
            touch(canvas.figure)
        return canvas

    @canvas.setter
    def canvas(self, canvas: Any) -> None:
        self.__dict__["canvas"] = canvas

    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        """Show the job's figures as a preview; outside a job as "agg" does, with matplotlib's own warning."""
        if not show_figures(sys.modules["matplotlib.pyplot"]):
            super().pyplot_show(block=block)


class FigureCanvas(_agg.FigureCanvasAgg):  # type: ignore[misc]  # matplotlib isn't there for mypy
    """Draws as "agg" does."""

    manager_class = FigureManager


def _gcf() -> CodeType | None:
    code: CodeType | None = getattr(getattr(sys.modules.get("matplotlib.pyplot"), "gcf", None), "__code__", None)
    return code
