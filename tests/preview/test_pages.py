"""A table's rows beside its preview, from the block to whoever scrolls: over the wire, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pandas as pd
import pytest

import asyncblock
from asyncblock import events
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared
from asyncblock.testing.blockruns import BlockRunner

from ..flows import all_of, end_of, one_block, run_block, started, warnings_of
from ..processes import run

KINDS = pytest.mark.parametrize(("kind", "wait"), [("async def", "await "), ("def", "")], ids=["async", "sync"])

LONG = """
    import pandas as pd
    {kind} main(inputs, ctx):
        {wait}ctx.preview(pd.DataFrame({{"a": range(50_000), "b": "x" * 20}}), id="same")
        {wait}ctx.preview(pd.DataFrame({{"a": range(50_000), "b": "y" * 20}}), id="same")
        {wait}ctx.preview(pd.DataFrame({{"a": range(10)}}))
"""


@KINDS
async def test_a_page_is_fetched_by_itself_and_has_the_rows_of_the_table(kind: str, wait: str, tmp_path: Path) -> None:
    path = one_block(tmp_path, LONG.format(kind=kind, wait=wait))
    async with started(path) as session:
        found = [event async for event in session]
        *_, long, short = all_of(found, events.BlockPreview)
        assert short.pages is None and "pages" not in short.to_json()
        assert long.payload["data"]["rows"][0] == [0, "y" * 20] and long.payload["data"]["row_count"] == 50_000
        pages = long.pages
        assert pages is not None and (pages.rows, pages.note) == (50_000, None)
        assert len(pages.index) > 10
        for number in (0, 7, len(pages.index) - 1):
            first, _, _ = pages.index[number]
            rows = await session.page(pages, number)
            assert rows[0] == [first, "y" * 20] and rows[-1] == [first + len(rows) - 1, "y" * 20]
        whole = await session.fetch(pages.body)
        assert [row for page in whole for row in page] == [[number, "y" * 20] for number in range(50_000)]
        with pytest.raises(IndexError):
            await session.page(pages, len(pages.index))
    said = orjson.loads(orjson.dumps(long.to_json()))["pages"]
    assert said["body"]["length"] == pages.body.length and said["rows"] == 50_000
    assert said["index"][1] == list(pages.index[1])


async def test_a_large_payload_has_pages_too(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import pandas as pd
        async def main(inputs, ctx):
            await ctx.preview(pd.DataFrame([["x" * 900] * 100] * 400))
        """,
    )
    [preview] = all_of(found, events.BlockPreview)
    assert preview.body is not None and preview.about is not None and preview.about["rows"] == 400
    assert preview.pages is not None and preview.pages.body.n != preview.body.n
    # 90 kB a row.
    assert 80 < preview.pages.rows < 100
    assert preview.pages.note == f"the first {preview.pages.rows} of 400 rows"


@KINDS
async def test_the_tables_of_a_group_have_a_body_together(kind: str, wait: str, tmp_path: Path) -> None:
    source = f"""
    import pandas as pd
    {kind} main(inputs, ctx):
        {wait}ctx.preview({{"few": pd.DataFrame({{"a": range(5)}}), "many": pd.DataFrame({{"a": range(500)}})}})
    """
    async with started(one_block(tmp_path, source)) as session:
        [preview] = all_of([event async for event in session], events.BlockPreview)
        assert [each["title"] for each in preview.payload["data"]] == ["few", "many"]
        assert preview.pages is not None and preview.pages.index == ()
        [many] = preview.pages.tables
        assert (many.at, many.rows, many.note, many.body) == ((1,), 500, None, preview.pages.body)
        assert await session.page(many, 0) == [[number] for number in range(500)]
    said = orjson.loads(orjson.dumps(preview.to_json()))["pages"]
    assert said["tables"][0]["at"] == [1] and said["tables"][0]["index"] == [list(each) for each in many.index]


