"""``show``: a session in the terminal. Tables are tables; pictures are pictures where the terminal says that it can."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import AsyncBlockError, Unavailable
from ..page.jobviews import NodeView
from ..page.shown import Preview
from ..page.views import critical_path, nodes_in_order
from ..report import Collected
from ..report.amounts import duration, many
from ..report.previews import name_of
from ..report.written import file_name, files_of
from .pictures import Pictures

__all__ = ["show_session"]

_STYLES = {
    "finished": "green", "succeeded": "green", "failed": "bold red", "cancelled": "yellow", "interrupted": "yellow",
    "working": "blue", "running": "blue", "starting": "cyan", "queued": "magenta", "pausing": "yellow",
    "waiting": "dim", "skipped": "dim",
}  # fmt: skip

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey."""

_ROWS = 24
_TEXT = 4_000
"""Characters of a text that are shown."""

_FAILURES = 5
_LINES = 20


def _plain(value: object, limit: int = _TEXT) -> str:
    text = _UNSAFE.sub("\ufffd", str(value)).encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


async def show_session(collected: Collected, wanted: str | None) -> None:
    """Show a session, or one node of it."""
    console = Console(highlight=False)
    state = collected.state
    nodes = nodes_in_order(state)
    if wanted is not None:
        nodes = _meant(nodes, wanted)
    else:
        _head(console, collected)
    console.print(_nodes(collected, nodes))
    paths = {node.path for node in nodes}
    shown = [each for each in state.gallery.previews if each.node in paths and not each.superseded]
    if wanted is None:
        # Of a whole session the last one of each node.
        shown = list({each.node: each for each in shown}.values())
    with Pictures.of(console) as pictures:
        for preview in shown:
            await _preview(console, collected, preview, pictures)
    for failure in [each for each in state.failures if each.node in paths][-_FAILURES:]:
        console.print(Text(f"\n{_plain(failure.node)}, attempt {failure.attempt}: {_plain(failure.error)}", "red"))
        if failure.traceback:
            console.print(Text(_plain(failure.traceback.rstrip()), "dim"), soft_wrap=True)
    if wanted is not None:
        for node in nodes:
            _log(console, collected, node)


def _meant(nodes: list[NodeView], wanted: str) -> list[NodeView]:
    found = [each for each in nodes if each.path == wanted or each.path.startswith(f"{wanted}/")]
    if not found:
        known = [each.path for each in nodes]
        near = difflib.get_close_matches(wanted, known, 1)
        there = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(known[:8])}"
        raise Unavailable(f"the session has no node {wanted!r}{there if known else ''}")
    return found


def _head(console: Console, collected: Collected) -> None:
    state = collected.state
    took = "" if state.began is None else f", {duration(max(collected.now - state.began, 0))}"
    line = Text(_plain(state.title or state.session_id), "bold")
    line.append(f"  {collected.word}", _STYLES.get(collected.word, ""))
    line.append(f"{took}  ({state.session_id})", "dim")
    console.print(line)
    if state.error and state.state != "succeeded":
        console.print(Text(_plain(state.error), "red"), soft_wrap=True)
    path = [_plain(state.jobs[each].node) for each in critical_path(state)]
    if len(path) > 1:
        names = path if len(path) <= 12 else [*path[:6], "…", *path[-5:]]
        console.print(Text("critical path: " + " → ".join(names), "dim"), soft_wrap=True)


