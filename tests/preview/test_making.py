"""``ctx.preview`` through a real mainframe: order, ids, warnings, what may be changed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events, preview

from ..flows import all_of, end_of, run_block, warnings_of

KINDS = pytest.mark.parametrize(("kind", "wait"), [("async def", "await "), ("def", "")], ids=["async", "sync"])


@KINDS
async def test_a_preview_that_fails_is_a_warning_with_the_reason(kind: str, wait: str, tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import os
        from matplotlib.artist import Artist
        from matplotlib.figure import Figure
        class Bad:
            def _repr_html_(self):
                raise ValueError("no markup")
        {kind} main(inputs, ctx):
            {wait}ctx.preview(Bad())
            {wait}ctx.preview({{"type": "json", "data": object()}})
            {wait}ctx.preview("after")
            return {{"out": 1}}
        """,
    )
    assert end_of(found).state == "succeeded"
    first, second = warnings_of(found)
    assert first == "a preview of Bad failed: its _repr_html_ raised ValueError: no markup"
    assert second.startswith("a preview of dict failed: ") and "at data" in second
    assert [each.payload["data"] for each in all_of(found, events.BlockPreview)] == ["after"]


@KINDS
async def test_a_figure_that_kills_the_process_that_draws_it_is_a_warning(kind: str, wait: str, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    found = await run_block(
        tmp_path,
        f"""
        import os
        from matplotlib.figure import Figure
        class Killing(dict):
            def __reduce__(self):
                # Called where the figure is unpickled.
                return os.abort, ()
        {kind} main(inputs, ctx):
            figure = Figure()
            figure.subplots()
            figure.axes[0].killing = Killing()
            {wait}ctx.preview(figure)
            {wait}ctx.preview(Figure(figsize=(1, 1)))
        """,
    )
    assert end_of(found).state == "succeeded"
    [warning] = warnings_of(found)
    assert "a preview of Figure failed: the process that draws figures died" in warning
    [made] = all_of(found, events.BlockPreview)
    assert made.payload["type"] == "image"


@KINDS
async def test_previews_keep_their_order_and_of_one_id_the_latest_stays(kind: str, wait: str, tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import pandas as pd
        {kind} main(inputs, ctx):
            for i in range(50):
                {wait}ctx.preview(i, id="same")
                {wait}ctx.preview(pd.DataFrame({{"a": [i]}}))
                {wait}ctx.preview(str(i))
        """,
    )
    made = all_of(found, events.BlockPreview)
    same = [each.payload["data"] for each in made if each.id == "same"]
    assert same == sorted(same) and same[-1] == 49
    others = [each.payload for each in made if each.id is None]
    assert [each["data"] for each in others if each["type"] == "text"] == [str(i) for i in range(50)]
    assert [each["data"]["rows"] for each in others if each["type"] == "table"] == [[[i]] for i in range(50)]
    assert others[0]["type"] == "table" and len(others) == 100


@KINDS
async def test_a_large_preview_says_what_it_is_beside_its_body(kind: str, wait: str, tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import numpy as np
        {kind} main(inputs, ctx):
            noise = np.random.default_rng(1).integers(0, 255, (300, 200, 3)).astype("uint8")
            {wait}ctx.preview(noise)
            {wait}ctx.preview({{"type": "image", "data": noise, "title": "noise"}})
            {wait}ctx.preview({{"type": "table", "title": "rows", "data": [["x" * 900] * 30] * 7}})
            {wait}ctx.preview([noise, noise])
            {wait}ctx.preview("small")
        """,
    )
    *large, small = all_of(found, events.BlockPreview)
    assert all(each.payload is None for each in large)
    assert [(each.about or {})["size"] for each in large] == [each.body and each.body.length for each in large]
    assert [{**(each.about or {}), "size": 0} for each in large] == [
        {"type": "image", "pixels": [200, 300], "size": 0},
        {"type": "image", "title": "noise", "pixels": [200, 300], "size": 0},
        {"type": "table", "title": "rows", "rows": 7, "columns": 30, "size": 0},
        {"type": "image", "pixels": [200, 300], "count": 2, "size": 0},
    ]
    assert small.about is None and small.payload["data"] == "small"


async def test_what_is_shown_is_taken_when_the_await_begins(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import asyncio
        import pandas as pd
        async def main(inputs, ctx):
            frame = pd.DataFrame({"a": range(100)})
            rows = [1, 2]
            tasks = [asyncio.create_task(ctx.preview(each)) for each in (frame, rows)]
            await asyncio.sleep(0)
            frame["a"] = -1
            rows.clear()
            await asyncio.gather(*tasks)
        """,
    )
    made = {each.payload["type"]: each.payload["data"] for each in all_of(found, events.BlockPreview)}
    assert made["json"] == [1, 2]
    assert made["table"]["rows"][0] == [0]


@KINDS
async def test_limits_are_settable_for_each_call(kind: str, wait: str, tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        f"""
        import pandas as pd
        from asyncblock.preview import Limits
        {kind} main(inputs, ctx):
            frame = pd.DataFrame({{"a": range(30)}})
            {wait}ctx.preview(frame, limits=Limits(rows=100))
            {wait}ctx.preview(frame)
        """,
    )
    assert [len(each.payload["data"]["rows"]) for each in all_of(found, events.BlockPreview)] == [30, 11]


async def test_the_worker_process_ends_with_the_executor(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        from asyncblock import preview
        from matplotlib.figure import Figure
        async def main(inputs, ctx):
            await ctx.preview(Figure(figsize=(1, 1)))
            return {"out": preview.worker_pid()}
        """,
    )
    [finished] = all_of(found, events.BlockFinished)
    assert finished.result["out"] is not None
    assert preview.worker_pid() is None
