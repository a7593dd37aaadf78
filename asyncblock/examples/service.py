"""A web service around flows: it starts them, streams their events, cancels them, and runs blocks of its own.

``uvicorn asyncblock.examples.service:app`` has a mainframe inside; with ``ASYNCBLOCK_URL`` and ``ASYNCBLOCK_TOKEN`` the
same service is a client and an executor of one that is served elsewhere, over one websocket for both. Its blocks stand
in a module of their own, ``counting``: sessions in flight go on when a new version of the routes here is deployed.
Several processes (``uvicorn --workers 2``, ``gunicorn -w 2``) need the second way; docs/services.md shows both.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, TypeVar

import orjson
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

import asyncblock
from asyncblock import Mainframe, Session

from .counting import count, counting, split

__all__ = ["app"]

T = TypeVar("T")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the mainframe for as long as the service runs."""
    app.state.leaving = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(told_to_leave(app.state.leaving))
        if os.environ.get("ASYNCBLOCK_URL"):
            mainframe = await stack.enter_async_context(asyncblock.connect())
            await stack.enter_async_context(asyncblock.Executor([split, count]).attached(mainframe))
        else:
            data = os.environ.get("SERVICE_DATA_DIR")
            mainframe = await stack.enter_async_context(asyncblock.embedded(data, blocks=[split, count]))
        app.state.mainframe = mainframe
        yield


@contextmanager
def told_to_leave(leaving: asyncio.Event) -> Iterator[None]:
    """Set an event when the server is told to leave.

    A server waits for its open answers before it ends the lifespan: a stream that waits for that would never end.
    """
    loop = asyncio.get_running_loop()
    # Elsewhere than in the main thread (a test client, say) there are no signals.
    here = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT) if here}
    before = {number: handler for number, handler in found.items() if callable(handler)}

    def leave(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(leaving.set)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Leaving(Exception):
    """The server leaves, and what was waited for isn't there yet."""


async def unless_leaving(waited_for: Awaitable[T], leaving: asyncio.Event) -> T:
    """Wait for something, or raise ``Leaving`` when the server is told to leave before."""
    waiting, told = asyncio.ensure_future(waited_for), asyncio.ensure_future(leaving.wait())
    try:
        await asyncio.wait((waiting, told), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise Leaving("the server leaves; ask again")
        return waiting.result()
    finally:
        told.cancel()
        if waiting.cancel():
            await asyncio.wait((waiting,))


app = FastAPI(title="asyncblock example", lifespan=lifespan)


def the_mainframe(request: Request) -> Mainframe:
    mainframe: Mainframe = request.app.state.mainframe
    return mainframe


async def the_session(session_id: str, mainframe: Mainframe = Depends(the_mainframe)) -> Session:  # noqa: B008
    session = mainframe.session(session_id)
    await session.info()  # an unknown one is an answer, not a broken stream
    return session


@app.post("/flows/{name}", status_code=201)
async def start(
    name: str,
    inputs: dict[str, Any],
    mainframe: Mainframe = Depends(the_mainframe),  # noqa: B008
) -> dict[str, str]:
    """Start ``counting`` or one of the shipped examples."""
    session = await mainframe.start(counting() if name == "counting" else name, inputs)
    return {"session_id": session.session_id}


@app.get("/sessions/{session_id}")
async def look(session: Session = Depends(the_session)) -> dict[str, Any]:  # noqa: B008
    info = await session.info()
    return {"session_id": info.session_id, "title": info.title, "state": info.state, "error": info.error}


@app.get("/sessions/{session_id}/outputs")
async def outputs(request: Request, session: Session = Depends(the_session)) -> dict[str, Any]:  # noqa: B008
    """Wait for the session's end and return the last value of each output."""
    return await unless_leaving(session.outputs(), request.app.state.leaving)


@app.get("/sessions/{session_id}/events")
async def events(
    request: Request,
    session: Session = Depends(the_session),  # noqa: B008
    last_event_id: str = Header(default=""),
) -> StreamingResponse:
    """Stream the session's events as server-sent events; a browser that lost the connection goes on where it was.

    The stream ends when the server leaves: the browser asks the next one.
    """
    stream = _stream(session, last_event_id, request.app.state.leaving)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _stream(session: Session, last_seen: str, leaving: asyncio.Event) -> AsyncIterator[bytes]:
    # A row of the journal may hold several events: an id is the row and the place in it.
    row, _, place = last_seen.partition(".")
    offset, skip = (int(row), int(place) + 1) if row.isdigit() and place.isdigit() else (0, 0)
    place_in_row = 0
    found = session.events(offset)
    while not leaving.is_set():
        try:
            event = await unless_leaving(anext(found), leaving)
        except (Leaving, StopAsyncIteration):
            return
        if event.offset > offset:
            offset, skip, place_in_row = event.offset, 0, 0
        if place_in_row >= skip:
            data = event.to_json()
            head = f"id: {offset}.{place_in_row}\nevent: {data['type']}\ndata: "
            yield head.encode() + orjson.dumps(data, default=str) + b"\n\n"
        place_in_row += 1


@app.delete("/sessions/{session_id}", status_code=202)
async def cancel(session: Session = Depends(the_session)) -> None:  # noqa: B008
    """Cancel a session: its blocks may clean up, its stream ends with ``SessionFinished``."""
    await session.cancel("cancelled by a request")


@app.exception_handler(Leaving)
async def come_again(request: Request, error: Leaving) -> JSONResponse:
    """Say that the next server has the answer."""
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})


@app.exception_handler(asyncblock.AsyncBlockError)
async def explain(request: Request, error: asyncblock.AsyncBlockError) -> JSONResponse:
    """Turn typed errors into answers."""
    match error:
        case asyncblock.InvalidFlow():
            return JSONResponse({"problems": [str(problem) for problem in error.problems]}, 422)
        case asyncblock.FlowFailed():
            return JSONResponse({"state": error.state, "error": str(error)}, 409)
        case asyncblock.Rejected(code="unknown_session"):
            return JSONResponse({"error": str(error)}, 404)
    return JSONResponse({"error": str(error)}, 503)
