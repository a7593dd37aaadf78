"""One reading of a file in one process: an edit starts a fresh one, and running sessions keep the old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncblock

from ..flows import node, one_block, write_flow
from ..processes import all_ended

BLOCK = "import os\nfrom helper import NAME\n\ndef main(inputs, ctx):\n    return {'out': [NAME, os.getpid()]}\n"


async def test_an_edit_starts_a_fresh_process_and_the_old_one_leaves(tmp_path: Path) -> None:
    helper, path = tmp_path / "helper.py", one_block(tmp_path, BLOCK)
    pids: list[int] = []
    async with asyncblock.embedded(workers=1) as mainframe:
        for name in ("one", "two", "one"):
            helper.write_text(f"NAME = {name!r}\n")
            for _ in range(2):
                out = (await (await mainframe.start(path)).outputs())["out"]
                assert out[0] == name
                pids.append(out[1])
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
        await all_ended([pids[0]])
        await all_ended([pids[2]])


async def test_data_and_other_packages_start_no_process(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "helper.py").write_text("NAME = 'a'\n")
    path = one_block(tmp_path / "a", BLOCK)
    other = one_block(tmp_path / "b", "import os\n\ndef main(inputs, ctx):\n    return {'out': os.getpid()}\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        first = (await (await mainframe.start(path)).outputs())["out"]
        (tmp_path / "a" / "data.csv").write_text("1,2\n")
        second = (await (await mainframe.start(other)).outputs())["out"]
        assert (await (await mainframe.start(path)).outputs())["out"] == first
        assert first[1] == second


async def test_a_session_under_way_keeps_the_code_that_it_began_with_and_its_process(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = f"""
import asyncio, os
from pathlib import Path
from helper import NAME

async def main(inputs, ctx):
    await ctx.send_message("begun")
    while not Path({str(gate)!r}).exists():
        await asyncio.sleep(0.02)
    return {{"out": [NAME, os.getpid()]}}
"""
    place = tmp_path / "f"
    place.mkdir()
    (place / "helper.py").write_text("NAME = 'old'\n")
    later = {"inputs_from": [{"handle": "in", "from_node": [{"node_id": "a", "output_handle": "out"}]}]}
    nodes = [node("a", waiting, place), node("b", BLOCK, place, inputs=[{"handle": "in"}], **later)]
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in "ab"]
    long = write_flow(place, nodes, outputs_from=outputs)
    short = place / "short.oo.yaml"
    made: list[dict[str, Any]] = [node("c", BLOCK, place)]
    write_flow(
        place / "x", made, outputs_from=[{"handle": "c", "from_node": [{"node_id": "c", "output_handle": "out"}]}]
    )
    (place / "x" / "flow.oo.yaml").rename(short)
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(long)
        async for event in session:
            if isinstance(event, asyncblock.events.BlockMessage):
                break
        (place / "helper.py").write_text("NAME = 'new'\n")
        new = (await (await mainframe.start(short)).outputs())["c"]
        gate.touch()
        old = await session.outputs()
        assert new[0] == "new"
        assert old["a"] == old["b"] == ["old", old["a"][1]]
        assert new[1] != old["a"][1]
        await all_ended([old["a"][1]])
