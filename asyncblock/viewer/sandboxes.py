"""Documents for previews that a browser has to run. Each is shown in a sandboxed frame of its own.

The document's policy gives it an opaque origin, even when it is opened outside of the frame, and allows no network. The
page's policy (``pagegate``) lets frames navigate nowhere but to this server; and that answers nothing without the
cookie, which a frame of another origin doesn't have.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..report.iframes import FRAME_POLICY, NO_RTC, STYLE, chart_spec, library, written

__all__ = ["frame_document", "frame_policy", "is_chart", "part_of"]

_NETWORK: Final = (
    "default-src https: http: data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'none'"
)

_DRAW: Final = {
    "plotly": (
        "const s=JSON.parse(document.getElementById('s').textContent);"
        "Plotly.newPlot(document.body.firstElementChild,s.data,s.layout||{},"
        "{responsive:true,displaylogo:false,...(s.config||{})});"
    ),
    "vega": (
        "vegaEmbed(document.body.firstElementChild,JSON.parse(document.getElementById('s').textContent),"
        "{actions:false});"
    ),
}
"""How each library is told to draw."""


def part_of(payload: Any, part: tuple[int, ...]) -> Any:
    """Return a part of a preview: numbers say which one, in groups in groups. Raises ``LookupError``."""
    for number in part:
        if not isinstance(payload, dict) or payload.get("type") != "group":
            raise LookupError("there is no such part")
        payload = payload["data"][number]
    return payload


def frame_policy(*, scripts: bool, network: bool) -> str:
    """Return the policy of a frame's document. ``scripts``, ``network``: the viewer has asked for them."""
    sandbox = "sandbox allow-scripts" if scripts else "sandbox"
    return f"{sandbox}; {_NETWORK if network else FRAME_POLICY}; frame-ancestors 'self'"


def is_chart(payload: Any) -> bool:
    """Tell whether only our own script draws it: that runs without the viewer's consent."""
    beside = payload.get("mime") if isinstance(payload, dict) else None
    return isinstance(beside, dict) and chart_spec(beside) is not None


def frame_document(payload: Any, *, network: bool) -> str | None:
    """Return the document that shows HTML or a chart; None for what is neither."""
    if not isinstance(payload, dict) or payload.get("type") not in ("html", "text/html"):
        return None
    beside = payload.get("mime")
    found = chart_spec(beside) if isinstance(beside, dict) else None
    # With the network allowed it is the author's page unchanged, with its frames.
    if network and found is None:
        return str(payload.get("data", ""))
    if found is not None:
        name, spec = found
        return (
            f"{_head()}<style>html,body,body>div{{margin:0;height:100%}}</style><div></div>"
            f'<script type="application/json" id="s">{_in_script(spec)}</script>'
            f"<script>{library(name)}</script><script>{_DRAW[name]}</script>"
        )
    data = payload.get("data")
    return _head() + written(data) if isinstance(data, str) else None


def _head() -> str:
    return f'<!doctype html><meta charset="utf-8"><title>preview</title>{STYLE}{NO_RTC}'


def _in_script(spec: Any) -> str:
    return orjson.dumps(spec).decode().replace("<", "\\u003c")
