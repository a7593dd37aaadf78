"""Notebooks: a real kernel runs one, and sessions, previews, flows and errors show themselves in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import asyncblock
from asyncblock import Context, events
from asyncblock.errors import FlowFailed
from asyncblock.notebook import bundle_of

from .waits import until_called

pytestmark = pytest.mark.timeout(180)  # a kernel has to start

SHIPPED = Path(asyncblock.__file__).parent / "examples" / "notebook.ipynb"


def bundles(cell: Any) -> list[dict[str, Any]]:
    return [each["data"] for each in cell["outputs"] if each["output_type"] in ("display_data", "execute_result")]


def said(cell: Any) -> str:
    return "".join(each["text"] for each in cell["outputs"] if each["output_type"] == "stream")


async def test_the_shipped_notebook_runs_and_shows_graph_session_and_previews(tmp_path: Path) -> None:
    notebook: Any = nbformat.reads(SHIPPED.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(tmp_path)}})
    await client.async_execute()
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    shown = [bundle for cell in code for bundle in bundles(cell)]
    assert any("<svg" in bundle.get("image/svg+xml", "") for bundle in shown), "the flow's graph"
    sessions = [bundle for bundle in shown if bundle["text/plain"].startswith("session ")]
    assert sessions and all("succeeded" in bundle["text/plain"] for bundle in sessions)
    assert any("<iframe" in bundle["text/html"] or "<table" in bundle["text/html"] for bundle in sessions)
    assert any("text/markdown" in bundle for bundle in shown), "a preview as what it is"


CELLS = [
    """
import asyncio, asyncblock
@asyncblock.block
async def waits(ctx: asyncblock.Context) -> None:
    print("it waits")
    try:
        await asyncio.Event().wait()
    finally:
        print("it was told to end")
@asyncblock.block
async def fails(ctx: asyncblock.Context) -> None:
    raise ValueError("what the author said")
def flow(block):
    made = asyncblock.Flow("made")
    made.node(block)
    return made
""",
    "await flow(waits).run()",
    "print('the next cell works')\nawait flow(fails).run()",
    """
@asyncblock.block
async def fails(ctx: asyncblock.Context) -> dict:
    print("printed by the new code")
    return {}
await flow(fails).run()
""",
]


async def test_an_interrupt_cancels_the_session_errors_are_the_authors_and_new_code_is_picked(tmp_path: Path) -> None:
    formats: Any = nbformat.v4
    notebook = formats.new_notebook(cells=[formats.new_code_cell(each) for each in CELLS])
    client = NotebookClient(notebook, timeout=60, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}})
    async with client.async_setup_kernel():
        await client.async_execute_cell(notebook["cells"][0], 0)
        running = asyncio.create_task(client.async_execute_cell(notebook["cells"][1], 1))
        await until_called(client, "process_message", lambda: "it waits" in said(notebook["cells"][1]))
        kernel: Any = client.km
        await kernel.interrupt_kernel()
        await running
        assert "it was told to end" in said(notebook["cells"][1])
        for index in (2, 3):
            await client.async_execute_cell(notebook["cells"][index], index)
    assert "the next cell works" in said(notebook["cells"][2])
    [error] = [each for each in notebook["cells"][2]["outputs"] if each["output_type"] == "error"]
    words = "\n".join(error["traceback"])
    assert error["ename"] == "FlowFailed" and "what the author said" in words and "in fails" in words
    assert "asyncblock/client.py" not in words and "is kept in" in words and "Traceback" in words
    assert "printed by the new code" in said(notebook["cells"][3])


async def test_a_session_shows_itself_while_its_loop_runs_and_says_so_when_nothing_can_be_read() -> None:
    @asyncblock.block
    async def shows(ctx: Context) -> None:
        await ctx.preview({"type": "table", "data": {"columns": ["<b>"], "rows": [["<script>"]], "row_count": 1}})

    flow = asyncblock.Flow("a <flow>")
    flow.node(shows)
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow)
        found = [event async for event in session]
        bundle = session._repr_mimebundle_()
        assert "succeeded" in bundle["text/plain"] and "shows: finished, 0 values, 1 preview" in bundle["text/plain"]
        assert "&lt;script&gt;" in bundle["text/html"] and "<script" not in bundle["text/html"]
    [preview] = [event for event in found if isinstance(event, events.BlockPreview)]
    assert "&lt;script&gt;" in preview._repr_mimebundle_()["text/html"]
    assert "nothing can be read" in session._repr_mimebundle_()["text/plain"]
    assert "<svg" in flow._repr_mimebundle_()["image/svg+xml"] and bundle_of(5) == {"text/plain": "5"}


def test_an_error_without_an_authors_frames_is_told_in_words() -> None:
    lines = FlowFailed("it went wrong", session_id="s", journal="/data")._render_traceback_()
    assert lines == ["FlowFailed: it went wrong", "the journal of session s is kept in /data"]
