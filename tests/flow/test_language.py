"""The flow language end to end: files in, a real mainframe and executor, and what comes out. A test for each feature."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, until
from .packages import block, write
from .test_conditions import HOLDS

pytestmark = pytest.mark.timeout(60)

INC = "async def main(inputs, ctx):\n    return {'y': inputs['x'] + 1}\n"
PAIR = "async def main(inputs, ctx):\n    return {'y': [inputs['a'], inputs['b']]}\n"
EACH = "async def main(inputs, ctx):\n    for i in inputs['list']:\n        await ctx.output(i, 'i')\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with ``inc`` (x -> y), ``pair`` (a, b -> y), and ``each`` (list -> i, one by one)."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(root, "inc", "x", "y", INC)
    block(root, "pair", "a b", "y", PAIR)
    block(root, "each", "list", "i", EACH)
    return root


async def play(root: Path, text: str, inputs: dict[str, object] | None = None, **options: Any) -> list[events.Event]:
    """Run a flow's text as the flow ``f`` of the package."""
    path = write(root / "flows/f/flow.oo.yaml", text)
    search = options.pop("search_paths", ())
    async with asyncblock.embedded(root.parent / "data", **options) as mainframe:
        session = await mainframe.start(path, inputs, search_paths=search)
        return [event async for event in session]


def outputs(found: list[events.Event]) -> dict[str, Any]:
    end = end_of(found)
    assert end.state == "succeeded", end.error
    return end.outputs


def results(found: list[events.Event], node_id: str, handle: str = "y") -> list[Any]:
    """Return what a node's jobs returned, in the order in which they ended."""
    return [event.result[handle] for event in all_of(found, events.BlockFinished) if event.node_id == node_id]


# ---------------------------------------------------------------------- files and lookup


@pytest.mark.parametrize(
    "reference",
    ["self::inc", "../../blocks/inc", "../../blocks/inc/block.oo.yaml", "other::inc", "inc", "{root}/blocks/inc"],
)
async def test_a_block_runs_by_each_form_of_reference(root: Path, reference: str) -> None:
    other = root.parent / "search/other"
    block(other, "inc", "x", "y", INC)
    write(other / "package.oo.yaml", "name: other\n")
    text = f"""
    nodes: [{{node_id: n, task: "{reference.format(root=root)}", inputs_from: [{{handle: x, value: 1}}]}}]
    outputs_from: [{{handle: y, from_node: [{{node_id: n, output_handle: y}}]}}]
    """
    assert outputs(await play(root, text, search_paths=[root.parent / "search", root]))["y"] == 2


@pytest.mark.parametrize(("depends", "version"), [("dependencies: {lib: 1.9.0}", "1.9.0"), ("", "1.10.0")])
async def test_the_version_that_runs_is_the_one_depended_on_else_the_highest(
    root: Path, depends: str, version: str
) -> None:
    for each in ("1.9.0", "1.10.0"):
        lib = root.parent / f"search/lib-{each}"
        block(lib, "tell", "", "v", f"def main(inputs):\n    return {{'v': {each!r}}}\n")
        write(lib / "package.oo.yaml", f"name: lib\nversion: {each}\n")
    write(root / "package.oo.yaml", f"name: mine\n{depends}\n")
    text = """
    nodes: [{node_id: n, task: "lib::tell"}]
    outputs_from: [{handle: v, from_node: [{node_id: n, output_handle: v}]}]
    """
    assert outputs(await play(root, text, search_paths=[root.parent / "search"])) == {"v": version}


async def test_a_task_file_and_yml_and_a_flow_without_a_package_file(tmp_path: Path) -> None:
    write(tmp_path / "w/tasks/t/task.oo.yml", "executor: {name: python}\noutputs_def: [{handle: y}]\n")
    write(tmp_path / "w/tasks/t/index.py", "def main():\n    return {'y': 'index'}\n")
    path = write(
        tmp_path / "w/flows/f/flow.oo.yml",
        """
        nodes: [{node_id: n, task: self::t}]
        outputs_from: [{handle: y, from_node: [{node_id: n, output_handle: y}]}]
        """,
    )
    async with asyncblock.embedded() as mainframe:
        assert await (await mainframe.start(path)).outputs() == {"y": "index"}


