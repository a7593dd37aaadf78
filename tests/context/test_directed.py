"""Directed outputs: ``to_node`` and ``to_flow`` choose among a handle's connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ..flows import all_of, end_of, node, run_block, run_flow, started, write_flow

FROM_A = [{"handle": "x", "from_node": [{"node_id": "a", "output_handle": "out"}]}]
TAKE = "async def main(inputs, ctx): return {'out': inputs['x']}"


def fan(directory: Path, source: str) -> Path:
    """``a`` feeds ``b``, ``c`` and the flow's output."""
    takers = [node(n, TAKE, directory, inputs=[{"handle": "x"}], inputs_from=FROM_A) for n in ("b", "c")]
    outputs = [{"handle": "o", "from_node": [{"node_id": "a", "output_handle": "out"}]}]
    return write_flow(directory, [node("a", source, directory), *takers], outputs_from=outputs)


DIRECTIONS = {
    "to one node": ('to_node=[{"node_id": "c", "input_handle": "x"}]', ["c"], {}),
    "to the flow": ('to_flow=[{"output_handle": "o"}]', [], {"o": 7}),
    "to both": (
        'to_node=[{"node_id": "b", "input_handle": "x"}], to_flow=[{"output_handle": "o"}]',
        ["b"],
        {"o": 7},
    ),
    "to nobody": ("to_node=[]", [], {}),
    "to no connection": ('to_node=[{"node_id": "c", "input_handle": "other"}]', [], {}),
    "everywhere": ("to_node=None", ["b", "c"], {"o": 7}),
}


@pytest.mark.parametrize("form", ["async", "sync"])
@pytest.mark.parametrize(("words", "ran", "outputs"), DIRECTIONS.values(), ids=DIRECTIONS)
async def test_a_directed_output_reaches_only_those_it_names(
    tmp_path: Path, form: str, words: str, ran: list[str], outputs: dict[str, int]
) -> None:
    source = f"async def main(inputs, ctx):\n    await ctx.output(7, 'out', {words})"
    if form == "sync":
        source = source.replace("await ", "").replace("async ", "")
    found = await run_flow(fan(tmp_path, source))
    end = end_of(found)
    assert (end.state, end.outputs) == ("succeeded", outputs)
    assert sorted(e.node_id for e in all_of(found, events.BlockStarted) if e.node_id != "a") == ran


async def test_a_large_value_can_be_directed_and_finish_the_job(tmp_path: Path) -> None:
    source = """
        async def main(inputs, ctx):
            await ctx.output("x" * 200_000, "out", True, to_flow=[{"output_handle": "o"}])
        """
    async with started(fan(tmp_path, source)) as session:
        assert await session.outputs() == {"o": "x" * 200_000}


@pytest.mark.parametrize(
    "wrong",
    ['to_node="c"', 'to_node=["c"]', 'to_node=[{"node_id": "c"}]', 'to_flow={"output_handle": "o"}', "to_flow=[1]"],
)
async def test_a_target_of_the_wrong_form_says_how_it_is_written(tmp_path: Path, wrong: str) -> None:
    found = await run_block(tmp_path, f"async def main(inputs, ctx):\n    await ctx.output(7, 'out', {wrong})")
    end = end_of(found)
    assert end.state == "failed"
    assert f"{wrong.partition('=')[0]} is a list of {{" in (end.error or "")
