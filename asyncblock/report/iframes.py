"""Frames for what a block made to be run by a browser: HTML, and charts by their specification.

A frame has an origin of its own and a policy that knows no network. A frame's policy is that of the page that holds it
and its own together, so a page with frames that run scripts has to allow inline ones itself (``document``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson

from ..page.markup import Markup, el

__all__ = ["FRAME_POLICY", "NO_RTC", "STYLE", "chart", "chart_spec", "frame", "library", "runs_scripts", "written"]

FRAME_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; media-src data: blob:; worker-src 'none'"
)

STYLE: Final = (
    "<style>html{color-scheme:light;background:#fff;font:14px/1.45 system-ui,sans-serif}body{margin:8px}"
    "table{border-collapse:collapse}</style>"
)
"""The look of HTML that has no styles of its own."""

NO_RTC: Final = """<script>(()=>{
for(const n of ['RTCPeerConnection','webkitRTCPeerConnection'])delete window[n];
const run=Reflect.apply,make=Object.defineProperty,find=Document.prototype.querySelectorAll,
 inside=DocumentFragment.prototype.querySelectorAll,remove=Element.prototype.remove,
 observe=MutationObserver.prototype.observe,shadow=Element.prototype.attachShadow,Watcher=MutationObserver;
const watch=(root,all)=>run(observe,new Watcher(()=>{
 const found=run(all,root,['iframe,frame,object,embed']);
 for(let i=0;i<found.length;i++)run(remove,found[i],[]);
}),[root,{childList:true,subtree:true}]);
watch(document,find);
Element.prototype.attachShadow=function(how){const root=run(shadow,this,[how]);watch(root,inside);return root};
for(const n of ['setHTMLUnsafe'])for(const c of [Element,ShadowRoot])delete c.prototype[n];
delete Document.parseHTMLUnsafe;
for(const n of ['write','writeln'])make(document,n,{value(){throw new Error('document.write is not there')}});
})()</script>"""
"""Takes WebRTC away, by which a script could send datagrams: no content policy of today's browsers forbids it. A frame
within the frame would have it again, so such frames are removed before they load, also from shadow trees; those that
HTML declares are taken out by ``written``."""

_HEAD: Final = (
    f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{FRAME_POLICY}">'
    '<meta http-equiv="x-dns-prefetch-control" content="off"><meta name="referrer" content="no-referrer">'
    f"{STYLE}{NO_RTC}"
)

_CHARTS: Final = {
    "application/vnd.plotly.v1+json": "plotly",
    "application/vnd.vegalite.v5+json": "vega",
    "application/vnd.vegalite.v6+json": "vega",
    "application/vnd.vega.v5+json": "vega",
    "application/vnd.vega.v6+json": "vega",
}


_DECLARED = re.compile("shadowroot", re.IGNORECASE)


def written(html: str) -> str:
    """Return a block's HTML without declared shadow trees: ``NO_RTC`` couldn't look for frames in them."""
    return _DECLARED.sub("shadow-root", html)


def runs_scripts(html: str) -> bool:
    """Tell whether HTML needs scripts. If this says no, it is shown in a frame that runs none."""
    return "<script" in html.lower()


def frame(html: str, title: str, *, scripts: bool) -> Markup:
    """Return a frame that shows HTML of a block's. Scripts in it run when somebody clicks for that."""
    ask = el("button", "Run its scripts", type="button", class_="run") if scripts else None
    words = "They run in a frame of no origin, without the page's network." if scripts else None
    shown = el(
        "iframe", sandbox="", srcdoc=_HEAD + written(html), title=title, loading="lazy", referrerpolicy="no-referrer"
    )
    return el("div", el("p", ask, " ", words, class_="note"), shown) if scripts else shown


def chart(beside: Mapping[str, Any], title: str) -> tuple[Markup, str] | None:
    """Return the place of a chart and the library that draws it; None where there is no specification, or no library.

    The page's script makes the frame when the chart comes into view: the library stands in the page once.
    """
    found = chart_spec(beside)
    if found is None:
        return None
    name, spec = found
    text = orjson.dumps(spec).decode()
    return el("div", class_="chart", data_draws=name, data_spec=text, data_title=title, role="img"), name


def chart_spec(beside: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the library that draws a chart, and its specification; None where one of them isn't there."""
    for media_type, name in _CHARTS.items():
        found = beside.get(media_type)
        if found is None:
            continue
        if isinstance(found, str):
            try:
                found = orjson.loads(found)
            except ValueError:
                continue
        if library(name) is not None:
            return name, found
    return None


@cache
def library(name: str) -> str | None:
    """Return a chart library's script, from the package that ships it; None where it isn't installed."""
    if name == "plotly":
        spec = find_spec("plotly")
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(place) / "package_data" / "plotly.min.js"
            if path.is_file():
                return _in_script(path.read_text("utf-8"))
        return None
    try:
        bundle = import_module("vl_convert").javascript_bundle
    except (ModuleNotFoundError, AttributeError):
        return None
    return _in_script(bundle())


def _in_script(source: str) -> str:
    """Return a script that a script element may hold: nothing in it ends the element."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")
