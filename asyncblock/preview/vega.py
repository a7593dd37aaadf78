"""Altair's charts, as Vega-Lite. Altair's limit of rows is lifted while a chart is encoded; ours holds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from .charts import chart_payload, too_many
from .limits import Limits
from .registry import register_builtin
from .renderer import Rendering
from .vegapicture import VegaLite, can_draw

__all__: list[str] = []

_PAGE = """<div id="PLACE"></div>
<script src="https://cdn.jsdelivr.net/npm/vega@VEGA"></script>
<script src="https://cdn.jsdelivr.net/npm/vega-lite@LITE"></script>
<script src="https://cdn.jsdelivr.net/npm/vega-embed@EMBED"></script>
<script>
vegaEmbed("#PLACE", SPECIFICATION, {mode: "vega-lite"});
</script>"""

_SECONDS = 10.0
"""Seconds that a picture beside a chart may take; the chart is shown without it if necessary."""

_lifting = threading.Lock()
"""Held while Altair's data transformer, which is global, is replaced."""


def _altair(chart: Any, limits: Limits) -> dict[str, Any]:
    rows = _rows(chart)
    if rows > limits.points:
        return too_many("chart", rows, limits)
    altair = sys.modules["altair"]
    with _lifting, _without_limit(altair):
        specification = chart.to_dict()
    schema = str(specification.get("$schema", "")).rpartition("/")[2].removesuffix(".json")
    version = schema.partition(".")[0] or "v5"
    page = _PAGE
    for name in ("VEGA", "LITE", "EMBED"):
        attribute = "VEGA_VERSION" if name == "VEGA" else f"VEGA{name}_VERSION"
        page = page.replace(f"@{name}", f"@{getattr(altair, attribute, '6')}")
    media_type = f"application/vnd.vegalite.{version}+json"
    payload = chart_payload(specification, media_type, page, limits)
    made = payload.get("mime", {}).get(media_type)
    if made is not None and can_draw():
        payload["mime"]["image/png"] = _picture(VegaLite(made.data, schema.lstrip("v")), limits)
    return payload


def _picture(chart: VegaLite, limits: Limits) -> Rendering:
    picture = Rendering(chart, replace(limits, seconds=min(limits.seconds, _SECONDS)))
    picture.beside = True
    return picture


def _without_limit(altair: Any) -> AbstractContextManager[Any]:
    if altair.data_transformers.active != "default":
        # The author's own choice.
        return nullcontext()
    lifted: AbstractContextManager[Any] = altair.data_transformers.enable("default", max_rows=None)
    return lifted


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


def _of_widget(widget: Any, limits: Limits) -> Any:
    """A chart that is live in a notebook is shown in its present state."""
    return widget.chart


register_builtin("altair.TopLevelMixin", _altair)
register_builtin("altair.jupyter.jupyter_chart.JupyterChart", _of_widget)
