"""A flow's graph as an SVG, its nodes coloured by their states. The page that shows it can set the colours by CSS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ..flow.plan import FlowPlan, Plan
from .layers import Layout, layered, layers_of
from .markup import Markup, el, join

__all__ = ["GRAPH_STYLE", "Look", "draw_flow", "flows_in"]

MOST = 300
"""Nodes of a flow that are drawn one by one; in a larger one those of a layer are one box."""

_NAME = 26
"""Characters of a name that are drawn; all of it is in the tooltip."""

_SUB = 34
"""Characters of what stands below it."""

_LEVELS = 4

GRAPH_STYLE: Final = """
.ab-graph text{font:500 12px/1.2 var(--ab-font,system-ui,sans-serif);fill:var(--ab-ink,#1c2430)}
.ab-graph .ab-sub{font-size:10.5px;font-weight:400;fill:var(--ab-dim,#5b6675)}
.ab-graph rect.ab-box{fill:var(--ab-card,#fff);stroke:var(--ab-line,#c9d1db);stroke-width:1}
.ab-graph path{fill:none;stroke:var(--ab-edge,#9aa6b5);stroke-width:1.4}
.ab-graph path.ab-back{stroke-dasharray:4 3}
.ab-graph .ab-critical rect.ab-box{stroke:var(--ab-critical,#b4530a);stroke-width:2}
.ab-graph path.ab-critical{stroke:var(--ab-critical,#b4530a);stroke-width:2}
.ab-graph .ab-arrow{fill:var(--ab-edge,#9aa6b5);stroke:none}
"""
"""The style sheet of a graph. A page that shows one puts it into a style element, and may set its variables."""

_STATE_COLOURS: Final = {
    "finished": "var(--ab-finished,#1a7f45)",
    "failed": "var(--ab-failed,#c62828)",
    "cancelled": "var(--ab-cancelled,#8a5a00)",
    "working": "var(--ab-work,#1d6fd1)",
    "starting": "var(--ab-start,#0f8a8a)",
    "queued": "var(--ab-queue,#8a63d2)",
    "pausing": "var(--ab-pause,#b4530a)",
    "waiting": "var(--ab-value,#98a2b0)",
    "skipped": "var(--ab-value,#98a2b0)",
}

_KINDS: Final = {"condition": "condition", "subflow": "subflow", "slot": "slot", "service": "service"}


class Look:
    """How a node looks: its state, a word beside its kind, and whether it is on the critical path."""

    __slots__ = ("critical", "note", "progress", "state")

    def __init__(self, state: str = "", note: str = "", critical: bool = False, progress: float | None = None) -> None:
        self.state = state
        self.note = note
        self.critical = critical
        self.progress = progress


def flows_in(plan: Plan) -> list[tuple[tuple[str, ...], FlowPlan]]:
    """Return the flows to draw, with the path of the node that runs each: the plan's own, then those in its nodes."""
    found: list[tuple[tuple[str, ...], FlowPlan]] = []
    waiting: list[tuple[tuple[str, ...], FlowPlan]] = [((), plan)]
    while waiting:
        path, flow = waiting.pop(0)
        found.append((path, flow))
        waiting += [
            ((*path, node.node_id), plan.flow(node.flow))
            for node in flow.nodes
            if node.kind == "subflow" and node.flow is not None and len(path) + 1 < _LEVELS
        ]
    return found


def draw_flow(
    flow: FlowPlan,
    path: tuple[str, ...] = (),
    looks: Mapping[str, Look] | None = None,
    *,
    label: str | None = None,
    most: int = MOST,
) -> Markup:
    """Draw one flow. ``looks`` has the state of each node by its path from the outermost flow.

    Each box has its node's id as ``data-node`` and its kind as ``data-kind``; that of several nodes has neither.
    """
    looks = looks or {}
    kinds = {node.node_id: node.kind for node in flow.nodes}
    nodes = list(kinds)
    edges = [
        (source, target.node_id)
        for (source, _), targets in flow.targets.items()
        for target in targets
        if source is not None and target.node_id is not None
    ]
    seen = {node_id: looks.get("/".join((*path, node_id)), Look()) for node_id in nodes}
    titles = {node_id: _kind_of(kinds[node_id], seen[node_id]) for node_id in nodes}
    if len(nodes) > most:
        nodes, edges, seen, titles = _grouped(nodes, edges, seen, most)

    def size(node: str) -> tuple[float, float]:
        name, sub = 34.0 + 7.0 * min(len(node), _NAME), 30.0 + 5.8 * min(len(titles[node]), _SUB)
        return max(118.0, name, sub), 44.0

    layout = layered(nodes, edges, size)
    words = label or f"The flow {flow.title!r}: {len(kinds)} nodes"
    return _svg(layout, seen, titles, words, kinds)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _kind_of(kind: str, look: Look) -> str:
    return " · ".join(each for each in (_KINDS.get(kind, ""), look.state, look.note) if each)


def _grouped(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]], looks: Mapping[str, Look], most: int
) -> tuple[list[str], list[tuple[str, str]], dict[str, Look], dict[str, str]]:
    """Make one box of the nodes of each layer, or of several layers."""
    layer, _ = layers_of(nodes, edges)
    count = max(layer.values(), default=0) + 1
    if count > most:
        layer = {node: each * most // count for node, each in layer.items()}
    members: dict[int, list[str]] = {}
    for node in nodes:
        members.setdefault(layer[node], []).append(node)
    names = {
        number: each[0] if len(each) == 1 else f"{len(each):,} nodes from {each[0]}" for number, each in members.items()
    }
    seen: dict[str, Look] = {}
    titles: dict[str, str] = {}
    for number, each in members.items():
        states = Counter(looks[node].state for node in each)
        worst = next((state for state in _STATE_COLOURS if state != "finished" and states.get(state)), "")
        worst = worst or ("finished" if states.get("finished") else "")
        seen[names[number]] = Look(worst, critical=any(looks[node].critical for node in each))
        titles[names[number]] = ", ".join(f"{count:,} {state}" for state, count in states.items() if state)
    between = dict.fromkeys((names[layer[a]], names[layer[b]]) for a, b in edges if layer[a] != layer[b])
    return list(seen), list(between), seen, titles


def _svg(
    layout: Layout, looks: Mapping[str, Look], titles: Mapping[str, str], words: str, kinds: Mapping[str, str]
) -> Markup:
    margin = 8.0
    width, height = layout.width + 2 * margin, layout.height + 2 * margin
    drawn = [_edge(a, b, points, looks) for a, b, points in layout.edges]
    for node, box in layout.boxes.items():
        drawn.append(_box(node, box, looks[node], titles.get(node, ""), kinds.get(node)))
    return el(
        "svg",
        el("g", join(drawn), transform=f"translate({margin:g},{margin:g})"),
        class_="ab-graph",
        xmlns="http://www.w3.org/2000/svg",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_label=words,
    )


def _edge(a: str, b: str, points: Sequence[tuple[float, float]], looks: Mapping[str, Look]) -> Markup:
    (x, y), end = points[0], points[-1]
    parts = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in points[1:]:
        if abs(ny - y) < 0.05:
            parts.append(f"L{nx:.1f} {ny:.1f}")
        else:
            half = (nx - x) / 2
            parts.append(f"C{x + half:.1f} {y:.1f} {nx - half:.1f} {ny:.1f} {nx:.1f} {ny:.1f}")
        x, y = nx, ny
    back = points[0][0] > end[0]
    both = looks[a].critical and looks[b].critical
    tip = -6 if not back else 6
    arrow = f"M{end[0]:.1f} {end[1]:.1f}l{tip} -3.5v7z"
    classes = " ".join(each for each, wanted in (("ab-critical", both), ("ab-back", back)) if wanted)
    return join([el("path", d="".join(parts), class_=classes or None), el("path", d=arrow, class_="ab-arrow")])


def _box(node: str, box: tuple[float, float, float, float], look: Look, title: str, kind: str | None) -> Markup:
    x, y, width, height = box
    shown = _cut(node, _NAME)
    colour = _STATE_COLOURS.get(look.state)
    bar = None
    if look.progress is not None and look.state in ("working", "starting", "queued", "pausing"):
        done = max(min(look.progress, 100.0), 0.0) / 100 * (width - 12)
        bar = el("rect", x=f"{x + 6:.1f}", y=f"{y + height - 5:.1f}", width=f"{done:.1f}", height="2", fill=colour)
    return el(
        "g",
        el("title", f"{node}\n{title}" if title else node),
        el(
            "rect",
            x=f"{x:.1f}",
            y=f"{y:.1f}",
            width=f"{width:.1f}",
            height=f"{height:.1f}",
            rx="7",
            class_="ab-box",
        ),
        el("circle", cx=f"{x + 13:.1f}", cy=f"{y + height / 2:.1f}", r="4.5", fill=colour) if colour else None,
        el("text", shown, x=f"{x + (24 if colour else 11):.1f}", y=f"{y + (19 if title else 26):.1f}"),
        el("text", _cut(title, _SUB), x=f"{x + (24 if colour else 11):.1f}", y=f"{y + 34:.1f}", class_="ab-sub")
        if title
        else None,
        bar,
        class_="ab-critical" if look.critical else None,
        data_node=node if kind is not None else None,
        data_kind=kind,
    )
