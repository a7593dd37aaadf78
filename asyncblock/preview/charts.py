"""Charts that a browser draws: plotly's as HTML, Vega's (altair) as HTML; both with their specification beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .jupyter import payload_of
from .limits import Limits
from .registry import register_builtin

__all__: list[str] = []


_TAKEN_POINTS = 20_000
"""Points up to which a figure is copied at the call."""

_TRACE = 50
"""Points that are as much work as a trace without any."""


@dataclass(frozen=True, slots=True)
class _Specification:
    """A plotly figure as it was at the call."""

    content: dict[str, Any]
    kind: str = "Figure"


def _take_plotly(figure: Any, limits: Limits) -> Any:
    quick = _work(figure) <= _TAKEN_POINTS and _points(figure) <= limits.points
    return _Specification(figure.to_dict()) if quick else figure


def _points(figure: Any) -> int:
    """Count the points of a figure's traces; in a trace of several arrays, those of the largest."""
    traces = [*figure.data, *(trace for frame in figure.frames for trace in frame.data or ())]
    return sum(_largest(trace) for trace in traces)


def _work(figure: Any) -> int:
    return _points(figure) + _TRACE * (len(figure.data) + sum(len(frame.data or ()) for frame in figure.frames))


def _largest(part: Any) -> int:
    """Return the number of values of the largest array in a part of a figure."""
    return max((_values(part[name]) for name in part), default=0)


def _values(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return 0
    if isinstance(value, Mapping) or hasattr(value, "plotly_name"):
        return _largest(value)
    if isinstance(value, (list, tuple)):
        # Rows of a grid, dimensions, columns; or plain numbers, of which the first tells.
        nested = bool(value) and not isinstance(value[0], (str, bytes, int, float))
        return sum(max(1, _values(each)) for each in value) if nested else len(value)
    size = getattr(value, "size", None)
    return size if isinstance(size, int) else len(value) if hasattr(value, "__len__") else 0


def _plotly(figure: Any, limits: Limits) -> dict[str, Any]:
    if not isinstance(figure, _Specification):
        points = _points(figure)
        if points > limits.points:
            return _too_many("plotly figure", points, limits)
        figure = _Specification(figure.to_dict())
    content = figure.content
    # Whoever has a figure has plotly.
    plotly = import_module("plotly.io")
    html = plotly.to_html(content, include_plotlyjs="cdn", full_html=False, validate=False)
    return payload_of({"text/html": html, "application/vnd.plotly.v1+json": content}, limits)


def _altair(chart: Any, limits: Limits) -> dict[str, Any]:
    rows = _rows(chart)
    if rows > limits.points:
        return _too_many("chart", rows, limits)
    specification = chart.to_dict()
    version = str(specification.get("$schema", "")).rpartition("/")[2].partition(".")[0] or "v5"
    bundle = {"text/html": chart.to_html(), f"application/vnd.vegalite.{version}+json": specification}
    return payload_of(bundle, limits)


def _rows(chart: Any) -> int:
    """Count the rows of data that a chart and its parts bring along."""
    data = getattr(chart, "data", None)
    if not hasattr(data, "__len__"):
        data = getattr(data, "values", None)
    rows = len(data) if isinstance(data, Sized) else 0
    for name in ("layer", "hconcat", "vconcat", "concat", "spec"):
        part = getattr(chart, name, None)
        rows += sum(map(_rows, part)) if isinstance(part, list) else 0 if part is None else _rows(part)
    return rows


def _too_many(what: str, count: int, limits: Limits) -> dict[str, Any]:
    return {"type": "text", "data": f"a {what} of {count:,} points; the limit is {limits.points:,} points"}


register_builtin("plotly.basedatatypes.BaseFigure", _plotly, take=_take_plotly)
register_builtin(_Specification, _plotly)
register_builtin("altair.TopLevelMixin", _altair)
