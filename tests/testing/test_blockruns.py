"""The pytest fixture: a block under test with a real Context."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypedDict

import pytest

import asyncblock
from asyncblock import Context
from asyncblock.testing.blockruns import BlockRunner


class Inputs(TypedDict):
    value: int


async def test_outputs_previews_logs_and_progress_are_in_the_result(block_run: BlockRunner) -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
        await ctx.report_progress(40)
        await ctx.report_log("working")
        await ctx.preview("# so far")
        await ctx.send_message({"rows": 3})
        await ctx.output("x" * 100_000, "large")
        return {"sum": inputs["a"] + inputs["b"]}

    result = await block_run(main, {"a": 1, "b": 2})
    assert (result.state, result.error) == ("succeeded", None)
    assert result.outputs == {"large": "x" * 100_000, "sum": 3}
    assert [handle for handle, _ in result.values] == ["large", "sum"]
    assert 40 in result.progress
    assert result.logs == ["working"]
    assert result.messages == [{"rows": 3}]
    assert len(result.previews) == 1


async def test_a_block_that_was_written_for_oocana_gets_its_own_context(block_run: BlockRunner) -> None:
    pytest.importorskip("oocana", reason="needs the extra 'oocana'")
    file = Path(__file__).parents[1] / "oocana_flows" / "package" / "blocks" / "strays" / "main.py"
    spec = spec_from_file_location("strays_of_oocana", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    result = await block_run(module.main)
    assert (result.state, result.messages) == ("succeeded", [{}])
    assert result.values == [("out", 1), ("out", 2)]
    # As its manifest says, which declares no other handle.
    dropped = [
        f"Output handle key: [{name}] is not defined in Block outputs schema." for name in ("first", "second", "third")
    ]
    assert result.warnings == dropped


async def test_a_failure_is_a_result_too(block_run: BlockRunner) -> None:
    def main(inputs: dict[str, Any]) -> None:
        raise ValueError("no such row")

    result = await block_run(main, check=False)
    assert result.state == "failed"
    assert result.error is not None and "no such row" in result.error


async def test_a_decorated_block_runs_with_its_declared_inputs(block_run: BlockRunner) -> None:
    @asyncblock.block
    async def double(inputs: Inputs, ctx: Context) -> dict[str, Any]:
        return {"out": 2 * inputs["value"]}

    assert (await block_run(double, {"value": 4})).outputs == {"out": 8}
    with pytest.raises(asyncblock.InvalidFlow):
        await block_run(double, {"wrong": 4})


async def test_a_block_that_never_ends_is_given_up(block_run: BlockRunner) -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await block_run(main, timeout=0.3)


def test_the_plugin_loads_nothing_before_it_is_used() -> None:
    code = (
        "import sys, pytest, asyncblock.testing.plugin; print(*(n for n in sys.modules if n.startswith('asyncblock')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if name.startswith("asyncblock.testing")} == {
        "asyncblock.testing",
        "asyncblock.testing.plugin",
    }
    assert not {name for name in loaded if name.startswith(("asyncblock.server", "asyncblock.executor"))}
