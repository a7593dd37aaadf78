"""The files of which the page is made up."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ..page.graphview import GRAPH_STYLE
from ..report.document import asset as report_asset
from .answering import problem
from .loginpages import asset

__all__ = ["HTML", "index", "static"]

HTML: Final = "text/html; charset=utf-8"

_TYPES: Final = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "html": HTML,
    "svg": "image/svg+xml",
}
_FILES: Final = (
    "page.css", "main.js", "dom.js", "words.js", "api.js", "link.js", "sessions.js", "rows.js", "session.js",
    "graph.js", "nodes.js", "node.js", "pace.js", "previews.js", "log.js", "values.js", "timeline.js", "travel.js",
    "again.js", "form.js", "executors.js", "icon.svg",
)  # fmt: skip


async def index(request: Request) -> Response:
    """Return the page."""
    return Response(asset("index.html"), media_type=HTML)


async def static(request: Request) -> Response:
    """Return one of its files, or of the report's."""
    name = request.path_params["name"]
    if name == "report.css":
        content: bytes = (report_asset("report.css") + GRAPH_STYLE).encode()
    elif name in _FILES:
        content = asset(name)
    else:
        return problem("there is no such file", 404)
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers={"cache-control": "no-cache"})
