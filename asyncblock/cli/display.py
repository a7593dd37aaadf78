"""How a session is shown: live bars on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from .. import events

__all__ = ["Display", "open_display"]


class Display(Protocol):
    """Shows events as they come."""

    def show(self, event: events.Event) -> None:
        """Show one event."""
        ...

    def note(self, text: str) -> None:
        """Say something of the command's own."""
        ...


class _JsonLines:
    """One event a line."""

    def show(self, event: events.Event) -> None:
        sys.stdout.buffer.write(orjson.dumps(event.to_json(), default=str) + b"\n")
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


class _Lines:
    """One line for what a person wants to know. Also the text above the bars of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        self._console.print(escape(text), style="yellow")

    def show(self, event: events.Event) -> None:
        said = _words(event)
        if said is not None:
            text, style = said
            self._console.print(escape(text), style=style, highlight=False, soft_wrap=True)


class _Bars(_Lines):
    """A bar for each node that has run, below the lines."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def show(self, event: events.Event) -> None:
        if isinstance(event, events.BlockEvent) and event.node_id:
            self._move(event)
        if not isinstance(event, (events.BlockStarted, events.BlockProgress)):
            super().show(event)

    def _move(self, event: events.BlockEvent) -> None:
        bar = self._bars.get(event.node_id)
        if bar is None:
            bar = self._bars[event.node_id] = self._progress.add_task(escape(event.node_id), total=100)
        if isinstance(event, events.BlockProgress):
            self._progress.update(bar, completed=event.rate)
        elif isinstance(event, events.BlockFinished):
            self._progress.update(bar, completed=100)


def _words(event: events.Event) -> tuple[str, str | None] | None:
    """Say an event in a line, with a style; None for what a person needn't see."""
    match event:
        case events.SessionStarted():
            return f"session {event.session_id}: {event.title}", "bold"
        case events.BlockStarted():
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            return f"{event.node_id}: started{again}", "dim"
        case events.BlockLog():
            return f"{event.node_id}: {event.log}", "yellow" if event.stdio == "stderr" else None
        case events.BlockLogJSON():
            return f"{event.node_id}: {_short(event.json)}", None
        case events.BlockMessage():
            return f"{event.node_id}: message {_short(event.payload)}", None
        case events.BlockWarning():
            return f"{event.node_id}: warning: {event.warning}", "yellow"
        case events.BlockError():
            return f"{event.node_id}: error: {event.error}", "red"
        case events.BlockPreview():
            return f"{event.node_id}: preview: {_preview(event)}", "cyan"
        case events.BlockFinished():
            return _end_of(event)
        case events.JobFailed():
            return f"{event.node_id}: failed: {event.error}", "red"
        case events.JobStalled():
            return f"{event.node_id}: has blocked its event loop for {event.seconds:.1f} s in {event.where}", "yellow"
        case events.SessionCancelled():
            return f"cancelled: {event.reason}", "yellow"
        case events.SessionFinished():
            return _end(event)
    return None


def _end_of(event: events.BlockFinished) -> tuple[str, str | None]:
    if event.cancelled:
        return f"{event.node_id}: cancelled", "yellow"
    if event.error is None:
        return f"{event.node_id}: finished", "dim"
    text = f"{event.node_id}: failed: {event.error}"
    return (f"{text}\n{event.traceback.rstrip()}" if event.traceback else text), "red"


def _end(event: events.SessionFinished) -> tuple[str, str | None]:
    if event.state != "succeeded":
        return f"session {event.state}: {event.error or event.state}", "bold red"
    lines = [f"session succeeded, {len(event.outputs)} output(s)"]
    lines += [f"  {handle} = {_short(value, 2000)}" for handle, value in event.outputs.items()]
    return "\n".join(lines), "bold green"


def _preview(event: events.BlockPreview) -> str:
    if event.body is not None:
        return f"{event.body.length:,} bytes"
    payload = event.payload if isinstance(event.payload, dict) else {}
    data = payload.get("data")
    if payload.get("type") == "table" and isinstance(data, dict):
        return f"table, {data.get('row_count', len(data.get('rows', ())))} rows, {len(data.get('columns', ()))} columns"
    return str(payload.get("type", "value"))


def _short(value: Any, limit: int = 200) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


@asynccontextmanager
async def open_display(json: bool) -> AsyncIterator[Display]:
    """Open the display that fits where the output goes."""
    if json:
        yield _JsonLines()
        return
    console = Console()
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(console, progress)
