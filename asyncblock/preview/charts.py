"""Charts that a browser draws: plotly's as HTML, Vega's (altair) as HTML; both with their specification beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .jupyter import payload_of
from .limits import Limits
from .registry import register_builtin

__all__: list[str] = []


_TAKEN_POINTS = 20_000
"""Points up to which a figure is copied at the call."""


@dataclass(frozen=True, slots=True)
class _Specification:
    """A plotly figure as it was at the call."""

    content: dict[str, Any]


def _take_plotly(figure: Any, limits: Limits) -> Any:
    points = _points(figure)
    return _Specification(figure.to_dict()) if points <= min(_TAKEN_POINTS, limits.points) else figure


def _points(figure: Any) -> int:
    return sum(max(map(len, _arrays(trace)), default=0) for trace in figure.data)


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


def _arrays(trace: Any) -> Iterator[Any]:
    values = trace.values() if isinstance(trace, Mapping) else [trace[name] for name in trace]
    for value in values:
        if hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping)):
            yield value


def _altair(chart: Any, limits: Limits) -> dict[str, Any]:
    data = getattr(chart, "data", None)
    rows = len(data) if data is not None and hasattr(data, "__len__") else 0
    if rows > limits.points:
        return _too_many("chart", rows, limits)
    specification = chart.to_dict()
    version = str(specification.get("$schema", "")).rpartition("/")[2].partition(".")[0] or "v5"
    bundle = {"text/html": chart.to_html(), f"application/vnd.vegalite.{version}+json": specification}
    return payload_of(bundle, limits)


def _too_many(what: str, count: int, limits: Limits) -> dict[str, Any]:
    return {"type": "text", "data": f"a {what} of {count:,} points; the limit is {limits.points:,} points"}


register_builtin("plotly.basedatatypes.BaseFigure", _plotly, take=_take_plotly)
register_builtin(_Specification, _plotly)
register_builtin("altair.TopLevelMixin", _altair)
