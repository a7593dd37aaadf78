"""The requests of the page and its panels. Each panel asks for itself, and none waits for another."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from .._version import installed_version
from ..errors import AsyncBlockError, Unavailable
from ..flow.plan import FlowPlan
from ..page import State
from ..page.graphview import Look, draw_flow
from ..page.markup import Markup, el
from ..page.shown import Preview
from ..page.views import critical_path
from ..report.collect import Collected
from ..report.iframes import runs_scripts
from ..report.previews import draw, name_of, needs_network
from ..report.timeline import timeline
from ..runtime.offload import run_in_thread
from ..wire.bodies import BodyRef
from .answering import answer_json, problem, problem_of, whole_number
from .cursors import Following, Followings
from .jobinputs import Given, inputs_of
from .pagefiles import HTML, index, static
from .pageorders import PageOrders
from .sandboxes import frame_document, frame_policy, is_chart, part_of
from .sources import Sources
from .tabs import Lists, Tab, query_of
from .told import (
    is_within,
    nodes_of,
    previews_of,
    resources_of,
    summary,
    told_failure,
    told_input,
    told_line,
    told_value,
    values_of,
)

__all__ = ["page_app"]

_BARS: Final = 1_500
"""Bars of a timeline: the longest attempts."""

_BOXES: Final = 1_200
"""Nodes up to which a flow is drawn node by node; of a larger one each layer is a box."""

_READING: Final = 1.0
"""Seconds that an answer waits for what there is of a session that was just opened; a long one is told in parts."""

_PATIENCE: Final = 20.0
"""Seconds that reading what a job was given may take."""

_LINES: Final = 400
"""Lines of a log that are sent at once."""

_LINE: Final = 2_000
"""Characters of a line in a list."""

_WHOLE: Final = 8 << 20
"""Characters of an answer with lines."""

Answer = Callable[["_Asked"], Awaitable[Any]]


class _Asked:
    """A panel's request about a session: as it is now, or as it was after a row of its journal."""

    def __init__(self, request: Request, following: Following) -> None:
        self.request = request
        self.following = following
        given = request.query_params
        self.at = whole_number(given.get("at", ""))
        self.node = given.get("node") or None

    def number(self, name: str, default: int = 0) -> int:
        """Return a number that was given."""
        found = whole_number(self.request.query_params.get(name, ""))
        return default if found is None else found

    async def state(self) -> State:
        """Return the state of that moment. Use it before the next await, which may change it."""
        history = self.following.history
        if self.at is None or history is None:
            return self.following.state
        return await history.at(self.at)

    @property
    def word(self) -> str:
        """The session's state for people."""
        return self.following.word


