"""Flows with subflows, slots, conditions, end to end through a real mainframe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of
from .packages import block, write

INC = "async def main(inputs, ctx):\n    return {'y': inputs['x'] + 1}\n"
COUNT = "async def main(inputs, ctx):\n    for i in range(inputs['n']):\n        await ctx.output(i, 'i')\n"
TIMES = "async def main(inputs, ctx):\n    return {'r': inputs['i'] * inputs['by']}\n"
SLOW = "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(60)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with a few blocks, a subflow ``map`` with a slot, and one ``down`` that calls itself."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(root, "inc", "x", "y", INC)
    block(root, "count", "n", "i", COUNT)
    block(root, "times", "i by", "r", TIMES)
    block(root, "slow", "", "", SLOW)
    write(
        root / "subflows/map/subflow.oo.yaml",
        """
        inputs_def: [{handle: n}]
        outputs_def: [{handle: out}]
        nodes:
          - {node_id: count, task: self::count, inputs_from: [{handle: n, from_flow: [{input_handle: n}]}]}
          - node_id: each
            concurrency: 4
            slot: {inputs_def: [{handle: i}], outputs_def: [{handle: r}]}
            inputs_from: [{handle: i, from_node: [{node_id: count, output_handle: i}]}]
        outputs_from: [{handle: out, from_node: [{node_id: each, output_handle: r}]}]
        """,
    )
    return root


def flow(root: Path, text: str) -> Path:
    return write(root / "flows/f/flow.oo.yaml", text)


async def run(path: Path, inputs: dict[str, object] | None = None) -> list[events.Event]:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(path, inputs)
        return [event async for event in session]


def results(found: list[events.Event], node_id: str, handle: str) -> list[Any]:
    ended = [event for event in all_of(found, events.BlockFinished) if event.node_id == node_id]
    return sorted(event.result[handle] for event in ended)


MAPPED = """
inputs_def: [{handle: n, value: 5}]
nodes:
  - {node_id: ten, task: self::inc, inputs_from: [{handle: x, value: 9}]}
  - node_id: map
    subflow: self::map
    inputs_from: [{handle: n, from_flow: [{input_handle: n}]}]
    slots:
      - slot_node_id: each
        task: self::times
        inputs_from: [{handle: by, from_node: [{node_id: ten, output_handle: y}]}]
  - node_id: last
    task: self::inc
    concurrency: -1
    inputs_from: [{handle: x, from_node: [{node_id: map, output_handle: out}]}]
