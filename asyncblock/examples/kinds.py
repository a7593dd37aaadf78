"""One value of every kind of thing that previews show, with what it is shown as: what ``gallery`` runs and tests.

A kind is made in the block that shows it, by the library that it is of; nothing is imported before that.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["KINDS", "Kind", "missing"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value."""

    make: Callable[[], Any]
    libraries: tuple[str, ...]
    """Modules that it needs."""
    type: str
    """The type of its preview."""
    shown: str
    left_out: str = ""
    """What isn't shown of it."""


def missing(kind: Kind) -> list[str]:
    """Return which of a kind's libraries aren't installed."""
    return [name for name in kind.libraries if find_spec(name) is None]


def _frame() -> Any:
    return import_module("pandas").DataFrame(
        {"day": range(1, 31), "price": [n * n % 17 for n in range(30)], "kind": "xyz" * 1}
    )


def _axes() -> Any:
    figure = import_module("matplotlib.figure").Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([1, 3, 2, 4], label="a legend outside")
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
    return axes


def _animation() -> Any:
    axes = _axes()
    [line] = axes.plot([0], [0])
    return import_module("matplotlib.animation").FuncAnimation(
        axes.figure, lambda n: line.set_data([0, n], [1, 4]), frames=range(1, 4), interval=200
    )


def _photo(mode: str = "RGB") -> Any:
    return import_module("PIL.Image").linear_gradient("L").convert(mode)


def _moving() -> Any:
    file = io.BytesIO()
    frames = [_photo().rotate(90 * n) for n in range(4)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)
    return import_module("PIL.Image").open(io.BytesIO(file.getvalue()))


def _png() -> bytes:
    file = io.BytesIO()
    _photo().save(file, "PNG")
    return file.getvalue()


def _colours(scale: float, kind: str) -> Any:
    numpy = import_module("numpy")
    return (numpy.indices((64, 96)).sum(axis=0)[..., None] / 160 * numpy.array([1, 0.6, 0.2]) * scale).astype(kind)


def _chart() -> Any:
    return import_module("altair").Chart(_frame()).mark_line().encode(x="day", y="price")


def _plotly() -> Any:
    return import_module("plotly.graph_objects").Figure({"data": [{"type": "scatter", "y": [1, 3, 2]}]})


def _bokeh() -> Any:
    figure = import_module("bokeh.plotting").figure(width=300, height=200)
    figure.line([1, 2, 3], [1, 3, 2])
    return figure


def _nanoseconds() -> Any:
    polars = import_module("polars")
    moments = polars.Series("moment", [1714566600123456789]).cast(polars.Datetime("ns"))
    return polars.DataFrame([moments, polars.Series("days", [[1, 2]])])


def _facets() -> Any:
    return import_module("seaborn").relplot(_frame(), x="day", y="price", height=2)


def _objects() -> Any:
    objects = import_module("seaborn.objects")
    return objects.Plot(_frame(), x="day", y="price").add(objects.Line())


def _ggplot() -> Any:
    plotnine = import_module("plotnine")
    return plotnine.ggplot(_frame(), plotnine.aes("day", "price")) + plotnine.geom_line()


def _tree() -> Any:
    return import_module("sklearn.tree").DecisionTreeClassifier().fit([[0], [1]], [0, 1])


def _words() -> Any:
    return import_module("wordcloud").WordCloud(width=200, height=100).generate("show what people really show")


def _deck() -> Any:
    pydeck = import_module("pydeck")
    return pydeck.Deck(layers=[pydeck.Layer("ScatterplotLayer", data=[{"at": [0, 0]}], get_position="at")])


def _molecule() -> Any:
    view = import_module("py3Dmol").view()
    view.addModel("1\n\nC 0 0 0", "xyz")
    return view


class _Displays:
    """An object that offers nothing, and displays itself."""

    def _ipython_display_(self) -> None:
        display = import_module("IPython.display")
        display.display(display.HTML("<b>displayed</b>"), _frame().head(2))


def _sympy() -> Any:
    sympy = import_module("sympy")
    return sympy.plot(sympy.Symbol("x") ** 2, show=False)


def _of(module: str, name: str, *arguments: Any, **named: Any) -> Callable[[], Any]:
    def make() -> Any:
        return getattr(import_module(module), name)(*arguments, **named)

    return make


_MPL = ("matplotlib",)

