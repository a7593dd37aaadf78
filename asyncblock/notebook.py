"""Sessions, previews and flows in Jupyter and marimo: what is shown of them at the end of a cell, and live."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeVar

from . import events
from .client import Session
from .errors import AsyncBlockError
from .flow import Flow
from .flow.plan import Plan
from .page import State, StateLimits
from .page.graphview import GRAPH_STYLE, Look, draw_flow
from .page.markup import Markup, el
from .page.shown import Preview
from .page.views import feeds_of, nodes_in_order
from .report import Collected, Followed, collect
from .report.amounts import duration, many
from .report.document import asset
from .report.iframes import FRAME_POLICY
from .report.previews import draw, name_of
from .report.tables import failures, nodes_table, pill

__all__ = ["bundle_of", "live"]

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds that a cell waits for what a mainframe says of a session."""

_PREVIEWS = 4
"""The last previews that a session shows of itself."""

_BYTES = 1_500_000
"""Of all of them: a notebook keeps what it shows."""

_PACE = 0.25
"""Seconds between two drawings of a live view."""

_NODES = 60
_LINES = 12
"""The last lines of blocks that a live view shows."""

_KEPT: Final = StateLimits(head=50, tail=50, lines=2_000, jobs=2_000, previews=200, payloads=8 << 20)


def bundle_of(value: object) -> dict[str, Any]:
    """Return a value's representations by media type."""
    if isinstance(value, Session):
        return _of_session(value)
    if isinstance(value, events.BlockPreview):
        return _of_preview(value)
    if isinstance(value, Flow):
        plan = value.plan()
        return {"text/html": _page([_graph(plan, {})]), "image/svg+xml": _svg(plan), "text/plain": repr(value)}
    return {"text/plain": repr(value)}


# ---------------------------------------------------------------------- sessions


def _of_session(session: Session) -> dict[str, Any]:
    try:
        collected, shown = _elsewhere(_read(session))
    except (AsyncBlockError, TimeoutError) as error:
        return {
            "text/plain": f"session {session.session_id}, of which nothing can be read: {str(error) or 'no answer'}"
        }
    return {"text/plain": _words(collected), "text/html": _html(collected, shown)}


async def _read(session: Session) -> tuple[Collected, list[tuple[Preview, Any]]]:
    async with asyncio.timeout(_PATIENCE):
        collected = await collect(Followed(session), _KEPT)
        return collected, await _last_previews(collected)


