"""Places for the nodes of a graph, in layers from left to right: each node stands right of those that feed it.

Edges that would go back (in a cycle) are turned for that. Nodes of a layer are ordered by where their neighbours are,
and edges over several layers are bent around what stands between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Layout", "layered", "layers_of"]

_SWEEPS = 6
"""Times that the layers are ordered, there and back. More changes nothing that one sees."""

_BENDS = 20_000
"""Bends of edges at most; in a larger graph long edges are straight."""

_GAP_X = 56.0
_GAP_Y = 16.0
_WIDTH = 900.0
"""Of the rows of nodes that have no edge, at least."""

_BEND = 8.0
"""Height that an edge takes in a layer that it passes."""

Edge = tuple[str, str]
_Item = str | tuple[int, int]
"""A node, or an edge (by its number) where it passes a layer."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are: boxes by node as ``(x, y, width, height)``, and the points of each edge."""

    width: float
    height: float
    boxes: dict[str, tuple[float, float, float, float]]
    edges: list[tuple[str, str, list[tuple[float, float]]]]


def layers_of(nodes: Sequence[str], edges: Iterable[Edge]) -> tuple[dict[str, int], set[Edge]]:
    """Return the layer of each node, and the edges that go back."""
    out: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b in edges:
        if a != b and a in out and b in out:
            out[a].append(b)
    back = _going_back(nodes, out)
    waits = dict.fromkeys(nodes, 0)
    for a, targets in out.items():
        for b in targets:
            if (a, b) not in back:
                waits[b] += 1
    layer = dict.fromkeys(nodes, 0)
    ready = deque(node for node in nodes if not waits[node])
    while ready:
        a = ready.popleft()
        for b in out[a]:
            if (a, b) in back:
                continue
            layer[b] = max(layer[b], layer[a] + 1)
            waits[b] -= 1
            if not waits[b]:
                ready.append(b)
    return layer, back


def _going_back(nodes: Sequence[str], out: Mapping[str, list[str]]) -> set[Edge]:
    """Return the edges that close a cycle, seen from the first nodes. Without recursion: flows may be long."""
    back: set[Edge] = set()
    state = dict.fromkeys(nodes, 0)
    for start in nodes:
        if state[start]:
            continue
        state[start] = 1
        way = [(start, iter(out[start]))]
        while way:
            node, targets = way[-1]
            for target in targets:
                if state[target] == 0:
                    state[target] = 1
                    way.append((target, iter(out[target])))
                    break
                if state[target] == 1:
                    back.add((node, target))
            else:
                state[node] = 2
                way.pop()
    return back


def layered(nodes: Sequence[str], edges: Sequence[Edge], size: Callable[[str], tuple[float, float]]) -> Layout:
    """Place nodes; ``size`` says how wide and high each one is."""
    edges = [(a, b) for a, b in dict.fromkeys(edges) if a != b]
    linked = {node for edge in edges for node in edge}
    alone = [node for node in nodes if node not in linked]
    if len(alone) > 1:
        return _with_grid(layered([node for node in nodes if node in linked], edges, size), alone, size)
    layer, back = layers_of(nodes, edges)
    turned = [(b, a) if (a, b) in back else (a, b) for a, b in edges]
    rows, links = _with_bends(nodes, turned, layer)
    _order(rows, links)
    sizes = {node: size(node) for node in nodes}
    tops = _heights(rows, links, lambda item: sizes[item][1] if isinstance(item, str) else _BEND)
    boxes: dict[str, tuple[float, float, float, float]] = {}
    bends: dict[_Item, tuple[float, float, float]] = {}
    x = 0.0
    for row in rows:
        width = max((sizes[item][0] for item in row if isinstance(item, str)), default=0.0)
        for item in row:
            if isinstance(item, str):
                boxes[item] = (x, tops[item], width, sizes[item][1])
            else:
                bends[item] = (x, x + width, tops[item] + _BEND / 2)
        x += width + _GAP_X
    height = max((y + h for _, y, _, h in boxes.values()), default=0.0)
    height = max([height, *(y for _, _, y in bends.values())])
    drawn = []
    for number, ((a, b), (first, last)) in enumerate(zip(edges, turned, strict=True)):
        passed = [bends[number, each] for each in range(layer[first] + 1, layer[last]) if (number, each) in bends]
        points = _way(boxes[first], boxes[last], passed)
        drawn.append((a, b, points if (a, b) == (first, last) else points[::-1]))
    return Layout(max(x - _GAP_X, 0.0), height, boxes, drawn)


