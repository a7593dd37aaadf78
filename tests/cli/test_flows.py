"""check, graph, flows, and parts of flows: the commands as real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from ..flow.packages import block, write

ADD = "async def main(inputs, ctx):\n    open(%r, 'a').write('a')\n    return {'y': inputs['x'] + 1}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package whose block ``inc`` tells in a file that it ran, and a flow of three of them in a row."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    block(root, "inc", "x", "y", ADD % str(tmp_path / "ran"))
    write(
        root / "flows/f/flow.oo.yaml",
        """
        inputs_def: [{handle: start}]
        nodes:
          - {node_id: a, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: start}]}]}
          - {node_id: b, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: a, output_handle: y}]}]}
          - {node_id: c, task: self::inc, inputs_from: [{handle: x, from_node: [{node_id: b, output_handle: y}]}]}
        outputs_from:
          - {handle: b, from_node: [{node_id: b, output_handle: y}]}
          - {handle: c, from_node: [{node_id: c, output_handle: y}]}
        """,
    )
    return root


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = {"XDG_STATE_HOME": str(root.parent / "state"), "ASYNCBLOCK_DATA_DIR": str(root.parent / "state")}
    state["ASYNCBLOCK_CACHE_DIR"] = str(root.parent / "results")
    return subprocess.run(
        [sys.executable, "-m", "asyncblock", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **state},
        cwd=root.parent,
    )


def run(root: Path, *arguments: str) -> dict[str, Any]:
    """Run the flow in this very process's child and return its last event."""
    done = command(root, "run", str(root / "flows/f"), "--in-process", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    end: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return end


def ran(root: Path) -> int:
    """Count the jobs since the last call."""
    path = root.parent / "ran"
    count = len(path.read_text()) if path.exists() else 0
    path.write_text("")
    return count


def test_check_says_that_a_flow_is_fine_and_needs_no_inputs(root: Path) -> None:
    done = command(root, "check", str(root / "flows/f"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "fine; 3 nodes" in done.stdout
    assert ran(root) == 0


def test_check_counts_the_subflows_that_run_and_not_those_that_a_block_might_ask_for(root: Path) -> None:
    x = "inputs_from: [{handle: x, value: 1}]"
    inner = f"nodes:\n  - {{node_id: i, task: self::inc, {x}}}\n  - {{node_id: j, task: self::inc, {x}}}\n"
    write(root / "subflows/used/subflow.oo.yaml", inner)
    write(root / "subflows/unused/subflow.oo.yaml", inner)
    write(root / "flows/g/flow.oo.yaml", "nodes: [{node_id: s, subflow: self::used}]\n")
    done = command(root, "check", str(root / "flows/f"))
    assert done.stdout.endswith("fine; 3 nodes\n"), done.stdout
    done = command(root, "check", str(root / "flows/g"))
    assert done.stdout.endswith("fine; 1 node, 2 in subflows\n"), done.stdout


def test_check_and_run_tell_of_constants_and_inputs_of_the_wrong_type(root: Path) -> None:
    manifest = """
    executor: {name: python, options: {entry: main.py}}
    inputs_def: [{handle: x, json_schema: {type: integer}}]
    outputs_def: [{handle: y}]
    """
    write(root / "blocks/inc/block.oo.yaml", manifest)
    path = write(
        root / "flows/g/flow.oo.yaml",
        """
        inputs_def: [{handle: start, json_schema: {type: integer}, value: 1}]
        nodes:
          - {node_id: a, task: self::inc, inputs_from: [{handle: x, value: 1.5}]}
          - {node_id: b, task: self::inc, inputs_from: [{handle: x, from_flow: [{input_handle: start}]}]}
        """,
    )
    words = "flow.oo.yaml:3: node 'a', input 'x': it takes an integer, and is given 1.5, a number (warning)"
    checked = command(root, "check", str(path))
    assert (checked.returncode, words in checked.stdout) == (0, True), checked
    done = command(root, "run", str(path), "--input", "start=2.5", "--in-process")
    assert (done.returncode, words in done.stderr) == (0, True), done
    assert "input 'start': it takes an integer, and is given 2.5, a number (warning)" in done.stderr


def test_check_tells_every_problem_with_file_and_line(root: Path) -> None:
    write(root / "subflows/s/subflow.oo.yaml", "nodes:\n  - {node_id: i, task: self::gone}\n")
    path = write(
        root / "flows/bad/flow.oo.yaml",
        "nodes:\n  - {node_id: n, task: self::nope}\n  - {node_id: s, subflow: self::s}\n  - {node_id: n, values: []}\n",
    )
    done = command(root, "check", str(path))
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"{path}:2",
        f"{path}:4",
        f"{root}/subflows/s/subflow.oo.yaml:2",
    ]
    found = orjson.loads(command(root, "check", str(path), "--json").stdout)
    assert found["ok"] is False
    assert [problem["line"] for problem in found["problems"]] == [2, 4, 2]


def test_graph_is_mermaid_and_svg_where_graphviz_is(root: Path) -> None:
    done = command(root, "graph", str(root / "flows/f"))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0["a"]' in lines
    assert any(line.strip().startswith("n0 -->") and line.endswith("n1") for line in lines)
    svg = root.parent / "flow.svg"
    done = command(root, "graph", str(root / "flows/f"), "-o", str(svg))
    if shutil.which("dot"):
        assert done.returncode == 0, done.stderr
        assert "</svg>" in svg.read_text()
    else:
        assert done.returncode == 2
        assert "Graphviz" in done.stderr


def test_graph_draws_subflows_inside_of_their_nodes_and_any_name(root: Path) -> None:
    write(
        root / "subflows/s/subflow.oo.yaml",
        "inputs_def: [{handle: x}]\n"
        'nodes:\n  - {node_id: "a \\"b\\" <c>", task: self::inc, inputs_from: [{handle: x, value: 1}]}\n'
        "  - {node_id: again, subflow: self::s, "
        'inputs_from: [{handle: x, from_node: [{node_id: "a \\"b\\" <c>", output_handle: y}]}]}\n',
    )
    text = "nodes: [{node_id: s, subflow: self::s, inputs_from: [{handle: x, value: 1}]}]\n"
    path = write(root / "flows/g/flow.oo.yaml", text)
    done = command(root, "graph", str(path))
    assert done.returncode == 0, done.stderr
    assert 'subgraph n0["s"]' in done.stdout
    assert "a &quot;b&quot; &lt;c&gt;" in done.stdout
    assert done.stdout.count("subgraph") == done.stdout.count("end\n") == 3 - 1


def test_flows_lists_the_language(root: Path) -> None:
    done = command(root, "flows", "--json")
    states = {row["name"]: row["state"] for row in orjson.loads(done.stdout)}
    assert states["slotflow"] == "works"
    assert states["inject, injection"] == "refused"
    assert "slotflow" in command(root, "flows").stdout


def test_inputs_come_as_json_or_from_a_file_and_single_ones_go_above(root: Path) -> None:
    assert run(root, "--inputs", '{"start": 1}')["outputs"] == {"b": 3, "c": 4}
    write(root.parent / "in.json", '{"start": 10}')
    assert run(root, "--inputs", str(root.parent / "in.json"))["outputs"]["c"] == 13
    assert run(root, "--inputs", '{"start": 1}', "--input", "start=5")["outputs"]["c"] == 8


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--inputs", "none.json", "no JSON object, and no file"),
        ("--inputs", "{1}", "isn't JSON"),
        ("--nodes-inputs", '{"a": 5}', "its inputs are an object"),
    ],
)
def test_bad_options_are_refused(root: Path, option: str, value: str, words: str) -> None:
    done = command(root, "run", str(root / "flows/f"), option, value)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", "").split())


