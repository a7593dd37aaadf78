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


FIGURES: Mapping[str, Callable[[], list[Any]]] = {
    "figure": lambda: [_lines()],
    "ten_figures": lambda: [_lines() for _ in range(10)],
    "subplots_6x6": lambda: [_subplots()],
    "line_1M_points": lambda: [_long_line()],
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
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def encode(value: Any) -> bytes:
    """Encode a value in one call."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