class Routes:
    """The page's answers."""

    def __init__(self, sources: Sources, followings: Followings) -> None:
        self._sources = sources
        self._followings = followings
        self._lists = Lists(sources)

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        of_session: dict[str, Answer] = {
            "": self._session, "/graph": self._graph, "/timeline": self._timeline, "/previews": self._previews,
            "/preview/{place}": self._preview, "/log": self._log, "/search": self._search,
            "/failures": self._failures, "/inputs": self._inputs, "/values": self._values,
            "/resources": self._resources, "/outputs": self._outputs,
        }  # fmt: skip
        session = "/api/sessions/{session}"
        return [
            Route("/", index),
            Route("/static/{name}", static),
            Route("/api/page", self._about),
            Route("/api/sessions", self._sessions),
            *(Route(f"{session}{path}", self._answered(answer)) for path, answer in of_session.items()),
            Route(f"{session}/value/{{place}}/{{handle}}", self._value),
            Route(f"{session}/input/{{place}}/{{handle}}", self._input),
            Route("/frame/{session}/{place}", self._frame),
            WebSocketRoute("/tab", self._tab),
        ]

    # ------------------------------------------------------------------ the page itself

    async def _about(self, request: Request) -> Response:
        return answer_json(
            {
                "version": installed_version(),
                "address": self._sources.address,
                "roles": sorted(self._sources.roles),
            }
        )

    async def _sessions(self, request: Request) -> Response:
        given: dict[str, Any] = dict(request.query_params)
        if "before" in given:
            created, _, session_id = given["before"].partition(",")
            place = whole_number(created)
            given["before"] = None if place is None else [place, session_id]
        try:
            query = query_of(given)
            return answer_json(self._lists.told(await self._lists.get(query), query))
        except AsyncBlockError as error:
            return problem_of(error)

    async def _tab(self, websocket: WebSocket) -> None:
        await Tab(websocket, self._sources, self._followings, self._lists).serve()

    # ------------------------------------------------------------------ a session

    @asynccontextmanager
    async def _watching(self, session_id: str) -> AsyncIterator[Following]:
        async with self._followings.watching(session_id) as following:
            if following.error is not None or following.history is None:
                raise Unavailable(following.error or "the session can't be opened")
            try:
                async with asyncio.timeout(_READING):
                    await following.caught_up.wait()
            except TimeoutError:
                pass
            yield following

    def _answered(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            try:
                async with self._watching(request.path_params["session"]) as following:
                    return answer_json(await answer(_Asked(request, following)))
            except AsyncBlockError as error:
                return problem_of(error)

        return answered

    async def _session(self, asked: _Asked) -> Any:
        state = await asked.state()
        word = state.state if asked.at is not None and not state.over else asked.word
        return {"session": summary(state, word), "nodes": nodes_of(state), "rows": asked.following.state.offset}

    async def _graph(self, asked: _Asked) -> Any:
        plan = asked.following.plan
        if plan is None:
            return {"svg": None, "why": "The flow's plan can't be read by this version, so it isn't drawn."}
        flow: FlowPlan = plan
        path: tuple[str, ...] = ()
        for each in (asked.node or "").split("/") if asked.node else ():
            known = {node.node_id: node for node in flow.nodes}
            if each not in known or known[each].kind != "subflow":
                raise Unavailable(f"there is no subflow {asked.node!r}")
            flow, path = plan.flow(known[each].flow), (*path, each)
        state = await asked.state()
        critical = {state.jobs[each].node for each in critical_path(state)} if state.over else set()
        unseen = "skipped" if state.over else "waiting"
        looks = {"/".join((*path, node.node_id)): Look(unseen) for node in flow.nodes}
        for node in state.nodes.values():
            jobs = f"{node.jobs:,} jobs" if node.jobs > 1 else ""
            looks[node.path] = Look(node.state(state.over), jobs, node.path in critical, node.progress)
        # In a thread: a large layout takes a second, and others are to be answered meanwhile.
        drawn = await run_in_thread(lambda: draw_flow(flow, path, looks, most=_BOXES))
        return {
            "svg": drawn,
            "grouped": len(flow.nodes) > _BOXES,
            "nodes": len(flow.nodes),
            "critical": sorted(critical),
        }

    async def _timeline(self, asked: _Asked) -> Any:
        state = await asked.state()
        following = asked.following
        now = state.now
        assert following.watched is not None
        collected = Collected(following.watched.recording, state, following.plan, now)
        path = critical_path(state)
        drawn, left_out = timeline(collected, set(path), _BARS)
        critical = [{"node": state.jobs[each].node, "ms": state.jobs[each].lasted(now)} for each in path]
        return {"html": drawn, "left_out": left_out + state.forgotten, "critical": critical[:200]}

    async def _previews(self, asked: _Asked) -> Any:
        state = await asked.state()
        return {"previews": previews_of(state, asked.node), "dropped": state.gallery.dropped}

    async def _preview(self, asked: _Asked) -> Any:
        place = _place_of(asked.request)
        history = asked.following.history
        assert history is not None
        payload = await history.payload(place)
        name = _name(asked.following.state, place, payload)

        def framed(part: tuple[int, ...], title: str) -> Markup:
            """Return the place of a frame. The page makes the frame when the place comes into view."""
            inner = _part(payload, part)
            needs = isinstance(inner, dict) and needs_network(inner)
            numbers = ".".join(map(str, part))
            return el(
                "div",
                class_="framed",
                data_part=numbers,
                data_title=title,
                data_needs="network" if needs else None,
                data_runs="chart" if is_chart(inner) else "script" if _has_scripts(inner) else None,
            )

        drawn = await run_in_thread(lambda: draw(payload, name, framed=framed))
        return {"html": drawn.markup, "name": name}

    async def _frame(self, request: Request) -> Response:
        given = request.query_params
        network = given.get("network") == "1"
        scripts = network or given.get("scripts") == "1"
        try:
            numbers = map(whole_number, given.get("part", "").split("."))
            part = tuple(each for each in numbers if each is not None)
            async with self._watching(request.path_params["session"]) as following:
                assert following.history is not None
                payload = await following.history.payload(_place_of(request))
                shown = part_of(payload, part)
                document = await run_in_thread(lambda: frame_document(shown, network=network))
                scripts = scripts or is_chart(shown)
        except AsyncBlockError as error:
            return problem_of(error)
        except (LookupError, TypeError):
            return problem("there is no such part", 404)
        if document is None:
            return problem("this part needs no frame", 404)
        headers = {
            "content-security-policy": frame_policy(scripts=scripts, network=network),
            # The same journal has the same preview there always. Where it may do more it is asked for anew, with the
            # cookie: a frame that sends itself there has none.
            "cache-control": "no-store" if given.get("scripts") or network else "private, max-age=3600",
        }
        return Response(document.encode("utf-8", "replace"), media_type=HTML, headers=headers)

    async def _log(self, asked: _Asked) -> Any:
        places = self._places(asked)
        count = len(places)
        begin = min(asked.number("from"), count)
        history = asked.following.history
        assert history is not None
        lines = await history.lines(places[begin : begin + min(asked.number("count", 100), _LINES)])
        full = asked.number("full") == 1
        told = []
        room = _WHOLE
        for number, line in enumerate(lines, begin):
            told.append(told_line(number, line, room if full else _LINE, asked.following.state))
            room -= len(line.text)
            if full and room <= 0:
                break
        return {"count": count, "lines": told}

    async def _search(self, asked: _Asked) -> Any:
        history = asked.following.history
        assert history is not None
        words = asked.request.query_params.get("text", "")[:500]
        found = await history.search(self._places(asked), words, asked.number("from"))
        return {
            "found": [told_line(each.number, each.line, _LINE, asked.following.state) for each in found.found],
            "next": found.next,
        }

    def _places(self, asked: _Asked) -> array[int]:
        """Return where the lines of a node are, those in a subflow's nodes with them, as far as they were said then."""
        index = asked.following.index
        if asked.node is None:
            paths = list(index.lines)
        else:
            paths = [each for each in index.lines if is_within(each, asked.node)]
        parts = [index.lines[each][: index.count(each, asked.at)] for each in paths]
        if len(parts) == 1:
            return parts[0]
        return array("Q", sorted(place for part in parts for place in part))

    async def _failures(self, asked: _Asked) -> Any:
        state = await asked.state()
        found = [each for each in state.failures if asked.node is None or is_within(each.node, asked.node)]
        return {
            "failures": [told_failure(each) for each in found[::-1]],
            "error": state.error if state.state != "succeeded" else None,
            "count": state.failures_count,
        }

    async def _values(self, asked: _Asked) -> Any:
        index, history = asked.following.index, asked.following.history
        assert history is not None
        most = asked.number("count", 3)
        wanted = {
            (path, handle): [each for each in places if asked.at is None or each >> 20 <= asked.at][-most:]
            for path, handles in index.values.items()
            if asked.node is None or is_within(path, asked.node)
            for handle, places in handles.items()
        }
        found = await history.at_places([place for places in wanted.values() for place in places])
        state = asked.following.state
        return {
            "handles": [
                {
                    "node": path,
                    "handle": handle,
                    "count": state.nodes[path].handles.get(handle, 0) if path in state.nodes else 0,
                    "values": [
                        {"place": str(place), "t": found[place].t, **told_value(values_of(found[place])[handle])}
                        for place in places[::-1]
                        if place in found and handle in values_of(found[place])
                    ],
                }
                for (path, handle), places in wanted.items()
            ]
        }

    async def _inputs(self, asked: _Asked) -> Any:
        following = asked.following
        jobs = following.index.jobs.get(asked.node or "", ())
        begun = [each for each in jobs if asked.at is None or each[0] >> 20 <= asked.at]
        told = []
        for place, job_id in begun[: -min(asked.number("count", 3), len(begun)) - 1 : -1]:
            given = await _given(following, place, job_id)
            inputs = [{"handle": handle, **told_input(each)} for handle, each in given.items()]
            told.append({"job": job_id, "place": str(place), "inputs": inputs})
        return {"jobs": told}

    async def _input(self, request: Request) -> Response:
        """Return all of an input, as a file."""
        handle = request.path_params["handle"]
        try:
            async with self._watching(request.path_params["session"]) as following:
                place = _place_of(request)
                jobs = {place: job_id for each in following.index.jobs.values() for place, job_id in each}
                given = await _given(following, place, jobs[place]) if place in jobs else {}
                if handle not in given or given[handle].hidden:
                    return problem("there is no such value", 404)
                return await _as_file(following, handle, given[handle].value)
        except AsyncBlockError as error:
            return problem_of(error)

    async def _outputs(self, asked: _Asked) -> Any:
        state = await asked.state()
        values: dict[str, Any] = {**state.outputs, **state.bodies}
        return {"outputs": [{"handle": handle, **told_value(value)} for handle, value in values.items()]}

    async def _resources(self, asked: _Asked) -> Any:
        return resources_of(await asked.state(), asked.node)

    async def _value(self, request: Request) -> Response:
        """Return all of a value, as a file."""
        handle = request.path_params["handle"]
        try:
            async with self._watching(request.path_params["session"]) as following:
                assert following.history is not None and following.watched is not None
                place = _place_of(request)
                if place:
                    event = (await following.history.at_places([place])).get(place)
                    values = {} if event is None else values_of(event)
                else:
                    values = {**following.state.outputs, **following.state.bodies}
                if handle not in values:
                    return problem("there is no such value", 404)
                return await _as_file(following, handle, values[handle])
        except AsyncBlockError as error:
            return problem_of(error)


async def _given(following: Following, place: int, job_id: str) -> dict[str, Given]:
    """Return what a job was given. Raises ``Unavailable`` with why that isn't known."""
    watched, plan = following.watched, following.plan
    if watched is None or watched.row is None or plan is None:
        raise Unavailable("what it was given can't be read: this version can't read the flow's plan")
    try:
        async with asyncio.timeout(_PATIENCE):
            return await inputs_of(watched.row, plan, place >> 20, job_id)
    except TimeoutError:
        raise Unavailable("the mainframe didn't send the session's journal in time; try again") from None


async def _as_file(following: Following, handle: str, value: Any) -> Response:
    if isinstance(value, BodyRef):
        assert following.watched is not None
        value = await following.watched.recording.fetch(value)
    raw = isinstance(value, (bytes, bytearray, memoryview))
    data = bytes(value) if raw else await run_in_thread(lambda: orjson.dumps(value, default=str))
    name = "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "_" for each in handle)[:60]
    headers = {"content-disposition": f'attachment; filename="{name or "value"}.{"bin" if raw else "json"}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _place_of(request: Request) -> int:
    """Return a place in a journal. Raises ``Unavailable`` for what is none."""
    place = whole_number(request.path_params["place"])
    if place is None:
        raise Unavailable("there is no such place in the journal")
    return place


def _name(state: State, place: int, payload: Any) -> str:
    for each in reversed(state.gallery.previews):
        if each.place == place:
            return _called(each, payload)
    return name_of(payload, None, "preview")


def _called(preview: Preview, payload: Any) -> str:
    return name_of(payload, preview.id, preview.kind)


def _part(payload: Any, part: tuple[int, ...]) -> Any:
    try:
        return part_of(payload, part)
    except (LookupError, TypeError):
        return None


def _has_scripts(payload: Any) -> bool:
    data = payload.get("data") if isinstance(payload, dict) else None
    return isinstance(data, str) and runs_scripts(data)


def page_app(sources: Sources, followings: Followings) -> Starlette:
    """Return the page, without the gate before it."""
    return Starlette(routes=[*Routes(sources, followings).all(), *PageOrders(sources, followings).all()])