def test_only_some_nodes_and_what_they_need_run(root: Path) -> None:
    assert run(root, "--nodes", "b", "--input", "start=1")["outputs"] == {"b": 3}
    assert ran(root) == 2


def test_inputs_of_nodes_stand_for_what_feeds_them(root: Path) -> None:
    end = run(root, "--nodes", "c", "--nodes-inputs", '{"c": {"x": 7}}')
    assert end["outputs"] == {"c": 8}
    assert ran(root) == 1


def test_with_the_cache_nothing_runs_again_that_has_not_changed(root: Path) -> None:
    run(root, "--input", "start=1", "--use-cache")
    assert ran(root) == 3
    assert run(root, "--input", "start=1", "--use-cache")["outputs"] == {"b": 3, "c": 4}
    assert ran(root) == 0
    # The flow's inputs are those of the last time where they aren't given, and that is told.
    assert run(root, "--nodes", "c", "--use-cache")["outputs"] == {"b": 3, "c": 4}
    assert ran(root) == 0


def test_what_is_given_goes_above_the_inputs_of_the_last_time(root: Path) -> None:
    run(root, "--input", "start=1", "--use-cache")
    # A run without the flag changes nothing that is kept.
    run(root, "--input", "start=100")
    assert ran(root) == 6
    assert run(root, "--nodes", "c", "--use-cache", "--input", "start=5")["outputs"] == {"b": 7, "c": 8}
    assert ran(root) == 3
    done = command(root, "run", str(root / "flows/f"), "--in-process", "--use-cache")
    assert (done.returncode, ran(root)) == (0, 0)
    assert "input 'start' is 5, as in the last run with --use-cache" in done.stderr
    assert "c: from the cache" in done.stdout