outputs_from: [{handle: o, from_node: [{node_id: last, output_handle: y}]}]
"""


async def test_a_subflow_maps_its_slot_over_a_list(root: Path) -> None:
    found = await run(flow(root, MAPPED))
    assert end_of(found).state == "succeeded", end_of(found).error
    assert results(found, "last", "y") == [1, 11, 21, 31, 41]
    [started] = all_of(found, events.FlowJobStarted)
    [finished] = all_of(found, events.FlowJobFinished)
    assert (started.node_id, started.job_id, finished.error) == ("map", finished.job_id, None)
    inner = [event for event in all_of(found, events.JobCreated) if event.node_id == "count"]
    assert [level["node_id"] for level in inner[0].stacks] == ["map", "count"]
    assert inner[0].stacks[-1]["flow_job_id"] == started.job_id


async def test_rule_11_a_subflow_node_tells_its_progress(root: Path) -> None:
    found = await run(flow(root, MAPPED))
    rates = [event.rate for event in all_of(found, events.BlockProgress) if event.node_id == "map"]
    assert rates
    assert rates == sorted(rates)
    assert rates[-1] <= 95


async def test_a_slotflow_runs_in_the_slot(root: Path) -> None:
    write(
        root / "slotflows/scaled/slotflow.oo.yaml",
        """
        nodes:
          - node_id: times
            task: self::times
            inputs_from:
              - {handle: i, from_flow: [{input_handle: i}]}
              - {handle: by, from_flow: [{input_handle: by}]}
          - {node_id: inc, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: times, output_handle: r}]}]}
        outputs_from: [{handle: r, from_node: [{node_id: inc, output_handle: y}]}]
        """,
    )
    found = await run(flow(root, MAPPED.replace("task: self::times", "slotflow: self::scaled")))
    assert end_of(found).state == "succeeded", end_of(found).error
    assert results(found, "last", "y") == [2, 12, 22, 32, 42]
    assert len(all_of(found, events.FlowJobStarted)) == 6


async def test_a_failure_in_a_subflow_fails_the_session_and_names_every_level(root: Path) -> None:
    found = await run(flow(root, MAPPED), {"n": "many"})
    end = end_of(found)
    assert end.state == "failed"
    assert str(end.error).startswith("node map: node count: TypeError")
    [finished] = all_of(found, events.FlowJobFinished)
    assert str(finished.error).startswith("node count: TypeError")


async def test_e7_a_subflows_time_limit_cancels_what_runs_in_it(root: Path) -> None:
    write(root / "subflows/s/subflow.oo.yaml", "nodes: [{node_id: slow, task: self::slow}]\n")
    found = await run(flow(root, "nodes: [{node_id: sub, timeout: 0.5, subflow: self::s}]\n"))
    assert end_of(found).error == "node sub: Timeout: it took longer than 0.5 s"
    [slow] = [event for event in all_of(found, events.BlockFinished) if event.node_id == "slow"]
    assert slow.cancelled


DOWN = """
inputs_def: [{handle: x}]
nodes:
  - node_id: if
    inputs_def: [{handle: x, json_schema: {type: number}}]
    conditions:
      cases: [{handle: go, expressions: [{input_handle: x, operator: "<", value: %s}]}]
      default: {handle: stop}
    inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]
  - {node_id: inc, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: if, output_handle: go}]}]}
  - {node_id: again, subflow: self::down, inputs_from: [{handle: x, from_node: [{node_id: inc, output_handle: y}]}]}
outputs_from:
  - handle: y
    from_node: [{node_id: if, output_handle: stop}, {node_id: again, output_handle: y}]
