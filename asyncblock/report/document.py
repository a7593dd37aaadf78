"""The report: one HTML file that needs nothing else, of a bounded size. What doesn't fit is listed in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import orjson

from .._version import installed_version
from ..errors import AsyncBlockError
from ..page.graphview import GRAPH_STYLE, Look, draw_flow, flows_in
from ..page.jobviews import PHASES
from ..page.markup import Markup, el, join
from ..page.shown import Lines, Preview
from ..page.state import SESSION
from ..page.views import critical_path, nodes_in_order, totals
from .amounts import PHASES as PHASE_WORDS
from .amounts import date, duration, many, size
from .collect import Collected
from .iframes import FRAME_POLICY, library
from .previews import Drawn, draw, name_of
from .tables import failures, lines_of, nodes_table, outputs_of, pill, stalls, tiles
from .timeline import MOST_BARS, timeline

__all__ = ["MOST_BYTES", "asset", "document"]

MOST_BYTES: Final = 10_000_000
"""Bytes that a report may have, unless it is told to leave nothing out."""

_LOGS = 0.2
"""The part of a report that logs may take."""

_NODES = 2_000
_FLOWS = 40
"""Graphs of subflows that are drawn."""

_FAILURES = 50

_LISTED = 2_000
"""Things that were left out and are listed one by one."""


@dataclass(slots=True)
class _Page:
    """What a report is made of, and what it leaves out."""

    room: int | None
    """Bytes that are left; None for as many as it takes."""
    active: bool = False
    libraries: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def take(self, markup: Markup) -> Markup:
        """Count what goes in."""
        if self.room is not None:
            self.room -= _bytes(markup)
        return markup

    def fits(self, count: int) -> bool:
        """Tell whether so many bytes more fit."""
        return self.room is None or count <= self.room


def _bytes(markup: str) -> int:
    return len(markup) if markup.isascii() else len(markup.encode("utf-8", "replace"))


async def document(collected: Collected, *, most: int | None = MOST_BYTES) -> bytes:
    """Return a report; ``most`` bytes, or with None everything.

    **Cancellation** is safe.
    """
    full = most is None
    style, script = asset("report.css") + GRAPH_STYLE, asset("report.js")
    page = _Page(None if most is None else most - len(style) - len(script) - 60_000)
    state = collected.state
    path = critical_path(state)
    jobs_on_path = set(path)
    nodes = nodes_in_order(state)
    on_path = {state.jobs[each].node for each in path}
    sections = [
        ("overview", "Overview", _overview(collected)),
        ("errors", "Errors", _errors(collected, page, full)),
        ("graph", "Graph", _graph(collected, on_path, page, full)),
        ("timeline", "Timeline", _timeline(collected, jobs_on_path, page, full)),
        ("nodes", "Nodes", _nodes(collected, nodes, on_path, page, full)),
        ("outputs", "Outputs", outputs_of(state) if state.outputs or state.bodies else None),
    ]
    for _, _, markup in sections:
        page.take(markup or Markup(""))
    log = _logs(collected, page)
    shown = await _previews(collected, page, full)
    sections[5:5] = [("previews", "Previews", shown), ("logs", "Logs", log)]
    stalled = stalls(state)
    if stalled is not None:
        sections.append(("stalls", "Stalls", stalled))
    if page.left_out:
        sections.append(("left-out", "Left out", _left_out(page.left_out)))
    return _html(collected, page, [each for each in sections if each[2] is not None], style, script)


# ---------------------------------------------------------------------- the whole


def _html(
    collected: Collected, page: _Page, sections: Sequence[tuple[str, str, Markup | None]], style: str, script: str
) -> bytes:
    state = collected.state
    title = state.title or state.session_id
    libraries = [
        el(
            "script",
            _json_in_script(source),
            type="application/json",
            id=f"library-{name}",
        )
        for name in sorted(page.libraries)
        if (source := library(name)) is not None
    ]
    policy = _policy(script, active=page.active)
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", http_equiv="x-dns-prefetch-control", content="off"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} · {collected.word} · asyncblock"),
        el("style", Markup(style)),
    )
    links = [el("a", words, href=f"#{name}") for name, words, _ in sections]
    begun = f"began {date(state.began)}" if state.began is not None else ""
    took = f"{duration(_end(collected) - state.began)}" if state.began is not None else ""
    about = (f"session {state.session_id}", begun, state.path or "")
    header = el(
        "header",
        el(
            "div",
            el("h1", el("bdi", title)),
            pill(collected.word),
            el("span", took, class_="took"),
            el("button", "Dark", type="button", id="theme", aria_label="Switch between dark and light"),
            class_="bar",
        ),
        el("p", " · ".join(each for each in about if each), class_="sub"),
        el("nav", links, aria_label="Sections"),
    )
    body = [el("section", el("h2", words), markup, id=name, aria_label=words) for name, words, markup in sections]
    footer = el("footer", f"Made by asyncblock {installed_version()} · this file loads nothing from anywhere")
    whole = el(
        "html",
        head,
        el("body", header, el("main", body), footer, libraries, el("script", Markup(script))),
        lang="en",
    )
    return f"<!doctype html>\n{whole}\n".encode("utf-8", "replace")


def _json_in_script(source: str) -> Markup:
    return Markup(orjson.dumps(source).decode().replace("<", "\\u003c"))


def _policy(script: str, *, active: bool) -> str:
    """Return the page's policy. A frame's scripts need that the page that holds it allows such scripts, too."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scripts = "script-src 'unsafe-inline' 'unsafe-eval'" if active else f"script-src 'sha256-{digest}'"
    rest = [each for each in FRAME_POLICY.split("; ") if not each.startswith("script-src")]
    return "; ".join([*rest, scripts, "base-uri 'none'", "form-action 'none'"])


