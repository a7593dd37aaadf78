"""Orders from the page: cancel a session, run it again, go on with it; start a flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..client import Mainframe
from ..client.many import is_group
from ..errors import AsyncBlockError, Unauthorized, Unavailable
from .answering import answer_json, form_of, problem, problem_of
from .cursors import Following, Followings
from .sources import Sources, Watched

__all__ = ["PageOrders"]

_PATIENCE: Final = 10.0
"""Seconds that a mainframe has to answer."""

_BEGINNING: Final = 70.0
"""Seconds for orders that read a session's whole journal first: more than a command has to begin."""

_MAY_NOT: Final = "this page may start nothing here"
_NO_FORM: Final = "a form is an object of texts by input, of 4 MiB at most"


class PageOrders:
    """The answers to orders."""

    def __init__(self, sources: Sources, followings: Followings) -> None:
        self._sources = sources
        self._followings = followings

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        session = "/api/sessions/{session}"
        return [
            Route(f"{session}/cancel", _taken(self._cancel), methods=["POST"]),
            Route(f"{session}/cancel-job/{{job:path}}", _taken(self._cancel_job), methods=["POST"]),
            Route(f"{session}/again", _taken(self._again), methods=["GET", "POST"]),
            Route(f"{session}/retry", _taken(self._retry), methods=["GET", "POST"]),
            Route(f"{session}/resume", _taken(self._resume), methods=["GET", "POST"]),
            Route("/api/flows", _taken(self._flows)),
            Route("/api/flows/{flow}", _taken(self._start), methods=["GET", "POST"]),
            Route("/api/executors/{link}/{order}", _taken(self._drain), methods=["POST"]),
            Route("/api/groups/{group}/cancel", _taken(self._cancel_group), methods=["POST"]),
        ]

    @asynccontextmanager
    async def _following(self, request: Request) -> AsyncIterator[tuple[Following, Watched]]:
        async with self._followings.watching(request.path_params["session"]) as following:
            if following.error is not None or following.watched is None:
                raise Unavailable(following.error or "the session can't be opened")
            yield following, following.watched

    @asynccontextmanager
    async def _watched(self, request: Request) -> AsyncIterator[Watched]:
        async with self._following(request) as (_, watched):
            yield watched

    async def _cancel(self, request: Request) -> Response:
        async with self._watched(request) as watched:
            if watched.cancel is None:
                return problem("the token of this page may only watch", 403)
            async with asyncio.timeout(_PATIENCE):
                await watched.cancel("cancelled by the page")
        return answer_json({})

    async def _cancel_job(self, request: Request) -> Response:
        mainframe = self._ordered()
        given = request.path_params
        async with asyncio.timeout(_PATIENCE):
            await mainframe.cancel_job(given["session"], given["job"], "cancelled by the page")
        return answer_json({})

    async def _drain(self, request: Request) -> Response:
        """Let an executor take no new jobs, or take them again."""
        mainframe = self._ordered()
        given = request.path_params
        if given["order"] not in ("drain", "undrain"):
            return problem("there is no such order", 404)
        async with asyncio.timeout(_PATIENCE):
            await mainframe.drain(given["link"], given["order"] == "drain")
        return answer_json({})

    def _ordered(self) -> Mainframe:
        """Return the mainframe that is ordered something. Raises ``Unauthorized`` or ``Unavailable``."""
        if not self._sources.may_cancel:
            raise Unauthorized("the token of this page may only watch")
        if self._sources.mainframe is None:
            raise Unavailable("no mainframe is served here")
        return self._sources.mainframe

    async def _again(self, request: Request) -> Response:
        """Return the form of what would be started again, or start it."""
        async with self._watched(request) as watched:
            if watched.again is None:
                return problem(_MAY_NOT, 403)
            return await _by_form(request, watched.again.form, watched.again.start)

    async def _retry(self, request: Request) -> Response:
        """Return what would run again, or begin it."""
        async with self._following(request) as (following, watched), asyncio.timeout(_BEGINNING):
            if watched.retry is None:
                return problem(_MAY_NOT, 403)
            await following.caught_up.wait()
            if not following.may_retry:
                return problem(f"this session is {following.word}; one that failed, or was cancelled, is retried", 409)
            if request.method != "POST":
                return answer_json(await watched.retry.told())
            return answer_json({"session": await watched.retry.start()})

    async def _resume(self, request: Request) -> Response:
        """Return what was edited since the session began (GET), or go on with it (POST); ``accept`` names versions."""
        async with self._following(request) as (following, watched), asyncio.timeout(_BEGINNING):
            if watched.resume is None:
                return problem("this page can't resume this session", 403)
            await following.caught_up.wait()
            if not following.may_resume:
                return problem(f"this session is {following.word}; only an interrupted one can be resumed", 409)
            if request.method != "POST":
                return answer_json({"edited": [asdict(each) for each in await watched.resume.edited()]})
            accept = request.query_params.getlist("accept")
            known = {each.version for each in await watched.resume.edited()} if accept else set()
            if not known.issuperset(accept):
                return problem("what is to be accepted was edited once more, or back; look again", 409)
            await watched.resume.resume(accept)
        return answer_json({})

    async def _flows(self, request: Request) -> Response:
        if self._sources.startable is None:
            return problem(_MAY_NOT, 403)
        return answer_json({"flows": await self._sources.startable.listed()})

    async def _start(self, request: Request) -> Response:
        """Return the form of a flow, or start it."""
        startable, key = self._sources.startable, request.path_params["flow"]
        if startable is None:
            return problem(_MAY_NOT, 403)
        return await _by_form(request, lambda: startable.form(key), lambda sent: startable.start(key, sent))

    async def _cancel_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        if not self._sources.may_cancel:
            return problem("the token of this page may only watch", 403)
        if not is_group(group):
            return problem("there is no such group", 404)
        async with asyncio.timeout(_PATIENCE):
            count = await self._sources.cancel_group(group, "by the page")
        return answer_json({"sessions": count})


def _taken(take: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def taken(request: Request) -> Response:
        try:
            return await take(request)
        except TimeoutError:
            return problem("the mainframe didn't answer in time; it is away, or can't write. It may do it still", 504)
        except AsyncBlockError as error:
            return problem_of(error)

    return taken


async def _by_form(
    request: Request,
    form: Callable[[], Awaitable[dict[str, Any]]],
    start: Callable[[dict[str, Any]], Awaitable[str]],
) -> Response:
    if request.method != "POST":
        async with asyncio.timeout(_PATIENCE):
            return answer_json(await form())
    # Before the time begins to run: a body that comes slowly isn't the mainframe's fault.
    sent = await form_of(request)
    if sent is None:
        return problem(_NO_FORM, 400)
    async with asyncio.timeout(_PATIENCE):
        return answer_json({"session": await start(sent)})
