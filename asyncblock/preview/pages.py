"""Charts of bokeh, holoviews, panel and their like: a page that has its library in it where the library can make one.

Bokeh's own scripts have a megabyte; what needs no network is worth it. The rest says that it needs one.
"""

from __future__ import annotations

import io
import re
from importlib import import_module
from typing import Any

from .jupyter import payload_of
from .limits import Limits
from .network import needs_of
from .registry import register_builtin

__all__: list[str] = []


_OF_A_SERVER = re.compile(r"""<script[^>]{0,100} src="static/[^"]*"[^>]{0,100}></script>""")
"""What panel adds where it is imported: a script of its server, for components that bokeh doesn't have."""


def _page(html: str, limits: Limits, *, inline: bool = False) -> dict[str, Any]:
    """Return a page. What is all in it isn't searched: a library's own scripts name many addresses."""
    return payload_of({"text/html": html}, limits, needs={} if inline else needs_of(html))


def _bokeh(model: Any, limits: Limits) -> dict[str, Any]:
    embed, resources = import_module("bokeh.embed"), import_module("bokeh.resources")
    html = embed.file_html(model, resources.INLINE, "asyncblock")
    return _page(_OF_A_SERVER.sub("", html), limits, inline=True)


def _holoviews(value: Any, limits: Limits) -> Any:
    """Return what holoviews draws with, a bokeh, matplotlib or plotly figure: of many frames the first."""
    store = import_module("holoviews").Store
    backend = store.current_backend if store.current_backend in store.renderers else None
    try:
        return import_module("holoviews").render(value, backend=backend or next(iter(store.renderers), "bokeh"))
    except Exception as problem:
        if type(problem).__name__ != "SkipRendering" or not hasattr(value, "dframe"):
            raise
        # It is data, and no drawing.
        return value.dframe()


def _panel(value: Any, limits: Limits) -> dict[str, Any]:
    resources = import_module("bokeh.resources")
    html = _saved(value, resources.INLINE)
    if len(html) <= limits.bytes:
        return _page(html, limits, inline=True)
    return _page(_saved(value, resources.CDN), limits)


def _saved(value: Any, resources: Any) -> str:
    file = io.StringIO()
    value.save(file, resources=resources, title="asyncblock")
    return file.getvalue()


def _molecule(view: Any, limits: Limits) -> dict[str, Any]:
    return _page(view.write_html(), limits)


register_builtin("bokeh.models.layouts.LayoutDOM", _bokeh)
register_builtin("bokeh.models.ui.ui_element.UIElement", _bokeh)


register_builtin("bokeh.document.document.Document", _bokeh)
register_builtin("holoviews.core.dimension.ViewableElement", _holoviews)
register_builtin("holoviews.core.dimension.ViewableTree", _holoviews)
register_builtin("holoviews.core.spaces.HoloMap", _holoviews)
register_builtin("holoviews.core.layout.Layoutable", _holoviews)
register_builtin("panel.viewable.Viewable", _panel)
register_builtin("py3Dmol.view", _molecule)
