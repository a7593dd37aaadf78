"""The tables of a report: nodes, lines of logs, failures, executors, outputs."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from ..page.jobviews import PHASES, NodeView
from ..page.markup import Markup, el, join
from ..page.shown import Failure, Lines, LogLine
from ..page.state import State
from .amounts import PHASES as WORDS
from .amounts import clock, duration, many

__all__ = ["failures", "lines_of", "nodes_table", "outputs_of", "pill", "stalls", "tiles"]


def pill(state: str) -> Markup:
    """Return a state as a coloured word."""
    return el("span", state, class_=f"pill s-{state}")


def tiles(found: Iterable[tuple[str, str]]) -> Markup:
    """Return figures with what they count."""
    return el("div", [el("div", el("b", figure), el("span", words)) for words, figure in found], class_="tiles")


def nodes_table(state: State, nodes: list[NodeView], critical: set[str], now: int) -> Markup:
    """Return a row for each node. Columns are sorted by the page's script, by ``data-v``."""
    heads = ["Node", "State", "Jobs", "Values", "Lines", "Previews", "Waited", "Queue", "Start", "Work", "Pause", ""]
    running: dict[str, dict[str, int]] = {}
    for job in state.jobs.values():
        if job.ended is None and job.kind == "block":
            spent = running.setdefault(job.node, {})
            for phase, begin, end in job.spans(now):
                spent[phase] = spent.get(phase, 0) + end - begin
    rows = [_node_row(state, node, node.path in critical, running.get(node.path, {})) for node in nodes]
    head = el(
        "tr",
        [el("th", each, scope="col", class_="n" if 2 <= index <= 10 else None) for index, each in enumerate(heads)],
    )
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="data nodes sortable"), class_="scroll")


def _node_row(state: State, node: NodeView, critical: bool, running: dict[str, int]) -> Markup:
    waited = None
    if state.began is not None and node.first is not None and node.kind == "block":
        waited = max(node.first - state.began, 0)
    spent = {phase: node.spent.get(phase, 0) + running.get(phase, 0) for phase in PHASES}
    jobs = f"{sum(node.ended.values()):,}/{node.jobs:,}" if node.open else f"{node.jobs:,}"
    again = node.attempts - node.jobs
    name = el("bdi", node.path, class_="name")
    marks = [
        el("small", node.kind) if node.kind != "block" else None,
        el("small", "critical path", class_="mark") if critical else None,
        el("small", f"{node.progress:.0f} %") if node.open else None,
    ]
    bar = [
        el(
            "i",
            class_=f"p-{phase}",
            style=f"flex-grow:{spent[phase]}",
            title=f"{WORDS[phase]}: {duration(spent[phase])}",
        )
        for phase in PHASES
        if spent.get(phase)
    ]
    return el(
        "tr",
        el("td", name, marks, data_v=node.path),
        el("td", pill(node.state(state.over))),
        _number(node.jobs, jobs + (f" +{again}" if again > 0 and node.kind == "block" else ""),
                many(again, "further attempt") if again > 0 else None),
        _number(node.outputs),
        _number(node.lines),
        _number(node.previews),
        _time(waited),
        *(_time(spent.get(phase)) for phase in ("queue", "start", "work", "pause")),
        el("td", el("span", bar, class_="phases") if bar else None),
        class_="critical" if critical else None,
    )  # fmt: skip


def _number(value: int, shown: str | None = None, title: str | None = None) -> Markup:
    return el("td", shown or (f"{value:,}" if value else "–"), class_="n", data_v=value, title=title)


def _time(ms: int | None) -> Markup:
    return el("td", "–" if not ms else duration(ms), class_="n", data_v=ms or 0)


def failures(found: Iterable[Failure], shown: int) -> Markup:
    """Return failures with the author's frames, those that ended the session opened."""
    parts = []
    for failure in list(found)[-shown:]:
        again = f"attempt {failure.attempt}" + (", tried again" if failure.retried else "")
        trace = failure.traceback.rstrip() if failure.traceback else None
        head = [
            el("bdi", failure.node, class_="name"),
            el("small", again),
            el("span", _first_line(failure.error), class_="what"),
        ]
        body = [el("pre", trace or failure.error, class_="trace")]
        if trace and failure.error and failure.error not in trace:
            body.insert(0, el("pre", failure.error))
        parts.append(
            el("details", el("summary", head), body, class_="failure" + (" retried" if failure.retried else ""),
               open=not failure.retried)
        )  # fmt: skip
    return join(parts)


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 200 else line[:199] + "…"


def lines_of(lines: Lines, began: int, room: int | None) -> tuple[Markup, int, int]:
    """Return a node's lines as markup of up to ``room`` bytes or so, its size, and how many lines are missing in it."""
    head, tail = list(lines.head), list(lines.tail)
    parts = [_line(each, began) for each in head]
    after = [_line(each, began) for each in tail]
    missing = lines.missing
    if room is not None:
        half = room // 2
        parts, gone = _fitting(parts, max(half, room - sum(map(len, after))))
        missing += gone
        left = room - sum(map(len, parts))
        kept, gone = _fitting(after[::-1], left)
        after = kept[::-1]
        missing += gone
    gap = [el("li", f"{many(missing, 'line')} not in this report", class_="gap")] if missing else []
    made = join([*parts, *gap, *after])
    return el("ol", made, class_="log"), len(made), missing


def _fitting(parts: list[Markup], room: int) -> tuple[list[Markup], int]:
    total = 0
    for index, each in enumerate(parts):
        total += len(each)
        if total > room:
            return parts[:index], len(parts) - index
    return parts, 0


def _line(line: LogLine, began: int) -> Markup:
    kind = line.kind if line.kind in ("stdout", "stderr", "warning", "error", "notice", "json", "message") else "logger"
    cut = el("small", f" … {line.cut:,} characters more") if line.cut else None
    word = None if kind in ("stdout", "stderr") else el("em", line.kind)
    return el("li", el("time", clock(max(line.t - began, 0))), word, el("span", line.text, cut), class_=f"l-{kind}")


def stalls(state: State) -> Markup | None:
    """Return a table of the places where event loops were held up."""
    if not state.stalls:
        return None
    rows = [
        el(
            "tr",
            el("td", el("bdi", each.node)),
            el("td", f"{each.seconds:.1f} s", class_="n"),
            el("td", el("code", each.where)),
        )
        for each in sorted(state.stalls, key=lambda each: -each.seconds)
    ]
    head = el("tr", el("th", "Node"), el("th", "Time", class_="n"), el("th", "Where"))
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="data"), class_="scroll")


def outputs_of(state: State) -> Markup:
    """Return the session's outputs, each as JSON."""
    parts: list[Markup] = []
    for handle in (*state.outputs, *state.bodies):
        if handle in state.bodies:
            shown: Markup = el(
                "p",
                f"a large value of {state.bodies[handle].length:,} bytes; asyncblock export writes it",
                class_="note",
            )
        else:
            text = orjson.dumps(state.outputs[handle], default=str, option=orjson.OPT_INDENT_2).decode()
            shown = el("pre", text[:_OUTPUT], class_="json")
            if len(text) > _OUTPUT:
                shown = join([shown, el("p", f"the first {_OUTPUT:,} of {len(text):,} characters", class_="note")])
        parts.append(el("details", el("summary", el("bdi", handle, class_="name")), shown, open=len(parts) < 5))
    return join(parts)


_OUTPUT = 100_000