async def test_anchors_line_separators_and_what_editors_write_make_no_difference(root: Path) -> None:
    text = """
    title: a\u2028b
    ui: {viewport: {zoom: 1}}
    x-constants: {one: &one {handle: x, value: 41}}
    nodes:
      - node_id: "+n#1"
        title: N
        icon: "::"
        ui: {x: 1, y: 2}
        task: self::inc
        inputs_from: [*one]
      - {node_id: note, comment: hello, ignore: true}
    outputs_from: [{handle: y, from_node: [{node_id: "+n#1", output_handle: y}]}]
    """
    assert outputs(await play(root, text)) == {"y": 42}


# ---------------------------------------------------------------------- handles


async def test_handles_have_groups_defaults_and_may_be_null(root: Path) -> None:
    source = "def main(inputs):\n    return {'y': [inputs['a'], inputs['b'], inputs['c'], inputs['d']]}\n"
    write(root / "blocks/four/main.py", source)
    write(
        root / "blocks/four/block.oo.yaml",
        """
        executor: {name: python, options: {entry: main.py}}
        inputs_def:
          - {group: plain}
          - {handle: a, description: given, json_schema: true}
          - {handle: b, value: 7, kind: number}
          - {group: null or none}
          - {handle: c, nullable: true}
          - {handle: d, value: }
        outputs_def: [{handle: y}]
        """,
    )
    text = """
    inputs_def: [{handle: a}]
    nodes: [{node_id: n, task: self::four, inputs_from: [{handle: a, from_flow: [{input_handle: a}]}]}]
    outputs_from: [{handle: y, from_node: [{node_id: n, output_handle: y}]}]
    """
    assert outputs(await play(root, text, {"a": 1})) == {"y": [1, 7, None, None]}


async def test_additional_handles_are_given_and_put_out(root: Path) -> None:
    source = (
        "async def main(inputs, ctx):\n"
        "    assert ctx.inputs_def['more']['is_additional'] and ctx.outputs_def['also']['is_additional']\n"
        "    return {'y': inputs['x'], 'also': inputs['more']}\n"
    )
    block(root, "open", "x", "y", source, "additional_inputs: true\nadditional_outputs: {json_schema: {}}\n")
    text = """
    nodes:
      - node_id: n
        task: self::open
        inputs_def: [{handle: more}]
        outputs_def: [{handle: also}]
        inputs_from: [{handle: x, value: hello}, {handle: more, value: world}]
    outputs_from:
      - {handle: y, from_node: [{node_id: n, output_handle: y}]}
      - {handle: also, from_node: [{node_id: n, output_handle: also}]}
    """
    assert outputs(await play(root, text)) == {"y": "hello", "also": "world"}


# ---------------------------------------------------------------------- kinds of nodes


async def test_an_inline_task_runs_a_scriptlet_by_its_function(root: Path) -> None:
    write(root / "flows/f/scriptlets/a.py", "def go(inputs, ctx):\n    return {'y': inputs['x'] * 2}\n")
    text = """
    nodes:
      - node_id: n
        task:
          ui: {default_width: 450}
          executor: {name: python, options: {entry: scriptlets/a.py, function: go}}
          inputs_def: [{handle: x}]
          outputs_def: [{handle: y}]
        inputs_from: [{handle: x, value: 4}]
    outputs_from: [{handle: y, from_node: [{node_id: n, output_handle: y}]}]
    """
    assert outputs(await play(root, text)) == {"y": 8}


