"""What is said of an event to a person: one line, and the style that it is printed in. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from .. import events

__all__ = ["Names", "words"]

_SHORT = 200
"""Characters of a value in a line."""

_LONG = 1.0
"""Seconds after which a stall is shown while it lasts."""

_PARTS = 20
"""Members of an output that are shown on lines of their own."""


class Names:
    """What people call the nodes of jobs: in a subflow the way to it, ``outer/inner``."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        """By job; nodes of the outermost flow have no entry."""

    def of(self, event: events.Event) -> str | None:
        """Return the name of an event's node; None for an event of the session's."""
        if not isinstance(event, events.BlockEvent):
            return None
        if isinstance(event, events.JobCreated) and len(event.stacks) > 1:
            self._paths[event.job_id] = "/".join(str(frame.get("node_id")) for frame in event.stacks)
        name = self._paths.get(event.job_id, event.node_id)
        if isinstance(event, events.BlockFinished) and event.error is None:
            self._paths.pop(event.job_id, None)
        return name


def words(event: events.Event, name: str | None = None) -> tuple[str, str | None] | None:
    """Say an event in a line, with a style; None for what a person needn't see. ``name`` is its node's, if known."""
    node = name or str(getattr(event, "node_id", ""))
    match event:
        case events.SessionStarted():
            return f"session {event.session_id}: {event.title}", "bold"
        case events.JobCreated() if event.recomputes is not None:
            return (
                f"{node}: runs again, for values of job {event.recomputes} that were lost with their process",
                "yellow",
            )
        case events.BlockStarted():
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            return f"{node}: started{again}", "dim"
        case events.BlockLog():
            return f"{node}: {event.log}", "yellow" if event.stdio == "stderr" else None
        case events.BlockLogJSON():
            return f"{node}: {_value(event.json, event.body)}", None
        case events.BlockMessage():
            return f"{node}: message {_value(event.payload, event.body)}", None
        case events.BlockWarning():
            return f"{node}: warning: {event.warning}", "yellow"
        case events.BlockCache():
            return _cache(event, node)
        case events.BlockError():
            return f"{node}: error: {event.error}", "red"
        case events.BlockPreview():
            return f"{node}: preview{_name(event)}: {_preview(event)}", "cyan"
        case events.BlockFinished():
            return _end_of(event, node)
        case events.JobFailed():
            return f"{node}: failed: {event.error}", "red"
        case events.JobRetrying():
            # The error was shown just before, with the event that ended the attempt.
            return f"{node}: attempt {event.attempt + 1} follows in {event.pause:g} s", "yellow"
        case events.JobWaiting():
            return f"{node}: waiting: {event.reason}", "yellow"
        case events.VersionAccepted():
            there = ", ".join(each[:12] for each in event.instead)
            return f"{node}: goes on with version {there} in place of {event.version[:12]}", "yellow"
        case events.JobReleased():
            return f"{node}: given to another executor: {event.reason}", "yellow"
        case events.LateRecords():
            kept = f"{len(event.records)} records of attempt {event.attempt}, which was over, are kept and not used"
            return f"{node}: {kept}", "dim"
        case events.JobStalled():
            # What is shorter is told by a warning of the block's, when it is over.
            if event.seconds < _LONG:
                return None
            return f"{node}: has blocked its event loop for {event.seconds:.1f} s in {event.where}", "yellow"
        case events.JournalBroken():
            return f"what followed here may be lost: {event.reason}", "bold red"
        case events.SessionCancelled():
            return f"cancelled: {event.reason}", "yellow"
        case events.SessionFinished():
            return _end(event)
    return None


def _cache(event: events.BlockCache, node: str) -> tuple[str, str | None] | None:
    if event.state == "hit":
        return f"{node}: from the cache, {event.why}", "green"
    if event.state == "miss":
        return f"{node}: not in the cache: {event.why}", "dim"
    return None if event.state == "kept" else (f"{node}: its result isn't kept: {event.why}", "yellow")


def _end_of(event: events.BlockFinished, node: str) -> tuple[str, str | None]:
    if event.cancelled:
        return f"{node}: cancelled", "yellow"
    if event.error is None:
        return f"{node}: finished", "dim"
    text = f"{node}: failed: {event.error}"
    shown = event.traceback.rstrip() if event.traceback else ""
    # Without any frame of the author's a traceback only says the error again.
    says_more = "\n" in shown or not shown.endswith(event.error)
    return (f"{text}\n{shown}" if shown and says_more else text), "red"


def _end(event: events.SessionFinished) -> tuple[str, str | None]:
    if event.state != "succeeded":
        error = event.error or event.state
        # A cancelled session's error begins with the word itself.
        return f"session {error}" if error.startswith(event.state) else f"session {event.state}: {error}", "bold red"
    count = len(event.outputs)
    lines = [f"session succeeded, {count} {'output' if count == 1 else 'outputs'}"]
    for handle, value in event.outputs.items():
        lines += _output(handle, value)
    return "\n".join(lines), "bold green"


def _output(handle: str, value: Any) -> list[str]:
    """Show an output; the members of an object on lines of their own."""
    if not isinstance(value, dict) or len(orjson.dumps(value, default=str)) <= _SHORT // 2:
        return [f"  {handle} = {_short(value)}"]
    lines = [f"  {handle}:"]
    lines += [f"    {name}: {_short(member, _SHORT // 2)}" for name, member in list(value.items())[:_PARTS]]
    if len(value) > _PARTS:
        lines.append(f"    and {len(value) - _PARTS} more")
    return lines


def _name(event: events.BlockPreview) -> str:
    return "" if event.id is None else f" {event.id!r}"


def _preview(event: events.BlockPreview) -> str:
    if event.body is not None:
        return _about(event.about or {}, event.body.length)
    payload = event.payload if isinstance(event.payload, dict) else {}
    data = payload.get("data")
    if payload.get("type") == "table" and isinstance(data, dict):
        return f"table, {data.get('row_count', len(data.get('rows', ())))} rows, {len(data.get('columns', ()))} columns"
    return str(payload.get("type", "value"))


def _about(about: dict[str, Any], size: int) -> str:
    # Executors of before say nothing of it.
    parts = [str(about["type"])] if "type" in about else []
    if isinstance(about.get("title"), str):
        parts.append(repr(about["title"]))
    parts += [f"{about[name]:,} {name}" for name in ("rows", "columns") if isinstance(about.get(name), int)]
    pixels = about.get("pixels")
    if isinstance(pixels, list) and len(pixels) == 2:
        parts.append(f"{pixels[0]} x {pixels[1]} pixels")
    return ", ".join([*parts, f"{size:,} bytes"])


def _value(value: Any, body: object) -> str:
    return _short(value) if body is None else "a large value"


def _short(value: Any, limit: int = _SHORT) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"
