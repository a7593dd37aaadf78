"""Plain HTTP on the mainframe's port: health, metrics, bodies. Everything else is a websocket upgrade or a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from ..errors import AsyncBlockError
from ..transport.websocket import HttpAnswer
from .access import Access
from .journal import BodyKey

if TYPE_CHECKING:
    from .mainframe import MainframeServer

__all__ = ["HttpDoor"]


class HttpDoor:
    """Decides about every HTTP request: an answer, or the roles with which a websocket comes in."""

    def __init__(self, server: MainframeServer, access: Access, origins: frozenset[str]) -> None:
        self._server = server
        self._access = access
        self._origins = origins

    async def admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        """Answer a request, or return the caller's roles for a websocket."""
        path = path.split("?", 1)[0]
        if path == "/healthz":
            return self._health()
        roles = self._access.roles_of_headers(headers)
        if roles is None:
            return HttpAnswer(401, b"a valid token is needed: 'Authorization: Bearer TOKEN'\n")
        if headers.get("upgrade", "").lower() == "websocket":
            origin = headers.get("origin")
            if origin is not None and origin not in self._origins:
                return HttpAnswer(403, b"this origin may not connect; allow it with --origin\n")
            return roles
        if path == "/metrics":
            return HttpAnswer(200, self._metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path.startswith("/bodies/") and roles & {"client", "observer"}:
            return await self._body(path.removeprefix("/bodies/"))
        return HttpAnswer(404, b"there is /healthz, /metrics, /bodies/LINK-N, and a websocket at /\n")

    def _health(self) -> HttpAnswer:
        trouble = self._server.trouble
        body = orjson.dumps({"status": "ok" if trouble is None else "trouble", "trouble": trouble})
        return HttpAnswer(200 if trouble is None else 503, body, "application/json")

    def _metrics(self) -> str:
        sessions = self._server.sessions
        states = Counter(row.state for row in sessions.rows.values())
        links = sessions.dispatch.links.values()
        figures = {
            "asyncblock_connections": self._server.gateway.connections,
            "asyncblock_jobs_open": sum(link.load for link in links),
            "asyncblock_executors": sum(link.executor is not None and link.connection is not None for link in links),
            "asyncblock_journal_queued_bytes": self._server.journal.queued_bytes,
        }
        lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in figures.items()]
        lines.append("# TYPE asyncblock_sessions gauge")
        lines += [f'asyncblock_sessions{{state="{state}"}} {count}' for state, count in sorted(states.items())]
        return "\n".join(lines) + "\n"

    async def _body(self, name: str) -> HttpAnswer:
        link, _, number = name.rpartition("-")
        if not (link.isalnum() and number.isdigit()):
            return HttpAnswer(404, b"a body is named LINK-N\n")
        try:
            data = await self._server.journal.bodies.read(BodyKey(link, int(number)), 0, 256 << 20)
        except (AsyncBlockError, OSError):
            return HttpAnswer(404, b"no such body\n")
        return HttpAnswer(200, data, "application/octet-stream")
