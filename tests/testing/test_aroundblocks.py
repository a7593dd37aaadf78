"""A block under test is given, and gives, what JSON can't carry, by the handles that its manifest or its types say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pandas as pd
import pytest

import asyncblock
from asyncblock import Bin, Body, Context, SyncContext, Var
from asyncblock.testing.blockruns import BlockRunner


class Frame(TypedDict):
    frame: Annotated[pd.DataFrame, Var]


class Data(TypedDict):
    data: Annotated[bytes, Bin]


class AsFile(TypedDict):
    data: Annotated[Body, Bin]


class Maybe(TypedDict):
    frame: Annotated[pd.DataFrame | None, Var]


async def test_a_frame_goes_in_and_comes_out_as_one(block_run: BlockRunner) -> None:
    @asyncblock.block
    def doubled(inputs: Frame, ctx: SyncContext) -> Frame:
        return {"frame": inputs["frame"] * 2}

    result = await block_run(doubled, {"frame": pd.DataFrame({"a": [1, 2]})})
    assert result.outputs["frame"]["a"].tolist() == [2, 4]
    assert {getattr(event, "node_id", "block") for event in result.events} <= {"block", None}


async def test_a_function_that_declares_nothing_gets_the_object(block_run: BlockRunner) -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
        return {
            "rows": len(inputs["frame"]),
            "size": len(inputs["data"]),
            "more": inputs["more"],
            "fn": inputs["fn"](2),
        }

    given = {"frame": pd.DataFrame({"a": range(1000)}), "data": b"\x00\xff", "more": [1, None], "fn": lambda n: n + 1}
    assert (await block_run(main, given)).outputs == {"rows": 1000, "size": 2, "more": [1, None], "fn": 3}


async def test_bytes_arrive_as_the_input_says(block_run: BlockRunner) -> None:
    @asyncblock.block
    async def whole(inputs: Data, ctx: Context) -> Data:
        return {"data": inputs["data"][::-1]}

    @asyncblock.block
    async def by_parts(inputs: AsFile, ctx: Context) -> dict[str, int]:
        return {"size": sum([len(part) async for part in inputs["data"]])}

    assert (await block_run(whole, {"data": b"abc"})).outputs == {"data": b"cba"}
    assert (await block_run(by_parts, {"data": b"x" * 5_000_000})).outputs == {"size": 5_000_000}


async def test_rows_beyond_what_travels_from_outside_are_handed_on(block_run: BlockRunner) -> None:
    async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
        return {"rows": len(inputs["rows"]), "last": inputs["rows"][-1]}

    rows = [{"name": "x" * 40, "number": n} for n in range(100_000)]  # beyond 4 MiB of JSON
    assert (await block_run(main, {"rows": rows})).outputs == {"rows": 100_000, "last": rows[-1]}


async def test_each_value_of_a_stream_is_itself(block_run: BlockRunner) -> None:
    @asyncblock.block(outputs=[{"handle": "out", "json_schema": {"contentMediaType": "oomol/var"}}, {"handle": "n"}])
    async def three(ctx: Context) -> None:
        for number in range(3):
            await ctx.output({number}, "out")
            await ctx.output(number, "n")

    result = await block_run(three)
    assert result.values == [("out", {0}), ("n", 0), ("out", {1}), ("n", 1), ("out", {2}), ("n", 2)]


async def test_of_a_block_that_is_tried_again_the_last_attempts_values_are_themselves(block_run: BlockRunner) -> None:
    attempts: list[int] = []

    @asyncblock.block(
        retries=2, backoff=0, outputs=[{"handle": "out", "json_schema": {"contentMediaType": "oomol/var"}}]
    )
    async def at_last(ctx: Context) -> None:
        attempts.append(len(attempts) + 1)
        await ctx.output({"attempt": {attempts[-1]}}, "out")
        if len(attempts) < 3:
            raise OSError("not yet")

    assert (await block_run(at_last)).outputs == {"out": {"attempt": {3}}}


async def test_none_is_no_object_that_has_to_be_handed_on(block_run: BlockRunner) -> None:
    @asyncblock.block
    async def main(inputs: Maybe, ctx: Context) -> dict[str, bool]:
        return {"none": inputs["frame"] is None}

    assert (await block_run(main, {"frame": None})).outputs == {"none": True}


MANIFEST = """executor: {name: python, options: {entry: main.py}}
inputs_def:
  - {handle: frame, json_schema: {contentMediaType: oomol/var}}
  - {handle: factor, value: 3, json_schema: {type: integer}}
outputs_def:
  - {handle: out, json_schema: {contentMediaType: oomol/var}}
"""


def made_in(directory: Path, manifest: str = MANIFEST) -> Any:
    source = "def main(inputs, ctx):\n    return {'out': inputs['frame'] * inputs['factor']}\n"
    (directory / "main.py").write_text(source)
    (directory / "block.oo.yaml").write_text(manifest)
    return runpy.run_path(str(directory / "main.py"))["main"]


async def test_a_function_has_the_handles_of_the_manifest_beside_it(block_run: BlockRunner, tmp_path: Path) -> None:
    main = made_in(tmp_path)
    result = await block_run(main, {"frame": pd.Series([1, 2])})
    assert result.outputs["out"].tolist() == [3, 6]
    with pytest.raises(asyncblock.InvalidFlow, match="fram"):
        await block_run(main, {"fram": 1})


async def test_a_manifest_for_another_function_says_nothing_of_this_one(block_run: BlockRunner, tmp_path: Path) -> None:
    main = made_in(tmp_path, MANIFEST.replace("entry: main.py", "entry: other.py"))
    assert (await block_run(main, {"frame": 2, "factor": 5, "more": 1})).outputs == {"out": 10}


async def test_a_manifest_that_is_broken_is_said(block_run: BlockRunner, tmp_path: Path) -> None:
    main = made_in(tmp_path, MANIFEST + "outputs_def: [")
    with pytest.raises(asyncblock.InvalidFlow, match=r"block\.oo\.yaml"):
        await block_run(main, {"frame": 1})