def test_a_node_is_made_anew_on_demand_and_without_the_cache(root: Path) -> None:
    for options, runs in [
        (("--use-cache",), 3),
        (("--use-cache", "--refresh", "b"), 1),
        (("--use-cache", "--refresh", "b,c"), 2),
        (("--no-cache",), 3),
        ((), 3),
        (("--use-cache",), 0),
    ]:
        assert run(root, "--input", "start=1", *options)["outputs"] == {"b": 3, "c": 4}
        assert ran(root) == runs, options
    done = command(root, "run", str(root / "flows/f"), "--input", "start=1", "--refresh", "d")
    assert done.returncode == 2
    assert "the flow has no node 'd'" in done.stderr
    done = command(root, "run", str(root / "flows/f"), "--input", "start=1", "--no-cache", "--refresh", "b")
    assert done.returncode == 2


def test_the_cache_tells_its_size_and_is_pruned(root: Path) -> None:
    run(root, "--input", "start=1", "--use-cache")
    ran(root)
    found = orjson.loads(command(root, "cache", "--json").stdout)
    assert found["results"] == 3
    assert 0 < found["bytes"] < found["limit"]
    assert found["directory"] == str(root.parent / "results")
    assert command(root, "cache", "prune").returncode == 2
    assert orjson.loads(command(root, "cache", "prune", "--older", "1h", "--json").stdout)["results"] == 0
    assert orjson.loads(command(root, "cache", "prune", "--all", "--json").stdout)["left"] == 0
    run(root, "--input", "start=1", "--use-cache")
    assert ran(root) == 3


def test_one_block_runs_by_its_path(root: Path) -> None:
    done = command(root, "run", str(root / "blocks/inc/block.oo.yaml"), "--in-process", "--json", "--input", "x=1")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout.splitlines()[-1])["outputs"] == {"y": 2}


FRAMES = """
nodes:
  - {node_id: make, task: self::make}
  - node_id: take
    task: self::take
    inputs_from:
      - handle: df
        serialize_for_cache: %s
        from_node: [{node_id: make, output_handle: df}]
      - {handle: n, from_node: [{node_id: make, output_handle: n}]}
outputs_from: [{handle: o, from_node: [{node_id: take, output_handle: o}]}]
"""