async def test_a_condition_hands_on_its_first_input_by_the_case_that_holds(root: Path) -> None:
    text = """
    nodes:
      - {node_id: each, task: self::each, inputs_from: [{handle: list, value: [1, 5, 50, -1]}]}
      - node_id: sort
        concurrency: 1
        inputs_def: [{handle: v, json_schema: {type: number}}, {handle: other}]
        conditions:
          cases:
            - handle: few
              logical: AND
              expressions:
                - {input_handle: v, operator: ">", value: 0}
                - {input_handle: v, operator: "<", value: 10}
            - {handle: many, expressions: [{input_handle: v, operator: ">=", value: 10}, {input_handle: v, operator: is null}]}
          default: {handle: none}
        inputs_from: [{handle: v, from_node: [{node_id: each, output_handle: i}]}, {handle: other, value: 1}]
      - {node_id: few, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: sort, output_handle: few}]}]}
      - {node_id: many, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: sort, output_handle: many}]}]}
      - {node_id: none, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: sort, output_handle: none}]}]}
    """
    found = await play(root, text)
    outputs(found)
    assert {name: results(found, name) for name in ("few", "many", "none")} == {
        "few": [2, 6],
        "many": [51],
        "none": [0],
    }


async def test_every_operator_decides_in_a_flow(root: Path) -> None:
    nodes = [
        {
            "node_id": f"if {number}",
            "inputs_def": [{"handle": "v"}],
            "conditions": {
                "cases": [
                    {"handle": "yes", "expressions": [{"input_handle": "v", "operator": operator, "value": right}]}
                ],
                "default": {"handle": "no"},
            },
            "inputs_from": [{"handle": "v", "value": left}],
        }
        for number, (left, operator, right) in enumerate(HOLDS)
    ]
    sources = [{"node_id": node["node_id"], "output_handle": "yes"} for node in nodes]
    block(root, "same", "x", "y", "def main(inputs):\n    return {'y': inputs['x']}\n")
    taker = {"node_id": "n", "task": "self::same", "inputs_from": [{"handle": "x", "from_node": sources}]}
    found = await play(root, yaml.safe_dump({"nodes": [*nodes, taker]}))
    outputs(found)
    assert sorted(map(repr, results(found, "n"))) == sorted(repr(left) for left, _, _ in HOLDS)


async def test_e2_a_condition_without_a_case_that_holds_runs_again(root: Path) -> None:
    """Upstream, a job without a result never left its node: with concurrency 1 the node stood still."""
    text = """
    nodes:
      - {node_id: each, task: self::each, inputs_from: [{handle: list, value: [1, 2, 3]}]}
      - node_id: sort
        inputs_def: [{handle: v}]
        conditions: {cases: [{handle: three, expressions: [{input_handle: v, operator: "==", value: 3}]}]}
        inputs_from: [{handle: v, from_node: [{node_id: each, output_handle: i}]}]
      - {node_id: n, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: sort, output_handle: three}]}]}
    """
    found = await play(root, text)
    outputs(found)
    assert results(found, "n") == [4]


async def test_a_value_node_stands_above_a_handles_own_value(root: Path) -> None:
    """The original's flow ``from``: a static value, a source, and a value node above ``value: 5``."""
    text = """
    nodes:
      - {node_id: v, values: [{handle: k, value: 3, json_schema: {type: number}}]}
      - {node_id: one, task: self::inc, inputs_from: [{handle: x, value: 5}]}
      - node_id: n
        task: self::pair
        inputs_from:
          - {handle: a, value: 5, from_node: [{node_id: v, output_handle: k}]}
          - {handle: b, value: 9, from_node: [{node_id: one, output_handle: y}]}
    outputs_from: [{handle: y, from_node: [{node_id: n, output_handle: y}]}]
    """
    found = await play(root, text)
    assert outputs(found) == {"y": [3, 6]}
    assert {event.node_id for event in all_of(found, events.JobCreated)} == {"one", "n"}


