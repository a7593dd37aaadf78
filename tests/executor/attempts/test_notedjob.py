from __future__ import annotations

import re
from pathlib import Path

from asyncblock import events

from ...flows import all_of, end_of, one_block, run_flow


async def test_a_block_that_blocks_its_loop_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = one_block(
        tmp_path,
        """
        import time

        def crunch():
            time.sleep(0.6)

        async def main(inputs, ctx):
            crunch()
            await ctx.output(1, "out")
        """,
    )
    found = await run_flow(path)
    stalled = all_of(found, events.JobStalled)
    assert stalled
    assert stalled[0].node_id == "n"
    assert f"crunch ({tmp_path / 'n.py'}:5)" in stalled[0].where
    [warning] = all_of(found, events.BlockWarning)
    assert re.search(r"blocked the event loop for (\d+ ms|\d\.\d s) in crunch", warning.warning)
    assert end_of(found).outputs == {"out": 1}