def _with_grid(layout: Layout, alone: Sequence[str], size: Callable[[str], tuple[float, float]]) -> Layout:
    """Put nodes that have no edge in rows below the others."""
    sizes = [size(node) for node in alone]
    width = max(width for width, _ in sizes)
    height = max(height for _, height in sizes)
    across = max(int((max(layout.width, _WIDTH) + _GAP_Y) // (width + _GAP_Y)), 1)
    top = layout.height + 2 * _GAP_Y if layout.boxes else 0.0
    boxes = dict(layout.boxes)
    for index, node in enumerate(alone):
        row, column = divmod(index, across)
        boxes[node] = (column * (width + _GAP_Y), top + row * (height + _GAP_Y), width, sizes[index][1])
    return Layout(
        max(x + w for x, _, w, _ in boxes.values()), max(y + h for _, y, _, h in boxes.values()), boxes, layout.edges
    )


def _way(
    first: tuple[float, float, float, float],
    last: tuple[float, float, float, float],
    bends: Iterable[tuple[float, float, float]],
) -> list[tuple[float, float]]:
    points = [(first[0] + first[2], first[1] + first[3] / 2)]
    for left, right, y in bends:
        points += [(left, y), (right, y)]
    return [*points, (last[0], last[1] + last[3] / 2)]


def _with_bends(
    nodes: Sequence[str], edges: Sequence[Edge], layer: Mapping[str, int]
) -> tuple[list[list[_Item]], dict[_Item, tuple[list[_Item], list[_Item]]]]:
    """Return the layers with the places where edges pass them, and each thing's neighbours left and right."""
    rows: list[list[_Item]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    links: dict[_Item, tuple[list[_Item], list[_Item]]] = {}
    for node in nodes:
        rows[layer[node]].append(node)
        links[node] = ([], [])
    bent = sum(layer[b] - layer[a] - 1 for a, b in edges) <= _BENDS
    for number, (a, b) in enumerate(edges):
        left: _Item = a
        for each in range(layer[a] + 1, layer[b]) if bent else ():
            bend = (number, each)
            rows[each].append(bend)
            links[bend] = ([left], [])
            links[left][1].append(bend)
            left = bend
        links[left][1].append(b)
        links[b][0].append(left)
    return rows, links


def _order(rows: list[list[_Item]], links: Mapping[_Item, tuple[list[_Item], list[_Item]]]) -> None:
    """Order each layer by the middle of what its things are linked to in the one before, there and back."""
    place: dict[_Item, int] = {}
    for row in rows:
        place.update((item, index) for index, item in enumerate(row))
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for row in rows if side == 0 else rows[::-1]:

            def middle(item: _Item, side: int = side) -> float:
                found = [place[each] for each in links[item][side]]
                return sum(found) / len(found) if found else place[item]

            row.sort(key=middle)
            place.update((item, index) for index, item in enumerate(row))


def _heights(
    rows: list[list[_Item]],
    links: Mapping[_Item, tuple[list[_Item], list[_Item]]],
    height: Callable[[_Item], float],
) -> dict[_Item, float]:
    """Return the top of each thing: near the middle of its neighbours, none above another."""
    top: dict[_Item, float] = {}
    for row in rows:
        y = 0.0
        for item in row:
            top[item] = y
            y += height(item) + _GAP_Y
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for row in rows if side == 0 else rows[::-1]:
            wanted = []
            for item in row:
                near = [top[each] + height(each) / 2 for each in links[item][side]]
                wanted.append(sum(near) / len(near) - height(item) / 2 if near else top[item])
            _settle(row, wanted, top, height)
    least = min(top.values(), default=0.0)
    return {item: y - least for item, y in top.items()}


def _settle(row: list[_Item], wanted: list[float], top: dict[_Item, float], height: Callable[[_Item], float]) -> None:
    """Put the things of a layer as near to where they want to be as their order and the gaps allow.

    Things that would overlap form a group, which stands at the mean of what its members want.
    """
    groups: list[tuple[float, float, int, float]] = []
    """Of each: the sum of what its members want for its top, its height, how many there are, its top."""
    for item, y in zip(row, wanted, strict=True):
        total, size, count, at = y, height(item) + _GAP_Y, 1, y
        while groups and groups[-1][3] + groups[-1][1] > at:
            before = groups.pop()
            total, count = before[0] + total - count * before[1], before[2] + count
            size += before[1]
            at = total / count
        groups.append((total, size, count, at))
    index = 0
    for _, _, count, at in groups:
        y = at
        for item in row[index : index + count]:
            top[item] = y
            y += height(item) + _GAP_Y
        index += count
