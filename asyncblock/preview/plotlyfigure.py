"""Plotly's figures. Their points are counted in what is set of them: a trace asked for all its names makes them all.

At the call at most ``_TAKEN_WORK`` steps are counted and copied; whatever has more is read on the thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .charts import chart_payload, too_many
from .limits import Limits
from .registry import register_builtin
from .yieldgil import yield_gil

__all__: list[str] = []

_TAKEN_WORK = 3000
"""Steps up to which a figure is copied at the call, on the block's loop: values in lists are copied one by one."""

_BETWEEN = 250
"""Steps of counting between two turns of other threads."""

_PAGE = """<div id="PLACE" class="plotly-graph-div" style="height:100%; width:100%;"></div>
<script charset="utf-8" src="https://cdn.plot.ly/plotly-VERSION.min.js"></script>
<script>
(function (figure) {
  var place = document.getElementById("PLACE");
  Plotly.newPlot(place, figure.data, figure.layout, Object.assign({responsive: true}, figure.config)).then(function () {
    if (figure.frames && figure.frames.length) Plotly.addFrames(place, figure.frames);
  });
})(SPECIFICATION);
</script>"""


@dataclass(frozen=True, slots=True)
class _Specification:
    """A plotly figure as it was at the call."""

    content: dict[str, Any]
    kind: str = "Figure"


class _TooMuch(Exception):
    """More work than there may be."""


class _Count:
    """Counts the values of a figure's traces, in a number of steps."""

    def __init__(self, steps: float, limit: float) -> None:
        self._left = steps
        self._limit = limit
        self._until_turn = _BETWEEN
        self.points = 0

    def traces(self, traces: Iterator[Mapping[str, Any]], *, on_thread: bool) -> None:
        for trace in traces:
            self.points += self._largest(trace, on_thread)
            if self.points > self._limit:
                return

    def _step(self, steps: float, on_thread: bool) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooMuch
        self._until_turn -= 1
        if on_thread and self._until_turn < 0:
            self._until_turn = _BETWEEN
            yield_gil()

    def _largest(self, part: Mapping[str, Any], on_thread: bool) -> int:
        """Return the number of values of the largest array in a part of a figure."""
        return max((self._values(each, on_thread) for each in part.values()), default=0)

    def _values(self, value: Any, on_thread: bool) -> int:
        self._step(1, on_thread)
        if isinstance(value, (str, bytes)):
            return 0
        if isinstance(value, Mapping):
            return self._largest(value, on_thread)
        if isinstance(value, (list, tuple)):
            # Rows of a grid, dimensions, columns; or plain numbers, of which the first tells.
            if value and not isinstance(value[0], (str, bytes, int, float)):
                return sum(max(1, self._values(each, on_thread)) for each in value)
            self._step(len(value), on_thread)
            return len(value)
        size = getattr(value, "size", None)
        count = size if isinstance(size, int) else len(value) if hasattr(value, "__len__") else 0
        # Arrays are copied in one go.
        self._step(count / 50, on_thread)
        return count


def _traces(figure: Any) -> Iterator[Mapping[str, Any]]:
    """Return what is set of each trace, without a copy where plotly has it as we know it."""
    kept = getattr(figure, "_data", None)
    if isinstance(kept, (list, tuple)) and all(isinstance(each, Mapping) for each in kept):
        yield from kept
    else:
        yield from (trace.to_plotly_json() for trace in figure.data)
    for frame in figure.frames:
        yield from (trace for trace in frame.to_plotly_json().get("data", ()) if isinstance(trace, Mapping))


def _take(figure: Any, limits: Limits) -> Any:
    if figure.frames or len(figure.data) > _TAKEN_WORK // 10:
        return figure
    count = _Count(_TAKEN_WORK, limits.points)
    try:
        count.traces(_traces(figure), on_thread=False)
    except _TooMuch:
        return figure
    return _Specification(figure.to_dict()) if count.points <= limits.points else figure


def _plotly(figure: Any, limits: Limits) -> dict[str, Any]:
    content = figure.content if isinstance(figure, _Specification) else None
    if content is None:
        count = _Count(float("inf"), float("inf"))
        count.traces(_traces(figure), on_thread=True)
        if count.points > limits.points:
            return too_many("plotly figure", count.points, limits)
        yield_gil()
        content = _content(figure)
    # This import can't fail: the figure came from plotly.
    version = import_module("plotly.offline").get_plotlyjs_version()
    page = _PAGE.replace("VERSION", version)
    return chart_payload(content, "application/vnd.plotly.v1+json", page, limits)


def _content(figure: Any) -> dict[str, Any]:
    """Return a figure's specification; without a copy where plotly has it as we know it."""
    data, layout = getattr(figure, "_data", None), getattr(figure, "_layout", None)
    if not isinstance(data, list) or not isinstance(layout, dict):
        made: dict[str, Any] = figure.to_dict()
        return made
    frames = [frame.to_plotly_json() for frame in figure.frames]
    return {"data": data, "layout": layout, **({"frames": frames} if frames else {})}


register_builtin("plotly.basedatatypes.BaseFigure", _plotly, take=_take)
register_builtin(_Specification, _plotly)
