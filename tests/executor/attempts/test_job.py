"""What jobs leave behind: nothing that waits for the collector, whose full rounds stall the loop (promise 2)."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ...flows import node, one_block, until, write_flow

BLOCKS = {
    "returns": "async def main(inputs, ctx):\n    return {'out': 1}\n",
    "prints and shows": """
        async def main(inputs, ctx):
            print("a line")
            print("half a line", end="")
            await ctx.preview({"type": "text", "data": "shown"}, id="one")
            await ctx.report_progress(50)
            await ctx.output(1, "out")
            await ctx.flush()
        """,
    "sends a large value": "async def main(inputs, ctx):\n    return {'out': list(range(100_000))}\n",
    "is no coroutine": "def main(inputs, ctx):\n    print('a line')\n    return {'out': 1}\n",
    "raises": "async def main(inputs, ctx):\n    raise ValueError('mine')\n",
    "raises in a thread": "def main(inputs, ctx):\n    raise ValueError('mine')\n",
    "stays open": """
        import asyncio

        async def main(inputs, ctx):
            async def later():
                await ctx.done()
            main.task = asyncio.create_task(later())
            return ctx.keepAlive
        """,
}


@contextmanager
def collected() -> Iterator[list[str]]:
    """Run something without the collector; yields a list that then has the types of what only it would have freed."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def within(directory: Path, source: str) -> Path:
    """Write a flow whose one node is a subflow with the block."""
    directory.mkdir()
    (directory / "package.oo.yaml").write_text("name: within\nversion: 1.0.0\n")
    one_block(directory / "subflows/s", source).rename(directory / "subflows/s/subflow.oo.yaml")
    return write_flow(directory / "flows/f", [{"node_id": "s", "subflow": "self::s"}])


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("inner", [False, True], ids=["flow", "subflow"])
async def test_jobs_and_their_sessions_leave_no_circles(tmp_path: Path, kind: str, inner: bool) -> None:
    path = (within if inner else one_block)(tmp_path / "flow", BLOCKS[kind])
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        for _ in range(2):
            await (await mainframe.start(path)).wait()
        with collected() as found:
            for _ in range(20):
                await (await mainframe.start(path)).wait()
    ours = Counter(each for each in found if each.startswith("asyncblock."))
    assert not ours


async def test_large_inputs_leave_no_circles(tmp_path: Path) -> None:
    place = tmp_path / "flow"
    takes = "async def main(inputs, ctx):\n    return {'out': len(inputs['value'])}\n"
    source = {"handle": "value", "from_node": [{"node_id": "gives", "output_handle": "out"}]}
    nodes = [
        node("gives", BLOCKS["sends a large value"], place),
        node("takes", takes, place, inputs=[{"handle": "value"}], inputs_from=[source]),
    ]
    path = write_flow(place, nodes)
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        for _ in range(2):
            await (await mainframe.start(path)).wait()
        with collected() as found:
            for _ in range(20):
                await (await mainframe.start(path)).wait()
    assert not Counter(each for each in found if each.startswith("asyncblock."))


async def test_cancelled_sessions_leave_no_circles(tmp_path: Path) -> None:
    waits = "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.Event().wait()\n"
    path = one_block(tmp_path / "flow", waits)
    async with asyncblock.embedded(tmp_path / "data") as mainframe:

        async def cancelled() -> None:
            session = await mainframe.start(path)
            await until(session, events.BlockStarted)
            await session.cancel("enough")
            assert (await session.wait()).state == "cancelled"

        for _ in range(2):
            await cancelled()
        with collected() as found:
            for _ in range(20):
                await cancelled()
    assert not Counter(each for each in found if each.startswith("asyncblock."))