# ---------------------------------------------------------------------- common fields


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (-1, 6)])
async def test_as_many_jobs_of_a_node_run_at_once_as_its_concurrency_says(
    root: Path, concurrency: int, most: int
) -> None:
    source = (
        "import asyncio\nrunning = most = 0\n"
        "async def main(inputs, ctx):\n"
        "    global running, most\n    running += 1\n    most = max(most, running)\n"
        f"    for _ in range(200):\n        if running == {most}:\n            break\n        await asyncio.sleep(0.01)\n"
        "    await asyncio.sleep(0.05)\n    running -= 1\n    return {'y': most}\n"
    )
    block(root, "busy", "x", "y", source)
    text = f"""
    nodes:
      - {{node_id: each, task: self::each, inputs_from: [{{handle: list, value: [1, 2, 3, 4, 5, 6]}}]}}
      - node_id: n
        task: self::busy
        concurrency: {concurrency}
        inputs_from: [{{handle: x, from_node: [{{node_id: each, output_handle: i}}]}}]
    """
    found = await play(root, text)
    outputs(found)
    assert max(results(found, "n")) == most
    assert len(results(found, "n")) == 6


async def test_a_task_that_takes_longer_than_its_timeout_fails_with_it(root: Path) -> None:
    block(root, "slow", "", "", "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(60)\n")
    found = await play(root, "nodes: [{node_id: n, task: self::slow, timeout: 0.2}]\n")
    assert str(end_of(found).error).endswith("took longer than 0.2 s")


async def test_an_ignored_node_and_its_connections_are_left_out(root: Path) -> None:
    text = """
    nodes:
      - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1}]}
      - {node_id: b, ignore: true, task: self::gone, inputs_from: [{handle: x, value: 1}]}
      - node_id: c
        task: self::inc
        inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: y}, {node_id: b, output_handle: y}]}]
    """
    found = await play(root, text)
    outputs(found)
    assert results(found, "c") == [3]


async def test_what_a_node_weighs_shows_in_its_subflows_progress(root: Path) -> None:
    write(
        root / "subflows/s/subflow.oo.yaml",
        """
        nodes:
          - {node_id: heavy, progress_weight: 3, task: self::inc, inputs_from: [{handle: x, value: 1}]}
          - node_id: light
            task: self::inc
            inputs_from: [{handle: x, from_node: [{node_id: heavy, output_handle: y}]}]
        """,
    )
    found = await play(root, "nodes: [{node_id: s, subflow: self::s}]\n")
    outputs(found)
    rates = [event.rate for event in all_of(found, events.BlockProgress) if event.node_id == "s"]
    assert rates == [75, 95]


# ---------------------------------------------------------------------- connections and scheduling


async def test_several_sources_and_the_flows_input_merge_into_one_queue(root: Path) -> None:
    text = """
    inputs_def: [{handle: start, value: 10}]
    nodes:
      - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1}]}
      - {node_id: b, task: self::inc, inputs_from: [{handle: x, value: 2}]}
      - node_id: n
        task: self::inc
        inputs_from:
          - handle: x
            value: 99
            from_node: [{node_id: a, output_handle: y}, {node_id: b, output_handle: y}]
            from_flow: [{input_handle: start}]
    """
    found = await play(root, text)
    outputs(found)
    assert sorted(results(found, "n")) == [3, 4, 11]


async def test_inputs_are_paired_in_order_static_ones_stay_and_leftovers_are_discarded(root: Path) -> None:
    text = """
    nodes:
      - {node_id: three, task: self::each, inputs_from: [{handle: list, value: [1, 2, 3]}]}
      - {node_id: two, task: self::each, inputs_from: [{handle: list, value: [a, b]}]}
      - node_id: n
        task: self::pair
        inputs_from:
          - {handle: a, from_node: [{node_id: three, output_handle: i}]}
          - {handle: b, from_node: [{node_id: two, output_handle: i}]}
      - node_id: static
        task: self::pair
        inputs_from: [{handle: a, from_node: [{node_id: two, output_handle: i}]}, {handle: b, value: 0}]
    """
    found = await play(root, text)
    outputs(found)
    assert results(found, "n") == [[1, "a"], [2, "b"]]
    assert results(found, "static") == [["a", 0], ["b", 0]]