KINDS: dict[str, Kind] = {
    "text": Kind(lambda: "a text", (), "text", "as it is", "more than 8 MiB"),
    "json": Kind(lambda: {"a": [1, 2.5, None]}, (), "json", "as it is", "more than 8 MiB"),
    "typed": Kind(lambda: {"type": "markdown", "data": "**bold**"}, (), "markdown", "as its type says"),
    "frame": Kind(_frame, ("pandas",), "table", "ten rows, or both ends", "cells over 1,000 characters"),
    "styled": Kind(
        lambda: _frame().style.format(precision=1), ("pandas", "jinja2"), "html", "its style", "rows over 400 cells"
    ),
    "index": Kind(lambda: _frame().index, ("pandas",), "table", "as a column"),
    "categorical": Kind(_of("pandas", "Categorical", ["a", "b", "a"]), ("pandas",), "table", "as a column"),
    "groups": Kind(lambda: _frame().groupby("kind"), ("pandas",), "table", "the sizes of the groups"),
    "polars": Kind(_nanoseconds, ("polars",), "table", "with nanoseconds and nested values"),
    "lazy": Kind(lambda: _nanoseconds().lazy(), ("polars",), "text", "its columns", "its rows: it isn't collected"),
    "arrow": Kind(_of("pyarrow", "table", {"a": [[1], None]}), ("pyarrow",), "table", "with nanoseconds and tensors"),
    "narwhals": Kind(
        lambda: import_module("narwhals").from_native(_frame()), ("narwhals", "pandas"), "table", "the frame in it"
    ),
    "array": Kind(
        _of("numpy", "arange", 12.0), ("numpy",), "table", "one or two dimensions", "more dimensions but for a corner"
    ),
    "colours": Kind(lambda: _colours(1, "float64"), ("numpy",), "image", "0 to 1, 0 to 255, 16 bits, or stretched"),
    "grey": Kind(
        lambda: {"type": "image", "data": _colours(1e6, "float32")[..., 0]}, ("numpy",), "image", "the finite numbers"
    ),
    "picture": Kind(_photo, ("PIL",), "image", "turned as EXIF says", "more than 4 Mpx and 8 MiB"),
    "picture of 16 bits": Kind(
        lambda: _photo("I").convert("I;16"), ("PIL",), "image", "from its darkest to its brightest"
    ),
    "moving picture": Kind(_moving, ("PIL",), "image", "moving", "frames beyond 60 of a large one"),
    "bytes of a picture": Kind(_png, ("PIL",), "image", "PNG, JPEG, GIF, WebP, BMP, AVIF, SVG"),
    "figure": Kind(lambda: _axes().figure, _MPL, "image", "with all that is outside of the axes"),
    "axes": Kind(_axes, _MPL, "image", "their figure"),
    "lines": Kind(lambda: _axes().plot([1, 2]), _MPL, "image", "their figure, once"),
    "animation": Kind(_animation, _MPL, "image", "30 frames"),
    "several figures": Kind(
        lambda: {"a": _axes().figure, "b": _axes().figure}, _MPL, "image", "each with its key", "beyond 20"
    ),
    "several things": Kind(
        lambda: [_frame(), _axes().figure], ("pandas", *_MPL), "group", "each with its key", "beyond 20"
    ),
    "seaborn": Kind(_facets, ("seaborn",), "image", "its figure"),
    "seaborn objects": Kind(_objects, ("seaborn",), "image", "drawn in the worker process"),
    "palette": Kind(_of("seaborn", "color_palette", "deep"), ("seaborn",), "html", "its colours"),
    "plotnine": Kind(_ggplot, ("plotnine",), "image", "drawn in the worker process"),
    "plot of sympy": Kind(_sympy, ("sympy", *_MPL), "image", "as its `show` draws it"),
    "plotly": Kind(_plotly, ("plotly",), "html", "its specification, and a page", "more than 200,000 values"),
    "altair": Kind(
        _chart,
        ("altair", "pandas"),
        "html",
        "its specification, a page, and a picture where vl-convert is",
        "more than 200,000 rows",
    ),
    "bokeh": Kind(_bokeh, ("bokeh",), "html", "a page with all in it"),
    "holoviews": Kind(
        _of("holoviews", "Curve", [1, 3, 2]),
        ("holoviews", "bokeh"),
        "html",
        "a page with all in it",
        "frames but the first",
    ),
    "panel": Kind(
        lambda: import_module("panel").Column("# A title"),
        ("panel",),
        "html",
        "a page with all in it",
        "what needs a server",
    ),
    "xarray": Kind(_of("xarray", "Dataset", {"a": ("x", [1, 2])}), ("xarray",), "html", "as in a notebook"),
    "model": Kind(_tree, ("sklearn",), "html", "as in a notebook"),
    "statsmodels": Kind(
        lambda: import_module("statsmodels.api").OLS([1, 2, 4], [[1, 1], [1, 2], [1, 3]]).fit(),
        ("statsmodels",),
        "html",
        "its summary",
    ),
    "graph": Kind(_of("networkx", "path_graph", 4), ("networkx",), "table", "its edges", "a drawing"),
    "words": Kind(_words, ("wordcloud",), "image", "its picture"),
    "great table": Kind(
        lambda: import_module("great_tables").GT(_frame().head(3)),
        ("great_tables", "pandas"),
        "html",
        "as in a notebook",
        "the style beyond 400 cells",
    ),
    "rich": Kind(_of("rich.json", "JSON", '{"a": [1, 2]}'), ("rich",), "html", "as in a terminal"),
    "displayed": Kind(_Displays, ("IPython", "pandas"), "group", "what it displays by IPython's `display`"),
    "tabulate": Kind(_of("tabulate", "tabulate", [[1, 2]], tablefmt="html"), ("tabulate",), "html", "as in a notebook"),
    "widget": Kind(
        _of("ipywidgets", "IntSlider", value=5), ("ipywidgets",), "text", "what it is set to", "what needs a kernel"
    ),
    "itables": Kind(
        lambda: import_module("itables.widget").ITable(_frame()),
        ("itables", "anywidget", "pandas"),
        "table",
        "its frame",
    ),
    "map": Kind(lambda: import_module("folium").Map([0, 0]), ("folium",), "html", "a page that needs the network"),
    "deck": Kind(_deck, ("pydeck",), "html", "a page that needs the network"),
    "molecule": Kind(_molecule, ("py3Dmol",), "html", "a page that needs the network"),
}
