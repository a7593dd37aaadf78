"""Plain HTTP on the mainframe's port: health, metrics, bodies. Everything else is a websocket upgrade or a mistake."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial

import orjson

from ...errors import AsyncBlockError
from ...transport.websocket import HttpAnswer
from ..journal import BodyKey
from ..journal.diskerrors import DISK_EXCEPTIONS
from ..peers.access import Access
from ..serverlimits import MAX_HTTP_BODY
from .metrics import OPENMETRICS, TEXT, Measured, metrics_text

__all__ = ["HttpDoor"]

logger = logging.getLogger("asyncblock.server")

_READING = 4
"""Bodies that are read at once; others wait."""

_UNDER_WAY = 64 << 20
"""Bytes of bodies in answers that wait for their sockets, of all who ask; more of them are asked for later."""

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})?")
"""The one form of a range that is understood; others are answered as if there were none."""


class HttpDoor:
    """Decides about every HTTP request: an answer, or the roles with which a websocket comes in."""

    def __init__(
        self,
        server: Measured,
        access: Access,
        origins: frozenset[str],
        standing: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """``standing`` returns what a member of a set says in its metrics besides (``metrics.STANDING``)."""
        self._server = server
        self._standing = standing
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
            return self._metrics(headers.get("accept", ""))
        if path.startswith("/bodies/") and caller.roles & {"client", "observer"}:
            return await self._body(path.removeprefix("/bodies/"), headers.get("range", ""))
        return HttpAnswer(404, b"there is /healthz, /metrics, /bodies/LINK-N, and a websocket at /\n")

    def _health(self) -> HttpAnswer:
        trouble = self._server.trouble
        body = orjson.dumps({"status": "ok" if trouble is None else "trouble", "trouble": trouble})
        return HttpAnswer(200 if trouble is None else 503, body, "application/json")

    def _metrics(self, accepted: str) -> HttpAnswer:
        openmetrics = "application/openmetrics-text" in accepted
        text = metrics_text(self._server, openmetrics=openmetrics, standing=self._standing())
        return HttpAnswer(200, text.encode(), OPENMETRICS if openmetrics else TEXT)

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
        except DISK_EXCEPTIONS as error:
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