async def test_every_node_that_can_starts_once_and_the_flows_inputs_follow(root: Path) -> None:
    text = """
    inputs_def: [{handle: start}]
    nodes:
      - {node_id: a, concurrency: 0, task: self::inc, inputs_from: [{handle: x, value: 1}]}
      - {node_id: b, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: start}]}]}
      - {node_id: c, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: start}]}]}
    """
    found = await play(root, text, {"start": 5})
    outputs(found)
    assert sorted(event.node_id for event in all_of(found, events.JobCreated)) == ["a", "b", "c"]
    assert (results(found, "a"), results(found, "b")) == ([2], [6])


async def test_outputs_of_a_job_go_on_in_their_order_and_its_result_after_them(root: Path) -> None:
    source = "async def main(inputs, ctx):\n    for i in range(20):\n        await ctx.output(i, 'i')\n    return {'i': 'end'}\n"
    block(root, "row", "", "i", source)
    block(root, "same", "x", "y", "def main(inputs):\n    return {'y': inputs['x']}\n")
    text = """
    nodes:
      - {node_id: row, task: self::row}
      - {node_id: n, task: self::same, inputs_from: [{handle: x, from_node: [{node_id: row, output_handle: i}]}]}
    outputs_from: [{handle: last, from_node: [{node_id: n, output_handle: y}]}]
    """
    found = await play(root, text)
    assert outputs(found) == {"last": "end"}
    assert results(found, "n") == [*range(20), "end"]


async def test_a_node_that_feeds_itself_reduces_a_list(root: Path) -> None:
    source = "async def main(inputs, ctx):\n    return {'y': inputs['a'] + inputs['b']}\n"
    block(root, "sum", "a b", "y", source)
    block(root, "both", "", "seed i", "def main(inputs, ctx):\n    ctx.output(0, 'seed')\n    for i in range(1, 6):\n        ctx.output(i, 'i')\n")  # fmt: skip
    text = """
    nodes:
      - {node_id: src, task: self::both}
      - node_id: sum
        task: self::sum
        inputs_from:
          - {handle: a, from_node: [{node_id: src, output_handle: seed}, {node_id: sum, output_handle: y}]}
          - {handle: b, from_node: [{node_id: src, output_handle: i}]}
    outputs_from: [{handle: y, from_node: [{node_id: sum, output_handle: y}]}]
    """
    found = await play(root, text)
    assert outputs(found) == {"y": 15}
    assert results(found, "sum") == [1, 3, 6, 10, 15]


async def test_each_run_of_a_subflow_has_queues_of_its_own_and_puts_out_as_it_goes(root: Path) -> None:
    write(
        root / "subflows/s/subflow.oo.yaml",
        """
        inputs_def: [{handle: list}]
        nodes:
          - {node_id: each, task: self::each, inputs_from: [{handle: list, from_flow: [{input_handle: list}]}]}
          - node_id: pair
            task: self::pair
            inputs_from:
              - {handle: a, from_node: [{node_id: each, output_handle: i}]}
              - {handle: b, from_flow: [{input_handle: list}]}
        outputs_from: [{handle: y, from_node: [{node_id: pair, output_handle: y}]}]
        """,
    )
    text = """
    nodes:
      - {node_id: lists, task: self::each, inputs_from: [{handle: list, value: [[1, 2], [3, 4]]}]}
      - {node_id: s, subflow: self::s, inputs_from: [{handle: list, from_node: [{node_id: lists, output_handle: i}]}]}
      - {node_id: n, task: self::each, inputs_from: [{handle: list, from_node: [{node_id: s, output_handle: y}]}]}
    """
    found = await play(root, text)
    outputs(found)
    # The second run doesn't find the first one's 2 in its queue.
    assert results(found, "pair") == [[1, [1, 2]], [3, [3, 4]]]
    assert len([event for event in all_of(found, events.JobCreated) if event.node_id == "n"]) == 2


