"""Plans and events for clients in other languages."""

from __future__ import annotations

from pathlib import Path

import orjson
from typer.testing import CliRunner

from asyncblock.blockcode.packages import package_hash
from asyncblock.cli.app import app
from asyncblock.wire.methods import plan_misfit

from ..flow.packages import write
from ..processes import run


def js_flow(root: Path) -> Path:
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    write(
        root / "blocks/js/block.oo.yaml",
        "executor: {name: nodejs, options: {entry: main.js, function: go}}\noutputs_def: [{handle: o}]\n",
    )
    return write(
        root / "flows/f/flow.oo.yaml",
        "nodes: [{node_id: n, task: self::js}]\n"
        "outputs_from: [{handle: o, from_node: [{node_id: n, output_handle: o}]}]\n",
    )


def test_check_takes_blocks_in_a_language_that_is_named_and_prints_the_plan(tmp_path: Path) -> None:
    flow = str(js_flow(tmp_path / "pkg"))
    runner = CliRunner()
    refused = runner.invoke(app, ["check", flow])
    assert (refused.exit_code, "nodejs" in refused.stdout) == (2, True)
    assert runner.invoke(app, ["check", flow, "--language", "nodejs"]).exit_code == 0
    made = runner.invoke(app, ["check", flow, "--language", "nodejs", "--plan"])
    assert made.exit_code == 0
    plan = orjson.loads(made.stdout)
    assert plan_misfit(plan) is None
    [*blocks] = plan.get("blocks") or [node["block"] for node in plan["nodes"]]
    assert blocks[0]["language"] == "nodejs"
    assert blocks[0]["hash"] == package_hash(tmp_path / "pkg")
    assert blocks[0]["options"] == {"entry": "main.js", "function": "go"}
    wrong = runner.invoke(app, ["check", flow, "--plan"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")


async def test_events_as_json_are_public_ones(tmp_path: Path) -> None:
    """What only matters to the mainframe (its decisions, and where values lie) isn't among them."""
    done = await run("run", "crossover", "--json", state=tmp_path)
    assert done.process.returncode == 0, done.err
    types = {event["type"] for event in done.events()}
    assert {"SessionStarted", "BlockFinished", "SessionFinished"} <= types
    assert not types & {"RunFinished", "NodeWeighed", "BlockRequested", "ConditionDecided", "Other"}