async def test_a_page_is_a_range_of_its_body_over_http(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", LONG.format(kind="async def", wait="await "))
    async with (
        shared().lease() as io,
        hosted_mainframe(io, tmp_path / "data") as server,
        listening(io, server, "127.0.0.1", 0) as url,
        asyncblock.connect(url, server.token) as mainframe,
        asyncblock.Executor(packages=[path.parent]).attached(mainframe),
        httpx.AsyncClient(base_url=url.replace("ws", "http", 1), trust_env=False) as client,
    ):
        session = await mainframe.start(path)
        found = [event async for event in session]
        pages = next(event.pages for event in all_of(found, events.BlockPreview) if event.pages is not None)
        where = f"/bodies/{pages.body.link}-{pages.body.n}"
        known = {"Authorization": f"Bearer {server.token}"}
        first, offset, size = pages.index[3]
        answer = await client.get(where, headers={**known, "Range": f"bytes={offset}-{offset + size - 1}"})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {offset}-{offset + size - 1}/*"
        assert answer.json()[0][0] == first and answer.json() == await session.page(pages, 3)
        rest = await client.get(where, headers={**known, "Range": f"bytes={pages.body.length - 2}-"})
        assert (rest.status_code, rest.content) == (206, b"\n]")


@KINDS
async def test_what_hangs_in_a_far_row_costs_the_pages_and_not_the_preview(
    kind: str, wait: str, tmp_path: Path
) -> None:
    """A sync block's own thread waits: its cells only raise."""
    hangs = "released.wait()" if kind == "async def" else "raise SystemExit"
    found = await run_block(
        tmp_path,
        f"""
        import threading
        import pandas as pd
        from asyncblock.preview import Limits
        released = threading.Event()
        class Hanging:
            def __str__(self):
                {hangs}
        {kind} main(inputs, ctx):
            cells = pd.Series([1] * 100 + [Hanging()] + [1] * 100, dtype=object)
            {wait}ctx.preview(pd.DataFrame({{"a": cells}}), limits=Limits(seconds=0.5))
            released.set()
            return {{"out": 1}}
        """,
    )
    assert end_of(found).outputs == {"out": 1}
    [preview] = all_of(found, events.BlockPreview)
    assert preview.payload["data"]["row_count"] == 201
    warnings = warnings_of(found)
    if kind == "def":
        assert preview.pages is not None and 30 < preview.pages.rows <= 100 and not warnings
        assert preview.pages.note is not None and preview.pages.note.endswith("what follows raises SystemExit")
    else:
        words = "the rows of a preview of DataFrame aren't there to scroll in: it took longer than 0.5 s"
        assert preview.pages is None and warnings == [words]


async def test_secrets_stay_out_of_the_pages(tmp_path: Path) -> None:
    found: list[Any] = []
    path = one_block(
        tmp_path,
        """
        import pandas as pd
        async def main(inputs, ctx):
            ctx._job.secrecy.learn("hunter2!")
            await ctx.preview(pd.DataFrame({"a": ["so hunter2! is", "short"] * 5000}))
        """,
    )
    async with started(path) as session:
        found = [event async for event in session]
        [preview] = all_of(found, events.BlockPreview)
        assert preview.pages is not None
        for number, (first, _, _) in enumerate(preview.pages.index):
            rows = await session.page(preview.pages, number)
            assert rows[0] == [["so *** is", "short"][first % 2]]
            assert {row[0] for row in rows} == {"so *** is", "short"}


async def test_a_forked_process_shows_a_table_without_pages(tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        """
        import os
        import pandas as pd
        def main(inputs, ctx):
            child = os.fork()
            if not child:
                ctx.preview(pd.DataFrame({"a": range(100)}))
                os._exit(0)
            os.waitpid(child, 0)
        """,
        workers=1,
    )
    [preview] = all_of(found, events.BlockPreview)
    assert preview.payload["data"]["row_count"] == 100 and preview.pages is None


async def test_a_preview_in_a_test_says_what_it_is_and_has_pages(
    block_run: BlockRunner,
) -> None:
    async def main(inputs: dict[str, Any], ctx: asyncblock.Context) -> None:
        await ctx.preview(pd.DataFrame([["x" * 900] * 100] * 400), id="rows")

    result = await block_run(main)
    assert result.previews[0]["data"]["row_count"] == 400
    [preview] = all_of(result.events, events.BlockPreview)
    assert preview.about == {"type": "table", "rows": 400, "columns": 100, "size": preview.body and preview.body.length}
    assert preview.pages is not None and preview.pages.rows > 50


async def test_the_commands_lines_say_what_a_preview_is(tmp_path: Path) -> None:
    source = """
    import numpy as np
    import pandas as pd
    async def main(inputs, ctx):
        await ctx.preview({"type": "image", "title": "noise", "data": np.random.default_rng(1).random((200, 300, 3))})
        await ctx.preview(pd.DataFrame({"a": range(5000)}))
    """
    path = one_block(tmp_path / "f", source)
    said = await run("run", str(path), "--json", state=tmp_path)
    image, table = (each for each in map(orjson.loads, said.out) if each["type"] == "BlockPreview")
    size = image["body"]["length"]
    assert image["about"] == {"type": "image", "title": "noise", "pixels": [300, 200], "size": size}
    assert table["payload"]["data"]["row_count"] == table["pages"]["rows"] == 5000
    plain = await run("run", str(path), state=tmp_path)
    words = f"n: preview: image, 'noise', 300 x 200 pixels, {size:,} bytes"
    assert [line for line in plain.out if "preview" in line] == [words, "n: preview: table, 5000 rows, 1 columns"]