async def test_the_flow_is_over_when_no_job_runs_and_one_that_is_kept_alive_keeps_it_open(root: Path) -> None:
    source = (
        "import asyncio\nasync def later(ctx):\n    await asyncio.sleep(0.3)\n    await ctx.finish(result={'y': 1})\n"
        "async def main(inputs, ctx):\n    main.task = asyncio.create_task(later(ctx))\n    return ctx.keepAlive\n"
    )
    block(root, "stay", "", "y", source)
    text = """
    nodes:
      - {node_id: stay, task: self::stay}
      - node_id: never
        task: self::pair
        inputs_from:
          - {handle: a, from_node: [{node_id: stay, output_handle: y}]}
          - {handle: b, from_node: [{node_id: never, output_handle: y}, {node_id: stay, output_handle: y}]}
    outputs_from: [{handle: y, from_node: [{node_id: stay, output_handle: y}]}]
    """
    begun = time.monotonic()
    assert outputs(await play(root, text)) == {"y": 1}
    assert time.monotonic() - begun > 0.3


async def test_an_error_ends_the_flow_at_once_and_the_jobs_beside_it(root: Path) -> None:
    block(root, "fail", "", "", "def main(inputs):\n    raise ValueError('no')\n")
    block(root, "slow", "", "", "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(60)\n")
    found = await play(root, "nodes: [{node_id: a, task: self::fail}, {node_id: b, task: self::slow}]\n")
    assert end_of(found).error == "node a: ValueError: no"
    [beside] = [event for event in all_of(found, events.BlockFinished) if event.node_id == "b"]
    assert beside.cancelled


async def test_a_cancelled_session_says_so(root: Path) -> None:
    block(root, "slow", "", "", "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(60)\n")
    path = write(root / "flows/f/flow.oo.yaml", "nodes: [{node_id: n, task: self::slow}]\n")
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(path)
        await until(session, events.BlockStarted)
        await session.cancel("enough")
        end = await session.wait()
    assert (end.state, end.error) == ("cancelled", "cancelled: enough")


async def test_a_directed_output_reaches_the_connections_that_are_meant(root: Path) -> None:
    source = """
async def main(inputs, ctx):
    await ctx.output(1, "y", to_node=[{"node_id": "a", "input_handle": "x"}])
    await ctx.output(2, "y", to_flow=[{"output_handle": "o"}])
    await ctx.output(3, "y", to_node=[{"node_id": "b", "input_handle": "x"}, {"node_id": "gone", "input_handle": "x"}])
    await ctx.output(4, "z")
"""
    block(root, "aim", "", "y z", source)
    text = """
    nodes:
      - {node_id: aim, task: self::aim}
      - {node_id: a, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: aim, output_handle: y}]}]}
      - {node_id: b, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: aim, output_handle: y}]}]}
      - {node_id: c, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: aim, output_handle: z}]}]}
    outputs_from: [{handle: o, from_node: [{node_id: aim, output_handle: y}]}]
    """
    found = await play(root, text)
    assert outputs(found) == {"o": 2}
    assert {name: results(found, name) for name in "abc"} == {"a": [2], "b": [4], "c": [5]}


async def test_var_binary_and_plain_values_arrive_as_what_they_were(root: Path) -> None:
    source = "class Thing:\n    pass\nthing = Thing()\ndef main(inputs):\n    return {'v': thing, 'b': b'\\x00\\xff', 'n': 3}\n"
    block(root, "make", "", "v:var b:bin n:var", source)
    source = "async def main(inputs, ctx):\n    v, b, n = inputs['v'], inputs['b'], inputs['n']\n    return {'y': [type(v).__name__, list(b), n]}\n"
    block(root, "take", "v:var b:bin n:var", "y", source)
    text = """
    nodes:
      - {node_id: make, task: self::make}
      - node_id: take
        task: self::take
        inputs_from:
          - {handle: v, from_node: [{node_id: make, output_handle: v}]}
          - {handle: b, from_node: [{node_id: make, output_handle: b}]}
          - {handle: n, from_node: [{node_id: make, output_handle: n}]}
    outputs_from: [{handle: y, from_node: [{node_id: take, output_handle: y}]}]
    """
    assert outputs(await play(root, text, workers=2)) == {"y": ["Thing", [0, 255], 3]}


