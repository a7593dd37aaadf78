"""What the stall benchmark makes a block do: figures to draw, large values to send."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import orjson

__all__ = ["FIGURES", "VALUES", "draw", "encode"]


def _figure(width: float = 8, height: float = 6) -> Any:
    return import_module("matplotlib.figure").Figure(figsize=(width, height), dpi=150)


def _lines() -> Any:
    """10 lines of 2000 points."""
    numpy = import_module("numpy")
    figure = _figure()
    axes = figure.subplots()
    x = numpy.linspace(0, 20, 2000)
    for shift in range(10):
        axes.plot(x, numpy.sin(x + shift) * shift)
    return figure


def _subplots() -> Any:
    """6 x 6 axes with a line each."""
    numpy = import_module("numpy")
    figure = _figure(12, 12)
    for number, axes in enumerate(figure.subplots(6, 6).flat):
        axes.plot(numpy.cumsum(numpy.cos(numpy.arange(300) * number)))
    return figure


def _long_line() -> Any:
    """A line of a million points."""
    numpy = import_module("numpy")
    figure = _figure()
    figure.subplots().plot(numpy.cumsum(numpy.random.default_rng(1).normal(size=1_000_000)))
    return figure


def _traces() -> Any:
    """100 traces of 50 points, of plotly."""
    graphs = import_module("plotly.graph_objects")
    return graphs.Figure([graphs.Scatter(x=list(range(50)), y=list(range(50))) for _ in range(100)])


def _styled() -> Any:
    """5000 x 10 numbers in pandas' Styler."""
    numbers = import_module("numpy").random.default_rng(1).normal(size=(5000, 10))
    return import_module("pandas").DataFrame(numbers).style.background_gradient()


def _sixteen_bits() -> Any:
    """49 million pixels of 16 bits."""
    numpy = import_module("numpy")
    return import_module("PIL.Image").fromarray(numpy.arange(7000 * 7000, dtype="uint16").reshape(7000, 7000))


def _facets() -> Any:
    """200 points in two facets, of plotnine."""
    plotnine = import_module("plotnine")
    frame = import_module("pandas").DataFrame({"x": range(200), "y": range(200), "g": list("ab") * 100})
    return plotnine.ggplot(frame, plotnine.aes("x", "y")) + plotnine.geom_point() + plotnine.facet_wrap("g")


def _rows() -> Any:
    """A million rows of numbers, times and texts, of pandas."""
    pandas, numpy = import_module("pandas"), import_module("numpy")
    numbers = numpy.arange(1_000_000)
    when = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(numbers, unit="s")
    return pandas.DataFrame({"a": numbers, "b": numbers / 7, "when": when, "text": "row"})


FIGURES: Mapping[str, Callable[[], list[Any]]] = {
    "figure": lambda: [_lines()],
    "ten_figures": lambda: [_lines() for _ in range(10)],
    "subplots_6x6": lambda: [_subplots()],
    "line_1M_points": lambda: [_long_line()],
    "plotly_100_traces": lambda: [_traces()],
    "styler_5000": lambda: [_styled()],
    "i16_49mpx": lambda: [_sixteen_bits()],
    "plotnine": lambda: [_facets()],
    "table_1M_rows": lambda: [_rows()],
}


def _nested() -> Any:
    """About 60 MB of JSON: records with texts, numbers and lists."""
    return [
        {"id": number, "name": f"row {number}", "score": number / 7, "tags": ["a", "b", str(number)], "ok": True}
        for number in range(700_000)
    ]


def _array() -> Any:
    return import_module("numpy").random.default_rng(1).normal(size=5_000_000)


VALUES: Mapping[str, Callable[[], Any]] = {"nested_60MB": _nested, "numpy_5M": _array}


def draw(figure: Any) -> bytes:
    """Draw a figure as everybody does."""
    buffer = io.BytesIO()
    if hasattr(figure, "to_html"):
        return str(figure.to_html()).encode()
    save = figure.savefig if hasattr(figure, "savefig") else figure.save
    save(buffer, format="png")
    return buffer.getvalue()


def encode(value: Any) -> bytes:
    """Encode a value in one call."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
