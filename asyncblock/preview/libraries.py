"""Values of libraries that offer nothing to Jupyter, by what they can be turned into: a frame, a picture, a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from ..values.brought import brought
from .cells import cell, label, safe_repr
from .framerows import index_rows
from .jupyter import is_offering, text_payload
from .limits import Limits
from .registry import register_builtin
from .rows import TableRows, beside
from .table import frame_payload, made_table, rows_payload

__all__: list[str] = []

_ATTRIBUTES = 20
"""Attributes of a graph's edges that are shown."""


def _graph(graph: Any, limits: Limits) -> dict[str, Any]:
    """Show a graph's edges; of one without any its nodes."""
    nodes, edges = graph.number_of_nodes(), graph.number_of_edges()
    note = f"a {type(graph).__name__} of {nodes:,} nodes and {edges:,} edges"
    if not edges:
        return {**_first(["node"], graph.nodes, lambda node: [cell(node, limits)], nodes, limits), "note": note}
    found = graph.edges(data=True)
    shown = islice(found, limits.whole + 1)
    names = list(dict.fromkeys(name for *_, attributes in shown for name in attributes))[:_ATTRIBUTES]

    def row(edge: Any) -> list[Any]:
        source, target, attributes = edge
        return [cell(source, limits), cell(target, limits), *(cell(attributes.get(name), limits) for name in names)]

    columns = ["source", "target", *(label(name, limits) for name in names)]
    return {**_first(columns, found, row, edges, limits), "note": note}


def _first(
    columns: list[Any], found: Iterable[Any], row: Callable[[Any], list[Any]], count: int, limits: Limits
) -> dict[str, Any]:
    """Return the first rows: to get at the last ones of a graph, all are made."""
    whole = count <= limits.whole
    head = [row(each) for each in islice(found, limits.whole if whole else 2 * limits.ends)]
    table = made_table(columns, head, None if whole else [], count, len(columns), limits)
    again = iter(found)
    rows = TableRows(count, lambda start, stop: [row(each) for each in islice(again, stop - start)])
    return {"type": "table", "data": table, **beside(rows, limits)}


def _picture(value: Any, limits: Limits) -> Any:
    return value.to_image() if getattr(value, "layout_", None) is not None else repr(type(value).__name__)


def _summary(results: Any, limits: Limits) -> Any:
    """Return what statsmodels shows of results; its own has a method for Jupyter."""
    return results.summary()


def _is_result(value: Any) -> bool:
    """Tell whether a value is of statsmodels, and says itself what it has found."""
    kind = type(value)
    return kind.__module__.startswith("statsmodels.") and (hasattr(kind, "summary_frame") or hasattr(kind, "summary"))


def _found(results: Any, limits: Limits) -> Any:
    for name in ("summary_frame", "summary"):
        try:
            return getattr(results, name)()
        except (AttributeError, NotImplementedError):
            # A test of several conditions at once has no frame.
            continue
    return text_payload(safe_repr(results, limits.text), limits)


def _components(results: Any, limits: Limits) -> Any:
    """Return the parts of a series that statsmodels has decomposed, side by side."""
    parts = {name: getattr(results, name) for name in ("observed", "trend", "seasonal", "resid")}
    return brought("pandas", "DataFrame").DataFrame(parts)


def _native(value: Any, limits: Limits) -> Any:
    """Return the frame or the series that narwhals has around it."""
    return value.to_native()


def _index(index: Any, limits: Limits) -> dict[str, Any]:
    # An index is never changed; only the beginning of it is made a frame, for the labels.
    columns = [label(column, limits) for column in index[:1].to_frame(index=False).columns]
    read = index_rows(index, limits)
    return rows_payload(columns, len(index), read, len(columns), limits)


def _extension(array: Any, limits: Limits) -> Any:
    """Return pandas' arrays, Categorical among them, as a series."""
    pandas = brought("pandas", "Series")
    return pandas.Series(array, name="value")


def _plot(plot: Any, limits: Limits) -> Any:
    """Draw a plot of sympy's with matplotlib, as its ``show`` does, and put the figure away again."""
    # Before 1.13 the plot has a class that draws it; since then it is of that class.
    drawn = plot if hasattr(plot, "process_series") else plot.backend(plot)
    if not hasattr(drawn, "process_series"):
        return text_payload(str(plot), limits)
    drawn.process_series()
    drawn.close()
    return drawn.fig


def _display_object(shown: Any, limits: Limits) -> Any:
    """Return what a display object holds that offers nothing to Jupyter: scripts aren't run."""
    for name in ("data", "url", "filename"):
        if isinstance(found := getattr(shown, name, None), str):
            return text_payload(found, limits)
    return text_payload(safe_repr(shown, limits.text), limits)


def _is_display_object(value: Any) -> bool:
    base = brought("IPython.core.display", "DisplayObject")
    return base is not None and isinstance(value, base.DisplayObject) and not is_offering(value)


def _live(live: Any, limits: Limits) -> Any:
    """Return what rich would draw of a live display now."""
    return live.get_renderable()


def _pretty(text: Any, limits: Limits) -> dict[str, Any]:
    """Return what IPython would print."""
    return text_payload(str(text.data), limits)


def _windows(groups: Any, limits: Limits) -> Any:
    """Show how many rows each group of polars or narwhals has that can only be asked for by an aggregation."""
    return groups.agg(brought(type(groups).__module__.partition(".")[0], "len").len())


def _groups(groups: Any, limits: Limits) -> dict[str, Any]:
    """Show how many rows each group has."""
    sizes = groups.size() if hasattr(groups, "size") else groups.len()
    return {**frame_payload(sizes, limits), "note": f"the sizes of the groups of a {type(groups).__name__}"}


register_builtin("networkx.classes.graph.Graph", _graph)
register_builtin("wordcloud.wordcloud.WordCloud", _picture)
register_builtin("statsmodels.base.wrapper.ResultsWrapper", _summary)
register_builtin("statsmodels.base.model.Results", _summary)
for _name in ("dataframe.BaseFrame", "series.Series"):
    register_builtin(f"narwhals.{_name}", _native)
for _name in ("backends.base_backend.Plot", "plot.Plot"):
    register_builtin(f"sympy.plotting.{_name}", _plot)
register_builtin("rich.live.Live", _live)
register_builtin("IPython.core.display.Pretty", _pretty)
register_builtin(_is_display_object, _display_object)
register_builtin("pandas.Index", _index)
register_builtin("pandas.api.extensions.ExtensionArray", _extension)
register_builtin("pandas.core.groupby.groupby.BaseGroupBy", _groups)
register_builtin("polars.dataframe.group_by.GroupBy", _groups)
for _name in ("dataframe.group_by.Rolling", "dataframe.group_by.Dynamic", "lazyframe.group_by.Lazy"):
    register_builtin(f"polars.{_name}GroupBy", _windows)
register_builtin("narwhals.group_by.GroupBy", _windows)
register_builtin("statsmodels.tsa.seasonal._seasonal.DecomposeResult", _components)
register_builtin("statsmodels.tsa.seasonal.DecomposeResult", _components)
register_builtin(_is_result, _found)