async def test_a_secret_is_known_to_the_block_and_to_nothing_that_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "pa55-w0rd-of-nobody"
    monkeypatch.setenv("ASYNCBLOCK_SECRET_SITE__KEY", secret)
    source = f"""
import logging, sys
async def main(inputs, ctx):
    key = inputs["config"]["key"]
    assert key == inputs["plain"] == "{secret[:4]}" + "{secret[4:]}"
    print("key", key)
    print("key", key, file=sys.stderr)
    logging.getLogger("block").warning("key %s", key)
    ctx.logger.info("key %s", key)
    await ctx.report_log(key)
    await ctx.log_json({{"key": key}})
    await ctx.send_message({{"key": [key]}})
    await ctx.send_warning(key)
    await ctx.preview({{"type": "text", "data": f"it is {{key}}"}})
    await ctx.output({{"key": key}}, "y")
    raise ValueError(f"refused {{key}}")
"""
    block(root, "use", "config plain", "y", source)
    write(root / "blocks/use/main.py", source)
    text = """
    nodes:
      - node_id: n
        task: self::use
        inputs_from:
          - handle: config
            value: {key: "${{OO_SECRET:Custom,SITE,KEY}}"}
            schema_overrides: [{path: [key], schema: {contentMediaType: oomol/secret}}]
          - {handle: plain, value: "${{OO_SECRET:Custom,SITE,KEY}}"}
    """
    found = await play(root, text, workers=1)
    assert "refused ***" in str(end_of(found).error)
    assert secret not in repr(found)
    for file in [each for each in (root.parent / "data").rglob("*") if each.is_file()]:
        assert secret.encode() not in file.read_bytes(), file


async def test_a_block_learns_what_its_flow_says_of_those_behind_it(root: Path) -> None:
    """The original's flow ``query-downstream``."""
    block(root, "ask", "", "y z", "async def main(inputs, ctx):\n    return {'y': await ctx.query_downstream(['y'])}\n")
    text = """
    nodes:
      - {node_id: ask, task: self::ask}
      - node_id: end
        description: a node downstream
        task:
          executor: {name: python, options: {entry: end.py}}
          inputs_def: [{handle: x, description: what comes}, {handle: z}]
        inputs_from:
          - {handle: x, from_node: [{node_id: ask, output_handle: y}]}
          - {handle: z, from_node: [{node_id: ask, output_handle: z}]}
    outputs_from: [{handle: o, from_node: [{node_id: ask, output_handle: y}]}]
    """
    write(root / "flows/f/end.py", "def main(inputs):\n    pass\n")
    expected = {
        "node_id": "end",
        "input_handle": "x",
        "description": "a node downstream",
        "input_handle_def": {"handle": "x", "description": "what comes"},
    }
    found = outputs(await play(root, text))["o"]
    assert found == {"y": {"to_node": [expected], "to_flow": [{"output_handle": "o"}]}}


# ---------------------------------------------------------------------- services


SERVICE = """
import pathlib
LOG = pathlib.Path(__file__).parents[3] / "service.log"
def note(words):
    with LOG.open("a") as log:
        log.write(words + "\\n")
async def greet(inputs, ctx):
    note(f"greet {inputs['who']}")
    return {"text": f"hello {inputs['who']}"}
def main(service):
    note("main")
    calls = 0
    def count(inputs, ctx):
        nonlocal calls
        calls += 1
        return {"n": calls}
    service.block_handler = {"greet": greet, "count": count}
"""

CALLS = """
nodes:
  - {node_id: before, task: self::before}
  - node_id: greet
    service: self::svc::greet
    inputs_from: [{handle: who, from_node: [{node_id: before, output_handle: y}]}]
  - node_id: again
    service: self::svc::greet
    inputs_from: [{handle: who, from_node: [{node_id: greet, output_handle: text}]}]
  - {node_id: count, service: "mine::svc::count", inputs_from: [{handle: x, from_node: [{node_id: again, output_handle: text}]}]}
outputs_from:
  - {handle: text, from_node: [{node_id: again, output_handle: text}]}
  - {handle: n, from_node: [{node_id: count, output_handle: n}]}
"""


