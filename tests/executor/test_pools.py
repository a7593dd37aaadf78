"""Whose threads are whose: what blocks do with the event loop's default executor holds nobody up."""

from __future__ import annotations

from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, node, one_block, until, write_flow

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

TAKES = {
    "fills it": """
        await ctx.output(1, "out")
        gate = threading.Event()
        try:
            await asyncio.gather(*(asyncio.to_thread(gate.wait) for _ in range(40)))
        finally:
            gate.set()
    """,
    "shuts it down": """
        await asyncio.to_thread(int)
        await asyncio.get_running_loop().shutdown_default_executor()
        await ctx.output(1, "out")
        await asyncio.Event().wait()
    """,
    "sets one that is shut down": """
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
        await ctx.output(1, "out")
        await asyncio.Event().wait()
    """,
    "sets one that is full": """
        gate = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        task = asyncio.create_task(asyncio.to_thread(gate.wait))
        await ctx.output(1, "out")
        try:
            await task
        finally:
            gate.set()
    """,
}

OTHERS = {
    "plain": "async def main(inputs, ctx):\n    return {'out': 1}\n",
    "threaded": "def main(inputs, ctx):\n    return {'out': 2}\n",
    "bytes": "async def main(inputs, ctx):\n    return {'out': bytes(1 << 20)}\n",
    "reads": """
        import asyncblock
        from typing import TypedDict

        class Inputs(TypedDict):
            data: asyncblock.Body

        async def main(inputs: Inputs, ctx):
            return {"out": len(await inputs["data"].read())}
        """,
    "shows": """
        import pandas

        async def main(inputs, ctx):
            await ctx.preview(pandas.DataFrame({"a": [1, 2]}))
            return {"out": list(range(100_000))}
        """,
    "pooled": "import asyncio\nasync def main(inputs, ctx):\n    return {'out': await asyncio.to_thread(int, '5')}\n",
    "counts": "async def main(inputs, ctx):\n    return {'out': len(inputs['data'])}\n",
}


def _others(directory: Path) -> Path:
    fed = {"reads": "bytes", "counts": "shows"}
    nodes = [
        node(
            name,
            source,
            directory,
            outputs=[{"handle": "out", "json_schema": {"contentMediaType": "oomol/bin"}}]
            if name == "bytes"
            else ("out",),
            inputs=[{"handle": "data"}] if name in fed else (),
            inputs_from=[{"handle": "data", "from_node": [{"node_id": fed[name], "output_handle": "out"}]}]
            if name in fed
            else (),
        )
        for name, source in OTHERS.items()
    ]
    told = ("plain", "threaded", "reads", "counts", "pooled")
    outputs = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in told]
    return write_flow(directory, nodes, outputs_from=outputs)


@LOOPS
@pytest.mark.parametrize("what", TAKES)
async def test_a_block_that_takes_the_default_executor_holds_nobody(
    what: str, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", loop)
    imports = "import asyncio, concurrent.futures, threading\n\n\nasync def main(inputs, ctx):"
    taker = one_block(tmp_path / "taker", imports + TAKES[what].replace("\n        ", "\n    "))
    async with asyncblock.embedded(workers=1) as mainframe:
        taking = await mainframe.start(taker)
        await until(taking, events.BlockOutput)
        found = [event async for event in await mainframe.start(_others(tmp_path / "others"))]
        end = end_of(found)
        assert end.outputs == {"plain": 1, "threaded": 2, "reads": 1 << 20, "counts": 100_000, "pooled": 5}, end.error
        assert len(all_of(found, events.BlockPreview)) == 1
        await taking.cancel()
        assert (await taking.wait()).state == "cancelled"