@pytest.fixture
def frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package with ``make``, which puts out a DataFrame and a number as var values, and ``take``, a sum of both."""
    monkeypatch.setenv("ASYNCBLOCK_VALUES_DIR", str(root.parent / "values"))
    making = f"import pandas as pd\ndef main(inputs):\n    open({str(root.parent / 'ran')!r}, 'a').write('a')\n"
    block(root, "make", "", "df:var n:var", making + "    return {'df': pd.DataFrame({'a': [1, 2]}), 'n': 4}\n")
    taking = "def main(inputs):\n    return {'o': int(inputs['df'].a.sum()) + inputs['n']}\n"
    block(root, "take", "df:var n:var", "o", taking)
    return root


@pytest.mark.parametrize("kept", ["true", "false"])
def test_a_var_value_comes_from_the_cache(frames: Path, kept: str) -> None:
    write(frames / "flows/f/flow.oo.yaml", FRAMES % kept)
    assert run(frames, "--use-cache")["outputs"] == {"o": 7}
    assert ran(frames) == 1
    assert run(frames, "--nodes", "take", "--use-cache", "--refresh", "take")["outputs"] == {"o": 7}
    assert ran(frames) == 0


def test_a_var_value_whose_file_has_gone_is_made_again(frames: Path) -> None:
    write(frames / "flows/f/flow.oo.yaml", FRAMES % "true")
    run(frames, "--use-cache")
    shutil.rmtree(frames.parent / "results")
    assert ran(frames) == 1
    assert run(frames, "--nodes", "take", "--use-cache")["outputs"] == {"o": 7}
    assert ran(frames) == 1


def test_a_run_that_failed_keeps_the_results_that_there_were(root: Path) -> None:
    block(root, "fail", "x", "y", "def main(inputs):\n    raise ValueError('not yet')\n")
    flow = root / "flows/f/flow.oo.yaml"
    flow.write_text(flow.read_text().replace("{node_id: c, task: self::inc", "{node_id: c, task: self::fail"))
    arguments = ("run", str(root / "flows/f"), "--in-process", "--json", "--use-cache")
    assert command(root, *arguments, "--input", "start=1").returncode == 1
    assert ran(root) == 2
    # An edit of another block of the package is none of theirs.
    block(root, "fail", "x", "y", "def main(inputs):\n    return {'y': inputs['x']}\n")
    assert run(root, "--nodes", "c", "--use-cache")["outputs"] == {"b": 3, "c": 3}
    assert ran(root) == 0


def test_what_an_edited_block_feeds_is_made_again(root: Path) -> None:
    block(root, "first", "x", "y", "def main(inputs):\n    return {'y': inputs['x']}\n")
    flow = root / "flows/f/flow.oo.yaml"
    flow.write_text(flow.read_text().replace("{node_id: a, task: self::inc", "{node_id: a, task: self::first"))
    assert run(root, "--input", "start=1", "--use-cache")["outputs"] == {"b": 2, "c": 3}
    assert ran(root) == 2
    block(root, "first", "x", "y", "def main(inputs):\n    return {'y': inputs['x'] * 10}\n")
    done = command(root, "run", str(flow), "--in-process", "--nodes", "c", "--use-cache")
    assert "a: not in the cache: its code has changed" in done.stdout
    assert "b: not in the cache: input 'x' differs" in done.stdout
    assert "c = 12" in done.stdout
    assert ran(root) == 2


def test_warnings_of_a_flow_are_told_before_it_runs(root: Path) -> None:
    flow = root / "flows/f/flow.oo.yaml"
    flow.write_text(flow.read_text().replace("nodes:\n", "nodes:\n  - {node_id: idle, task: self::inc}\n", 1))
    done = command(root, "run", str(flow), "--in-process", "--input", "start=1")
    assert done.returncode == 0
    words = f"{flow}:3: node 'idle': nothing feeds its input 'x'; give it a value or a source in 'inputs_from': "
    assert f"{words}the node won't run (warning)" in done.stderr
    assert f"{words}the node won't run (warning)" in command(root, "check", str(flow)).stdout
    end = run(root, "--input", "start=1", "--nodes-inputs", '{"idle": {"x": 1}}')
    assert end["outputs"] == {"b": 3, "c": 4}
    assert ran(root) == 3 + 4