"""


@pytest.mark.parametrize(("limit", "state"), [(5, "succeeded"), (1000, "failed")])
async def test_e5_a_subflow_may_call_itself_but_not_for_ever(root: Path, limit: int, state: str) -> None:
    """Upstream, the depth limit is only reported, and the session succeeds."""
    write(root / "subflows/down/subflow.oo.yaml", DOWN % limit)
    found = await run(
        flow(
            root,
            "nodes: [{node_id: d, subflow: self::down, inputs_from: [{handle: x, value: 0}]}]\n"
            "outputs_from: [{handle: y, from_node: [{node_id: d, output_handle: y}]}]\n",
        )
    )
    end = end_of(found)
    assert end.state == state
    if state == "succeeded":
        assert end.outputs == {"y": 5}
    else:
        assert str(end.error).startswith(
            "node d: node again: node again: flows and blocks call each other more than 50"
        )
        assert str(root / "subflows/down/subflow.oo.yaml") in str(end.error)


async def test_e6_previews_are_forwarded_through_every_level(root: Path) -> None:
    """Upstream, a preview is forwarded one level only."""
    source = "async def main(inputs, ctx):\n    await ctx.preview({'type': 'text', 'data': 'look'})\n"
    block(root, "show", "", "", source)
    inner = "nodes: [{node_id: show, task: self::show}, {node_id: other, task: self::show}]\nforward_previews: [show]\n"
    write(root / "subflows/inner/subflow.oo.yaml", inner)
    write(
        root / "subflows/outer/subflow.oo.yaml",
        "nodes: [{node_id: in, subflow: self::inner}]\nforward_previews: [in]\n",
    )
    found = await run(flow(root, "nodes: [{node_id: out, subflow: self::outer}]\n"))
    assert end_of(found).state == "succeeded", end_of(found).error
    shown = [(event.node_id, event.payload) for event in all_of(found, events.BlockPreview)]
    look = {"type": "text", "data": "look"}
    assert sorted(node_id for node_id, _ in shown) == ["in", "other", "out", "show"]
    assert all(payload == look for _, payload in shown)


async def test_a_var_value_goes_by_reference_into_a_subflow_and_out_of_it(root: Path) -> None:
    block(root, "make", "", "v:var", "async def main(inputs, ctx):\n    return {'v': {1, 2}}\n")
    block(root, "same", "v", "v:var", "async def main(inputs, ctx):\n    return {'v': inputs['v']}\n")
    block(root, "tell", "v w", "o", "async def main(inputs, ctx):\n    return {'o': inputs['v'] is inputs['w']}\n")
    write(root / "blocks/tell/block.oo.yaml", "executor: {name: python, options: {entry: main.py}}\n"
          "inputs_def:\n  - {handle: v, json_schema: {contentMediaType: oomol/var}}\n"
          "  - {handle: w, json_schema: {contentMediaType: oomol/var}}\noutputs_def: [{handle: o}]\n")  # fmt: skip
    write(root / "blocks/same/block.oo.yaml", "executor: {name: python, options: {entry: main.py}}\n"
          "inputs_def: [{handle: v, json_schema: {contentMediaType: oomol/var}}]\n"
          "outputs_def: [{handle: v, json_schema: {contentMediaType: oomol/var}}]\n")  # fmt: skip
    write(
        root / "subflows/through/subflow.oo.yaml",
        """
        inputs_def: [{handle: v}]
        nodes: [{node_id: same, task: self::same, inputs_from: [{handle: v, from_flow: [{input_handle: v}]}]}]
        outputs_from: [{handle: v, from_node: [{node_id: same, output_handle: v}]}]
        """,
    )
    path = flow(
        root,
        """
        nodes:
          - {node_id: make, task: self::make}
          - node_id: sub
            subflow: self::through
            inputs_from: [{handle: v, from_node: [{node_id: make, output_handle: v}]}]
          - node_id: tell
            task: self::tell
            inputs_from:
              - {handle: v, from_node: [{node_id: make, output_handle: v}]}
              - {handle: w, from_node: [{node_id: sub, output_handle: v}]}
        outputs_from: [{handle: o, from_node: [{node_id: tell, output_handle: o}]}]
        """,
    )
    async with asyncblock.embedded(workers=2) as mainframe:
        assert await (await mainframe.start(path)).outputs() == {"o": True}


async def test_one_block_runs_as_a_flow_with_its_defaults(root: Path) -> None:
    write(root / "blocks/times/block.oo.yaml", "executor: {name: python, options: {entry: main.py}}\n"
          "inputs_def: [{handle: i}, {handle: by, value: 3}]\noutputs_def: [{handle: r}]\n")  # fmt: skip
    found = await run(root / "blocks/times/block.oo.yaml", {"i": 2})
    assert end_of(found).outputs == {"r": 6}


async def test_a_subflow_goes_on_after_the_mainframe_came_back(root: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = (
        "import asyncio, pathlib\nasync def main(inputs, ctx):\n"
        f"    while not pathlib.Path({str(gate)!r}).exists():\n        await asyncio.sleep(0.02)\n"
        "    return {'y': inputs['x']}\n"
    )
    # The executor of an embedded mainframe ends with it: what ran there is tried again.
    block(root, "wait", "x", "y", source, "retries: {retries: 1, backoff: 0.01}\n")
    write(
        root / "subflows/two/subflow.oo.yaml",
        """
        inputs_def: [{handle: x}]
        nodes:
          - {node_id: a, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
          - {node_id: b, task: self::wait, inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: y}]}]}
          - {node_id: c, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: b, output_handle: y}]}]}
        outputs_from: [{handle: y, from_node: [{node_id: c, output_handle: y}]}]
        """,
    )
    path = flow(
        root,
        "nodes: [{node_id: s, subflow: self::two, inputs_from: [{handle: x, value: 1}]}]\n"
        "outputs_from: [{handle: y, from_node: [{node_id: s, output_handle: y}]}]\n",
    )
    data = tmp_path / "data"
    async with asyncblock.embedded(data) as mainframe:
        session = await mainframe.start(path)
        async for event in session:
            if isinstance(event, events.BlockStarted) and event.node_id == "b":
                break
        session_id = session.session_id
    gate.write_text("")
    async with asyncblock.embedded(data, packages=[root]) as mainframe:
        session = mainframe.session(session_id)
        end = await session.wait()
    assert (end.state, end.outputs) == ("succeeded", {"y": 3}), end.error
