"""What tabs are sent about a session, as JSON. Names, errors and lines are texts, and the page shows them as texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final

import orjson

from .. import events
from ..client import SessionInfo
from ..client.grouped import GroupInfo
from ..client.many import index_of
from ..errors import AsyncBlockError, Unauthorized
from ..page import State
from ..page.jobviews import NodeView
from ..page.shown import Failure, LogLine, Preview
from ..page.state import SESSION
from ..page.views import nodes_in_order
from ..report.previews import name_of
from ..wire.bodies import BodyRef
from .jobinputs import Given

__all__ = [
    "in_words",
    "is_within",
    "listed",
    "listed_group",
    "node_row",
    "nodes_of",
    "previews_of",
    "resources_of",
    "said",
    "summary",
    "told_failure",
    "told_input",
    "told_line",
    "told_value",
    "values_of",
]

_VALUE: Final = 2_000
"""Characters of a value that are shown; all of it can be downloaded."""

_ERROR: Final = 400


def in_words(error: AsyncBlockError) -> str:
    """Return an error in words for the user. A token that is refused is the page's own, so a new page is needed."""
    if isinstance(error, Unauthorized):
        return f"{error}; end the page's command, and start it with another --token"
    return str(error)


def said(value: object) -> bytes:
    """Return JSON."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def listed(info: SessionInfo) -> dict[str, Any]:
    """Return a session of a list."""
    return {
        "id": info.session_id, "title": info.title, "path": info.path, "state": info.state,
        "began": info.created_at, "ended": info.finished_at, "error": _cut(info.error, _ERROR),
        "progress": info.progress, "bytes": info.bytes, "group": info.group,
        "index": index_of(info.session_id),
    }  # fmt: skip


def listed_group(info: GroupInfo) -> dict[str, Any]:
    """Return a group of a list."""
    return {
        "id": info.group, "title": info.title, "path": info.path, "state": info.state, "states": info.states,
        "began": info.created_at, "ended": info.finished_at, "error": _cut(info.error, _ERROR),
        "progress": info.progress, "bytes": info.bytes, "count": info.count,
    }  # fmt: skip


def summary(state: State, word: str) -> dict[str, Any]:
    """Return what stands above a session."""
    nodes = [node for path, node in state.nodes.items() if path != SESSION]
    jobs = [node for node in nodes if node.kind != "flow"]
    notices = state.log.nodes.get(SESSION)
    return {
        "id": state.session_id, "title": state.title, "path": state.path, "state": word, "error": state.error,
        "began": state.began, "now": state.now, "over": state.over, "offset": state.offset,
        "progress": sum(node.progress for node in nodes) / len(nodes) if nodes else 0.0,
        "nodes": len(nodes),
        "jobs": sum(node.jobs for node in jobs),
        "open": sum(sum(node.open.values()) for node in jobs),
        "values": sum(node.outputs for node in nodes),
        "previews": sum(node.previews for node in nodes),
        "lines": sum(node.lines for node in nodes),
        "failures": state.failures_count, "stalls": state.stalls_count, "executors": len(state.executors),
        "notices": [each.text for each in notices] if notices is not None else [],
        "outputs": sorted({*state.outputs, *state.bodies}),
    }  # fmt: skip


def node_row(node: NodeView, over: bool) -> dict[str, Any]:
    """Return a node."""
    return {
        "path": node.path, "kind": node.kind, "state": node.state(over), "progress": round(node.progress, 1),
        "jobs": node.jobs, "open": node.open, "ended": node.ended, "attempts": node.attempts, "values": node.outputs,
        "previews": node.previews, "lines": node.lines, "warnings": node.warnings, "errors": node.errors,
        "stalls": node.stalls, "first": node.first, "last": node.last, "ms": node.spent,
        "error": _cut(node.error, _ERROR),
    }  # fmt: skip


def nodes_of(state: State) -> list[dict[str, Any]]:
    """Return all nodes, in the order of the flow's file."""
    return [node_row(node, state.over) for node in nodes_in_order(state)]


def previews_of(state: State, within: str | None) -> list[dict[str, Any]]:
    """Return the previews of all nodes, or of one node and those within it."""
    return [_preview(each) for each in state.gallery.previews if within is None or is_within(each.node, within)]


def is_within(path: str, node: str) -> bool:
    """Tell whether a path is that of a node, or of one within it."""
    return path == node or path.startswith(f"{node}/")


def _preview(preview: Preview) -> dict[str, Any]:
    told = preview.about if preview.about is not None else preview.payload
    size = told.get("size") if isinstance(told, dict) else None
    if preview.body is not None:
        size = preview.body.length
    return {
        "place": str(preview.place), "node": preview.node, "id": preview.id, "kind": preview.kind,
        "name": name_of(told, preview.id, preview.kind), "t": preview.t, "attempt": preview.attempt,
        "superseded": preview.superseded, "size": size if isinstance(size, int) else None,
    }  # fmt: skip


def told_failure(failure: Failure) -> dict[str, Any]:
    """Return a failed attempt."""
    return dataclasses.asdict(failure)


def told_line(number: int, line: LogLine, most: int, state: State) -> dict[str, Any]:
    """Return a line of a log, ``most`` characters of it."""
    text = line.text[:most]
    cut = line.cut + len(line.text) - len(text)
    job = state.jobs.get(line.job_id)
    about = {"n": number, "t": line.t, "kind": line.kind, "attempt": line.attempt}
    return {**about, "node": None if job is None else job.node, "text": text, "cut": cut}


def values_of(event: events.AnyEvent) -> dict[str, Any]:
    """Return the values that an event puts out, by handle; large ones as their references."""
    match event:
        case events.BlockOutput():
            return {event.handle: event.output if event.body is None else event.body}
        case events.BlockOutputs():
            return {**event.outputs, **event.bodies}
        case events.BlockFinished():
            return {**event.result, **event.bodies}
    return {}


def told_input(given: Given) -> dict[str, Any]:
    """Return an input of a job: its value, its declared type, and where it came from."""
    told = {"type": "secret", "size": 0, "text": None} if given.hidden else told_value(given.value)
    return {**told, "declared": given.declared, "source": given.source, "hidden": given.hidden}


def told_value(value: Any) -> dict[str, Any]:
    """Return a value as a shortened text, its size, and its type."""
    if isinstance(value, BodyRef):
        kind = "bytes" if value.encoding == "raw" else "JSON"
        return {"type": kind, "size": value.length, "text": None}
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    names: dict[type, str] = {dict: "object", list: "array", str: "text", bool: "boolean", type(None): "null"}
    kind = names.get(type(value), "number" if isinstance(value, (int, float)) else "value")
    return {"type": kind, "size": len(text), "text": text[:_VALUE], "cut": max(len(text) - _VALUE, 0)}


def _cut(text: str | None, most: int) -> str | None:
    return text if text is None or len(text) <= most else text[: most - 1] + "…"


def resources_of(state: State, within: str | None) -> dict[str, Any]:
    """Return the stalls of event loops, and the executors that ran the session."""
    stalls: Iterable[Any] = (each for each in state.stalls if within is None or is_within(each.node, within))
    return {
        "stalls": [dataclasses.asdict(each) for each in stalls],
        "executors": [{"link": link, "attempts": count} for link, count in state.executors.items()],
        "waiting": [
            {"node": job.node, "job": job.job_id, "reason": job.reason}
            for job in state.jobs.values()
            if job.reason is not None and job.ended is None and (within is None or is_within(job.node, within))
        ][:50],
    }