def _nodes(collected: Collected, nodes: list[NodeView]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    counts = [("jobs", "jobs"), ("values", "outputs"), ("previews", "previews"), ("lines", "lines")]
    counts = [(head, name) for head, name in counts if any(getattr(node, name) for node in nodes)]
    phases = [phase for phase in ("queue", "start", "work", "pause") if any(node.spent.get(phase) for node in nodes)]
    table.add_column("node", overflow="fold")
    table.add_column("state", no_wrap=True)
    for each in (*(head for head, _ in counts), *phases):
        table.add_column(each, justify="right", no_wrap=True)
    for node in nodes:
        word = node.state(collected.state.over)
        progress = f" {node.progress:.0f}%" if node.open else ""
        numbers = [f"{getattr(node, name):,}" if getattr(node, name) else "" for _, name in counts]
        times = [duration(node.spent[phase]) if node.spent.get(phase) else "" for phase in phases]
        table.add_row(Text(_plain(node.path)), Text(word + progress, _STYLES.get(word, "")), *numbers, *times)
    return table


def _log(console: Console, collected: Collected, node: NodeView) -> None:
    lines = collected.state.log.nodes.get(node.path)
    if lines is None:
        return
    last = list(lines)[-_LINES:]
    if lines.count > len(last):
        console.print(Text(f"the last {len(last)} of {many(lines.count, 'line')} of {_plain(node.path)}:", "dim"))
    for line in last:
        style = {"stderr": "yellow", "warning": "yellow", "error": "red"}.get(line.kind, "")
        console.print(Text(_plain(line.text), style), soft_wrap=True)


# ---------------------------------------------------------------------- previews


async def _preview(console: Console, collected: Collected, preview: Preview, pictures: Pictures) -> None:
    payload = preview.payload
    if preview.body is not None:
        try:
            payload = await collected.recording.fetch(preview.body)
        except AsyncBlockError as error:
            console.print(Text(f"\n{_plain(preview.node)}: a preview can't be read: {error}", "red"))
            return
    name = name_of(payload, preview.id, preview.kind)
    console.print(Text(f"\n{_plain(preview.node)} · {_plain(name)}", "bold cyan"))
    _payload(console, collected, preview, payload, pictures)


def _payload(console: Console, collected: Collected, preview: Preview, payload: Any, pictures: Pictures) -> None:
    kind = payload.get("type") if isinstance(payload, dict) else None
    data = payload.get("data") if isinstance(payload, dict) else payload
    if kind == "table" and isinstance(data, dict) and isinstance(data.get("rows"), list):
        console.print(_table(data, console.width))
    elif kind in ("text", "markdown", "csv") and isinstance(data, str):
        console.print(Text(_plain(data)), soft_wrap=True)
    elif kind == "group" and isinstance(data, list):
        for each in data:
            console.print(Text(_plain(name_of(each, None, "part")), "cyan"))
            _payload(console, collected, preview, each, pictures)
    else:
        for end, content in files_of(payload):
            if end.endswith(".json") and kind in (None, "json"):
                console.print(Text(_plain(content.decode("utf-8", "replace"))), soft_wrap=True)
            elif not (end.rsplit(".", 1)[-1] in ("png", "jpg", "gif", "webp", "bmp") and pictures.show(content)):
                console.print(Text(f"  {_keep(collected, preview, end, content)}"), soft_wrap=True)
    note = payload.get("note") if isinstance(payload, dict) else None
    if isinstance(note, str) and note:
        console.print(Text(_plain(note), "dim"), soft_wrap=True)


def _table(data: dict[str, Any], room: int) -> Table:
    """Make a table of the columns that fit into ``room`` characters."""
    rows = [row if isinstance(row, list) else [row] for row in data["rows"]]
    columns: list[Any] = data["columns"] if isinstance(data.get("columns"), list) else []
    width = max(len(columns), max((len(row) for row in rows), default=0))
    count = data.get("row_count")
    words = f"{count if isinstance(count, int) else len(rows):,} rows, {width:,} columns"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=words, caption_justify="left")
    shown: list[list[Text]] = []
    for index in range(width):
        name = _plain(columns[index], 40) if index < len(columns) else ""
        values = [row[index] if index < len(row) else None for row in rows[:_ROWS]]
        cells = [_cell(value) for value in values]
        room -= max([len(name), *(cell.cell_len for cell in cells)]) + 2
        if shown and room < (2 if index < width - 1 else 0):
            break
        number = all(value is None or isinstance(value, (int, float)) for value in values)
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
        shown.append(cells)
    if len(shown) < width:
        table.add_column("…")
        shown.append([Text("…")] * len(rows[:_ROWS]))
    for across in zip(*shown, strict=True):
        table.add_row(*across)
    if len(rows) > _ROWS:
        table.add_row(*[Text("…")] * len(shown))
    return table


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–", "dim")
    if isinstance(value, float):
        return Text(f"{value:,.6g}")
    return Text(_plain(value, 40).replace("\n", " "))


def _keep(collected: Collected, preview: Preview, end: str, content: bytes) -> Path:
    """Write a part of a preview where this user's programs keep what can be made again, and return where."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    directory = base / "asyncblock" / file_name(collected.state.session_id)
    place = directory / f"{preview.offset}-{file_name(preview.node, preview.id or preview.kind)}{end}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        raise Unavailable(f"a preview can't be written to {place}: {error.strerror}") from error
    return place
