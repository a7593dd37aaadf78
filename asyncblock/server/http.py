"""Plain HTTP on the mainframe's port: health, metrics, bodies. Everything else is a websocket upgrade or a mistake.

The names under ``/metrics`` are promises: ``_FIGURES`` says what each of them is.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import orjson

from ..errors import AsyncBlockError
from ..transport.websocket import HttpAnswer
from .access import Access
from .bounds import MAX_HTTP_BODY
from .gateway import Gateway
from .journal import RUNNING, BodyKey, Journal
from .journal.trouble import DISK_ERRORS
from .sessions import Sessions

__all__ = ["HttpDoor"]

logger = logging.getLogger("asyncblock.server")


_FIGURES = {
    "loop_lag_seconds": "How late the event loop ran when it was last measured; once a second.",
    "connections": "Open connections.",
    "links": "Links that are remembered, connected or not.",
    "executors": "Connected executors.",
    "jobs_open": "Jobs that executors hold.",
    "jobs_waiting": "Jobs that wait for an executor.",
    "leases_running_out": "Executors that are away and hold jobs.",
    "journal_queued_bytes": "Bytes of records that wait for the disk.",
    "bodies_queued_bytes": "Bytes of large values that wait for the disk.",
    "var_values_bytes": "Bytes of var values in the memory of connected executors, as they said last.",
    "var_values_limit_bytes": "Bytes of var values that they may hold.",
    "values_bytes": "Bytes of recent values kept in memory for jobs that will take them.",
    "trouble": "1 while nothing is accepted because the disk refuses.",
    "received_bytes_total": "Bytes of records and large values taken in.",
    "acks_total": "Acknowledgements sent.",
}

_READING = 4
"""Bodies that are read at once; others wait."""

_UNDER_WAY = 64 << 20
"""Bytes of bodies in answers that wait for their sockets, of all who ask; more of them are asked for later."""

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})?")
"""The one form of a range that is understood; others are answered as if there were none."""


class Served(Protocol):
    """The mainframe behind the door: a ``mainframe.MainframeServer``, of which this is told."""

    trouble: str | None
    lag: float

    @property
    def sessions(self) -> Sessions:
        """Its sessions."""
        ...

    @property
    def gateway(self) -> Gateway:
        """Its connections."""
        ...

    @property
    def journal(self) -> Journal:
        """Where it writes."""
        ...


class HttpDoor:
    """Decides about every HTTP request: an answer, or the roles with which a websocket comes in."""

    def __init__(self, server: Served, access: Access, origins: frozenset[str]) -> None:
        self._server = server
        self._access = access
        self._origins = origins
        self._reading = asyncio.Semaphore(_READING)
        self._under_way = 0
        """Bytes of bodies that their askers' sockets haven't taken yet."""

    async def admit(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | object:
        """Answer a request, or return the caller's roles for a websocket."""
        path = path.split("?", 1)[0]
        if path == "/healthz":
            return self._health()
        caller = self._access.principal(headers)
        if caller is None:
            return HttpAnswer(401, b"a valid token is needed: 'Authorization: Bearer TOKEN'\n")
        if headers.get("upgrade", "").lower() == "websocket":
            origin = headers.get("origin")
            if origin is not None and origin not in self._origins:
                return HttpAnswer(403, b"this origin may not connect; allow it with --origin\n")
            return caller
        if path == "/metrics":
            return HttpAnswer(200, self._metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
        if path.startswith("/bodies/") and caller.roles & {"client", "observer"}:
            return await self._body(path.removeprefix("/bodies/"), headers.get("range", ""))
        return HttpAnswer(404, b"there is /healthz, /metrics, /bodies/LINK-N, and a websocket at /\n")

    def _health(self) -> HttpAnswer:
        trouble = self._server.trouble
        body = orjson.dumps({"status": "ok" if trouble is None else "trouble", "trouble": trouble})
        return HttpAnswer(200 if trouble is None else 503, body, "application/json")

    def _metrics(self) -> str:
        server, sessions = self._server, self._server.sessions
        states = sessions.ended_counts + Counter({RUNNING: len(sessions.rows)})
        links = sessions.dispatch.links.values()
        figures = {
            "loop_lag_seconds": server.lag,
            "connections": server.gateway.connections,
            "links": len(links),
            "executors": sum(link.executor is not None and link.connection is not None for link in links),
            "jobs_open": sum(link.load for link in links),
            "jobs_waiting": sessions.dispatch.waiting,
            "leases_running_out": sum(link.lease_timer is not None for link in links),
            "journal_queued_bytes": server.journal.queued_bytes,
            "bodies_queued_bytes": server.journal.bodies.queued_bytes,
            "values_bytes": sessions.values.size,
            "var_values_bytes": sum(link.held for link in links if link.connection is not None),
            "var_values_limit_bytes": sum(link.may_hold for link in links if link.connection is not None),
            "trouble": int(server.trouble is not None),
            "received_bytes_total": server.gateway.bytes_received,
            "acks_total": server.gateway.acks,
        }
        lines = []
        for name, value in figures.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            full = f"asyncblock_{name}"
            lines.append(f"# HELP {full} {_FIGURES[name]}\n# TYPE {full} {kind}\n{full} {value}")
        lines.append("# HELP asyncblock_sessions Sessions in the journal, by state.\n# TYPE asyncblock_sessions gauge")
        lines += [f'asyncblock_sessions{{state="{state}"}} {count}' for state, count in sorted(states.items())]
        return "\n".join(lines) + "\n"

    async def _body(self, name: str, part: str) -> HttpAnswer:
        """Answer with a body, or a part of it: what is sent is held in memory, so that is bounded."""
        link, _, number = name.rpartition("-")
        if not (link.isascii() and number.isascii() and number.isdecimal() and len(number) < 20):
            return HttpAnswer(404, b"a body is named LINK-N\n")
        asked = _RANGE.fullmatch(part)
        first = int(asked[1]) if asked else 0
        size = min(int(asked[2]) - first + 1, MAX_HTTP_BODY) if asked and asked[2] else MAX_HTTP_BODY
        if size < 1:
            return HttpAnswer(416, b"the range ends before it begins\n")
        try:
            async with self._reading:
                data = await self._server.journal.bodies.read(BodyKey(link, int(number)), first, size + (not asked))
        except (AsyncBlockError, FileNotFoundError):
            return HttpAnswer(404, b"no such body\n")
        except DISK_ERRORS as error:
            logger.error("body %s can't be read", name, exc_info=error)
            return HttpAnswer(503, f"the body can't be read now: {error}\n".encode())
        if len(data) > MAX_HTTP_BODY:
            words = f"it has more than {MAX_HTTP_BODY} bytes: ask for parts ('Range: bytes=0-'), or fetch it\n"
            return HttpAnswer(413, words.encode())
        if asked and not data:
            return HttpAnswer(416, b"it ends before that\n")
        if self._under_way + len(data) > _UNDER_WAY:
            words = f"bodies of {self._under_way} bytes are on their way already; ask again\n"
            return HttpAnswer(503, words.encode(), more={"Retry-After": "1"})
        self._under_way += len(data)
        place = {"Content-Range": f"bytes {first}-{first + len(data) - 1}/*"} if asked else {"Accept-Ranges": "bytes"}
        sent = partial(self._sent, len(data))
        return HttpAnswer(206 if asked else 200, data, "application/octet-stream", place, sent)

    def _sent(self, size: int) -> None:
        self._under_way -= size