def asset(name: str) -> str:
    """Return a file that is shipped with this package."""
    return (files(__package__) / name).read_text("utf-8")


def _end(collected: Collected) -> int:
    return collected.state.now if collected.state.over else collected.now


# ---------------------------------------------------------------------- its parts


def _overview(collected: Collected) -> Markup:
    state = collected.state
    nodes = nodes_in_order(state)
    spent = totals(state, collected.now)
    outputs = sum(each.outputs for each in nodes)
    found = [
        ("nodes", f"{len(nodes):,}"),
        ("jobs", f"{sum(each.jobs for each in nodes if each.kind != 'flow'):,}"),
        ("values put out", f"{outputs:,}"),
        ("previews", f"{sum(each.previews for each in nodes):,}"),
        ("lines of logs", f"{sum(each.lines for each in nodes):,}"),
        ("failed attempts", f"{state.failures_count:,}"),
        ("executors", f"{len(state.executors):,}"),
    ]
    whole = sum(spent.values())
    bar = None
    if whole:
        pieces = [el("i", class_=f"p-{phase}", style=f"flex-grow:{spent[phase]}") for phase in PHASES if spent[phase]]
        legend = [
            el("span", el("i", class_=f"dot p-{phase}"), f"{PHASE_WORDS[phase]} {duration(spent[phase])}")
            for phase in PHASES
            if spent[phase]
        ]
        words_of_bar = "Where the time of all nodes went"
        shown = el("div", pieces, class_="phases wide", role="img", aria_label=words_of_bar)
        bar = join([el("h3", words_of_bar), shown, el("div", legend, class_="legend")])
    words = None
    if collected.word == "interrupted":
        told = (
            "The process of this run was killed before its end. Nothing of it was changed to make this report; go on "
            "with it: "
        )
        words = el("p", told, el("code", f"asyncblock resume {state.session_id}"), class_="notice")
    elif not state.over:
        words = el("p", f"The session was running when this was made ({date(collected.now)}).", class_="notice")
    notices = state.log.nodes.get(SESSION)
    said = [el("p", each.text, class_="notice") for each in notices] if notices is not None else None
    return join([words, said, tiles(found), bar])


def _errors(collected: Collected, page: _Page, full: bool) -> Markup | None:
    state = collected.state
    if not state.failures and not (state.over and state.error):
        return None
    shown = len(state.failures) if full else _FAILURES
    if state.failures_count > min(shown, len(state.failures)):
        page.left_out.append(f"{state.failures_count - min(shown, len(state.failures)):,} earlier failed attempts")
    whole = el("pre", state.error, class_="whole") if state.error and state.state != "succeeded" else None
    return join([whole, failures(state.failures, shown)])


def _graph(collected: Collected, on_path: set[str], page: _Page, full: bool) -> Markup | None:
    if collected.plan is None:
        return el("p", "The flow's plan can't be read by this version, so it isn't drawn.", class_="empty")
    state = collected.state
    looks = {
        node.path: Look(
            node.state(state.over),
            f"{node.jobs:,} jobs" if node.jobs > 1 else "",
            node.path in on_path,
            node.progress,
        )
        for node in state.nodes.values()
    }
    flows = flows_in(collected.plan)
    parts: list[Markup] = []
    for path, flow in flows if full else flows[:_FLOWS]:
        unseen = Look("skipped" if state.over else "waiting")
        known = {"/".join((*path, node.node_id)): unseen for node in flow.nodes} | looks
        drawn = el("div", draw_flow(flow, path, known), class_="scroll graph")
        if path:
            drawn = el("details", el("summary", "in ", el("bdi", "/".join(path), class_="name")), drawn)
        parts.append(drawn)
    if len(flows) > len(parts):
        page.left_out.append(f"the graphs of {len(flows) - len(parts):,} subflows")
    return join(parts)


def _timeline(collected: Collected, critical: set[str], page: _Page, full: bool) -> Markup:
    drawn, left_out = timeline(collected, critical, None if full else MOST_BARS)
    left_out += collected.state.forgotten
    if left_out:
        page.left_out.append(f"{left_out:,} of the shortest attempts in the timeline")
    return drawn


