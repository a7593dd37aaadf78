"""A plan as a picture: Mermaid's text, or Graphviz's for ``dot``. Subflows are drawn inside of their nodes."""

from __future__ import annotations

from collections.abc import Iterator

from .plan import REMEMBERED, FlowPlan, NodePlan, Plan, Source

__all__ = ["to_dot", "to_mermaid"]

_MAX_LEVELS = 3
"""Levels of subflows that are drawn; deeper ones are a node. A subflow that calls itself ends somewhere."""


class _Drawing:
    """Names for what is drawn, so that any id can stand in either language."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._names: dict[tuple[str, ...], str] = {}

    def name(self, *path: str) -> str:
        """Return a short name for a node, by its path from the root."""
        return self._names.setdefault(path, f"n{len(self._names)}")

    def drawn_inside(self, node: NodePlan, path: tuple[str, ...]) -> FlowPlan | None:
        """Return the flow to draw inside of a node."""
        if node.kind != "subflow" or node.flow is None or len(path) >= _MAX_LEVELS:
            return None
        return self.plan.flow(node.flow)


def to_mermaid(plan: Plan) -> str:
    """Return the flow as a Mermaid flowchart."""
    drawing = _Drawing(plan)
    return "\n".join(["flowchart LR", *_mermaid(drawing, plan, ())]) + "\n"


_SHAPES = {"condition": ("{", "}"), "slot": ("([", "])"), "subflow": ("[[", "]]"), "flow": ("((", "))")}


def _mermaid(drawing: _Drawing, flow: FlowPlan, path: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * (len(path) + 1)
    for node in flow.nodes:
        name = drawing.name(*path, node.node_id)
        inside = drawing.drawn_inside(node, (*path, node.node_id))
        if inside is not None:
            yield f'{indent}subgraph {name}["{_quoted(node.node_id)}"]'
            yield from _mermaid(drawing, inside, (*path, node.node_id))
            yield f"{indent}end"
        else:
            before, after = _SHAPES.get(node.kind, ("[", "]"))
            yield f'{indent}{name}{before}"{_quoted(node.node_id)}"{after}'
    before, after = _SHAPES["flow"]
    for label, name in _ends(drawing, flow, path):
        yield f'{indent}{name}{before}"{_quoted(label)}"{after}'
    for first, text, second in _arrows(drawing, flow, path):
        yield f'{indent}{first} -->|"{_quoted(text)}"| {second}'


def to_dot(plan: Plan) -> str:
    """Return the flow as Graphviz's text."""
    drawing = _Drawing(plan)
    lines = ["digraph {", "  rankdir=LR; compound=true; node [shape=box, style=rounded, fontname=sans];"]
    return "\n".join([*lines, *_dot(drawing, plan, ()), "}"]) + "\n"


_DOT_SHAPES = {"condition": "diamond", "slot": "oval", "subflow": "box3d"}


def _dot(drawing: _Drawing, flow: FlowPlan, path: tuple[str, ...]) -> Iterator[str]:
    for node in flow.nodes:
        name = drawing.name(*path, node.node_id)
        inside = drawing.drawn_inside(node, (*path, node.node_id))
        shape = _DOT_SHAPES.get(node.kind, "box")
        if inside is not None:
            yield f'subgraph cluster_{name} {{ label="{_quoted(node.node_id)}"; {name} [shape=point];'
            yield from _dot(drawing, inside, (*path, node.node_id))
            yield "}"
        else:
            yield f'{name} [label="{_quoted(node.node_id)}", shape={shape}];'
    for label, name in _ends(drawing, flow, path):
        yield f'{name} [label="{_quoted(label)}", shape=plaintext];'
    for first, text, second in _arrows(drawing, flow, path):
        yield f'{first} -> {second} [label="{_quoted(text)}", fontsize=9];'


def _ends(drawing: _Drawing, flow: FlowPlan, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the flow's inputs that somebody takes, and its outputs."""
    taken = {handle for node_id, handle in flow.targets if node_id is None}
    for each in flow.inputs_def:
        if each["handle"] in taken:
            yield each["handle"], drawing.name(*path, "<", each["handle"])
    for handle in flow.outputs:
        yield handle, drawing.name(*path, ">", handle)


def _arrows(drawing: _Drawing, flow: FlowPlan, path: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for (node_id, handle), targets in flow.targets.items():
        first = _place(drawing, path, Source(node_id, handle), "<")
        for target in targets:
            second = _place(drawing, path, target, ">")
            taken = target.handle.replace(REMEMBERED, ".")
            if target.node_id is None or node_id is None or handle == taken:
                text = handle if node_id is not None else taken
            else:
                text = f"{handle} → {taken}"
            yield first, text, second


def _place(drawing: _Drawing, path: tuple[str, ...], place: Source, end: str) -> str:
    return drawing.name(*path, *((end, place.handle) if place.node_id is None else (place.node_id,)))


def _quoted(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return (
        plain.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;").replace("\\", "/")
    )
