"""Graphs of flows: nodes in layers that don't overlap, cycles and long chains, large ones in groups, names as text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from asyncblock.flow.plan import FlowPlan, InputPlan, NodePlan, Source
from asyncblock.page.graphview import MOST, Look, draw_flow
from asyncblock.page.layers import layered, layers_of

_NAMES = [f"n{i}" for i in range(12)]


@given(st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_NAMES)), max_size=30))
def test_nodes_never_overlap_and_edges_go_right_but_for_those_of_cycles(edges: list[tuple[str, str]]) -> None:
    layout = layered(_NAMES, edges, lambda node: (80.0, 40.0))
    boxes = list(layout.boxes.values())
    for index, (x, y, width, height) in enumerate(boxes):
        assert x >= 0 and y >= -1e-6 and x + width <= layout.width + 1e-6 and y + height <= layout.height + 1e-6
        for other in boxes[index + 1 :]:
            apart_x = x + width <= other[0] or other[0] + other[2] <= x
            apart_y = y + height <= other[1] + 1e-6 or other[1] + other[3] <= y + 1e-6
            assert apart_x or apart_y
    layer, back = layers_of(_NAMES, edges)
    for a, b in edges:
        assert a == b or (layer[a] < layer[b]) != ((a, b) in back)
    assert {(a, b) for a, b, _ in layout.edges} == {(a, b) for a, b in edges if a != b}


def _chain(count: int) -> FlowPlan:
    def fed(number: int) -> dict[str, InputPlan]:
        return {"in": InputPlan((Source(f"n{number - 1}", "out"),))} if number else {}

    return FlowPlan("chain", None, tuple(NodePlan(f"n{i}", "task", {}, fed(i)) for i in range(count)))


def test_a_chain_of_ten_thousand_nodes_is_drawn_as_groups() -> None:
    drawn = ET.fromstring(draw_flow(_chain(10_000), looks={f"n{i}": Look("finished") for i in range(10_000)}))
    boxes = [each for each in drawn.iter() if each.get("class") == "ab-box"]
    assert 1 < len(boxes) <= MOST


def test_names_are_text_whatever_is_in_them() -> None:
    name = "</text><script>alert(1)</script>&\x00\ud800"
    flow = FlowPlan("<b>", None, (NodePlan(name, "task", {}),))
    drawn = draw_flow(flow, looks={name: Look("failed")})
    assert "<script" not in drawn and "\x00" not in drawn
    titles = [each.text for each in ET.fromstring(drawn).iter() if each.tag.endswith("title")]
    assert titles[0] is not None and titles[0].startswith("</text><script>alert(1)</script>&\ufffd\ufffd")