def serving(root: Path, **options: object) -> Path:
    """Give the package a service with two blocks, and a block ``before`` that waits until ``go`` is there."""
    given = "".join(f", {key}: {value}" for key, value in options.items())
    write(
        root / "services/svc/service.oo.yaml",
        f"""
        executor: {{name: python, entry: index.py, function: main{given}}}
        blocks:
          - {{name: greet, inputs_def: [{{handle: who}}], outputs_def: [{{handle: text}}]}}
          - {{name: count, inputs_def: [{{handle: x}}], outputs_def: [{{handle: n}}]}}
        """,
    )
    write(root / "services/svc/index.py", SERVICE)
    source = (
        "import asyncio, pathlib\nasync def main(inputs, ctx):\n"
        "    note = pathlib.Path(__file__).parents[3] / 'service.log'\n"
        "    for _ in range(%d):\n        if note.exists() and note.read_text():\n            break\n        await asyncio.sleep(0.01)\n"
        "    with note.open('a') as log:\n        log.write('before\\n')\n    return {'y': 'you'}\n"
    )
    ahead = options.get("start_at") in ("session_start", "app_start")
    block(root, "before", "", "y", source % (1000 if ahead else 0))
    return write(root / "flows/f/flow.oo.yaml", CALLS)


def log(root: Path) -> list[str]:
    return (root.parent / "service.log").read_text().splitlines()


@pytest.mark.parametrize("start_at", [None, "block_start", "session_start", "app_start"])
async def test_a_services_blocks_are_called_in_a_flow_and_it_starts_when_it_says(
    root: Path, start_at: str | None
) -> None:
    path = serving(root, **({} if start_at is None else {"start_at": start_at}))
    async with asyncblock.embedded(packages=[root]) as mainframe:
        session = await mainframe.start(path)
        assert await session.outputs() == {"text": "hello hello you", "n": 1}
    ahead = start_at in ("session_start", "app_start")
    begun = ["main", "before"] if ahead else ["before", "main"]
    assert log(root) == [*begun, "greet you", "greet hello you"]


@pytest.mark.parametrize(
    ("stop_at", "starts"), [(None, 2), ("session_end", 2), ("app_end", 1), ("never", 1), ("Never", 1)]
)
async def test_a_service_lives_for_its_session_or_its_executor(root: Path, stop_at: str | None, starts: int) -> None:
    path = serving(root, **({} if stop_at is None else {"stop_at": stop_at}))
    async with asyncblock.embedded() as mainframe:
        counts = [(await (await mainframe.start(path)).outputs())["n"] for _ in range(2)]
    assert log(root).count("main") == starts
    assert counts == ([1, 1] if starts == 2 else [1, 2])


@pytest.mark.parametrize(("keep_alive", "starts"), [(0.05, 2), (30, 1)])
async def test_a_service_that_stops_after_its_block_waits_for_its_keep_alive(
    root: Path, keep_alive: float, starts: int
) -> None:
    path = serving(root, stop_at="block_end", keep_alive=keep_alive)
    source = "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(1)\n    return {'y': inputs['x']}\n"
    block(root, "pause", "x", "y", source)
    text = path.read_text().replace(
        "from_node: [{node_id: again, output_handle: text}]}]}",
        "from_node: [{node_id: pause, output_handle: y}]}]}\n"
        "  - {node_id: pause, task: self::pause, inputs_from: [{handle: x, from_node: [{node_id: again, output_handle: text}]}]}",
    )
    path.write_text(text)
    async with asyncblock.embedded() as mainframe:
        assert (await (await mainframe.start(path)).outputs())["n"] == 1
    assert log(root).count("main") == starts


async def test_calls_of_a_session_go_to_one_process_of_its_service_whatever_the_workers(root: Path) -> None:
    path = serving(root)
    async with asyncblock.embedded(root.parent / "data", workers=2) as mainframe:
        sessions = await asyncio.gather(*(mainframe.start(path) for _ in range(4)))
        assert [(await each.outputs())["n"] for each in sessions] == [1] * 4
    assert log(root).count("main") == 4