def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, in another thread: the notebook's loop runs in this one."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:
            # Whatever it is, it is raised again where the cell waits.
            failed.append(error)

    thread = threading.Thread(target=run, name="asyncblock-notebook", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


async def _last_previews(collected: Collected) -> list[tuple[Preview, Any]]:
    """Fetch the last previews, as many as fit."""
    found: list[tuple[Preview, Any]] = []
    room = _BYTES
    for preview in reversed(collected.state.gallery.previews):
        if preview.superseded or preview.dropped or len(found) >= _PREVIEWS:
            continue
        payload = preview.payload
        if preview.body is not None:
            room -= preview.body.length
            if room < 0:
                continue
            with suppress(AsyncBlockError):
                payload = await collected.recording.fetch(preview.body)
        found.append((preview, payload))
    return found[::-1]


def _words(collected: Collected) -> str:
    state = collected.state
    took = "" if state.began is None else f" after {duration(max(collected.now - state.began, 0))}"
    lines = [f"session {state.session_id}: {state.title}, {collected.word}{took}"]
    if state.error and state.state != "succeeded":
        lines.append(f"  {state.error}")
    for node in nodes_in_order(state)[:_NODES]:
        counts = [many(node.outputs, "value"), many(node.previews, "preview")]
        lines.append(f"  {node.path}: {node.state(state.over)}, {', '.join(counts)}")
    return "\n".join(lines)


def _html(collected: Collected, shown: list[tuple[Preview, Any]], *, lines: int = 0) -> str:
    state = collected.state
    took = "" if state.began is None else duration(max(collected.now - state.began, 0))
    head = el("p", el("b", state.title or state.session_id), " ", pill(collected.word), " ",
              el("small", f"{took} · session {state.session_id}"))  # fmt: skip
    nodes = nodes_in_order(state)
    looks = {node.path: Look(node.state(state.over), progress=node.progress) for node in nodes}
    parts: list[Markup | None] = [
        head,
        _graph(collected.plan, looks) if collected.plan is not None else None,
        nodes_table(state, nodes[:_NODES], set(), collected.now),
        el("p", f"and {len(nodes) - _NODES} more nodes", class_="note") if len(nodes) > _NODES else None,
    ]
    if state.over and state.state == "failed":
        parts.append(failures([each for each in state.failures if not each.retried], 3))
    for preview, payload in shown:
        name = name_of(payload, preview.id, preview.kind)
        caption = el("figcaption", el("bdi", f"{preview.node} · {name}", class_="name"))
        parts.append(el("figure", caption, _drawn(payload, name), class_="card"))
    said = sorted(
        ((line.t, path, line) for path, lines_of in state.log.nodes.items() for line in lines_of.tail or lines_of.head),
        key=lambda each: each[0],
    )[-lines:] if lines else []  # fmt: skip
    if said:
        parts.append(el("pre", "\n".join(f"{path}: {line.text}" if path else line.text for _, path, line in said)))
    return _page(parts)


def _graph(plan: Plan, looks: dict[str, Look]) -> Markup:
    return el("div", draw_flow(plan, (), looks), class_="scroll graph")


def _page(parts: list[Markup | None]) -> str:
    """Return markup with the report's styles, which apply to nothing else in the notebook."""
    return el("div", el("style", Markup(_style())), *parts, class_="asyncblock")


@cache
def _style() -> str:
    style = asset("report.css") + GRAPH_STYLE
    for root, here in ((":root:not([data-theme=light])", "&"), (":root[data-theme=dark]", "&.dark"), (":root", "&")):
        style = style.replace(root, here)
    return f".asyncblock{{{style}{_OWN}}}"


_OWN: Final = """
&{background:var(--ab-card);color:var(--ab-ink);font:14px/1.45 var(--ab-font);padding:.6rem .8rem;border-radius:8px}
.scroll{margin:0;padding:0} p{margin:.2rem 0 .6rem} figure{margin-top:.7rem} .graph{max-height:22rem}
"""


def _svg(plan: Plan) -> str:
    drawn = draw_flow(plan)
    style = el("style", Markup(GRAPH_STYLE))
    start = drawn.index(">") + 1
    return drawn[:start] + style + drawn[start:]


# ---------------------------------------------------------------------- previews


def _of_preview(event: events.BlockPreview) -> dict[str, Any]:
    if event.body is not None:
        about = event.about or {}
        words = f"preview of {event.node_id}: {about.get('type', 'a value')}, {event.body.length:,} bytes"
        return {"text/plain": f"{words}; await session.fetch(event.body) brings it"}
    payload = event.payload
    kind = payload.get("type", "value") if isinstance(payload, dict) else "value"
    name = name_of(payload, event.id, str(kind))
    beside = payload.get("mime") if isinstance(payload, dict) else None
    bundle: dict[str, Any] = {
        media_type: each
        for media_type, each in (beside.items() if isinstance(beside, dict) else ())
        # The notebook's own libraries draw these.
        if isinstance(each, dict) and str(media_type).endswith("+json")
    }
    data = payload.get("data") if isinstance(payload, dict) else None
    if (
        kind == "image"
        and isinstance(data, str)
        and data.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
    ):
        bundle[data[5 : data.index(";")]] = data.partition(",")[2]
    elif kind == "markdown" and isinstance(data, str):
        bundle["text/markdown"] = data
    return {
        "text/plain": f"preview of {event.node_id}: {name}",
        "text/html": _page([el("b", name), _drawn(payload, name)]),
        **bundle,
    }


def _drawn(payload: Any, name: str) -> Markup:
    """Draw a payload without the report's script: scripts of HTML run in a frame at once, for the blocks are ours."""
    if isinstance(payload, dict) and payload.get("type") == "html" and isinstance(payload.get("data"), str):
        needs = payload.get("needs")
        if not isinstance(needs, list) or "network" not in needs:
            policy = f'<meta http-equiv="Content-Security-Policy" content="{FRAME_POLICY}">'
            page = f'<!doctype html><meta charset="utf-8">{policy}{payload["data"]}'
            return el("iframe", sandbox="allow-scripts", srcdoc=page, title=name)
        payload = {name: each for name, each in payload.items() if name != "mime"}
    return draw(payload, name).markup


# ---------------------------------------------------------------------- live


async def live(session: Session) -> None:
    """Show a session until it ends, drawn again when something has happened; in a terminal as words at its end.

    **Cancellation** (the kernel is interrupted) cancels the session.
    """
    plan = await session.plan()
    state = State(_KEPT, feeds_of(plan))
    recording = Followed(session)
    display = _display()
    handle: Any = None
    drawn = 0.0
    try:
        async for event in session.events():
            state.take(event)
            if display is not None and (time.monotonic() - drawn > _PACE or state.over):
                collected = Collected(
                    recording, state, plan, max(state.now, int(time.time() * 1000)) if not state.over else state.now
                )
                bundle = {
                    "text/plain": _words(collected),
                    "text/html": _html(collected, await _last_previews(collected) if state.over else [], lines=_LINES),
                }
                if handle is None:
                    handle = display.display(bundle, raw=True, display_id=True)
                else:
                    handle.update(bundle, raw=True)
                drawn = time.monotonic()
    except asyncio.CancelledError:
        await asyncio.shield(session.cancel("interrupted"))
        raise
    if display is None:
        print(_words(Collected(recording, state, plan, state.now)))  # noqa: T201  # what was asked for


def _display() -> Any:
    """Return IPython's display functions where there is a notebook; None in a plain interpreter."""
    try:
        ipython = import_module("IPython")
    except ModuleNotFoundError:
        return None
    return import_module("IPython.display") if ipython.get_ipython() is not None else None