def _nodes(collected: Collected, nodes: list[Any], on_path: set[str], page: _Page, full: bool) -> Markup | None:
    if not nodes:
        return el("p", "No node is known yet.", class_="empty")
    shown = nodes if full else nodes[:_NODES]
    if len(shown) < len(nodes):
        page.left_out.append(f"{len(nodes) - len(shown):,} nodes of the table")
    return nodes_table(collected.state, shown, on_path, collected.now)


def _logs(collected: Collected, page: _Page) -> Markup | None:
    state = collected.state
    nodes = [node for node in nodes_in_order(state) if node.lines]
    if not nodes:
        return None
    whole = None if page.room is None else int(max(page.room, 0) * _LOGS)
    began = state.began or 0
    parts = []
    for index, node in enumerate(nodes):
        room = None if whole is None else whole // (len(nodes) - index)
        lines = state.log.nodes.get(node.path) or Lines()
        markup, taken, missing = lines_of(lines, began, room)
        if whole is not None:
            whole -= taken
        if missing:
            page.left_out.append(f"{many(missing, 'line')} of the log of {node.path}")
        head = el("summary", el("bdi", node.path, class_="name"), el("small", many(node.lines, "line")))
        parts.append(el("details", head, markup, open=len(nodes) == 1 or node.lines <= 20))
    search = el("input", type="search", id="find", placeholder="Find in logs", aria_label="Find in logs")
    return page.take(join([el("div", search, el("span", id="found", role="status"), class_="tools"), *parts]))


async def _previews(collected: Collected, page: _Page, full: bool) -> Markup | None:
    state = collected.state
    previews = state.gallery.previews
    if state.gallery.dropped:
        page.left_out.append(f"{state.gallery.dropped:,} of the oldest previews")
    if not previews:
        return None
    chosen: dict[int, Drawn] = {}
    for index in _by_worth(previews):
        drawn = await _drawn(collected, previews[index], page, full)
        if drawn is not None:
            chosen[index] = drawn
            page.active = page.active or drawn.active
            page.libraries |= drawn.libraries
    by_node: dict[str, list[int]] = {}
    for index in range(len(previews)):
        if index in chosen:
            by_node.setdefault(previews[index].node, []).append(index)
    parts = []
    for node in nodes_in_order(state):
        indexes = by_node.get(node.path)
        if indexes:
            cards = [_card(collected, previews[index], chosen[index]) for index in indexes]
            parts.append(el("div", el("h3", el("bdi", node.path, class_="name")), el("div", cards, class_="cards")))
    return join(parts) if parts else el("p", "None of the previews fits into this report.", class_="empty")


def _by_worth(previews: Sequence[Preview]) -> Iterable[int]:
    """Yield previews: the last one of each node, then other current ones, then those that are superseded."""
    last = {preview.node: index for index, preview in enumerate(previews) if not preview.superseded}
    first = sorted(last.values())
    yield from first
    seen = set(first)
    yield from (index for index, each in enumerate(previews) if not each.superseded and index not in seen)
    yield from (index for index in range(len(previews) - 1, -1, -1) if previews[index].superseded)


async def _drawn(collected: Collected, preview: Preview, page: _Page, full: bool) -> Drawn | None:
    """Draw a preview if it fits; else list it."""
    name = name_of(preview.about or preview.payload, preview.id, preview.kind)
    words = f"preview {name!r} of {preview.node} ({preview.kind}"
    if preview.dropped:
        page.left_out.append(f"{words}, row {preview.offset} of the journal)")
        return None
    payload = preview.payload
    if preview.body is not None:
        if not page.fits(preview.body.length):
            page.left_out.append(f"{words}, {size(preview.body.length)})")
            return None
        try:
            payload = await collected.recording.fetch(preview.body)
        except AsyncBlockError as error:
            return Drawn(page.take(el("p", f"It can't be read: {error}", class_="note")))
    drawn = draw(payload, f"{preview.node}: {name}", full=full)
    needed = sum(len(library(each) or "") for each in drawn.libraries - page.libraries)
    count = _bytes(drawn.markup) + needed + 400
    if not page.fits(count):
        page.left_out.append(f"{words}, {size(count)})")
        return None
    page.take(drawn.markup)
    if page.room is not None:
        page.room -= needed + 400
    return drawn


def _card(collected: Collected, preview: Preview, drawn: Drawn) -> Markup:
    name = name_of(preview.payload or preview.about, preview.id, preview.kind)
    began = collected.state.began or preview.t
    words = [preview.kind if preview.kind != name else None, f"after {duration(max(preview.t - began, 0))}"]
    head = [el("bdi", name, class_="name"), el("small", " · ".join(each for each in words if each))]
    if preview.superseded:
        return el("details", el("summary", head, el("small", "superseded")), drawn.markup, class_="card old")
    return el("figure", el("figcaption", head), drawn.markup, class_=f"card k-{preview.kind}")


def _left_out(found: Sequence[str]) -> Markup:
    items = [el("li", each) for each in found[:_LISTED]]
    more = el("p", f"and {len(found) - _LISTED:,} more", class_="note") if len(found) > _LISTED else None
    words = "This report is kept small. These aren't in it; asyncblock report --full leaves nothing out."
    return join([el("p", words), el("ul", items), more])
