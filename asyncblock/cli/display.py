"""How a session is shown: live bars on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from .. import events
from .eventwords import Names, words

__all__ = ["Display", "open_display"]

_LINES_LEFT = 6
"""Lines of a terminal that bars don't take, for what is printed above them."""


class Display(Protocol):
    """Shows events as they come."""

    def show(self, event: events.Event) -> None:
        """Show one event."""
        ...

    def note(self, text: str) -> None:
        """Say something of the command's own."""
        ...

    def restore(self) -> None:
        """Put the terminal back, for a process that is about to end without leaving the display."""
        ...


def _plain(value: object) -> str:
    return b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)


_TOLD = frozenset({"ValueCarried", "ValueCopied", "ValueExported", "ValueStays"})
"""Entries without an event class that are shown nevertheless: where values are, and why a job waits for one."""


class _JsonLines:
    """One event a line; bytes in base64. Entries that only matter to the mainframe are left out."""

    def show(self, event: events.Event) -> None:
        if isinstance(event, events.Other) and event.name not in _TOLD:
            return
        sys.stdout.buffer.write(orjson.dumps(event.to_json(), default=_plain) + b"\n")
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def restore(self) -> None:
        pass


class _Lines:
    """One line for what a person wants to know. Also the text above the bars of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._names = Names()

    def note(self, text: str) -> None:
        self._print(text, "yellow")

    def show(self, event: events.Event) -> None:
        self._say(event, self._names.of(event))

    def _say(self, event: events.Event, name: str | None) -> None:
        said = words(event, name)
        if said is not None:
            self._print(*said)

    def restore(self) -> None:
        pass

    def _print(self, text: str, style: str | None) -> None:
        # A style of the call's own would colour the bars too, which are drawn again with every line.
        self._console.print(Text(text, style=style or ""), highlight=False, soft_wrap=True)


@dataclass(slots=True)
class _Node:
    """What a node's bar tells: its jobs, and how far the running ones are."""

    bar: TaskID
    jobs: int = 0
    ended: int = 0
    failed: bool = False
    rates: dict[str, float] = field(default_factory=dict)
    """Of the jobs that haven't ended."""

    def take(self, event: events.BlockEvent) -> bool:
        """Take in an event; tell whether the bar has changed."""
        match event:
            case events.JobCreated():
                self.jobs += 1
                self.rates[event.job_id] = 0.0
            case events.BlockProgress():
                self.rates[event.job_id] = event.rate
            case events.BlockFinished() | events.JobFailed():
                self.failed = event.error is not None
                self.ended += self.rates.pop(event.job_id, None) is not None
            case _:
                return False
        return True

    @property
    def percent(self) -> float:
        return (100.0 * self.ended + sum(self.rates.values())) / self.jobs if self.jobs else 0.0

    @property
    def state(self) -> str:
        if self.jobs > 1:
            return f"{self.ended}/{self.jobs} jobs"
        if self.failed:
            return "[red]failed[/]"
        return "[green]done[/]" if self.ended else ""


class _Bars(_Lines):
    """A bar for each node that has a job, below the lines: as many as fit, those that haven't ended first."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self._progress = progress
        self._nodes: dict[str, _Node] = {}
        self._open: dict[TaskID, None] = {}
        self._ended: dict[TaskID, None] = {}
        self._visible: set[TaskID] = set()

    def show(self, event: events.Event) -> None:
        name = self._names.of(event)
        if isinstance(event, events.BlockEvent) and name:
            self._move(event, name)
        if not isinstance(event, (events.BlockStarted, events.BlockProgress)):
            self._say(event, name)

    def restore(self) -> None:
        self._progress.stop()

    def _move(self, event: events.BlockEvent, name: str) -> None:
        node = self._nodes.get(name)
        if node is None:
            bar = self._progress.add_task(escape(name), total=100, state="", visible=False)
            node = self._nodes[name] = _Node(bar)
        if node.take(event):
            self._progress.update(node.bar, completed=node.percent, state=node.state)
            self._arrange(node)

    def _arrange(self, node: _Node) -> None:
        """Show the bars that fit when a node comes or ends."""
        mine, other = (self._open, self._ended) if node.rates else (self._ended, self._open)
        if node.bar in mine:
            return
        other.pop(node.bar, None)
        mine[node.bar] = None
        room = max(self._console.height - _LINES_LEFT, 1)
        wanted = set(islice(self._open, room))
        wanted.update(islice(reversed(self._ended), room - len(wanted)))
        for bar in self._visible ^ wanted:
            self._progress.update(bar, visible=bar in wanted)
        self._visible = wanted


class _Console(Console):
    """A console that leaves a broken pipe to the command instead of ending the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@asynccontextmanager
async def open_display(json: bool, *, plain: bool = False) -> AsyncIterator[Display]:
    """Open the display that fits where the output goes; ``plain`` leaves a terminal to others (a debugger's prompt)."""
    if json:
        yield _JsonLines()
        return
    console = _Console()
    if plain or not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(console, progress)
